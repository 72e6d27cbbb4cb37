"""How the study's figures read runs from its long table, and curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.evidence.drawing import Tables

SHARPNESS = "sharpness\n(loss / parameter²)"
SMALL = ("small-lr-low", "small-lr-mid", "small-lr-high")  # one colour each: PALETTE[0], [1], [2]


def runs_of(tables: Tables, configuration: str) -> pd.DataFrame:
    """A configuration's rows of the long table; none if it is absent or a run of it diverged."""
    runs = tables["progressive_sharpening.long"]
    mine = runs[runs["configuration"] == configuration]
    return mine.iloc[:0] if mine["diverged"].any() else mine


def drawable(
    tables: Tables, curves: pd.DataFrame, configurations: Sequence[str], *metrics: str
) -> dict[str, pd.Series]:
    """The first row of the long table of each configuration that has runs and these curves."""
    there = set.intersection(*(set(curves.loc[curves["metric"] == metric, "configuration"]) for metric in metrics))
    rows = {name: runs_of(tables, name) for name in configurations if name in there}
    return {name: mine.iloc[0] for name, mine in rows.items() if len(mine)}


def curve_of(curves: pd.DataFrame, configuration: str, metric: str) -> pd.DataFrame:
    return curves[(curves["configuration"] == configuration) & (curves["metric"] == metric)]


def seeds_of(tables: Tables, configuration: str, metric: str) -> np.ndarray:
    """A column of the long table: one value per seed that has one."""
    return runs_of(tables, configuration)[metric].dropna().to_numpy(float)


def learning_rate(tables: Tables, configuration: str) -> str:
    """As a label; empty where there are no runs."""
    rates = runs_of(tables, configuration)["learning_rate"]
    return "" if rates.empty else f"lr = {rates.iloc[0]:g}"
