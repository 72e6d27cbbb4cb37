"""The stability threshold of each optimizer on a quadratic, read off the library's own step."""

import pandas as pd

from benchmarks.lab import optimizers
from benchmarks.lab.measurements import linear_stability

BY_HAND = {"lr": 0.01, "momentum": 0.9}


def run(settings) -> pd.DataFrame:
    """One row per optimizer, and ``by-hand-polyak-09``: the heavy ball's map written out, as a control.

    Args:
        settings: `Thresholds` of study.py: optimizers by the names of their rows.
    """
    rows = []
    for name, options in settings.optimizers.items():
        optimizer = optimizers.named(**options)
        measured = linear_stability.stability_threshold(optimizer.build)
        rows.append((name, optimizer.implementation, options.lr, measured))
    by_hand = linear_stability.largest_stable_curvature(
        lambda a: linear_stability.spectral_radius(linear_stability.heavy_ball_map(a, **BY_HAND))
    )
    rows.append(("by-hand-polyak-09", "written out by hand", BY_HAND["lr"], by_hand))
    table = pd.DataFrame(rows, columns=["optimizer", "implementation", "learning_rate", "stability_threshold"])
    table["threshold_times_learning_rate"] = table["stability_threshold"] * table["learning_rate"]
    return table
