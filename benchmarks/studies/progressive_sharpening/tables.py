"""The study's tables and curves, from its runs."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import pandas as pd

from benchmarks.evidence.runs import run_rows
from benchmarks.evidence.tables import cells, curves
from benchmarks.studies.declaration import Finished, Made, Measured


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """One row per run, the means over seeds, and curves to draw."""
    long = pd.concat([run_rows(one.curves, one.record) for one in runs], ignore_index=True)
    histories: dict[str, list[pd.DataFrame]] = {}
    for one in runs:
        histories.setdefault(one.record["name"], []).append(one.curves)
    return Made(
        {"progressive_sharpening.long": long, "progressive_sharpening": cells(long)},
        curves({name: pd.concat(parts) for name, parts in histories.items()}),
    )


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For W&B: a history, and one row per seed."""
    return runs.curves, run_rows(runs.curves, runs.record)


def compared(read: Callable[[str], pd.DataFrame], values: dict[str, str], seed: int | None) -> dict[str, Measured]:
    """A run's row, or the means of a configuration over its seeds."""
    name = values["configuration"]
    if seed is not None:
        long = read("progressive_sharpening.long")
        row = long[(long["configuration"] == name) & (long["seed"] == seed)]
        return {key: (value, nan, nan) for key, value in row.iloc[0].items()} if len(row) else {}
    cells = read("progressive_sharpening")
    means = cells[cells["configuration"] == name].dropna(subset="mean")
    return {row.metric: (row.mean, row.ci95_low, row.ci95_high) for row in means.itertuples(index=False)}
