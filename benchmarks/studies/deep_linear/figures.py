"""Deep linear networks: how greedy, in which order, how fast with depth, and what depth does to completion."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import (
    FAMILIES,
    INK,
    MARKER,
    PALETTE,
    Tables,
    intervals,
    plain_ticks,
    quantity_of,
    remark,
)
from benchmarks.theory import deep_linear as theory


def deep_linear(tables: Tables) -> Figure:
    """Waypoint score against the scale of the weights; order of the modes; growth and escape with depth; completion."""
    waypoints = tables["deep_linear/waypoints"]
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 6.0))
    _greed(axes[0, 0], waypoints)
    _order(axes[0, 1], waypoints)
    _depth(axes[1, 0], tables["deep_linear/solutions"])
    _completion(axes[1, 1], tables["deep_linear/completion"])
    return figure


def _greed(axes: Axes, table: pd.DataFrame) -> None:
    axes.axhline(0, color=INK, ls="--", lw=1)
    axes.axhline(1, color=INK, ls="--", lw=1)
    for family, (color, marker, label) in FAMILIES.items():
        systems = [name for name in table["system"].unique() if name.startswith(f"{family}-")]
        points = [(quantity_of(table, name, "scale"), quantity_of(table, name, "waypoint_score")) for name in systems]
        points = sorted(((scale[0], scores) for scale, scores in points if len(scale)), key=lambda point: point[0])
        if not points:
            continue
        axes.plot([scale for scale, _ in points], [scores.mean() for _, scores in points], color=color, lw=1)
        for scale, scores in points:
            axes.plot(np.full(len(scores), scale), scores, marker, mec=color, **MARKER)
        axes.plot([], [], marker, mec=color, label=label, **MARKER)
    axes.text(1.0, 1.02, "through every saddle", ha="right", va="bottom", color=INK, fontsize="small")
    axes.text(7e-4, -0.02, "straight line, and a single layer", ha="left", va="top", color=INK, fontsize="small")
    axes.set_xscale("log")
    axes.set(xlabel="scale of the initial weights", ylabel="waypoint score C", ylim=(-0.25, 1.15))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.2))


def _order(axes: Axes, table: pd.DataFrame) -> None:
    labels = {
        "one-layer": "gradient descent, one layer",
        "linear-1e-3": "gradient descent",
        "momentum": "Polyak's momentum 0.9",
        "adam": "Adam",
        "muon-depth-2": "Muon, converged",
        "muon-default-2": "Muon, as the library has it",
    }
    rows = [(label, quantity_of(table, system, "timing_slope"), PALETTE[0]) for system, label in labels.items()]
    rows = [row for row in rows if len(row[1])]
    axes.axvline(0, color=INK, lw=0.8)
    axes.axvline(theory.muon_exponent(2), color=INK, ls="--", lw=1)
    intervals(axes, rows)
    remark(axes, "s$^{1/2}$", (theory.muon_exponent(2), 0.6), (3, -3), va="top")
    axes.set(xlabel="slope of ln(half time)\non ln(strength), depth 2", xlim=(-1.1, 1.1))


def _depth(axes: Axes, table: pd.DataFrame) -> None:
    depths = np.array([1, 2, 3, 4])
    fine = np.linspace(1, 4, 100)
    axes.plot(fine, [theory.growth_exponent(depth) for depth in fine], color=INK, ls="--", lw=1)
    axes.plot(fine[fine >= 2], 1 - 2 / fine[fine >= 2], color=INK, ls=":", lw=1)
    growth = {depth: quantity_of(table, f"depth-{depth}", "growth_exponent") for depth in depths}
    escape = {depth: -quantity_of(table, f"depth-{depth}", "escape_slope") for depth in depths if depth > 2}
    for found, color, marker, label in (
        (growth, PALETTE[0], "o", "growth, u$^p$ (s − u)"),
        (escape, PALETTE[1], "s", "escape time, u$_0^{-p}$"),
    ):
        for depth, powers in found.items():
            axes.plot(np.full(len(powers), depth), powers, marker, mec=color, **MARKER)
        axes.plot([], [], marker, mec=color, label=label, **MARKER)
    remark(axes, "2 − 2/L", (3.1, theory.growth_exponent(3.1)), (0, -12))
    remark(axes, "1 − 2/L", (3.1, 1 - 2 / 3.1), (0, -14))
    axes.set(xlabel="depth L", ylabel="power p", xticks=depths, ylim=(-0.15, 2.3))
    axes.legend(loc="upper left", fontsize="small")


def _completion(axes: Axes, table: pd.DataFrame) -> None:
    systems = {"depth-1": "depth 1", "nuclear": "nuclear\nnorm", "depth-2": "depth 2", "depth-3": "depth 3"}
    for place, system in enumerate(systems):
        errors = quantity_of(table, system, "error")
        axes.plot(np.full(len(errors), place), errors, "o", mec=PALETTE[0], **MARKER)
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_xticks(range(len(systems)), list(systems.values()))
    axes.set(ylabel="error of the completed matrix\n(over its norm)", xlim=(-0.5, len(systems) - 0.5))
