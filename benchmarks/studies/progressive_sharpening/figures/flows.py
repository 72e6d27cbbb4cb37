"""Gradient descent beside gradient flow and the central flow: claims E2, E5 and E6."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import (
    INK,
    PALETTE,
    Tables,
    band,
    beside,
    crossing,
    draw_curve,
    empty,
    intervals,
    plain_ticks,
)
from benchmarks.evidence.tables import WINDOW
from benchmarks.studies.progressive_sharpening.figures.runs import (
    SHARPNESS,
    SMALL,
    curve_of,
    drawable,
    learning_rate,
    seeds_of,
)

FLOWED = "small-lr-mid"  # the run that the central flow is integrated beside


def gradient_flow(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Sharpness against time lr x steps, of gradient descent and of gradient flow, and the distance between the two."""
    runs = drawable(tables, curves, SMALL, "flow_sharpness")
    if not runs:
        return empty("No run of claim E2.")
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.0), sharex=True, layout="constrained")
    longest = max(runs, key=lambda name: runs[name]["learning_rate"] * runs[name]["steps"])
    for colour, configuration in zip(PALETTE, SMALL):
        if configuration not in runs:
            continue
        lr, threshold = runs[configuration][["learning_rate", "stability_threshold"]]
        draw_curve(
            top,
            curve_of(curves, configuration, "sharpness"),
            x=lr,
            color=colour,
            label=f"gradient descent, lr = {lr:g}",
        )
        top.axhline(threshold, color=colour, ls="--", lw=1)
        beside(top, f"2/lr = {threshold:.3g}", threshold, colour)
        distance = curve_of(curves, configuration, "flow_distance")
        draw_curve(bottom, distance[distance["step"] > 0], x=lr, color=colour)
        entry = crossing(curve_of(curves, configuration, "flow_sharpness"), threshold)
        if entry is not None:
            top.plot(lr * entry, threshold, "o", ms=4, color=colour, zorder=4)
            bottom.axvline(lr * entry, color=colour, ls=":", lw=1)
    flow = curve_of(curves, longest, "flow_sharpness")
    draw_curve(top, flow, x=runs[longest]["learning_rate"], color="black", lw=1.6, label="gradient flow", zorder=3)
    top.set(ylabel=SHARPNESS, ylim=(0, 2.3 * max(row["stability_threshold"] for row in runs.values())))
    top.legend(title="mean and range over seeds", loc="upper right")
    bottom.plot([], [], color=INK, ls=":", lw=1, label="the flow reaches 2/lr")
    bottom.legend(loc="lower right")
    bottom.set(
        yscale="log",
        xlabel="time, lr × steps (parameter² / loss)",
        ylabel="distance from gradient flow\n(parameter)",
        xlim=(0, runs[longest]["learning_rate"] * flow["step"].max()),
    )
    return figure


def central_flow(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Loss, sharpness and distances of gradient descent, its central flow and gradient flow, from one start."""
    runs = drawable(tables, curves, (FLOWED,), "central_loss")
    if not runs:
        return empty("No run of claim E6.")
    mine = curves[curves["configuration"] == FLOWED]
    threshold = runs[FLOWED]["stability_threshold"]
    figure, (loss, sharpness, distance) = plt.subplots(
        3, 1, figsize=(6.4, 7.6), sharex=True, layout="constrained", height_ratios=(1.2, 1, 1)
    )
    run, central, flow = PALETTE[0], PALETTE[1], "black"

    def draw(axes, metric, color, label, **line):
        draw_curve(axes, mine[mine["metric"] == metric], color=color, label=label, **line)

    raw = mine[mine["metric"] == "loss"]
    loss.plot(raw["step"], raw["mean"], color=run, lw=0.5, alpha=0.45, label="gradient descent")
    draw(loss, "loss_average", run, f"gradient descent, mean over {WINDOW} steps")
    draw(loss, "central_predicted_loss", PALETTE[2], "central flow's prediction of that mean", ls=(0, (4, 2)))
    draw(loss, "central_loss", central, "central flow")
    draw(loss, "flow_loss", flow, "gradient flow", ls=":")
    loss.set(yscale="log", ylabel="training loss\n(half squared error per example)")
    plain_ticks(loss.yaxis)
    loss.legend(title="mean and range over seeds", loc="lower left")

    draw(sharpness, "flow_sharpness", flow, "gradient flow", ls=":")
    draw(sharpness, "sharpness", run, "gradient descent")
    draw(sharpness, "central_sharpness", central, "central flow")
    sharpness.axhline(threshold, color=INK, ls="--", lw=1)
    beside(sharpness, f"2/lr = {threshold:.3g}", threshold, INK)
    sharpness.set(ylabel=SHARPNESS, ylim=(0, 1.9 * threshold))
    sharpness.legend(loc="lower right")

    draw(distance, "flow_distance", flow, "from gradient flow", ls=":")
    draw(distance, "central_distance", central, "from the central flow")
    distance.set(xlabel="steps", ylabel="distance of gradient descent\n(parameter)", ylim=(0, None))
    distance.set_xlim(0, raw["step"].max())
    distance.legend(loc="upper left")
    return figure


def oscillation_variance(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Variance of the oscillation along the top eigenvector, measured and predicted; their ratio, run by run."""
    rows = [
        (label, seeds_of(tables, configuration, metric), colour)
        for label, configuration, metric, colour in (
            *((learning_rate(tables, name), name, "variance_ratio", PALETTE[1]) for name in SMALL),
            ("positive control", "edge-balanced", "variance_ratio", PALETTE[1]),
            (f"{learning_rate(tables, FLOWED)}, central flow", FLOWED, "central_variance_ratio", PALETTE[2]),
            ("control, central flow", "edge-balanced", "central_variance_ratio", PALETTE[2]),
        )
    ]
    rows = [row for row in rows if len(row[1])]
    along = drawable(tables, curves, (FLOWED,), "predicted_variance_average")
    if not rows and not along:
        return empty("No run of claim E5.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), layout="constrained", width_ratios=(1.25, 1))
    if along:
        threshold = along[FLOWED]["stability_threshold"]
        entry = crossing(curve_of(curves, FLOWED, "sharpness"), threshold) or 0  # before, there is nothing to balance
        for label, metric, colour, style in (
            (f"measured, mean over {WINDOW} steps", "oscillation_squared", PALETTE[0], "-"),
            ("self-stabilization, likewise", "predicted_variance_average", PALETTE[1], "--"),
            ("central flow", "central_variance", PALETTE[2], "-."),
        ):
            curve = curve_of(curves, FLOWED, metric)
            draw_curve(left, curve[curve["step"] >= entry], color=colour, ls=style, label=label, y=1e3)
        left.set(xlabel="steps", ylabel="variance of the oscillation\n(10⁻³ parameter²)", ylim=(0, None))
        left.legend(title=learning_rate(tables, FLOWED), loc="lower left", bbox_to_anchor=(0, 1), alignment="left")
    else:
        left.set_axis_off()
    limits = band(tables, "E5.variance-mid")
    if limits:
        right.axvspan(*limits, color="0.9", lw=0)
    right.axvline(1, color=INK, ls="--", lw=1)
    intervals(right, rows)
    right.set(xlabel="measured over predicted variance", xlim=(0, None))
    return figure
