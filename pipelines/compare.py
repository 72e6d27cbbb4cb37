"""``bench compare``: two of whatever has a name, or two revisions: their differing parameters and their metrics."""

import io
from dataclasses import dataclass, field
from importlib import import_module
from math import nan

import pandas as pd
from ruamel.yaml import YAML

from benchmarks.evidence import judge, summary
from benchmarks.evidence.report import number, span, tally
from benchmarks.evidence.statistics import t_interval
from benchmarks.studies import catalog
from pipelines import names, parameters, revisions, stages
from pipelines.files import TABLES, read_tables, table_path
from pipelines.stages import Stage

# Columns that say which row it is; what they hold is among the parameters.
NAMES = ("study", "configuration", "seed", "workload", "optimizer", "role", "trial", "factor", "options")


class CompareError(ValueError):
    """Something that has no name here and is no revision, or two that cannot be compared."""


@dataclass
class Side:
    """One of the two.

    Attributes:
        kind: run, revision, or one of `names.KINDS`.
        parameters: by dotted key.
        metrics: by name the value and the ends of its 95 % interval, nan where there is none.
    """

    name: str
    kind: str
    parameters: dict[str, object] = field(default_factory=dict)
    metrics: dict[str, tuple[object, float, float]] = field(default_factory=dict)


def compare(first: str, second: str) -> str:
    """What ``bench compare`` prints.

    Args:
        first, second: a name (`pipelines.names`), a run's (``configuration:seed``), or a Git revision.

    Raises:
        CompareError, RevisionError: for what is not there.
    """
    sides = [_side(name) for name in (first, second)]
    if len({"configuration" if side.kind == "run" else side.kind for side in sides}) == 2:
        raise CompareError(f"{first} is a {sides[0].kind} and {second} a {sides[1].kind}: compare two of the same kind")
    a, b = sides
    differing = [
        (key, a.parameters.get(key), b.parameters.get(key))
        for key in dict.fromkeys([*a.parameters, *b.parameters])
        if a.parameters.get(key) != b.parameters.get(key)
    ]
    lines = [
        f"{a.kind} {a.name} | {b.kind} {b.name}",
        "",
        "parameters that differ:" if differing else "no parameter differs",
    ]
    lines += (
        _columns([("", a.name, b.name), *((key, _text(x), _text(y)) for key, x, y in differing)]) if differing else []
    )
    metrics = [key for key in dict.fromkeys([*a.metrics, *b.metrics]) if key in a.metrics and key in b.metrics]
    if a.kind == "revision":
        metrics = [key for key in metrics if a.metrics[key] != b.metrics[key]]
    lines += ["", f"{'metrics' if metrics else 'no metric'} that {'differ' if a.kind == 'revision' else 'both have'}:"]
    lines += _columns([("", a.name, b.name), *((key, _measured(a, key), _measured(b, key)) for key in metrics)])
    for mine, other in ((a, b), (b, a)):
        alone = [key for key in mine.metrics if key not in other.metrics]
        if alone:
            lines.append(
                f"{mine.name} alone has {', '.join(alone[:8])}{f' and {len(alone) - 8} more' if alone[8:] else ''}"
            )
    return "\n".join(lines)


def _side(name: str) -> Side:
    bare, sign, seed = name.partition(":")
    training = stages.training(parameters.load())
    try:
        found = names.find(bare, training, first=("configuration", "claim", "check"))
    except names.UnknownNameError as unknown:
        try:
            return _of_revision(name)
        except revisions.RevisionError as error:
            raise CompareError(f"{unknown} (and {error})") from None
    if sign and found.kind != "configuration":
        raise CompareError(f"{name}: only a configuration has runs by seed, and {bare} is a {found.kind}")
    if found.kind == "configuration":
        stage = names.needed(found, training)[0]
        if stage.table is None:
            return _of_stage(name, stage, int(seed) if seed.isdigit() else None, bool(sign))
        table = read_tables([stage.table])[stage.table]
        if sign:
            table = table[table["seed"] == int(seed)] if seed.isdigit() and "seed" in table else table[:0]
            if table.empty:
                raise CompareError(f"no run {name}: {stage.name} has no seed {seed} in {table_path(stage.table)}")
        metrics = _means(table, stage.table)
        return Side(name, "run" if sign else "configuration", _flat(stage.settings.model_dump()), metrics)
    if found.kind == "table":
        card = catalog.cards()[found.name]
        said = {"a row": card.row, "computed": card.computed, "keys": ", ".join(card.keys), "schema": card.schema}
        return Side(found.name, "table", said, _means(read_tables([found.name])[found.name], found.name))
    checks = read_tables(["claims"])["claims"]
    if found.kind == "study":
        return _of_section(found.name, checks, [stage for stage in training if stage.study == found.name])
    return _of_claim(found, checks)


