"""The study's tables and curves, from its runs."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import pandas as pd

from benchmarks.evidence import comparison
from benchmarks.studies.declaration import Finished, Made, Measured


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """Runs measured against their workload's targets, summaries, flips of places, and what each optimizer is."""
    pairs = [dict(zip(("workload", "optimizer"), one.record["values"])) for one in runs]
    rows = pd.concat([one.rows.assign(**pair) for one, pair in zip(runs, pairs)], ignore_index=True)
    curves = pd.concat([one.curves.assign(**pair) for one, pair in zip(runs, pairs)], ignore_index=True)
    facts = {tuple(pair.values()): one.record["facts"] for one, pair in zip(runs, pairs)}
    goals, long, flips = comparison.measured(rows, curves, **settings["target"])
    made = {
        "optimizer_comparison.long": long,
        "optimizer_comparison": comparison.summary(long, facts, goals),
        "optimizer_comparison/targets": goals,
        "optimizer_comparison/flips": flips,
        "optimizer_comparison/optimizers": comparison.entries(settings["optimizers"], facts),
    }
    return Made(made, comparison.drawn(curves))


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For W&B: the tuned runs; beside each, the objective of its seed at multiples of the tuned learning rate. Trials
    have a seed of their own, and are rows of ``optimizer_comparison.long``."""
    curves = runs.curves[runs.curves["role"].isin(["final", "factor"])]
    beside = curves["role"] == "factor"
    prefix = curves["factor"].map(_multiple).where(beside, "")
    history = curves.assign(metric=prefix + curves["metric"]).drop(columns=["role", "factor"])
    return history, runs.rows[runs.rows["role"] == "final"]


def _multiple(factor: float) -> str:
    """``lr_over_4/``, ``lr_times_4/``: a name without a point, which W&B takes for a part of a path."""
    named = f"lr_times_{factor:g}" if factor >= 1 else f"lr_over_{1 / factor:g}"
    return named.replace(".", "_") + "/"


def compared(read: Callable[[str], pd.DataFrame], values: dict[str, str], seed: int | None) -> dict[str, Measured]:
    """A tuned run's row, or the summary of a contest."""
    table = read("optimizer_comparison" if seed is None else "optimizer_comparison.long")
    for axis, value in values.items():
        table = table[table[axis] == value]
    if seed is not None:
        table = table[(table["role"] == "final") & (table["seed"] == seed)]
    if table.empty:
        return {}
    row = table.iloc[0]
    names = [key for key in row.index if not key.endswith(("_low", "_high"))]
    return {key: (row[key], row.get(f"{key}_low", nan), row.get(f"{key}_high", nan)) for key in names}
