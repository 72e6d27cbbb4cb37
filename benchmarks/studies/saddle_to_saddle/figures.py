"""Models that are solved: times and drops of the loss as foretold, units that grow at once, and plateaus."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import (
    INK,
    MARKER,
    PALETTE,
    NothingToDraw,
    Tables,
    intervals,
    plain_ticks,
    quantity_of,
)


def saddle_to_saddle(tables: Tables) -> Figure:
    """Times and drops on modular addition; heads and kernels at once; losses on plateaus."""
    addition, saddles = tables["saddle_to_saddle/modular_addition"], tables["saddle_to_saddle/saddles"]
    if addition.empty and saddles.empty:
        raise NothingToDraw("no solved model has been run")
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 6.0))
    systems = {"small": "small weights, grouped", "ungrouped": "small weights, ungrouped", "default": "default weights"}
    _against(axes[0, 0], addition, systems, "foretold_time", "time")
    axes[0, 0].set(xlabel="time foretold", ylabel="half time of a frequency")
    axes[0, 0].legend(loc="upper left", fontsize="small")
    _against(axes[0, 1], addition, systems, "foretold_drop", "drop")
    axes[0, 1].set(xlabel="drop of the loss foretold", ylabel="drop found")
    for axis in (axes[0, 1].xaxis, axes[0, 1].yaxis):
        plain_ticks(axis)
    _at_once(axes[1, 0], saddles)
    _against(
        axes[1, 1], saddles, {"attention": "attention", "convolution": "convolution"}, "predicted_plateau", "plateau"
    )
    axes[1, 1].set(xlabel="loss at the saddle, closed form", ylabel="loss on the plateau")
    for axis in (axes[1, 1].xaxis, axes[1, 1].yaxis):
        plain_ticks(axis)
    axes[1, 1].legend(loc="upper left", fontsize="small")
    return figure


def _against(axes: Axes, table: pd.DataFrame, systems: dict[str, str], expected: str, found: str) -> None:
    """Numbered quantities of each system against those expected, on logarithmic axes."""
    every = []
    for (system, label), color, marker in zip(systems.items(), PALETTE, "osD"):
        mine = table[table["system"] == system]
        wide = mine.pivot(index="seed", columns="quantity", values="value")
        numbers = [name.removeprefix(f"{found}_") for name in wide if name.startswith(f"{found}_")]
        numbers = [number for number in numbers if number.isdigit()]
        x, y = (wide[[f"{name}_{number}" for number in numbers]].to_numpy().ravel() for name in (expected, found))
        axes.plot(x, y, marker, mec=color, label=label, **MARKER)
        every += [*x, *y]
    ends = np.array([np.nanmin(every), np.nanmax(every)]) if len(every) else np.array([0.1, 1])
    axes.plot(ends, ends, color=INK, ls="--", lw=1, zorder=0)
    axes.set(xscale="log", yscale="log")


def _at_once(axes: Axes, table: pd.DataFrame) -> None:
    labels = {
        "attention": "heads, small weights",
        "attention-merged": "heads, merged",
        "attention-default": "heads, default weights",
        "convolution": "kernels, small weights",
        "convolution-equal": "kernels, equal strengths",
        "convolution-default": "kernels, default weights",
    }
    rows = [
        (label, quantity_of(table, system, "active_modes"), PALETTE[1 if system.startswith("convolution") else 0])
        for system, label in labels.items()
    ]
    axes.axvline(1.2, color=INK, ls="--", lw=1)
    intervals(axes, [row for row in rows if len(row[1])])
    axes.set_xscale("log")
    plain_ticks(axes.xaxis, [1, 2, 3, 5, 10])
    axes.set(xlabel=r"units that grow at once, $N_{\mathrm{act}}$", xlim=(0.9, 12))
