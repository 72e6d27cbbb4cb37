"""What changes the sharpness: the batch (claim E8), and width, data and loss (claim E11)."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, Tables, band, draw_curve, empty, plain_ticks
from benchmarks.evidence.statistics import t_interval
from benchmarks.studies.progressive_sharpening.figures.runs import curve_of, drawable, seeds_of

BATCHES = {"sgd-b8": ":", "sgd-b32": "--", "sgd-b128": "-"}  # configuration: line style
BATCH, RATIOS, FULL = PALETTE[4], PALETTE[1], PALETTE[0]


def batch_sharpness(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Settled batch sharpness and sharpness in units of 2/lr against the batch size, and both along training."""
    runs = drawable(tables, curves, tuple(BATCHES), "batch_sharpness")
    if not runs:
        return empty("No run of claim E8.")
    sizes = {name: row["batch_size"] for name, row in runs.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), sharey=True, layout="constrained")
    limits = band(tables, "E8.b8")
    if limits:
        left.axhspan(*limits, color="0.9", lw=0)
    for axes in (left, right):
        axes.axhline(1, color=INK, ls="--", lw=1)
    for shift, label, metric, colour, marker in (
        (0.93, "batch sharpness, E[g'Hg] / E[g'g]", "late_batch_sharpness_ratio", BATCH, "o"),
        (1.0, "mean of the ratios, E[g'Hg / g'g]", "late_batch_mean_ratio", RATIOS, "s"),
        (1.07, "sharpness of the full loss", "late_sharpness_ratio", FULL, "D"),
    ):
        for name, size in sizes.items():
            values = seeds_of(tables, name, metric)
            interval = t_interval(values, 0.95)
            if interval:
                left.plot([shift * size] * 2, [interval.low, interval.high], color=colour, lw=2, solid_capstyle="butt")
            left.plot(np.full(len(values), shift * size), values, marker, ms=4, mfc="white", mec=colour, label=label)
    handles = {handle.get_label(): handle for handle in left.lines if not handle.get_label().startswith("_")}
    left.legend(handles.values(), handles, loc="lower left", bbox_to_anchor=(0, 1))
    left.set(xscale="log", xlabel="batch size", ylabel="sharpness over 2/lr")
    left.set_xlim(min(sizes.values()) / 1.5, max(sizes.values()) * 1.5)
    plain_ticks(left.xaxis, sorted(sizes.values()))
    left.minorticks_off()
    for name, row in runs.items():
        for metric, colour in (("batch_sharpness", BATCH), ("sharpness", FULL)):
            curve = curve_of(curves, name, metric)
            draw_curve(right, curve, y=1 / row["stability_threshold"], color=colour, ls=BATCHES[name])
        right.plot([], [], color=INK, ls=BATCHES[name], label=f"batch {row['batch_size']:g}")
    right.legend(loc="lower left", bbox_to_anchor=(0, 1))
    right.set(xlabel="steps", ylim=(0, None))
    right.tick_params(axis="y", left=False)
    right.set_xlim(left=0)
    return figure


MODIFIERS = (
    ("width", {"width-16": ("16 wide", PALETTE[0]), "width-256": ("256 wide", PALETTE[1])}),
    ("data", {"images-60": ("60 images", PALETTE[0]), "images-250": ("250 images", PALETTE[1])}),
    ("loss", {"cross-entropy": ("cross-entropy", PALETTE[2])}),
)


def sharpening_modifiers(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Sharpness over its initial value against steps: two widths, two sizes of the data, and cross-entropy."""
    panels = [(title, lines, drawable(tables, curves, tuple(lines), "sharpness")) for title, lines in MODIFIERS]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return empty("No run of claim E11.")
    figure, grid = plt.subplots(1, len(panels), figsize=(7.2, 3.4), sharey=True, layout="constrained", squeeze=False)
    for axes, (title, lines, runs) in zip(grid.flat, panels):
        axes.axhline(1, color=INK, lw=0.6)
        for name in runs:
            label, colour = lines[name]
            curve = curve_of(curves, name, "sharpness")
            draw_curve(axes, curve, y=1 / curve["mean"].iloc[0], color=colour, label=label)
        axes.set(yscale="log", xlabel="steps", xlim=(0, curve["step"].max()))
        axes.legend(title=title, loc="lower left", bbox_to_anchor=(0, 1), alignment="left")
    grid[0, 0].set_ylabel("sharpness over its initial value")
    plain_ticks(grid[0, 0].yaxis)
    return figure
