"""Progressive sharpening and the edge of stability: claims C5, C6 and E1 to E15."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    beside,
    by_number,
    crossing,
    draw_curve,
    intervals,
    over_seeds,
    plain_ticks,
    quantity_of,
    remark,
    shade_band,
)
from benchmarks.evidence.statistics import t_interval
from benchmarks.evidence.tables import WINDOW
from benchmarks.theory import noise, stability

SHARPNESS = "sharpness\n(loss / parameter²)"
SMALL = ("small-lr-low", "small-lr-mid", "small-lr-high")  # one colour each: PALETTE[0], [1], [2]
MAIN = ("lr-low", "lr-mid", "lr-high", "lr-diverging")


def progressive_sharpening(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Loss and sharpness against steps, one colour per learning rate, 2/lr dashed."""
    runs = tables["progressive_sharpening.long"]
    there = [name for name in MAIN if name in set(runs["configuration"]) and len(curve_of(curves, name, "loss"))]
    if not there:
        raise NothingToDraw
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.2), sharex=True)
    highest = 0.0  # loss of a run that did not diverge
    for colour, configuration in zip((PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4]), MAIN):
        if configuration not in there:
            continue
        mine = runs[runs["configuration"] == configuration]
        learning_rate, threshold = mine["learning_rate"].iloc[0], mine["stability_threshold"].iloc[0]
        diverged = bool(mine["diverged"].all())
        label = f"lr = {learning_rate:g}" + (f", diverged by step {mine['steps'].max():g}" if diverged else "")
        loss = curve_of(curves, configuration, "loss")
        draw_curve(top, loss, color=colour, label=label)
        if diverged:
            continue
        highest = max(highest, loss["high"].max())
        draw_curve(bottom, curve_of(curves, configuration, "sharpness"), color=colour)
        bottom.axhline(threshold, color=colour, ls="--", lw=1)
        beside(bottom, f"2/lr = {threshold:.3g}", threshold, color=colour)
    shown = curves[curves["configuration"].isin(there)]
    top.set(yscale="log", ylabel="training loss\n(half squared error per example)")
    if highest:
        top.set_ylim(0.7 * shown.loc[shown["metric"] == "loss", "low"].min(), 4 * highest)
    plain_ticks(top.yaxis)
    top.legend(title=f"mean and range over {mine['seed'].nunique()} seeds", loc="upper right")
    bottom.set(xlabel="gradient descent steps", ylabel="sharpness\n(top Hessian eigenvalue, loss / parameter²)")
    bottom.set_ylim(bottom=0)
    bottom.set_xlim(left=0, right=shown["step"].max())
    return figure


