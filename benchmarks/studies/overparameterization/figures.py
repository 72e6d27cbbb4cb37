"""Figure of claims O1 to O6."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import (
    INK,
    PALETTE,
    NothingToDraw,
    Tables,
    by_number,
    draw_curve,
    over_seeds,
    plain_ticks,
    quantity_of,
)

EXPERIMENTS = ("random_labels", "non_convexity", "polyak_lojasiewicz", "distance")
MARKER = {"ms": 4, "mfc": "white", "ls": "none"}


def overparameterization(tables: Tables) -> Figure:
    """Fitting random labels; the chord between two solutions; the PL* constant by width; distance by width."""
    found = [tables[f"overparameterization/{name}"] for name in EXPERIMENTS]
    if any(table.empty for table in found):
        raise NothingToDraw
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 6.0))
    for place, draw, table in zip(axes.flat, (_labels, _chord, _constant, _distance), found):
        draw(place, table)
    return figure


def _labels(axes: Axes, table: pd.DataFrame) -> None:
    """One line per seed: each ends at a step of its own."""
    for system, color, label in (
        ("true-labels", PALETTE[0], "true labels"),
        ("random-labels", PALETTE[1], "random labels"),
    ):
        series = by_number(table, "quantity", "accuracy", system=system)
        for _, row in series.iterrows():
            row = row.dropna()
            axes.plot(row.index, row, color=color, lw=0.8)
        tested = quantity_of(table, system, "test_accuracy")
        ends = [row.dropna().index[-1] for _, row in series.iterrows()]
        if len(ends) == len(tested):
            axes.plot(ends, tested, "o", mec=color, **MARKER)
        if not series.empty:
            axes.plot([], [], color=color, label=label)
    axes.plot([], [], "o", mec=INK, label="on test images", **MARKER)
    axes.axhline(0.1, color=INK, ls="--", lw=1)
    axes.text(1, 0.085, "chance", color=INK, fontsize="small", va="top", ha="left")
    axes.set_xscale("symlog", linthresh=30)
    axes.set(xlabel="steps", ylabel="accuracy", ylim=(0, 1.04), xlim=(0, None))
    axes.legend(loc="center left", fontsize="small")


def _chord(axes: Axes, table: pd.DataFrame) -> None:
    for system, color, label in (
        ("tanh-mse", PALETTE[0], "network, squared error"),
        ("tanh-cross-entropy", PALETTE[1], "network, cross-entropy"),
        ("linear-cross-entropy", PALETTE[2], "linear, cross-entropy"),
    ):
        curve = over_seeds(by_number(table, "quantity", "chord", system=system))
        draw_curve(axes, curve, x=0.01, color=color, alpha=0.2, label=label)
    axes.set_yscale("log")
    axes.set(xlabel="place on the chord between two solutions", ylabel="training loss (its own unit)", xlim=(0, 1))
    axes.legend(loc="lower center", fontsize="small")


def _constant(axes: Axes, table: pd.DataFrame) -> None:
    widths = sorted(int(name.removeprefix("width-")) for name in table["system"].unique() if name.startswith("width-"))
    for color, width in zip(PALETTE, widths):
        series = by_number(table, "quantity", "lambda_min", system=f"width-{width}")
        curve = over_seeds(series.div(series[0], axis=0))
        draw_curve(axes, curve, color=color, alpha=0.2, label=f"width {width:,}", marker="o", ms=3)
    axes.axhline(0.5, color=INK, ls="--", lw=1)
    axes.text(0, 0.5, " half of the first", color=INK, fontsize="small", va="bottom", ha="left")
    axes.set_xscale("symlog", linthresh=10)
    axes.set_yscale("log")
    plain_ticks(axes.yaxis, [0.5, 0.7, 1, 1.5, 2, 3])
    axes.set(
        xlabel="steps",
        ylabel="least eigenvalue of the tangent\nkernel (over its first)",
        xlim=(0, None),
        ylim=(0.4, None),
    )
    axes.legend(loc="best", fontsize="small")


def _distance(axes: Axes, table: pd.DataFrame) -> None:
    for layer, power, color, marker in (
        ("output", 0.5, PALETTE[2], "D"),
        ("input", 0.5, PALETTE[0], "o"),
        ("hidden", 1.0, PALETTE[1], "s"),
    ):
        series = by_number(table, "quantity", f"distance-{layer}", system="ntk")
        if series.empty:
            continue
        widths = series.columns.to_numpy(float)
        for _, row in series.iterrows():
            axes.plot(widths, row, marker, mec=color, **MARKER)
        middle = np.exp(np.log(series).mean().mean() + power * np.log(widths).mean())
        axes.plot(widths, middle * widths**-power, color=color, lw=1)
        axes.plot([], [], marker, mec=color, label=f"{layer}, line ∝ n$^{{-{power:g}}}$", **MARKER)
    axes.set(xscale="log", yscale="log", xlabel="width n", ylabel="distance travelled |ΔW| / |W$_0$|")
    widths = list(by_number(table, "quantity", "distance-hidden", system="ntk"))
    if widths:
        plain_ticks(axes.xaxis, widths)
    axes.legend(loc="lower left", fontsize="small")
