"""``bench compare``: two runs, configurations or revisions: the parameters that differ, and metrics side by side."""

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from benchmarks.evidence.report import number, span
from pipelines import finished, parameters, revisions

TABLES = Path("results/tables")
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
        metrics: (value, low end and high end of its 95 % interval) by name; nan where there is none.
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
        raise CompareError(f"{first} is a {sides[0].kind} and {second} a {sides[1].kind}: compare two of a kind")
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
    checked = parameters.load()
    configuration, sign, seed = name.partition(":")
    known = {found: study for study, found, _ in finished.places(checked, Path("runs"))}
    if configuration in known:
        side = _of_configuration(
            name, known[configuration], configuration, checked, int(seed) if seed.isdigit() else None
        )
        if sign and not side.metrics:
            raise CompareError(f"no run {name}: {configuration} has no seed {seed} in results/tables")
        return side
    try:
        commit = revisions.resolve(name)
    except revisions.RevisionError as error:
        close = difflib.get_close_matches(configuration, known, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise CompareError(f"{name!r} is no configuration of params.yaml, and {error}{hint}") from None
    whole = YAML(typ="safe", pure=True).load(revisions.read(commit, "params.yaml"))
    told = json.loads(revisions.read(commit, "results/metrics.json"))
    metrics = {}
    for claim, entry in told.items():
        metrics[claim] = _bare(entry["verdict"])
        metrics |= {check: _bare(value) for check, value in entry["measured"].items()}
    return Side(name, "revision", _flat(whole), metrics)


def _of_configuration(
    name: str, study: str, configuration: str, checked: parameters.Parameters, seed: int | None
) -> Side:
    side = Side(name, "configuration" if seed is None else "run", _flat(checked.settings(study, configuration)))
    if study in checked.studies:
        long = pd.read_csv(TABLES / f"{study}.long.csv")
        cells = pd.read_csv(TABLES / f"{study}.csv")
        mine = long[(long["configuration"] == configuration) & (long["seed"] == seed)]
        means = cells[cells["configuration"] == configuration].dropna(subset="mean")
        side.metrics = {row.metric: (row.mean, row.ci95_low, row.ci95_high) for row in means.itertuples(index=False)}
    elif study == "low_rank_progression":
        long = pd.read_csv(TABLES / f"{study}.long.csv")
        long = long[long["rung"] == configuration]
        long = long.assign(name=long["system"] + "/" + long["quantity"])
        mine = long[long["seed"] == seed].pivot_table(index="seed", columns="name", values="value", sort=False)
        side.metrics = {key: _bare(value) for key, value in long.groupby("name", sort=False)["value"].mean().items()}
    else:
        workload, optimizer = next(
            pair for pair in checked.optimizer_comparison.contests() if "-".join(pair) == configuration
        )
        summary = pd.read_csv(TABLES / f"{study}.csv")
        row = summary[(summary["workload"] == workload) & (summary["optimizer"] == optimizer)].iloc[0]
        names = [key for key in row.index if not key.endswith(("_low", "_high")) and key not in NAMES]
        side.metrics = {
            key: (row[key], row.get(f"{key}_low", float("nan")), row.get(f"{key}_high", float("nan"))) for key in names
        }
        long = pd.read_csv(TABLES / f"{study}.long.csv")
        of_pair = (long["workload"] == workload) & (long["optimizer"] == optimizer) & (long["role"] == "final")
        mine = long[of_pair & (long["seed"] == seed)]
    if seed is not None:
        kept = mine.iloc[0].dropna() if len(mine) else {}
        side.metrics = {key: _bare(value) for key, value in kept.items() if key not in NAMES}
    side.metrics = {key: value for key, value in side.metrics.items() if not pd.isna(value[0])}
    return side


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
