"""Optimizers on workloads: claims W1 to W8."""

from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence import comparison
from benchmarks.evidence.drawing import INK, PALETTE, NothingToDraw, Tables, draw_curve, plain_ticks
from benchmarks.evidence.statistics import t_interval

# The optimizers that readers know, one colour each; the others are drawn in grey.
SHOWN = {
    "sgd": ("SGD", PALETTE[7]),
    "polyak": ("SGD, momentum", PALETTE[0]),
    "signum": ("sign descent, momentum", PALETTE[1]),
    "adamw": ("AdamW", PALETTE[2]),
    "muon-flattened": ("Muon", PALETTE[3]),
    "soap": ("SOAP", PALETTE[4]),
    "schedule-free-adamw": ("Schedule-Free AdamW", PALETTE[9]),
}
OTHERS = "0.8"
TITLES = {
    "mlp": "perceptron",
    "cnn": "convolutional net",
    "cnn-deep": "deeper convolutional net",
    "transformer": "transformer",
    "gpt": "characters of a text",
    "imbalanced": "imbalanced softmax",
    "tokens": "tokens, full batch",
}
# Losses of classes below this are drawn there: some are zero in float32.
LEAST = 1e-5


def optimizer_loss(tables: Tables, curves: pd.DataFrame) -> Figure:
    """The objective of each tuned optimizer against steps."""
    return losses(tables, curves, None)


def losses(tables: Tables, curves: pd.DataFrame, seconds: pd.Series | None) -> Figure:
    """One panel per workload: mean and range over seeds; dashed, the target.

    Args:
        seconds: what a step takes, by workload and optimizer; against steps if None.
    """
    mine = curves[(curves["role"] == "final") & (curves["metric"] == "objective")]
    mine = comparison.finished(mine, tables["optimizer_comparison"])
    if seconds is not None:
        timed = set(seconds.index.get_level_values("workload"))
        mine = mine[mine["workload"].isin(timed)]
    workloads = [name for name in TITLES if name in set(mine["workload"])]
    if not workloads:
        raise NothingToDraw
    columns = min(3, len(workloads))
    rows = -(-len(workloads) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.5 * columns + 0.6, 2.6 * rows + 0.9), squeeze=False)
    goals = _goals(tables)
    for axes, workload in zip(grid.flat, workloads):
        of = mine[mine["workload"] == workload]
        low, high = np.inf, -np.inf
        for optimizer in _grey_first(of["optimizer"].unique()):
            curve = of[of["optimizer"] == optimizer].sort_values("step")
            per_step = 1.0
            if seconds is not None:
                if (workload, optimizer) not in seconds.index:
                    continue
                per_step = seconds[workload, optimizer]
            _line(axes, curve, *_look(optimizer), x=per_step, zorder=3 if optimizer in SHOWN else 1)
            low, high = min(low, curve["mean"].min()), max(high, curve["mean"].iloc[0])
        if workload in goals.index:
            axes.axhline(goals[workload], color=INK, lw=0.8, ls="--")
        full = workload in ("imbalanced", "tokens")
        axes.set_title(TITLES[workload], loc="left")
        axes.set_xlabel("steps" if seconds is None else "seconds")
        axes.set_ylabel(f"{'training' if full else 'validation'} loss (nats)")
        if full and low > 0:
            axes.set_yscale("log")
            axes.set_ylim(max(low * 0.7, 1e-4), high * 1.5)
        elif np.isfinite(low):
            axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
        axes.set_xlim(left=0)
    for axes in grid.flat[len(workloads) :]:
        axes.set_axis_off()
    _legend(figure, grid, spare=len(workloads) < grid.size)
    return figure


