"""The study's tables and curves, from its runs."""

from collections.abc import Mapping, Sequence

import pandas as pd

from benchmarks.evidence import comparison
from benchmarks.studies.declaration import Finished, Made


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """Runs measured against their workload's targets, summaries, flips of places, and whose each optimizer is."""
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
    """For W&B: the tuned runs."""
    history = runs.curves[runs.curves["role"] == "final"].drop(columns=["role", "factor"])
    return history, runs.rows[runs.rows["role"] == "final"]