def settled_sharpness(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Median lr S/2 over the second half, run by run, with its 95 % interval, against the registered band."""
    rows = []
    for label, configurations, colour in (
        ("tanh network", ("lr-low", "lr-mid", "lr-high"), PALETTE[0]),
        ("gelu network", ("gelu",), PALETTE[1]),
        ("relu network", ("relu",), PALETTE[1]),
        ("convolutional network", ("cnn",), PALETTE[1]),
        ("positive control", ("edge-lr-low", "edge-lr-mid", "edge-lr-high"), PALETTE[2]),
        ("linear regression", ("linear-lr-low", "linear-lr-mid", "linear-lr-high"), PALETTE[3]),
    ):
        for configuration, row in drawable(tables, curves, configurations, "sharpness").items():
            name = f"{label}, lr = {row['learning_rate']:g}"
            rows.append((name, seeds_of(tables, configuration, "late_sharpness_ratio"), colour))
    if not rows:
        raise NothingToDraw
    figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.22 * len(rows)))
    shade_band(axes.axvspan, tables, "E1.level-mid", label="registered band {low:g} to {high:g}")
    axes.axvline(1, color=INK, ls="--", lw=1, label="predicted: S = 2/lr")
    intervals(axes, rows)
    axes.set(xlabel="settled sharpness over threshold\n(median lr S / 2 over the second half)", xlim=(0, None))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return figure


@dataclass(frozen=True)
class Edge:
    """A panel of `edges`.

    Attributes:
        title: may name columns of the long table.
        configurations: the first that has runs is drawn.
        formula: of its threshold.
        metric: the sharpness that the optimizer meets.
        radius: of SAM, whose threshold moves with the gradient norm.
    """

    title: str
    configurations: tuple[str, ...]
    formula: str = "2/lr"
    metric: str = "sharpness"
    radius: float | None = None


MET = {  # metric: what it is called, its colour
    "sharpness": ("sharpness", PALETTE[0]),
    "preconditioned_sharpness": ("preconditioned sharpness", PALETTE[1]),
    "batch_sharpness": ("batch sharpness", PALETTE[4]),
}
EDGES = (
    Edge("gradient descent", ("lr-mid", "lr-high")),
    Edge("Polyak, b = 0.5", ("polyak-05",), "(2 + 2b)/lr"),
    Edge("Polyak, b = 0.9", ("polyak-09",), "(2 + 2b)/lr"),
    Edge("Nesterov, b = 0.5", ("nesterov-05",), "(2 + 2b)/((1 + 2b) lr)"),
    Edge("Nesterov, b = 0.9", ("nesterov-09",), "(2 + 2b)/((1 + 2b) lr)"),
    Edge("SAM, r = 0.1", ("sam-01",), "its edge at |g|", radius=0.1),
    Edge("RMSProp", ("rmsprop",), metric="preconditioned_sharpness"),
    Edge("scalar RMSProp", ("scalar-rmsprop",), metric="preconditioned_sharpness"),
    Edge("SGD, batch {batch_size:g}", ("sgd-b32", "sgd-b8"), metric="batch_sharpness"),
    Edge("Adam, b = 0", ("adam-00",), metric="preconditioned_sharpness"),
    Edge("Adam, b = 0.5", ("adam-05",), "6/lr", "preconditioned_sharpness"),
    Edge("Adam, b = 0.9", ("adam-09",), "38/lr", "preconditioned_sharpness"),
)


def edges(tables: Tables, curves: pd.DataFrame) -> Figure:
    """One panel per optimizer: the sharpness it meets against steps, and its own threshold."""
    panels = []
    for edge in EDGES:
        moved_by = () if edge.radius is None else ("gradient_norm",)
        there = drawable(tables, curves, edge.configurations, edge.metric, *moved_by)
        if there:
            panels.append((edge, *next(iter(there.items()))))
    if not panels:
        raise NothingToDraw
    rows = -(-len(panels) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(7.2, 0.7 + 1.75 * rows), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (edge, configuration, row) in zip(grid.flat, panels):
        name, colour = MET[edge.metric]
        met = curve_of(curves, configuration, edge.metric)
        draw_curve(axes, met, color=colour, label=name)
        top = _threshold(axes, edge, row, curve_of(curves, configuration, "gradient_norm"))
        late = met["high"].iloc[len(met) // 2 :].max()
        axes.set_title(edge.title.format_map(row), loc="left", fontsize="medium", fontweight="bold")
        axes.yaxis.set_major_formatter("{x:,.9g}")
        axes.set(xlim=(0, met["step"].max()), ylim=(0, max(1.75 * top, 1.3 * late)))
    handles = {handle.get_label(): handle for axes in grid.flat for handle in axes.lines}
    known = [name for name in (*(name for name, _ in MET.values()), "threshold", "2/lr") if name in handles]
    figure.legend([handles[name] for name in known], known, loc="outside upper center", ncols=len(known))
    figure.supxlabel("steps", fontsize="medium")
    figure.supylabel("sharpness relevant to the optimizer (1 / unit of lr)", fontsize="medium")
    return figure


def _threshold(axes: Axes, edge: Edge, row: pd.Series, gradient_norm: pd.DataFrame) -> float:
    """Draw and name an optimizer's threshold; its value, in the end if it moves."""
    style = {"color": INK, "ls": "--", "lw": 1, "label": "threshold"}
    lr, top, text = row["learning_rate"], row["stability_threshold"], edge.formula
    if edge.formula != "2/lr":
        axes.axhline(stability.gradient_descent(lr), color="0.6", ls=":", lw=1, label="2/lr")
    if edge.radius is None:
        axes.axhline(top, **style)
        text += f" = {top:.4g}" if top < 1000 else f" = {top:,.0f}"
    else:
        moving = stability.sam_edge(lr, edge.radius, gradient_norm["mean"])
        axes.plot(gradient_norm["step"], moving, **style)
        top = moving.iloc[-1]
    axes.text(1, 0.98, text, transform=axes.transAxes, ha="right", va="top", fontsize="small", color=INK)
    return top


def stability_thresholds(tables: Tables) -> Figure:
    """Measured against predicted stability threshold of every optimizer, in units of 1/lr."""
    checks = tables["claims"]
    mine = checks[(checks["claim"] == "C5") & (checks["role"] == "main") & checks["measured"].notna()]
    if mine.empty:
        raise NothingToDraw
    lr = tables["stability_thresholds"]["learning_rate"].iloc[0]
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    y = -np.arange(len(mine))
    axes.plot(mine["predicted"] * lr, y, "|", ms=16, mew=1.5, color=INK, label="predicted")
    axes.plot(mine["measured"] * lr, y, "o", ms=5, color=PALETTE[0], label="measured on the library's optimizer")
    for height, (_, row) in zip(y, mine.iterrows()):
        error = abs(row["measured"] / row["predicted"] - 1)
        said = f"relative difference {error:.0e}" if error > 1e-9 else "equal to 9 digits"
        remark(axes, said, (row["measured"] * lr, height), (8, 0), va="center")
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
        raise NothingToDraw
    places = [["curvature", "summary"], ["rises", "summary"]]
    figure, axes = plt.subplot_mosaic(places, figsize=(7.2, 4.6), width_ratios=(1.25, 1))
    curvature, rises, summary = axes["curvature"], axes["rises"], axes["summary"]
    shown = SMALL[1] if SMALL[1] in along else next(iter(along), None)
    if shown:
        for metric, label, style in (
            ("segment_sharpness", "largest sharpness along a step", {"color": "black"}),
            ("segment_curvature", "mean curvature along it", {"color": PALETTE[5], "lw": 0.8}),
        ):
            curve = curve_of(curves, shown, metric)
            draw_curve(curvature, curve, y=1 / along[shown]["stability_threshold"], label=label, **style)
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
    shade_band(summary.axvspan, tables, "C6.rises-mid", within=(0, 1))
    intervals(summary, [(label, seeds_of(tables, name, "late_loss_increases"), colour) for label, name, colour in rows])
    for height, (_, configuration, _) in zip(-np.arange(len(rows)), rows):
        violations = seeds_of(tables, configuration, "descent_violations")
        if len(violations):
            said = f"{violations.max():.0%} break the lemma" if violations.any() else "none breaks the lemma"
            remark(summary, said, (0.98, height - 0.18), (0, 0), ha="right", va="top", fontsize="small")
    summary.set(xlabel="share of late steps that raise the loss", xlim=(0, 1))
    return figure


def catapult(tables: Tables) -> Figure:
    """Both boundaries of the learning rate, seed by seed, against 2 and 4; where the curvature lands from between."""
    table = tables["catapult"]
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
        raise NothingToDraw
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.2, 1.3 + 0.38 * len(systems)), sharey=True, width_ratios=(1.7, 1)
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


