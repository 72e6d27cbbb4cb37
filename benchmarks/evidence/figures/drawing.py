"""What the figures share: theme, colours, and how curves, intervals and absent runs are drawn."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from benchmarks.evidence.statistics import t_interval

matplotlib.use("Agg")
sns.set_theme(
    context="paper",
    style="ticks",
    palette="colorblind",
    rc={
        "svg.hashsalt": "optimization-dynamics-benchmark",
        "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
        "font.family": "sans-serif",
        "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.dpi": 100,
        "legend.frameon": False,
    },
)

Tables = dict[str, pd.DataFrame]
PALETTE = sns.color_palette("colorblind")
INK = "0.3"  # theory and remarks
SHARPNESS = "sharpness\n(loss / parameter²)"
SMALL = ("small-lr-low", "small-lr-mid", "small-lr-high")  # one colour each: PALETTE[0], [1], [2]


def empty(sentence: str) -> Figure:
    """A figure of a sentence, where there is nothing to draw."""
    figure, axes = plt.subplots(figsize=(6.4, 0.8))
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", color=INK)
    return figure


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


def draw_curve(axes: Axes, curve: pd.DataFrame, *, color, x: float = 1.0, y: float = 1.0, lw: float = 1.2, **line):
    """Mean and range over seeds, steps and values multiplied by ``x`` and ``y``."""
    axes.plot(x * curve["step"], y * curve["mean"], color=color, lw=lw, **line)
    axes.fill_between(x * curve["step"], y * curve["low"], y * curve["high"], color=color, alpha=0.25, lw=0)


def crossing(curve: pd.DataFrame, level: float) -> float | None:
    """The step, interpolated, at which the mean first comes up to a level; None if it never does."""
    steps, values = curve["step"].to_numpy(float), curve["mean"].to_numpy(float)
    up = np.flatnonzero((values[:-1] < level) & (values[1:] >= level))
    if not len(up):
        return None
    i = up[0]
    return float(np.interp(level, values[i : i + 2], steps[i : i + 2]))


def beside(axes: Axes, text: str, height: float, color) -> None:
    """A remark right of the axes, at a height of their data."""
    axes.annotate(
        text,
        (1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
    )


def intervals(axes: Axes, rows: Sequence[tuple[str, np.ndarray, object]]) -> None:
    """Row by row (label, values, colour): circles are seeds, the bar their 95 % interval."""
    for y, (_, values, color) in zip(-np.arange(len(rows)), rows):
        interval = t_interval(values, 0.95)
        if interval:
            axes.plot([interval.low, interval.high], [y, y], color=color, lw=2, solid_capstyle="butt")
        axes.plot(values, np.full(len(values), y), "o", ms=4, mfc="white", mec=color, clip_on=False)
    axes.set_yticks(-np.arange(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(0.6 - len(rows), 0.6)


def seeds_of(tables: Tables, configuration: str, metric: str) -> np.ndarray:
    """A column of the long table, a value a seed that has one."""
    return runs_of(tables, configuration)[metric].dropna().to_numpy(float)


def learning_rate(tables: Tables, configuration: str) -> str:
    """As a label; empty where there are no runs."""
    rates = runs_of(tables, configuration)["learning_rate"]
    return "" if rates.empty else f"lr = {rates.iloc[0]:g}"


def band(tables: Tables, check: str) -> tuple[float, float] | None:
    """Where the register has agreement for a check; None if the check is not in it."""
    rows = tables["claims"][tables["claims"]["check"] == check]
    return None if rows.empty else (float(rows["band_low"].iloc[0]), float(rows["band_high"].iloc[0]))


def plain_ticks(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """On a logarithmic axis: these ticks, or a few a decade, as plain numbers."""
    axis.set_major_locator(FixedLocator(list(ticks)) if ticks else LogLocator(subs=(1, 2, 3, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
