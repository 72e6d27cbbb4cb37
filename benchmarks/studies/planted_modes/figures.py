"""When planted modes are learned."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, NothingToDraw, Tables, plain_ticks, quantity_of

# What follows a network's name: label, colour, marker, line.
PLANTED = {
    "": ("network", PALETTE[0], "o", "-"),
    "/swap": ("network, two strengths exchanged", PALETTE[1], "s", "none"),
    "/level": ("network, equal variance of the inputs", PALETTE[2], "D", "-"),
    "/lazy": ("network to first order", PALETTE[4], "v", "--"),
    "/layer": ("single layer, same recipe", INK, "x", ":"),
}
NETWORKS = ("mlp", "resnet", "vit", "gpt")


def planted_modes(tables: Tables) -> Figure:
    """A panel per network: half times of planted modes against their strength."""
    table = pd.concat([tables["planted_modes/planted_images"], tables["planted_modes/planted_text"]])
    shown = [name for name in NETWORKS if any(len(_series(table, f"{name}{kind}")) for kind in PLANTED)]
    if not shown:
        raise NothingToDraw
    figure, grid = plt.subplots(1, len(shown), figsize=(1.0 + 1.85 * len(shown), 3.1), squeeze=False, sharey=True)
    for axes, name in zip(grid[0], shown):
        for kind, style in PLANTED.items():
            _draw(axes, _series(table, f"{name}{kind}"), *style, spread=not kind)
        slopes = quantity_of(table, name, "timing_slope")
        said = f"slope {slopes.mean():.2f}" if len(slopes) else ""
        axes.set(xscale="log", yscale="log")
        axes.set_title(f"{name}  {said}", loc="left", fontsize="medium")
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis, [0.25, 0.5, 0.7, 1, 1.4, 2, 4])
    figure.supxlabel("strength of the planted mode", fontsize="medium")
    grid[0, 0].set_ylabel("half time over its mean")
    handles = [
        plt.Line2D([], [], color=c, marker=m, ls=ls, mfc="white", label=label) for label, c, m, ls in PLANTED.values()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="small")
    return figure


def _series(table: pd.DataFrame, system: str) -> pd.DataFrame:
    """Strengths, and half times over their geometric mean: means and extremes of the seeds that learned all modes."""
    rows = table[table["system"] == system].pivot(index="seed", columns="quantity", values="value")
    names = [[name for name in rows if name.startswith(start)] for start in ("strength_", "half_time_")]
    if len(names[0]) != len(names[1]) or not names[0]:
        return pd.DataFrame()
    rows = rows.dropna(subset=names[1])
    times = np.log(rows[sorted(names[1])])
    relative = times.sub(times.mean(axis=1), axis=0)
    over = {"time": relative.mean(), "least": relative.min(), "most": relative.max()}
    strengths = rows[sorted(names[0])].mean().to_numpy()
    return pd.DataFrame({"strength": strengths, **{name: np.exp(v.to_numpy()) for name, v in over.items()}})


def _draw(axes: Axes, series: pd.DataFrame, label: str, color, marker: str, line: str, *, spread: bool) -> None:
    if len(series):
        series = series.sort_values("strength")
        if spread:
            axes.fill_between(series["strength"], series["least"], series["most"], color=color, alpha=0.15, lw=0)
        axes.plot(series["strength"], series["time"], color=color, marker=marker, ls=line, lw=1, ms=4.5, mfc="white")
