"""Where a step stops being safe: claims C5, C6 and E10."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, Tables, band, draw_curve, empty, intervals, plain_ticks
from benchmarks.evidence.tables import WINDOW
from benchmarks.studies.progressive_sharpening.figures.runs import SMALL, curve_of, drawable, learning_rate, seeds_of


def stability_thresholds(tables: Tables) -> Figure:
    """Measured against predicted stability threshold of every optimizer, in units of 1/lr."""
    checks = tables["claims"]
    mine = checks[(checks["claim"] == "C5") & (checks["role"] == "main") & checks["measured"].notna()]
    if mine.empty:
        return empty("No optimizer of claim C5.")
    lr = tables["stability_thresholds"]["learning_rate"].iloc[0]
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    y = -np.arange(len(mine))
    axes.plot(mine["predicted"] * lr, y, "|", ms=16, mew=1.5, color=INK, label="predicted")
    axes.plot(mine["measured"] * lr, y, "o", ms=5, color=PALETTE[0], label="measured on the library's optimizer")
    for height, (_, row) in zip(y, mine.iterrows()):
        error = abs(row["measured"] / row["predicted"] - 1)
        axes.annotate(
            f"relative difference {error:.0e}" if error > 1e-9 else "equal to 9 digits",
            (row["measured"] * lr, height),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    axes.set_yticks(y, [text.rsplit(", ", 1)[0] for text in mine["statement"]])
    axes.set(xscale="log", xlabel="largest stable curvature × lr", xlim=(1, 400))
    plain_ticks(axes.xaxis, (1, 2, 5, 10, 20, 50, 100))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, markerscale=0.6)
    return figure


def descent_lemma(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Curvature along the steps of a run, share of the steps that raise the loss, and that share run by run."""
    rows = [
        (label, configuration, colour)
        for label, configuration, colour in (
            *((learning_rate(tables, name), name, colour) for name, colour in zip(SMALL, PALETTE)),
            ("positive control", "edge-lr-mid", PALETTE[4]),
            ("linear regression", "linear-small", PALETTE[3]),
        )
        if len(seeds_of(tables, configuration, "late_loss_increases"))
    ]
    along = drawable(tables, curves, SMALL, "segment_sharpness")
    if not rows and not along:
        return empty("No run of claim C6.")
    figure, axes = plt.subplot_mosaic(
        [["curvature", "summary"], ["rises", "summary"]],
        figsize=(7.2, 4.6),
        layout="constrained",
        width_ratios=(1.25, 1),
    )
    curvature, rises, summary = axes["curvature"], axes["rises"], axes["summary"]
    shown = SMALL[1] if SMALL[1] in along else next(iter(along), None)
    if shown:
        scale = 1 / along[shown]["stability_threshold"]
        draw_curve(
            curvature,
            curve_of(curves, shown, "segment_sharpness"),
            y=scale,
            color="black",
            label="largest sharpness along a step",
        )
        draw_curve(
            curvature,
            curve_of(curves, shown, "segment_curvature"),
            y=scale,
            color=PALETTE[5],
            lw=0.8,
            label="mean curvature along it",
        )
        curvature.legend(title=learning_rate(tables, shown), loc="lower left", bbox_to_anchor=(0, 1), alignment="left")
    curvature.axhline(1, color=INK, ls="--", lw=1)
    curvature.set(ylabel="curvature over 2/lr", ylim=(-0.2, None))
    for _, configuration, colour in rows:
        if configuration in along:
            draw_curve(rises, curve_of(curves, configuration, "loss_rises"), color=colour)
    rises.set(xlabel="steps", ylabel=f"share of steps that raise\nthe loss ({WINDOW}-step means)", ylim=(0, 1))
    if along:
        longest = max(row["steps"] for row in along.values())
        for axis in (curvature, rises):
            axis.set_xlim(0, longest)
    limits = band(tables, "C6.rises-mid")
    if limits:
        summary.axvspan(max(limits[0], 0), min(limits[1], 1), color="0.9", lw=0)
    intervals(summary, [(label, seeds_of(tables, name, "late_loss_increases"), colour) for label, name, colour in rows])
    for height, (_, configuration, _) in zip(-np.arange(len(rows)), rows):
        violations = seeds_of(tables, configuration, "descent_violations")
        if len(violations):
            summary.annotate(
                f"{violations.max():.0%} break the lemma" if violations.any() else "none breaks the lemma",
                (0.98, height - 0.18),
                ha="right",
                va="top",
                fontsize="small",
                color=INK,
            )
    summary.set(xlabel="share of late steps that raise the loss", xlim=(0, 1))
    return figure


def catapult(tables: Tables) -> Figure:
    """Both boundaries of the learning rate, seed by seed, against 2 and 4; where the curvature lands from between."""
    table = tables.get("catapult", pd.DataFrame({"system": []}))
    systems = [
        (label, table[table["system"] == system])
        for label, system in (
            ("two-layer linear network", "linear"),
            ("exact recursion", "recursion"),
            ("two-layer ReLU network", "relu"),
            ("one-layer network", "one-layer"),
        )
        if system in set(table["system"])
    ]
    if not systems:
        return empty("No run of claim E10.")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.2, 1.3 + 0.38 * len(systems)), sharey=True, layout="constrained", width_ratios=(1.7, 1)
    )
    for boundary in (2, 4):
        left.axvline(boundary, color=INK, ls="--", lw=1)
    right.axvline(2, color=INK, ls="--", lw=1)
    for y, (_, mine) in zip(-np.arange(len(systems)), systems):
        heights = y + np.linspace(-0.15, 0.15, len(mine)) if len(mine) > 1 else np.array([y])
        left.plot(mine["monotone_boundary"], heights, "o", ms=7, mfc="none", mec=PALETTE[0])
        left.plot(mine["convergence_boundary"], heights, "D", ms=3.5, color=PALETTE[1])
        landed = mine["final_curvature_times_lr_at_3"]
        right.plot(landed, heights, "s", ms=4, color=PALETTE[2], clip_on=False)
        if landed.isna().all():
            right.text(0.05, y, "diverges", va="center", color=INK)
    left.plot([], [], "o", ms=7, mfc="none", mec=PALETTE[0], label="loss falls at every step up to here")
    left.plot([], [], "D", ms=3.5, color=PALETTE[1], label="converges up to here")
    left.set_yticks(-np.arange(len(systems)), [label for label, _ in systems])
    left.set(xlabel="lr × initial curvature", xlim=(0, None), ylim=(0.5 - len(systems), 0.5))
    right.set(xlabel="lr × final curvature,\nfor lr × initial curvature = 3", xlim=(0, 3))
    right.tick_params(axis="y", left=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure
