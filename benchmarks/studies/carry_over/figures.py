"""Figures of the open question where it is asked: the table of shares, modes along training, learning curves."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.evidence.drawing import INK, PALETTE, NothingToDraw, Tables, draw_curve, over_seeds
from benchmarks.evidence.share import CANNOT, PREDICTIONS

SHADES = "mako"
# Networks beside a system, as lines of its modes.
STYLES = {"net": "-", "twin": "--"}
# Whose half times are compared.
ORDERED = {
    "SGD with momentum": "gpt-by-sgd",
    "AdamW": "gpt-by-adamw",
    "Muon": "gpt-by-muon",
    "AdamW, tenth of the weights": "gpt-small-weights",
    "AdamW, to first order": "gpt/lazy",
    "zero layers, small weights": "gpt/small",
}


def carry_over_table(tables: Tables) -> Figure:
    """A cell per system and prediction: the share as colour, and its word."""
    answer = tables["open_question_4_1"]
    if answer.empty:
        raise NothingToDraw
    systems, columns = list(dict.fromkeys(answer["system"])), [one.name for one in PREDICTIONS]
    cells = answer.set_index(["system", "prediction"])
    figure, axes = plt.subplots(figsize=(7.6, 0.9 + 0.42 * len(systems)))
    shown = np.full((len(systems), len(columns)), np.nan)
    for i, system in enumerate(systems):
        for j, column in enumerate(columns):
            cell = cells.loc[(system, column)]
            shown[i, j] = np.clip(cell["share"], 0, 1) if cell["word"] != CANNOT else np.nan
            value = "" if np.isnan(cell["share"]) else f"{cell['share']:.2f}\n"
            dark = shown[i, j] > 0.45
            axes.text(
                j + 0.5,
                i + 0.5,
                f"{value}{cell['word']}",
                ha="center",
                va="center",
                fontsize=6.5,
                color="w" if dark else INK,
            )
    # So few that the colour bar is drawn as paths, not as a picture inside the file.
    shades = ListedColormap(sns.light_palette(PALETTE[0], 25))
    image = axes.pcolormesh(shown, cmap=shades, vmin=0, vmax=1, edgecolors="w", linewidth=1)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(systems)) + 0.5, systems)
    axes.invert_yaxis()
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="carry-over share", shrink=0.8, pad=0.02)
    return figure


def carry_over_order(tables: Tables) -> Figure:
    """Half times against strengths in the transformer, by optimizer and beside it."""
    scores = tables["carry_over/scores"]
    figure, axes = plt.subplots(figsize=(6.2, 3.6))
    for (label, system), colour, marker in zip(ORDERED.items(), PALETTE, "osD^vP"):
        mine = scores[scores["system"] == system]
        strengths, times = (_by_mode(mine, name) for name in ("strength_", "half_time_"))
        found = strengths.index.intersection(times.index)
        if len(found):
            line = np.polynomial.Polynomial.fit(np.log(strengths[found]), np.log(times[found]), 1)
            ends = np.array([strengths[found].min(), strengths[found].max()])
            axes.plot(ends, np.exp(line(np.log(ends))), color=colour, lw=0.8)
            axes.plot(strengths[found], times[found], marker, color=colour, ms=4.5, label=label)
    if not axes.lines:
        raise NothingToDraw
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="strength of the mode",
        ylabel="half time (steps at full learning rate)",
    )
    axes.legend(bbox_to_anchor=(1.02, 0.5), loc="center left", frameon=False)
    return figure


def _by_mode(scores: pd.DataFrame, name: str) -> pd.Series:
    """Means over seeds of a quantity of each mode, by the mode's number; of modes that every seed has one for."""
    rows = scores[scores["quantity"].str.fullmatch(rf"{name}\d+")]
    table = rows.assign(mode=rows["quantity"].str.removeprefix(name).astype(int)).pivot(
        index="seed", columns="mode", values="value"
    )
    return table.dropna(axis=1).mean()


