"""From lazy to rich, and the transfer of learning rates."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.evidence.drawing import (
    INK,
    MARKER,
    PALETTE,
    NothingToDraw,
    Tables,
    by_number,
    over_seeds,
    plain_ticks,
    quantity_of,
)

# The phase diagram: networks from lazy to rich, and muP.

NETWORKS = {
    "mlp": ("perceptron, AdamW", "richness_images"),
    "resnet": ("ResNet, SGD", "richness_images"),
    "gpt": ("transformer, AdamW", "richness_text"),
}
READ = {
    "timing_slope": "slope of ln(half time)\non ln(strength)",
    "rank_growth": "growth of the rank of\nthe weights' change",
}


def richness(tables: Tables) -> Figure:
    """A column a network; order above, rank below, against gamma."""
    shown = {name: tables[f"phase_diagram/{of}"] for name, (_, of) in NETWORKS.items()}
    shown = {name: table for name, table in shown.items() if _gammas(table, name)}
    if not shown:
        raise NothingToDraw
    figure, axes = plt.subplots(2, len(shown), figsize=(0.6 + 2.3 * len(shown), 4.2), sharex="col", squeeze=False)
    for column, (name, table) in zip(axes.T, shown.items()):
        for part, quantity in zip(column, READ):
            _ladder(part, table, name, quantity)
        column[0].set_title(NETWORKS[name][0], fontsize="medium")
        column[-1].set_xlabel("γ (lazy to rich)")
    for row, label in zip(axes, READ.values()):
        row[0].set_ylabel(label)
    handles = {label: one for part in axes.flat for one, label in zip(*part.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _gammas(table: pd.DataFrame, name: str) -> dict[float, str]:
    """The systems of a ladder by gamma, ascending."""
    named = [system for system in table["system"].unique() if system.startswith(f"{name}@")]
    return dict(sorted((float(system.removeprefix(f"{name}@")), system) for system in named))


def _ladder(axes: Axes, table: pd.DataFrame, name: str, quantity: str) -> None:
    found = {gamma: quantity_of(table, system, quantity) for gamma, system in _gammas(table, name).items()}
    found = {gamma: values for gamma, values in found.items() if len(values)}
    axes.plot(list(found), [values.mean() for values in found.values()], color=PALETTE[0], lw=1)
    for gamma, values in found.items():
        default = gamma == 1
        marker, size = ("*", 9) if default else ("o", 4.5)
        label = "default recipe" if default else "output over γ, learning rate with it"
        style = {**MARKER, "ms": size, "mec": PALETTE[0]}
        axes.plot(np.full(len(values), gamma), values, marker, label=label, **style)
    expanded = [quantity_of(table, system, quantity) for system in _gammas(table, f"{name}/lazy").values()]
    if expanded and len(np.concatenate(expanded)):
        axes.axhline(np.concatenate(expanded).mean(), color=INK, ls="--", lw=1, label="to first order")
    place = quantity_of(table, f"{name}/mup", "gamma")
    beside = {
        "muP": (place, quantity_of(table, f"{name}/mup", quantity), "D", PALETTE[2]),
        "learning rate of the richest alone": (
            np.ones(1),
            quantity_of(table, f"{name}/rate", quantity),
            "x",
            PALETTE[1],
        ),
    }
    for label, (at, values, marker, color) in beside.items():
        if len(values):
            axes.plot(np.full(len(values), at[0]), values, marker, mec=color, label=label, **MARKER)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(found), [f"{gamma:g}" for gamma in found], fontsize="small")
    axes.xaxis.set_minor_formatter(NullFormatter())


def richness_transfer(tables: Tables) -> Figure:
    """Loss against the learning rate by width, in each parametrization."""
    table = tables["phase_diagram/richness_images"]
    names = {"standard": "standard parametrization", "mup": "muP"}
    if not table["system"].isin([f"transfer/{name}" for name in names]).any():
        raise NothingToDraw
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), sharex=True, sharey=True)
    for part, (name, title) in zip(axes, names.items()):
        mine = table[table["system"] == f"transfer/{name}"]
        widths = sorted(
            int(quantity.removeprefix("best_lr-"))
            for quantity in mine["quantity"].unique()
            if quantity.startswith("best_lr-")
        )
        for place, width in enumerate(widths):
            color = plt.get_cmap("viridis_r")(0.2 + 0.75 * place / max(len(widths) - 1, 1))
            curve = over_seeds(by_number(mine, "quantity", f"loss-{width}"))
            part.plot(curve["step"], curve["mean"], "o-", color=color, ms=3, lw=1, label=str(width))
            best = quantity_of(mine, f"transfer/{name}", f"best_lr-{width}")
            part.plot(best, quantity_of(mine, f"transfer/{name}", f"best_loss-{width}"), "|", color=color, ms=12)
        part.set_title(title, fontsize="medium")
        part.set(xscale="log", xlabel="learning rate")
    axes[0].set(ylabel="training loss at the end (nats)", yscale="log")
    plain_ticks(axes[0].yaxis)
    axes[-1].legend(title="width", fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
