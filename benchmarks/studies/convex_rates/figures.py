"""Classical rates: the functions that attain them, and a convex problem that stays below: claims C1, C3 and C4."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, MARKER, PALETTE, Tables, by_number, draw_curve, over_seeds
from benchmarks.theory import convex_rates as theory

METHODS = {
    "gradient-descent": ("gradient descent", PALETTE[0], "o"),
    "nesterov": ("Nesterov", PALETTE[1], "s"),
    "strongly-convex": ("Nesterov, constant momentum", PALETTE[2], "D"),
}


def convex_rates(tables: Tables) -> Figure:
    """Worst values against their closed forms, and logistic regression on images against its bounds."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4))
    _worst(axes[0], tables["convex_rates/worst_cases"])
    _images(axes[1], tables["convex_rates/logistic_regression"])
    return figure


def _worst(axes: Axes, table: pd.DataFrame) -> None:
    """Values in units of L R^2: the ratio that was measured, times the closed form."""
    ratios = table[table["quantity"] == "ratio"].set_index("system")["value"]
    n = np.arange(1, 101)
    for pattern, (label, color, marker), rate in (
        (r"huber-(\d+)-1", METHODS["gradient-descent"], lambda k: theory.gradient_descent(1, 1, 1, k)),
        (r"nesterov-(\d+)", METHODS["nesterov"], lambda k: theory.accelerated(1, 1, k)),
    ):
        axes.plot(n, [rate(k) for k in n], color=color, lw=1)
        axes.plot(*_values(ratios, pattern, rate), marker, mec=color, label=label, **MARKER)
    beyond = _values(ratios, r"beyond-(\d+)", lambda k: theory.gradient_descent(1, 1, 1.9, k))
    axes.plot(*beyond, "x", color=INK, ms=4.5, label="a step of 1.9/L on a quadratic")
    axes.set(xscale="log", yscale="log", xlabel="steps N", ylim=(5e-4, 1), title="worst functions")
    axes.set_ylabel("f(x_N) − f* (L R²)")
    axes.legend(loc="lower left")


def _values(ratios: pd.Series, pattern: str, rate: Callable[[int], float]) -> tuple[list[int], list[float]]:
    """N and value of the systems whose names are N within a pattern."""
    found = {int(match[1]): ratio for name, ratio in ratios.items() if (match := re.fullmatch(pattern, name))}
    return list(found), [ratio * rate(k) for k, ratio in found.items()]


def _images(axes: Axes, table: pd.DataFrame) -> None:
    for system, (label, color, marker) in METHODS.items():
        gap, bound = (over_seeds(by_number(table, "quantity", kind, system=system)) for kind in ("gap", "bound"))
        if len(gap):
            draw_curve(axes, gap, color=color, alpha=0.2, lw=1, label=label, marker=marker, mfc="white", ms=4)
            axes.plot(bound["step"], bound["mean"], color=color, ls="--", lw=1)
    axes.plot([], [], ls="--", lw=1, color=INK, label="bounds")
    axes.set(xscale="log", yscale="log", xlabel="steps n", title="logistic regression on images")
    axes.set_ylabel("f(x_n) − f* (nats)")
    axes.legend(loc="lower left")