FLOWED = "small-lr-mid"  # the run that the central flow is integrated beside


def gradient_flow(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Sharpness against time lr x steps, of gradient descent and of gradient flow, and the distance between the two."""
    runs = drawable(tables, curves, SMALL, "flow_sharpness")
    if not runs:
        raise NothingToDraw
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.0), sharex=True)
    longest = max(runs, key=lambda name: runs[name]["learning_rate"] * runs[name]["steps"])
    for colour, configuration in zip(PALETTE, SMALL):
        if configuration not in runs:
            continue
        lr, threshold = runs[configuration][["learning_rate", "stability_threshold"]]
        sharpness = curve_of(curves, configuration, "sharpness")
        draw_curve(top, sharpness, x=lr, color=colour, label=f"gradient descent, lr = {lr:g}")
        top.axhline(threshold, color=colour, ls="--", lw=1)
        beside(top, f"2/lr = {threshold:.3g}", threshold, color=colour)
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
        raise NothingToDraw
    mine = curves[curves["configuration"] == FLOWED]
    threshold = runs[FLOWED]["stability_threshold"]
    figure, (loss, sharpness, distance) = plt.subplots(3, 1, figsize=(6.4, 7.6), sharex=True, height_ratios=(1.2, 1, 1))
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
    beside(sharpness, f"2/lr = {threshold:.3g}", threshold)
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
        raise NothingToDraw
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), width_ratios=(1.25, 1))
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
    shade_band(right.axvspan, tables, "E5.variance-mid")
    right.axvline(1, color=INK, ls="--", lw=1)
    intervals(right, rows)
    right.set(xlabel="measured over predicted", xlim=(0, None))
    return figure


BATCHES = {"sgd-b8": ":", "sgd-b32": "--", "sgd-b128": "-"}  # configuration: line style
BATCH, RATIOS, FULL = PALETTE[4], PALETTE[1], PALETTE[0]


def batch_sharpness(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Settled batch sharpness and sharpness in units of 2/lr against the batch size, and both along training."""
    runs = drawable(tables, curves, tuple(BATCHES), "batch_sharpness")
    if not runs:
        raise NothingToDraw
    sizes = {name: row["batch_size"] for name, row in runs.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), sharey=True)
    shade_band(left.axhspan, tables, "E8.b8")
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
        raise NothingToDraw
    figure, grid = plt.subplots(1, len(panels), figsize=(7.2, 3.4), sharey=True, squeeze=False)
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