def optimizer_profile(tables: Tables) -> Figure:
    """The share of tuned runs of each optimizer that arrive within a multiple of the best one's steps."""
    long = tables[comparison.LONG]
    aimed = set(_goals(tables).index)
    contested = [name for name in TITLES if name in aimed]
    if long.empty or not contested:
        raise NothingToDraw
    ratios = comparison.profile(long[long["workload"].isin(contested)])
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    # Shares are of all runs: an optimizer without a run on a workload did not arrive there.
    instances = len(ratios[["workload", "seed"]].drop_duplicates())
    finite = ratios.loc[np.isfinite(ratios["ratio"]), "ratio"]
    right = max(2.0, 1.2 * finite.max()) if len(finite) else 2.0
    for optimizer in _grey_first(ratios["optimizer"].unique()):
        label, colour = _look(optimizer)
        mine = np.sort(ratios.loc[ratios["optimizer"] == optimizer, "ratio"].to_numpy())
        x = [1.0, *mine[np.isfinite(mine)], right]
        y = np.array([(mine <= tau).sum() / instances for tau in x])
        axes.step(x, y, where="post", color=colour, lw=1.6 if label else 0.8, label=label)
    axes.set(xscale="log", xlim=(1, right), ylim=(0, 1.06))
    plain_ticks(axes.xaxis)
    axes.set_xlabel("steps to the target, in units of the best optimizer's")
    axes.set_ylabel(f"share of runs, {len(contested)} workload{'s' if len(contested) > 1 else ''}")
    _legend(figure, np.array([[axes]]), spare=False)
    return figure


def lr_sensitivity(tables: Tables) -> Figure:
    """Final loss against the learning rate in units of the tuned one, and the area that it makes."""
    long = tables[comparison.LONG]
    swept = long[long["role"] != "trial"]
    with_factors = swept.loc[swept["role"] == "factor", "workload"].unique()
    workloads = [name for name in (*TITLES, "transformer-plain") if name in set(with_factors)]
    if not workloads:
        raise NothingToDraw
    figure, grid = plt.subplots(1, len(workloads), figsize=(2.3 * len(workloads) + 0.8, 3.4), squeeze=False)
    for axes, workload in zip(grid.flat, workloads):
        of = swept[swept["workload"] == workload]
        first = of["first_objective"].mean()
        for optimizer in _grey_first(of["optimizer"].unique()):
            dashed = optimizer == "adam" and workload == "transformer-plain"
            look = ("Adam", PALETTE[2]) if dashed else _look(optimizer)
            mine = of[of["optimizer"] == optimizer]
            clipped = np.minimum(mine["objective"].fillna(np.inf), first)
            curve = clipped.groupby(mine["factor"]).agg(mean="mean", low="min", high="max")
            _line(axes, curve.rename_axis("step").reset_index(), *look, marker="o", ms=2.5, ls="--" if dashed else "-")
        axes.axhline(first, color=INK, lw=0.8, ls=":")
        axes.set_title(TITLES.get(workload, "without normalization"), loc="left")
        axes.set(xscale="log", xlabel="lr over the tuned one")
        factors = sorted(of["factor"].unique())
        axes.set_xticks(factors, [str(Fraction(factor).limit_denominator(1000)) for factor in factors])
        axes.minorticks_off()
    grid[0, 0].set_ylabel("final validation loss (nats)")
    _legend(figure, grid, spare=False)
    return figure