def carry_over_ngrams(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Distances to n-gram models along training."""
    mine = curves[curves["system"] == "gpt"]
    names = [name for name in mine if name.startswith("distance_") and mine[name].notna().any()]
    if not names:
        raise NothingToDraw
    figure, axes = plt.subplots(figsize=(6.2, 3.2))
    for name, colour in zip(names, PALETTE):
        for role, style in STYLES.items():
            curve = over_seeds(mine[mine["role"] == role].pivot(index="seed", columns="step", values=name))
            draw_curve(axes, curve, color=colour, ls=style)
        axes.plot([], [], color=colour, label=name.removeprefix("distance_"))
    axes.set(xscale="symlog", yscale="log", xlabel="steps", ylabel="KL divergence from the model (nats)")
    axes.legend(frameon=False)
    return figure


def carry_over_modes(tables: Tables, curves: pd.DataFrame) -> Figure:
    """A panel per system of the answer: what share of its own way each mode has gone."""
    figure, grid = _panels(tables, curves)
    for axes, (_, mine) in grid:
        names = [name for name in mine if name.startswith("amplitude_") and mine[name].notna().any()]
        colours = sns.color_palette(SHADES, len(names) + 1)
        for role, style in STYLES.items():
            for name, colour in zip(names, colours):
                way = _own_way(mine[mine["role"] == role], name)
                axes.plot(way.index, way.to_numpy(), color=colour, ls=style, lw=1.1)
        axes.axhline(0.5, color=INK, lw=0.5, ls=":")
        axes.set(xscale="symlog", ylim=(-0.15, 1.3), xlim=(0, mine["step"].max()))
    figure.supxlabel("steps", fontsize="medium")
    figure.supylabel("share of the way to the target", fontsize="medium")
    _legend(figure, INK, {"network": STYLES["net"], "linear twin": STYLES["twin"]})
    return figure


def carry_over_learning(tables: Tables, curves: pd.DataFrame) -> Figure:
    """A panel per system of the answer: loss on training and held-out examples."""
    figure, grid = _panels(tables, curves)
    for axes, (name, mine) in grid:
        net = mine[mine["role"] == "net"]
        for loss, style in (("loss", "-"), ("test_loss", "--")):
            curve = over_seeds(net.pivot(index="seed", columns="step", values=loss))
            draw_curve(axes, curve, color=PALETTE[0], ls=style)
        axes.set(xscale="symlog", xlim=(0, mine["step"].max()))
        right = tables["open_question_4_1"].set_index("system")["test_accuracy"].groupby(level=0).first()[name]
        axes.set_title(f"{name} ({right:.0%})", loc="left", fontsize="medium")
    figure.supxlabel("steps", fontsize="medium")
    figure.supylabel("cross-entropy (nats)", fontsize="medium")
    _legend(figure, PALETTE[0], {"training": "-", "held out": "--"})
    return figure


def _panels(tables: Tables, curves: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, tuple[str, pd.DataFrame]]]]:
    """A figure with a panel for each system of the answer that has curves, titled."""
    asked = list(dict.fromkeys(tables["open_question_4_1"]["system"]))
    there = [(name, curves[curves["system"] == name]) for name in asked]
    there = [pair for pair in there if len(pair[1])]
    if not there:
        raise NothingToDraw
    columns = min(3, len(there))
    figure, grid = plt.subplots(
        -(-len(there) // columns), columns, figsize=(7.6, 0.6 + 1.9 * -(-len(there) // columns)), squeeze=False
    )
    for spare in grid.flat[len(there) :]:
        spare.set_axis_off()
    for axes, (name, _) in zip(grid.flat, there):
        axes.set_title(name, loc="left", fontsize="medium")
    return figure, list(zip(grid.flat, there))


def _legend(figure: Figure, color, styles: dict[str, str]) -> None:
    handles = [Line2D([], [], color=color, ls=style, label=label) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


def _own_way(curve: pd.DataFrame, name: str) -> pd.Series:
    """(a - a_0) / (s - a_0) by step, mean over seeds; curves hold a / s."""
    table = curve.pivot(index="step", columns="seed", values=name)
    return ((table - table.iloc[0]) / (1 - table.iloc[0])).mean(axis=1) if len(table) else pd.Series(dtype=float)
