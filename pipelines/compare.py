"""``bench compare``: two runs, configurations or revisions, their differing parameters and their metrics."""

import difflib
import json
from dataclasses import dataclass, field
from importlib import import_module

import pandas as pd
from ruamel.yaml import YAML

from benchmarks.evidence.report import number, span
from pipelines import parameters, revisions, stages
from pipelines.files import TABLES, table_path
from pipelines.stages import METRICS, Stage

# Columns that say which row it is; what they hold is among the parameters.
NAMES = ("study", "configuration", "seed", "workload", "optimizer", "role", "trial", "factor", "options")


class CompareError(ValueError):
    """Something that is neither a run nor a configuration nor a revision, or two that cannot be compared."""


@dataclass
class Side:
    """One of the two.

    Attributes:
        kind: run, configuration or revision.
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
        first, second: a configuration's name, a run's (``configuration:seed``), or a Git revision.

    Raises:
        CompareError, RevisionError: for what is not there.
    """
    sides = [_side(name) for name in (first, second)]
    if (sides[0].kind == "revision") != (sides[1].kind == "revision"):
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
    configuration, sign, seed = name.partition(":")
    known = {stage.name: stage for stage in stages.training(parameters.load()) if stage.table is None}
    if configuration in known:
        return _of_stage(name, known[configuration], int(seed) if seed.isdigit() else None, bool(sign))
    try:
        commit = revisions.resolve(name)
    except revisions.RevisionError as error:
        close = difflib.get_close_matches(configuration, known, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise CompareError(f"{name!r} is no configuration of params.yaml, and {error}{hint}") from None
    whole = YAML(typ="safe").load(revisions.read(commit, "params.yaml"))
    metrics = {}
    for claim, entry in json.loads(revisions.read(commit, str(METRICS))).items():
        metrics[claim] = _bare(entry["verdict"])
        metrics |= {check: _bare(value) for check, value in entry["measured"].items()}
    return Side(name, "revision", _flat(whole), metrics)


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
    return value, float("nan"), float("nan")


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
