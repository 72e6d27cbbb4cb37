"""What the figures of all studies share: theme, colours, how curves and intervals are drawn, and how they are saved.

A figure is a function in the ``figures.py`` of its study: (tables by name) -> Figure, or (tables, curves) -> Figure if
it draws curves. The study's ``study.py`` declares it. What is absent or diverged is left out; with nothing left, the
function raises `NothingToDraw`, and `pipelines.figures` makes a sentence of it. Colours are seaborn's colour-blind
palette; equal data give SVGs of equal bytes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

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
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "legend.frameon": False,
    },
)

Tables = dict[str, pd.DataFrame]
PALETTE = sns.color_palette("colorblind")
INK = "0.3"  # theory and remarks
MARKER = {"ms": 4.5, "mfc": "white", "ls": "none"}
# Networks by activation: colour, marker, label.
FAMILIES = {"linear": (PALETTE[0], "o", "linear"), "tanh": (PALETTE[1], "s", "tanh"), "relu": (PALETTE[2], "D", "ReLU")}


class NothingToDraw(Exception):
    """Nothing of what a figure shows is there."""


def sentence(said: str) -> Figure:
    """A figure that is one sentence, for when there is nothing to draw."""
    figure, axes = plt.subplots(figsize=(6.4, 0.8), layout="none")
    axes.set_axis_off()
    axes.text(0.5, 0.5, said, ha="center", va="center", color=INK)
    return figure


def draw_curve(axes: Axes, curve: pd.DataFrame, *, color, x=1.0, y=1.0, lw=1.2, alpha=0.25, **line) -> None:
    """Mean and range over seeds, the range as opaque as ``alpha``, steps and values multiplied by ``x`` and ``y``."""
    axes.plot(x * curve["step"], y * curve["mean"], color=color, lw=lw, **line)
    axes.fill_between(x * curve["step"], y * curve["low"], y * curve["high"], color=color, alpha=alpha, lw=0)


def by_number(table: pd.DataFrame, column: str, name: str, **fixed: str) -> pd.DataFrame:
    """From a tidy table the rows whose ``column`` is ``name-NUMBER``, and whose other columns are as ``fixed``: one row
    per seed, one column per number, ascending."""
    mine = table[table[column].str.startswith(f"{name}-")]
    for other, value in fixed.items():
        mine = mine[mine[other] == value]
    numbers = pd.to_numeric(mine[column].str.removeprefix(f"{name}-"), errors="coerce")
    return mine.assign(number=numbers).dropna(subset="number").pivot(index="seed", columns="number", values="value")


def over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """The curve of one row per seed, one column per step."""
    return pd.DataFrame({"step": values.columns, "mean": values.mean(), "low": values.min(), "high": values.max()})


def crossing(curve: pd.DataFrame, level: float) -> float | None:
    """The step, interpolated, at which the mean first comes up to a level; None if it never does."""
    steps, values = curve["step"].to_numpy(float), curve["mean"].to_numpy(float)
    up = np.flatnonzero((values[:-1] < level) & (values[1:] >= level))
    if not len(up):
        return None
    i = up[0]
    return float(np.interp(level, values[i : i + 2], steps[i : i + 2]))


def remark(axes: Axes, text: str, at: tuple, shift: tuple[float, float], **style) -> None:
    """A text at a place of the axes, moved by so many points."""
    axes.annotate(text, at, shift, textcoords="offset points", **{"color": INK, **style})


def beside(axes: Axes, text: str, height: float, **style) -> None:
    """A remark right of the axes, at a height of their data."""
    remark(axes, text, (1, height), **{"shift": (4, 0), "va": "center", "xycoords": ("axes fraction", "data"), **style})


def intervals(axes: Axes, rows: Sequence[tuple[str, np.ndarray, object]]) -> None:
    """Row by row (label, values, colour): circles are seeds, the bar their 95 % interval."""
    for y, (_, values, color) in zip(-np.arange(len(rows)), rows):
        interval = t_interval(values, 0.95)
        if interval:
            axes.plot([interval.low, interval.high], [y, y], color=color, lw=2, solid_capstyle="butt")
        axes.plot(values, np.full(len(values), y), "o", ms=4, mfc="white", mec=color, clip_on=False)
    axes.set_yticks(-np.arange(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(0.6 - len(rows), 0.6)


def shade_band(span: Callable, tables: Tables, check: str, within: tuple = (-np.inf, np.inf), label: str = "") -> None:
    """The registered band of a check in grey, by an axes' ``axvspan`` or ``axhspan``; nothing without such a check.

    Args:
        within: where it is cut off.
        label: may name its ends, ``{low:g}`` and ``{high:g}``.
    """
    for low, high in tables["claims"].query("check == @check")[["band_low", "band_high"]].to_numpy(float):
        span(*np.clip([low, high], *within), color="0.9", lw=0, label=label.format(low=low, high=high))


def plain_ticks(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """On a logarithmic axis: these ticks, or a few a decade, as plain numbers."""
    axis.set_major_locator(FixedLocator(list(ticks)) if ticks else LogLocator(subs=(1, 2, 3, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def quantity_of(table: pd.DataFrame, system: str, quantity: str) -> np.ndarray:
    """A quantity of one system in a tidy table, one value per seed; empty if there is none."""
    rows = table[(table["system"] == system) & (table["quantity"] == quantity)]
    return rows["value"].dropna().to_numpy(float)


def save(figure: Figure, path: Path) -> None:
    """As SVG without a date, so that equal data give equal bytes.

    The layout solver's last bits vary from call to call, and clip paths are named by a hash of them: axes stay where it
    has put them, rounded.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(end, 6) for end in axes.get_position().bounds])
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