BATCH_SYSTEMS = {
    "plain-b8": ("no momentum, batch 8", PALETTE[0]),
    "momentum-b8": ("b = 0.9, batch 8", PALETTE[1]),
    "plain-all": ("no momentum, all", PALETTE[2]),
    "momentum-all": ("b = 0.9, all", PALETTE[3]),
}
PLATEAUS = {"1 − b": 0.1, "1": 1.0, "1 + b": 1.9}
FLOWS = {"run": ("run", INK), "central": ("central flow", PALETTE[2]), "stable": ("stable flow", PALETTE[1])}
REGULARIZED = {
    "network": ("regularized flow, exponent {:.2f}", PALETTE[0]),
    "doubled": ("regularized twice as much, {:.2f}", PALETTE[3]),
    "plain": ("gradient flow, {:.2f}", PALETTE[1]),
}


def discrete_steps(tables: Tables) -> Figure:
    """What momentum, an adaptive step, noise and a finite step add to gradient flow: E12 to E15, a panel each."""
    figure, grid = plt.subplots(2, 2, figsize=(7.2, 6.2))
    _momentum_panel(grid[0, 0], tables["progressive_sharpening/momentum_batches"])
    _adaptive_panel(grid[0, 1], tables["progressive_sharpening/adaptive_flow"])
    _noise_panel(grid[1, 0], tables["progressive_sharpening/noise_scale"])
    _regularizer_panel(grid[1, 1], tables["progressive_sharpening/implicit_gradient"])
    return figure


def _momentum_panel(axes: Axes, table: pd.DataFrame) -> None:
    for system, (label, colour) in BATCH_SYSTEMS.items():
        readings = by_number(table, "quantity", "reading", system=system)
        readings = readings.loc[:, readings.columns > 0]  # at the start there is no edge
        if len(readings.columns):
            draw_curve(axes, over_seeds(readings), x=1 / readings.columns.max(), color=colour, label=label)
    for label, level in PLATEAUS.items():
        axes.axhline(level, color=INK, ls="--", lw=1)
        beside(axes, label, level)
    axes.set(xlabel="share of the run", ylabel="lr/2 × batch sharpness", yscale="log", xlim=(0, 1), ylim=(0.02, 4))
    plain_ticks(axes.yaxis)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, columnspacing=1)


def _adaptive_panel(axes: Axes, table: pd.DataFrame) -> None:
    for name, (label, colour) in FLOWS.items():
        draw_curve(axes, over_seeds(by_number(table, "quantity", name, system="network")), color=colour, label=label)
    axes.set(xlabel="steps of Scalar RMSProp", ylabel="loss", yscale="log")
    axes.set_xlim(left=0)
    plain_ticks(axes.yaxis)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1)


def _noise_panel(axes: Axes, table: pd.DataFrame) -> None:
    for system, label, colour, marker in (
        ("network", "network: critical batch {:.0f}", PALETTE[0], "o"),
        ("known", "known noise scale: {:.0f}", PALETTE[2], "s"),
    ):
        steps = by_number(table, "quantity", "steps", system=system).dropna()
        if steps.empty:
            continue
        fitted = noise.fit_tradeoff(list(steps.columns), np.exp(np.log(steps).mean()).to_numpy())
        sizes = np.geomspace(steps.columns.min(), steps.columns.max(), 50)
        axes.plot(sizes, fitted.least * (1 + fitted.critical / sizes), color=colour, lw=1.2)
        for _, mine in steps.iterrows():
            axes.plot(mine.index, mine, marker, color=colour, mfc="white", ms=4.5)
        axes.plot([], [], marker, color=colour, ls="-", mfc="white", ms=4.5, label=label.format(fitted.critical))
    axes.set(xlabel="batch size", ylabel="steps to the target", xscale="log", yscale="log")
    plain_ticks(axes.xaxis, [4, 8, 16, 32, 64, 128, 256])
    plain_ticks(axes.yaxis)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1))


def _regularizer_panel(axes: Axes, table: pd.DataFrame) -> None:
    for system, (label, colour) in REGULARIZED.items():
        errors = by_number(table, "quantity", "error", system=system)
        exponent = quantity_of(table, system, "exponent").mean()
        curve = over_seeds(errors)
        draw_curve(axes, curve, color=colour, label=label.format(exponent), marker="o", ms=3)
    axes.set(xlabel="learning rate", ylabel="distance at the end / way", xscale="log", yscale="log")
    plain_ticks(axes.xaxis)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1))


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
