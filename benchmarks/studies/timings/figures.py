"""What eigensolvers and optimizers cost in seconds, which are part of no verdict."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, Tables, plain_ticks, remark
from benchmarks.studies.optimizer_comparison.figures import losses


def eigensolvers(tables: Tables) -> Figure:
    """Gradient times to the top k eigenvalues, one panel per k: each solver at its cheapest setting that meets the
    target.

    Beside each bar: gradient times, mean Hessian-vector products, worst relative error. A solver of which no setting
    met the target has no bar, and says so. Ours is the coloured one; the axis is logarithmic, from one gradient.
    """
    table = tables["timings/eigensolvers"]
    panels = [mine for _, mine in table.groupby("k")]
    figure, panels_axes = plt.subplots(
        len(panels),
        1,
        figsize=(6.4, 0.5 + 0.42 * len(table)),
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": [len(mine) for mine in panels]},
    )
    for axes, mine in zip(panels_axes[:, 0], panels):
        k = mine["k"].iloc[0]
        y = -np.arange(len(mine))
        colours = [PALETTE[0] if version == "this project" else PALETTE[7] for version in mine["version"]]
        axes.barh(y, mine["gradient_times"], color=colours, height=0.65)
        for height, (_, row) in zip(y, mine.iterrows()):
            met = row["solves"] > 0
            cost = f"{row['gradient_times']:.1f} ({row['products']:.1f} HVPs, error {row['worst_error']:.0e})"
            at = (row["gradient_times"] if met else 1, height)
            remark(axes, cost if met else row["setting"], at, (4, 0), va="center", color="black" if met else INK)
        labels = [
            f"{row['solver']}, {row['start']}" + (f"\n{row['setting']}" if row["solves"] else "")
            for _, row in mine.iterrows()
        ]
        axes.set_yticks(y, labels)
        axes.set_title("top eigenvalue" if k == 1 else f"top {k} eigenvalues", loc="left")
        axes.set(xscale="log", xlim=(1, 200 * table["gradient_times"].max()))
        axes.minorticks_off()
    axes.set_xlabel("gradient times, of one gradient without its graph")
    plain_ticks(axes.xaxis, [t for t in (1, 3, 10, 30, 100, 300, 1000) if t <= 2 * table["gradient_times"].max()])
    return figure


def optimizer_seconds(tables: Tables, curves: pd.DataFrame) -> Figure:
    """The objective of each tuned optimizer against seconds, at the time a step takes alone on this machine."""
    timings = tables["timings/optimizer_steps"]
    return losses(tables, curves, timings.set_index(["workload", "optimizer"])["loop_seconds"])