def _of_revision(name: str) -> Side:
    commit = revisions.resolve(name)
    whole = YAML(typ="safe").load(revisions.read(commit, "params.yaml"))
    metrics = {}
    for row in pd.read_csv(io.StringIO(revisions.read(commit, str(table_path("claims"))))).itertuples():
        metrics[f"{row.check}, verdict"] = _bare(row.verdict)
        if not pd.isna(row.measured):
            metrics[row.check] = row.measured, row.ci95_low, row.ci95_high
    return Side(name, "revision", _flat(whole), metrics)


def _of_claim(found: names.Found, checks: pd.DataFrame) -> Side:
    """A check; of a claim its primary one, with how many of its checks have each verdict."""
    claim = catalog.registered()[found.claim]
    name = claim.primary if found.kind == "claim" else found.name
    check, row = claim.checks[name], checks[checks["check"] == name]
    low, high = check.limits
    said = {"section": claim.study, "source": claim.source, "check": name, "role": check.role, "origin": check.origin}
    said |= {"fidelity": check.fidelity, "prediction": check.predicted, "band": span(low, high)}
    said |= _flat(check.estimator.model_dump(), "estimator")
    metrics = {"verdict": _bare("not run")}
    if len(row):
        one = row.iloc[0]
        metrics = {"verdict": _bare(one.word), "seeds": _bare(one.n)}
        metrics |= {"measured": (one.measured, one.ci95_low, one.ci95_high)} if pd.notna(one.measured) else {}
    if found.kind == "claim":
        mine = checks[checks["claim"] == found.name]
        metrics["verdict"] = _bare(judge.claim_verdict(mine).word if len(mine) else "not run")
        metrics["checks"] = _bare(tally(mine["word"]) if len(mine) else "not run")
    return Side(found.name, found.kind, said, metrics)


def _of_section(name: str, checks: pd.DataFrame, training: list[Stage]) -> Side:
    """A study: its claims by verdict, and how much it trains."""
    rows = summary.verdicts(catalog.registered(), checks)
    words = rows.loc[rows["study"] == name, "word"]
    study = catalog.studies()[name]
    said = {"place in the chapter": study.place, "tables": len(study.tables) + len(study.experiments)}
    return Side(name, "study", said, {"claims": _bare(tally(words)), "stages": _bare(len(training))})


def _means(table: pd.DataFrame, name: str) -> dict[str, tuple[object, float, float]]:
    """The means of a table's numbers over its replicates, with 95 % intervals, by what identifies them."""
    card = catalog.cards()[name]
    keys = [key for key in card.keys if key not in card.replicates]
    columns = [key for key in table.select_dtypes("number") if key not in card.keys]
    metrics = {}
    for labels, rows in table.groupby(keys, dropna=False, sort=False) if keys else [((), table)]:
        for column in columns:
            values = rows[column].dropna().to_numpy(float)
            label = "/".join(map(str, [*labels, *([] if columns == ["value"] else [column])]))
            found = t_interval(values, 0.95) if len(values) > 1 else None
            if len(values):
                metrics[label] = (values.mean(), *((found.low, found.high) if found else (nan, nan)))
    return {"rows": _bare(len(table)), **metrics}


def _of_stage(name: str, stage: Stage, seed: int | None, is_run: bool) -> Side:
    compared = import_module(f"benchmarks.studies.{stage.study}.tables").compared
    try:
        measured = compared(lambda table: pd.read_csv(table_path(table)), stage.values, seed)
    except FileNotFoundError as error:
        raise CompareError(f"{error.filename} is missing: `bench repro {stage.study}` makes it") from None
    metrics = {key: value for key, value in measured.items() if key not in NAMES and not pd.isna(value[0])}
    if is_run and not metrics:
        raise CompareError(f"no run {name}: {stage.name} has no seed {name.partition(':')[2]} in {TABLES}")
    kind = "configuration" if seed is None else "run"
    return Side(name, kind, _flat(stage.settings.model_dump()), metrics)


def _bare(value: object) -> tuple[object, float, float]:
    """A metric without an interval."""
    return value, nan, nan


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """A mapping's leaves by dotted key; lists are leaves."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {
        k: v for key, part in value.items() for k, v in _flat(part, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _measured(side: Side, key: str) -> str:
    value, low, high = side.metrics[key]
    interval = f"  [{span(low, high)}]" if not pd.isna(low) else ""
    return f"{number(value)}{interval}"


def _text(value: object) -> str:
    return "(none)" if value is None else str(value)


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    """Aligned in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