def class_losses(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Left: loss of a class against its frequency on one-hot inputs, and the closed form; right: the loss of each group
    of classes of the imbalanced problem at its end."""
    exact = tables["optimizer_comparison/class_imbalance"]
    if exact.empty:
        raise NothingToDraw
    groups = curves[(curves["role"] == "final") & (curves["workload"] == "imbalanced")]
    groups = comparison.finished(groups, tables["optimizer_comparison"])
    groups = groups[groups["metric"].str.startswith("group_loss_")]
    figure, axes = plt.subplots(1, 2 if len(groups) else 1, figsize=(7.2 if len(groups) else 4, 3.4), squeeze=False)
    left = axes[0, 0]
    for system, label, colour, marker in (
        ("gradient-descent", "gradient descent", PALETTE[0], "o"),
        ("sign-descent", "sign descent", PALETTE[1], "s"),
    ):
        mine = exact[exact["system"] == system].set_index("quantity")["value"]
        x = mine[mine.index.str.startswith("frequency_")].to_numpy()
        y = mine[mine.index.str.startswith("loss_")].to_numpy()
        if not len(x):
            continue
        left.plot(x, y, marker, ms=4, mfc="white", mec=colour, label=label)
        if system == "gradient-descent":
            # limit_low and limit_high are loss x frequency x time: the time follows from either.
            time = mine["limit_low"] / (y * x).min()
            left.plot(x, (len(x) - 1) / len(x) / (x * time), color=INK, ls="--", lw=1, label="(c − 1)/(c π t)")
    left.set(xscale="log", yscale="log", xlabel="frequency of the class, π", ylabel="loss of the class (nats)")
    plain_ticks(left.xaxis)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1))
    if len(groups):
        right = axes[0, 1]
        for optimizer in _grey_first(groups["optimizer"].unique()):
            mine = groups[groups["optimizer"] == optimizer]
            last = mine[mine["step"] == mine["step"].max()].copy()
            last["group"] = last["metric"].str.rpartition("_")[2].astype(int)
            last = last.sort_values("group")
            counts = 2.0 ** (last["group"].max() + 1 - last["group"])
            curve = last[["mean", "low", "high"]].clip(lower=LEAST).assign(step=counts)
            _line(right, curve, *_look(optimizer), marker="o", ms=3)
        right.set(xscale="log", yscale="log", xlabel="examples of the class", ylabel="loss of these classes (nats)")
        right.set_ylim(bottom=LEAST)
        plain_ticks(right.xaxis, sorted(set(counts)))
        right.minorticks_off()
        _legend(figure, axes, spare=False)
    return figure


def optimizer_sharpness(tables: Tables) -> Figure:
    """Sharpness at the end of each optimizer's tuned runs: circles are seeds, bars 95 % intervals."""
    long = tables[comparison.LONG]
    runs = long[(long["role"] == "final") & long["sharpness_end"].notna()]
    workloads = [name for name in ("mlp", "cnn", "transformer") if name in set(runs["workload"])]
    if not workloads:
        raise NothingToDraw
    names = list(dict.fromkeys(runs.loc[runs["workload"].isin(workloads), "optimizer"]))
    figure, grid = plt.subplots(
        1, len(workloads), figsize=(2.1 * len(workloads) + 1.6, 0.24 * len(names) + 1.1), sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axes, workload in zip(grid.flat, workloads):
        for y, name in enumerate(reversed(names)):
            values = runs.loc[(runs["workload"] == workload) & (runs["optimizer"] == name), "sharpness_end"].to_numpy()
            label, colour = _look(name)
            colour = colour if label else INK
            interval = t_interval(values, 0.95)
            if interval:
                low = max(interval.low, values.min() / 3)
                axes.plot([low, interval.high], [y, y], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(values, np.full(len(values), y), "o", ms=4, mfc="white", mec=colour, clip_on=False)
        axes.set(xscale="log", xlabel="sharpness (nats / parameter²)")
        plain_ticks(axes.xaxis)
        axes.set_title(TITLES[workload], loc="left")
    grid[0, 0].set_yticks(range(len(names)), list(reversed(names)))
    return figure


def _look(optimizer: str) -> tuple[str | None, object]:
    return SHOWN.get(optimizer, (None, OTHERS))


def _line(axes: Axes, curve: pd.DataFrame, label: str | None, colour, x: float = 1.0, **line) -> None:
    """A mean, with its range over seeds if the optimizer has a colour of its own."""
    if label:
        draw_curve(axes, curve, color=colour, x=x, lw=1.4, alpha=0.2, label=label, **line)
    else:
        axes.plot(x * curve["step"], curve["mean"], color=colour, lw=0.8, **line)


def _grey_first(optimizers) -> list[str]:
    """In the order of the legend, and so that coloured lines lie on top."""
    places = {name: place for place, name in enumerate(SHOWN)}
    return sorted(optimizers, key=lambda name: (name in places, places.get(name, 0), name))


def _goals(tables: Tables) -> pd.Series:
    """The target of each workload that has one."""
    goals = tables["optimizer_comparison/targets"]
    return goals[goals["target"] == "target"].set_index("workload")["objective"]


def _legend(figure: Figure, grid: np.ndarray, spare: bool) -> None:
    """One legend for all panels: in the place of a missing panel, or below."""
    handles: dict[str, object] = {}
    greys = False
    for axes in grid.flat:
        for line in axes.lines:
            label = line.get_label()
            if not label.startswith("_") and label in {shown for shown, _ in SHOWN.values()} | {"Adam"}:
                handles.setdefault(label, line)
            greys |= line.get_color() == OTHERS
    if greys:
        handles["other optimizers"] = plt.Line2D([], [], color=OTHERS, lw=0.8)
    if spare:
        spot: Axes = grid.flat[-1]
        spot.legend(handles.values(), handles.keys(), loc="center left")
    else:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
