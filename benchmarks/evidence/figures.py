"""The figures, drawn from tables and curves alone. What each shows is said in `benchmarks.evidence.report`.

Colours are seaborn's colour-blind palette; SVGs are the same bytes for the same data.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

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

MAIN = ("lr-low", "lr-mid", "lr-high", "lr-diverging")
CONTROLS = {
    "edge": ("edge-lr-low", "edge-lr-mid", "edge-lr-high"),
    "linear": ("linear-lr-low", "linear-lr-mid", "linear-lr-high"),
}


def progressive_sharpening(tables: dict[str, pd.DataFrame], curves: pd.DataFrame) -> Figure:
    """Loss and sharpness against steps, one colour a learning rate, 2/lr dashed."""
    runs = tables["progressive_sharpening.long"]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.2), sharex=True, layout="constrained")
    palette = sns.color_palette("colorblind")
    converging_top = 0.0
    for colour, configuration in zip((palette[0], palette[1], palette[2], palette[4]), MAIN):
        mine = runs[runs["configuration"] == configuration]
        if mine.empty:
            continue
        learning_rate, threshold = mine["learning_rate"].iloc[0], mine["stability_threshold"].iloc[0]
        diverged = bool(mine["diverged"].all())
        label = f"lr = {learning_rate:g}" + (f", diverged by step {mine['steps'].max():g}" if diverged else "")
        own = curves[curves["configuration"] == configuration]
        loss, sharpness = own[own["metric"] == "loss"], own[own["metric"] == "sharpness"]
        top.plot(loss["step"], loss["mean"], color=colour, lw=1.2, label=label)
        top.fill_between(loss["step"], loss["low"], loss["high"], color=colour, alpha=0.25, lw=0)
        if diverged:
            continue
        converging_top = max(converging_top, loss["high"].max())
        bottom.plot(sharpness["step"], sharpness["mean"], color=colour, lw=1.2)
        bottom.fill_between(sharpness["step"], sharpness["low"], sharpness["high"], color=colour, alpha=0.25, lw=0)
        bottom.axhline(threshold, color=colour, ls="--", lw=1)
        bottom.annotate(
            f"2/lr = {threshold:.3g}",
            (1.0, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    seeds = runs["seed"].nunique()
    top.set(yscale="log", ylabel="training loss\n(half squared error per example)")
    lowest = curves[(curves["metric"] == "loss") & curves["configuration"].isin(MAIN)]["low"].min()
    top.set_ylim(0.7 * lowest, 4 * converging_top)
    top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    top.yaxis.set_major_formatter("{x:g}")
    top.yaxis.set_minor_formatter(NullFormatter())
    top.legend(title=f"mean and range over {seeds} seeds", loc="upper right")
    bottom.set(xlabel="gradient descent steps", ylabel="sharpness\n(top Hessian eigenvalue, loss / parameter²)")
    bottom.set_ylim(bottom=0)
    bottom.set_xlim(left=0, right=curves[curves["configuration"].isin(MAIN)]["step"].max())
    return figure


def settled_sharpness(tables: dict[str, pd.DataFrame], curves: pd.DataFrame) -> Figure:
    """Median lr S/2 over the second half, run by run, with its 95 % interval, against the registered band."""
    runs = tables["progressive_sharpening.long"]
    checks = tables["claims"].set_index("check")
    low, high = checks.loc["E1.level-mid", ["band_low", "band_high"]]
    palette = sns.color_palette("colorblind")
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.axvspan(low, high, color="0.9", lw=0, label=f"registered band {low:g} to {high:g}")
    axes.axvline(1, color="0.3", ls="--", lw=1, label="predicted: S = 2/lr")
    groups = (
        ("network", MAIN[:3], palette[0]),
        ("positive control", CONTROLS["edge"], palette[2]),
        ("linear regression", CONTROLS["linear"], palette[3]),
    )
    ticks = []
    for label, configurations, colour in groups:
        for configuration in configurations:
            mine = runs[runs["configuration"] == configuration]
            if mine.empty:
                continue
            values = mine["late_sharpness_ratio"].dropna().to_numpy(float)
            y = -len(ticks)
            ticks.append(f"{label}, lr = {mine['learning_rate'].iloc[0]:g}")
            interval = t_interval(values, 0.95)
            if interval:
                axes.plot([interval.low, interval.high], [y, y], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(values, np.full(len(values), y), "o", ms=4, mfc="white", mec=colour)
    axes.set_yticks(-np.arange(len(ticks)), ticks)
    axes.set(xlabel="settled sharpness over threshold, median lr S / 2 over the second half", xlim=(0, None))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return figure


def stability_thresholds(tables: dict[str, pd.DataFrame], curves: pd.DataFrame) -> Figure:
    """Measured against predicted stability threshold of every optimizer, in units of 1/lr."""
    checks = tables["claims"]
    mine = checks[(checks["claim"] == "C5") & (checks["role"] == "main") & checks["measured"].notna()]
    lr = tables["stability_thresholds"]["learning_rate"].iloc[0]
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    palette = sns.color_palette("colorblind")
    y = -np.arange(len(mine))
    axes.plot(mine["predicted"] * lr, y, "|", ms=16, mew=1.5, color="0.3", label="predicted")
    axes.plot(mine["measured"] * lr, y, "o", ms=5, color=palette[0], label="measured on the library's optimizer")
    for height, (_, row) in zip(y, mine.iterrows()):
        error = abs(row["measured"] / row["predicted"] - 1)
        axes.annotate(
            f"relative difference {error:.0e}" if error > 1e-9 else "equal to 9 digits",
            (row["measured"] * lr, height),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color="0.3",
        )
    axes.set_yticks(y, [text.rsplit(", ", 1)[0] for text in mine["statement"]])
    axes.set(xscale="log", xlabel="largest stable curvature × lr", xlim=(1, 400))
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, markerscale=0.6)
    return figure


def eigensolvers(tables: dict[str, pd.DataFrame], curves: pd.DataFrame) -> Figure:
    """What each eigensolver costs, in gradient times, at its cheapest setting that meets the target."""
    table = tables["timings/eigensolvers"].dropna(subset=["gradient_times"])
    palette = sns.color_palette("colorblind")
    figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
    y = -np.arange(len(table))
    colours = [palette[0] if version == "this project" else palette[7] for version in table["version"]]
    axes.barh(y, table["gradient_times"], color=colours, height=0.65)
    for height, (_, row) in zip(y, table.iterrows()):
        axes.annotate(
            f"{row['gradient_times']:.1f} (error {row['worst_error']:.0e})",
            (row["gradient_times"], height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(y, [f"{row['solver']}, {row['start']}\n{row['setting']}" for _, row in table.iterrows()])
    axes.set(xlabel="gradient times to the top eigenvalue", xlim=(0, 1.3 * table["gradient_times"].max()))
    return figure


Draw = Callable[[dict[str, pd.DataFrame], pd.DataFrame], Figure]

FIGURES: dict[str, Draw] = {
    "progressive_sharpening": progressive_sharpening,
    "settled_sharpness": settled_sharpness,
    "stability_thresholds": stability_thresholds,
    "eigensolvers": eigensolvers,
}


def save(figure: Figure, path: Path) -> None:
    """As SVG without a date, so that equal data give equal bytes."""
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
