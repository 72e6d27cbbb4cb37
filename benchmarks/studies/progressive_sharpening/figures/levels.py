"""Where the sharpness settles: claims E1, E1-systems, E3, E4, E7, E8 and E9."""

from dataclasses import dataclass

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, Tables, band, beside, draw_curve, empty, intervals, plain_ticks
from benchmarks.studies.progressive_sharpening.figures.runs import curve_of, drawable, seeds_of
from benchmarks.theory import stability

MAIN = ("lr-low", "lr-mid", "lr-high", "lr-diverging")


def progressive_sharpening(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Loss and sharpness against steps, one colour per learning rate, 2/lr dashed."""
    runs = tables["progressive_sharpening.long"]
    there = [name for name in MAIN if name in set(runs["configuration"]) and len(curve_of(curves, name, "loss"))]
    if not there:
        return empty("No run of claim E1.")
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.2), sharex=True, layout="constrained")
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
        beside(bottom, f"2/lr = {threshold:.3g}", threshold, colour)
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
        return empty("No run of claim E1.")
    figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.22 * len(rows)), layout="constrained")
    limits = band(tables, "E1.level-mid")
    if limits:
        axes.axvspan(*limits, color="0.9", lw=0, label="registered band {:g} to {:g}".format(*limits))
    axes.axvline(1, color=INK, ls="--", lw=1, label="predicted: S = 2/lr")
    intervals(axes, rows)
    axes.set(xlabel="settled sharpness over threshold, median lr S / 2 over the second half", xlim=(0, None))
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
        return empty("No run of claims E1, E3, E4, E7, E8 and E9.")
    rows = -(-len(panels) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(7.2, 0.7 + 1.75 * rows), layout="constrained", squeeze=False)
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
