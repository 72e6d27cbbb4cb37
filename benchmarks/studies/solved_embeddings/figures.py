"""Networks beside models of them that are solved: when each mode is learned."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.evidence.drawing import INK, PALETTE, NothingToDraw, Tables, plain_ticks

WORDS = {
    "word2vec/small": "quadratic model, small weights",
    "word2vec-small": "skip-gram, small weights",
    "word2vec": "skip-gram, start of word2vec.c",
    "word2vec-large": "skip-gram, large weights",
}
VIEWS = {
    "barlow/small": "linear model, small weights",
    "barlow-small": "encoder, small weights",
    "barlow": "encoder, default weights",
    "barlow/flat": "linear model, equal strengths",
}


def solved_embeddings(tables: Tables) -> Figure:
    """Half times of the modes of word vectors and of Barlow Twins."""
    words, views = tables["solved_embeddings/word2vec"], tables["solved_embeddings/barlow"]
    if words.empty and views.empty:
        raise NothingToDraw
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.4))
    _words(axes[0], words)
    _views(axes[1], views)
    return figure


def _words(axes: Axes, table: pd.DataFrame) -> None:
    for (system, label), color, marker in zip(WORDS.items(), PALETTE, "osD^"):
        strengths, times, foretold = (
            by_mode(table, system, name) for name in ("strength_", "half_time_", "closed_form_")
        )
        both = strengths.index.intersection(times.index)
        # The solved model and the skip-gram beside it lie on one another.
        solved = {"ms": 8, "mfc": "none"} if system == "word2vec/small" else {"ms": 4.5}
        axes.plot(strengths[both], times[both], marker, color=color, label=label, **solved)
        if system == "word2vec/small" and len(foretold):
            axes.plot(strengths, foretold[strengths.index], color=INK, lw=1, label="closed form")
    axes.set(xscale="log", yscale="log", xlabel="strength of the mode", ylabel="half time (steps)")
    plain_ticks(axes.xaxis, [10, 20, 50, 100, 150, 200, 300, 500, 1000])
    plain_ticks(axes.yaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize="small")


def _views(axes: Axes, table: pd.DataFrame) -> None:
    for (system, label), color, marker in zip(VIEWS.items(), PALETTE, "osD^"):
        times = by_mode(table, system, "half_time_")
        if len(times):
            axes.plot(times.index, times / times.iloc[0], f"{marker}-", color=color, ms=4.5, lw=0.8, label=label)
    foretold = by_mode(table, "barlow/small", "closed_form_")
    if len(foretold):
        axes.plot(foretold.index, foretold / foretold.iloc[0], color=INK, lw=1, ls="--", label="closed form")
    axes.set(yscale="log", xlabel="eigenvalue, by size", ylabel="half time over the first")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_ticks(axes.yaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize="small")


def by_mode(table: pd.DataFrame, system: str, name: str) -> pd.Series:
    """Means over seeds of a quantity of each mode, by the mode's number; of modes that every seed has one for."""
    rows = table[(table["system"] == system) & table["quantity"].str.fullmatch(rf"{name}\d+")]
    numbers = rows["quantity"].str.removeprefix(name).astype(int)
    found = rows.assign(mode=numbers).pivot(index="seed", columns="mode", values="value")
    return found.astype(float).replace(np.inf, np.nan).dropna(axis=1).mean()
