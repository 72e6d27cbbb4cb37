"""Scale-invariant weights, their equilibrium and equivalents; units of learning rates: claims U3, U4, U6 and U7."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import (
    INK,
    PALETTE,
    Tables,
    by_number,
    draw_curve,
    over_seeds,
    plain_ticks,
    quantity_of,
)

METHODS = {
    "plain": ("SGD", PALETTE[0]),
    "coupled": ("momentum, coupled", PALETTE[1]),
    "decoupled": ("momentum, decoupled", PALETTE[2]),
}
SMALL = {"fontsize": "small", "handlelength": 1.4, "borderaxespad": 0.1}
TRANSFORMATIONS = {
    "loss": ("c L", PALETTE[0], "o"),
    "parameter": ("w = c v", PALETTE[1], "s"),
    "start": ("c w₀", PALETTE[2], "D"),
}


def scale_invariance(tables: Tables) -> Figure:
    """The way to equilibrium, beside its closed forms, and weight decay against an exponential learning rate."""
    equilibrium, exponential = tables["scale_invariance/equilibrium"], tables["scale_invariance/exponential_rate"]
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.9))
    for system, (label, color) in METHODS.items():
        for panel, quantity in zip(axes, ("angle", "norm")):
            _by_step(panel, equilibrium, system, quantity, color=color, label=label)
        memory = quantity_of(equilibrium, system, "memory")
        if len(memory) and not np.isclose(memory.mean(), 1):
            axes[1].axhline(1 / memory.mean(), color=color, ls=":", lw=1)
        _by_step(axes[2], exponential, system, "difference", color=color)
        _by_step(axes[2], exponential, f"{system}-constant", "difference", color=color, ls="--")
    for panel in axes[:2]:
        panel.axhline(1, color=INK, ls="--", lw=0.8)
        panel.set(xscale="log", xlabel="step")
    axes[0].set(title="angle per step", ylabel="over its closed form")
    axes[1].set(title="|w|⁴, first layer", ylabel="over its closed form", yscale="log")
    plain_ticks(axes[1].yaxis)
    axes[1].plot([], [], ls=":", lw=1, color=INK, label="gradients\nwithout memory")
    axes[1].legend(handles=axes[1].get_lines()[-1:], **SMALL, bbox_to_anchor=(0.02, 0.8), loc="upper left")
    axes[2].axhline(-6, color=INK, ls=":", lw=0.8)
    axes[2].set(title="decay against schedule", xlabel="step", ylabel="log₁₀ of largest logit difference")
    for style, label in (("-", "exponential rate"), ("--", "constant rate")):
        axes[2].plot([], [], ls=style, lw=1.2, color=INK, label=label)
    axes[2].legend(**SMALL, loc="upper right", bbox_to_anchor=(1, 0.88))
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(**SMALL, loc="upper right")
    return figure


def intrinsic_learning_rate(tables: Tables) -> Figure:
    """Final loss by learning rate and decay, with and without normalisers; and the exponents of rescaling."""
    rates, rescaling = tables["scale_invariance/intrinsic_rate"], tables["scale_invariance/rescaling"]
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 3.0), width_ratios=(1, 1, 1.4))
    for panel, system, title in ((axes[0], "network", "normalised"), (axes[1], "bare", "no normaliser")):
        panel.set(xscale="log", xlabel="lr × weight decay", title=title)
        _losses(panel, rates, system)
    low, high = (end(panel.get_ylim()[i] for panel in axes[:2]) for i, end in ((0, min), (1, max)))
    for panel in axes[:2]:
        panel.set_ylim(low, high)
    axes[1].set_yticklabels([])
    axes[0].set_ylabel("final training loss (nats)")
    if axes[1].get_legend_handles_labels()[0]:
        axes[1].legend(**SMALL, loc="lower right", title="lr", title_fontsize="small")
    _exponents(axes[2], rescaling)
    return figure


def _by_step(axes: Axes, table: pd.DataFrame, system: str, quantity: str, *, color, **line) -> None:
    curve = over_seeds(by_number(table, "quantity", quantity, system=system))
    if len(curve):
        draw_curve(axes, curve, color=color, **line)


def _losses(axes: Axes, table: pd.DataFrame, system: str) -> None:
    """Every pair of learning rate and decay, one colour per learning rate."""
    mine = table[table["system"].str.startswith(f"{system}-") & (table["quantity"] == "loss")]
    pairs = mine["system"].str.removeprefix(f"{system}-").str.split("-", n=1, expand=True)
    if mine.empty:
        return
    mine = mine.assign(lr=pairs[0].astype(float), product=(pairs[0].astype(float) * pairs[1].astype(float)).round(12))
    rates = sorted(mine["lr"].unique())
    shown = {lr: PALETTE[k % len(PALETTE)] for k, lr in enumerate(rates)}
    for k, lr in enumerate(rates):
        one = mine[mine["lr"] == lr]
        # Side by side, for the pairs of one product lie on each other.
        aside = 1.09 ** (k - len(rates) + 1)
        axes.plot(one["product"] * aside, one["value"], "o", ms=4, mfc="white", mec=shown[lr], label=f"{lr:g}")
        mean = one.groupby("product")["value"].mean()
        if len(mean) > 1:
            axes.plot(mean.index * aside, mean, color=shown[lr], lw=1, zorder=0)
    plain_ticks(axes.xaxis, sorted(mine["product"].unique()))


def _exponents(axes: Axes, table: pd.DataFrame) -> None:
    measured = table[(table["quantity"] == "exponent") & ~table["system"].str.contains("by-hand|eps|decimal")]
    names = list(dict.fromkeys(system.rpartition("-")[0] for system in measured["system"]))
    for how, (label, color, marker) in TRANSFORMATIONS.items():
        for y, name in enumerate(names):
            values = quantity_of(table, f"{name}-{how}", "exponent")
            axes.plot(values, np.full(len(values), -y), marker, ms=4, mfc="white", mec=color, clip_on=False)
            if y == 0 and len(values):
                axes.annotate(label, (values.mean(), 0.5), ha="center", va="bottom", color=color, fontsize="small")
    axes.set_yticks(-np.arange(len(names)), [name.replace("-", " ") for name in names])
    axes.set(
        xlim=(-2.7, 2.4), xticks=range(-2, 3), xlabel="p: the same run with lr × cᵖ", ylim=(-len(names) + 0.4, 1.3)
    )
    axes.set_title("rescaled by c")
    axes.grid(axis="x", lw=0.4)
