"""Classical rates: the functions that attain them, and a convex problem that stays below: claims C1, C3 and C4."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, MARKER, PALETTE, Tables, empty
from benchmarks.theory import convex_rates as theory

WORST, IMAGES = "convex_rates/worst_cases", "convex_rates/logistic_regression"
METHODS = {
    "gradient-descent": ("gradient descent", PALETTE[0], "o"),
    "nesterov": ("Nesterov", PALETTE[1], "s"),
    "strongly-convex": ("Nesterov, constant momentum", PALETTE[2], "D"),
}


def convex_rates(tables: Tables) -> Figure:
    """Worst values against their closed forms, and logistic regression on images against its bounds."""
    worst, images = tables.get(WORST), tables.get(IMAGES)
    if worst is None or images is None:
        return empty("No run of claims C1 to C4.")
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
    _worst(axes[0], worst)
    _images(axes[1], images)
    return figure


def _worst(axes: Axes, table: pd.DataFrame) -> None:
    """Values in units of L R^2: the ratio that was measured, times the closed form."""
    ratios = table[table["quantity"] == "ratio"].set_index("system")["value"]
    n = np.arange(1, 101)
    for prefix, suffix, (label, color, marker), rate in (
        ("huber-", "-1", METHODS["gradient-descent"], lambda k: theory.gradient_descent(1, 1, 1, k)),
        ("nesterov-", "", METHODS["nesterov"], lambda k: theory.accelerated(1, 1, k)),
    ):
        axes.plot(n, [rate(k) for k in n], color=color, lw=1)
        found = [name for name in ratios.index if _steps(name, prefix, suffix) is not None]
        steps = np.array([_steps(name, prefix, suffix) for name in found])
        axes.plot(steps, [ratios[s] * rate(k) for s, k in zip(found, steps)], marker, mec=color, label=label, **MARKER)
    beyond = [name for name in ratios.index if _steps(name, "beyond-", "") is not None]
    steps = np.array([_steps(name, "beyond-", "") for name in beyond])
    values = [ratios[s] * theory.gradient_descent(1, 1, 1.9, k) for s, k in zip(beyond, steps)]
    axes.plot(steps, values, "x", color=INK, ms=4.5, label="a step of 1.9/L on a quadratic")
    axes.set(xscale="log", yscale="log", xlabel="steps N", ylim=(5e-4, 1), title="worst functions")
    axes.set_ylabel("f(x_N) − f* (L R²)")
    axes.legend(loc="lower left")


def _steps(system: str, prefix: str, suffix: str) -> int | None:
    """N of a system that is named prefix, N, suffix."""
    middle = system.removeprefix(prefix).removesuffix(suffix)
    return int(middle) if system == f"{prefix}{middle}{suffix}" and middle.isdigit() else None


def _images(axes: Axes, table: pd.DataFrame) -> None:
    for system, (label, color, marker) in METHODS.items():
        mine = table[table["system"] == system]
        if mine.empty:
            continue
        for kind, style in (
            ("gap", {"marker": marker, "mfc": "white", "ms": 4, "lw": 1}),
            ("bound", {"ls": "--", "lw": 1}),
        ):
            rows = mine[mine["quantity"].str.startswith(f"{kind}-")]
            steps = rows["quantity"].str.removeprefix(f"{kind}-").astype(int)
            grouped = rows.groupby(steps)["value"]
            mean = grouped.mean()
            axes.plot(mean.index, mean, color=color, label=label if kind == "gap" else None, **style)
            if kind == "gap":
                axes.fill_between(mean.index, grouped.min(), grouped.max(), color=color, alpha=0.2, lw=0)
    axes.plot([], [], ls="--", lw=1, color=INK, label="bounds")
    axes.set(xscale="log", yscale="log", xlabel="steps n", title="logistic regression on images")
    axes.set_ylabel("f(x_n) − f* (nats)")
    axes.legend(loc="lower left")
