"""Open Question 4.1: how far the greedy low-rank progression of deep linear networks carries over to others."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.evidence import ladder
from benchmarks.evidence.drawing import FAMILIES, INK, MARKER, PALETTE, NothingToDraw, Tables, beside, remark
from benchmarks.evidence.statistics import t_interval
from benchmarks.theory import deep_linear
from benchmarks.theory.modes import CLOCK_END

PHI = np.linspace(0.005, CLOCK_END, 190)
FROM_LEFT = {"xycoords": ("axes fraction", "data"), "va": "top"}
OVER_SEEDS = "mean and 95 % interval over seeds"
CLOCK_LABEL = "progress φ"
NET = {"ls": "-", "lw": 1.4}
TWIN = {"ls": (0, (4, 2)), "lw": 1.1}
CLOSED = {"color": "black", "ls": ":", "lw": 1.1}
LINE = {"color": "0.6", "ls": "-", "lw": 0.8}  # the straight line from start to target


def carry_over_waterfall(tables: Tables) -> Figure:
    """From the textbook recipe to the default one an axis at a time, in the registered order and in its reverse."""
    scores = tables[ladder.LADDER]
    corners = set(ladder.CORNERS.values())
    if not corners & set(scores["rung"]):
        raise NothingToDraw
    figure, grid = plt.subplots(1, 2, figsize=(7.2, 3.9), sharey=True)
    scores = scores[scores["rung"].isin(corners)]
    orders = ((ladder.ORDER, PALETTE[0], "o", -0.05), (ladder.ORDER[::-1], PALETTE[1], "s", 0.05))
    for axes, (quantity, label) in zip(
        grid, (("waypoint_score", "waypoint score"), ("sequentiality", "sequentiality"))
    ):
        axes.axhline(ladder.GREEDY, color=INK, ls="--", lw=0.8)
        axes.axhline(0, color=INK, lw=0.8)
        for row, (order, color, marker, aside) in enumerate(orders):
            steps = ladder.waterfall(scores, quantity, order)
            _staircase(axes, steps, color, marker, aside)
            _costs(axes, steps, color, row)
        axes.set_xticks(range(5), ["textbook\nrecipe", "", "", "", ""])
        axes.set(xlim=(-0.4, 4.5), ylabel=label)
        axes.tick_params(axis="x", length=2)
    grid[1].tick_params(labelleft=True)
    remark(grid[0], "greedy above", (4.5, ladder.GREEDY), (0, 2), ha="right", size=7.5)
    handles = [
        Line2D([], [], color=color, marker=marker, mfc="white", ms=4.5, label=label)
        for (_, color, marker, _), label in zip(orders, ("ReLU first, Adam last", "the reverse, Adam first"))
    ]
    figure.legend(handles=handles, title=OVER_SEEDS, loc="outside upper center", ncols=2)
    return figure


CHANGES = {"activation": "ReLU", "labels": "real labels", "initialization": "default init", "optimizer": "Adam"}


def _staircase(axes: Axes, steps: pd.DataFrame, color, marker: str, aside: float) -> None:
    """Means with their 95 % intervals, one step per axis; a rung that was not run interrupts the line."""
    axes.step(np.arange(len(steps)) + aside, steps["mean"], where="mid", color=color, lw=1)
    errors = np.abs(steps[["low", "high"]].to_numpy().T - steps["mean"].to_numpy())
    axes.errorbar(
        np.arange(len(steps)) + aside,
        steps["mean"],
        yerr=np.nan_to_num(errors),
        fmt=marker,
        color=color,
        mfc="white",
        ms=4.5,
        elinewidth=1.5,
    )


def _costs(axes: Axes, steps: pd.DataFrame, color, row: int) -> None:
    """Under each step the axis that went to practice, and what that changed; the largest loss in bold."""
    changes = steps["change"].to_numpy(float)
    dearest = int(np.nanargmin(changes)) if np.isfinite(changes).any() else -1
    for place, (axis, change) in enumerate(zip(steps["axis"], changes)):
        if axis not in CHANGES:
            continue
        cost = f"{change:+.2f}".replace("-", "−") if np.isfinite(change) else "not run"
        cost = "0.00" if cost in ("+0.00", "−0.00") else cost
        remark(
            axes,
            "+ " + CHANGES[axis].replace(" ", "\n") + f"\n{cost}",
            (place, 0),
            (0, -6 - 32 * row),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=7,
            color=color,
            fontweight="bold" if place == dearest else "normal",
        )


def mode_trajectories(tables: Tables, curves: pd.DataFrame) -> Figure:
    """a_k / s_k of the leading modes against progress: network, linear twin, closed form and straight line."""
    columns = {
        ladder.TEXTBOOK: "textbook recipe",
        "small-gd-relu-real": "textbook, real labels",
        ladder.DEFAULT: "default recipe",
    }
    there = {rung: title for rung, title in columns.items() if _runs(tables, curves, rung, "net")}
    if not there:
        raise NothingToDraw
    figure, grid = plt.subplots(
        1,
        len(there),
        figsize=(2.4 * len(there) + (0 if len(there) > 1 else 1.2), 3.2),
        sharey=True,
        squeeze=False,
    )
    handles = {}
    for axes, (rung, title) in zip(grid.flat, there.items()):
        for end in (0, 1):
            axes.axhline(end, color="0.85", lw=0.8, zorder=0)
        axes.plot(PHI, 1 - np.sqrt(1 - PHI), **LINE)
        closed = _closed_form(tables[ladder.LADDER], rung) if rung == ladder.TEXTBOOK else None
        for k in range(1, SHOWN_MODES + 1):
            color = MODE_COLORS[k - 1]
            for system, style in (("net", NET), ("twin", TWIN)):
                if _band(axes, _runs(tables, curves, rung, system), f"amplitude_{k}", color, style):
                    handles[f"mode {k}"] = Line2D([], [], color=color, lw=1.4)
            if closed is not None and k <= closed[1].shape[1]:
                axes.plot(closed[0], closed[1][:, k - 1], **CLOSED)
        axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
        axes.set(xlim=(0, CLOCK_END), xlabel=CLOCK_LABEL)
    grid[0, 0].set_ylabel("amplitude a$_k$ / s$_k$")
    handles |= {"network": Line2D([], [], color=INK, **NET), "linear twin": Line2D([], [], color=INK, **TWIN)}
    if any(line.get_linestyle() == ":" for line in grid[0, 0].lines):
        handles["closed form"] = Line2D([], [], **CLOSED)
    handles["straight line"] = Line2D([], [], **LINE)
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=4, title="mean and range over seeds"
    )
    return figure


SHOWN_MODES = 4
MODE_COLORS = (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4])


def _closed_form(scores: pd.DataFrame, rung: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Progress and u_k / s_k of a deep linear network of depth 2 whose modes all start at the rung's u0.

    du/dt = 2 u (s - u). Progress is the sum of share_k (1 - (1 - u_k / s_k)^2), share_k being the mode's of |T|^2. None
    without the modes' strengths.
    """
    mine = scores[scores["rung"] == rung]
    s_K = np.array(_numbered(mine, "strength"))
    init = ladder.by_seed(mine, "net", "init").mean()
    if not len(s_K) or not np.isfinite(init):
        return None
    shares_K = np.array(_numbered(mine, "share"))
    u0 = init * s_K.max()
    times = np.linspace(0, np.log(1e3 * s_K.min() / u0) / (2 * s_K.min()), 4000)[:, None]
    u_TxK = deep_linear.sigmoid(times, s_K, u0)
    phi = (shares_K * (1 - np.square(1 - u_TxK / s_K))).sum(1)
    kept = phi <= CLOCK_END
    return phi[kept], (u_TxK / s_K)[kept]


def _numbered(scores: pd.DataFrame, name: str) -> list[float]:
    """The means over seeds of a network's ``name_1``, ``name_2``, and so on."""
    found: list[float] = []
    while len(values := ladder.by_seed(scores, "net", f"{name}_{len(found) + 1}")):
        found.append(float(values.mean()))
    return found


def score_against_init(tables: Tables) -> Figure:
    """Waypoint score against u0 / s_1, by activation, and where the default recipe stands."""
    scores = tables[ladder.LADDER]
    if not {rung for rungs in ladder.SWEEPS.values() for rung in rungs} & set(scores["rung"]):
        raise NothingToDraw
    figure, axes = plt.subplots(figsize=(5.4, 3.9))
    axes.axhline(ladder.GREEDY, color=INK, ls="--", lw=0.8)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xscale("log")
    for family, rungs in ladder.SWEEPS.items():
        color, marker, label = FAMILIES[family]
        points = [(_net(scores, rung, "init"), _net(scores, rung, "waypoint_score")) for rung in rungs]
        points = [(init, score) for init, score in points if len(init) and len(score)]
        if not points:
            continue
        # Linear and tanh networks score alike: one must show behind the other.
        wide, size = (2.6, 7.5) if family == "linear" else (1.0, 4.5)
        axes.plot([init.mean() for init, _ in points], [score.mean() for _, score in points], color=color, lw=wide)
        for init, score in points:
            axes.plot(init.reindex(score.index), score, marker, mec=color, **MARKER | {"ms": size})
        axes.plot([], [], marker=marker, color=color, lw=wide, mec=color, mfc="white", ms=size, label=label)
    predicted = [
        (_net(scores, rung, "init").mean(), _net(scores, rung, "predicted_waypoint_score").mean())
        for rung in ladder.SWEEPS["linear"]
    ]
    # The closed form describes growth: it says nothing about a start above the strongest mode.
    predicted = [(init, score) for init, score in predicted if init < 1 and np.isfinite(score)]
    if predicted:
        axes.plot(*zip(*predicted), color="black", ls=(0, (4, 2)), lw=1, label="deep linear, closed form")
    _default_recipe(axes, scores)
    remark(axes, "half score", (0, ladder.GREEDY), (3, -2), size=7.5, **FROM_LEFT)
    remark(axes, "straight line", (0, 0), (3, -2), size=7.5, **FROM_LEFT)
    axes.set(xlabel="scale of the initial map, u$_0$ / s$_1$", ylabel="waypoint score")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.26))
    axes.set_xlim(right=50)
    axes.minorticks_off()
    return figure


def _default_recipe(axes: Axes, scores: pd.DataFrame) -> None:
    init, score = _net(scores, ladder.DEFAULT, "init"), _net(scores, ladder.DEFAULT, "waypoint_score")
    if len(init) and len(score):
        interval = t_interval(score.to_numpy(), 0.95)
        if interval:
            axes.plot([init.mean()] * 2, [interval.low, interval.high], color=PALETTE[3], lw=1.5)
        axes.plot(init.mean(), score.mean(), "*", ms=11, color=PALETTE[3], mec="white", mew=0.6, zorder=4)
        said, at = "default recipe\n(ReLU, Adam,\nreal labels)", (init.mean(), score.mean())
        remark(axes, said, at, (8, 12), color=PALETTE[3], size=8, va="bottom")
    mup = _net(scores, ladder.DEFAULT, "init_mup")
    if len(mup):
        axes.axvline(mup.mean(), color=PALETTE[4], ls="-.", lw=1)
        style = {"ha": "right", "va": "top", "color": PALETTE[4], "size": 8}
        remark(axes, "µP", (mup.mean(), 1), (-3, 0), xycoords=("data", "axes fraction"), **style)


def effective_rank(tables: Tables, curves: pd.DataFrame) -> Figure:
    """Effective rank of the outputs' linear part along progress; stable rank of the weights' updates at five marks."""
    recipes = {
        ladder.TEXTBOOK: ("textbook recipe", PALETTE[0], "o"),
        ladder.DEFAULT: ("default recipe", PALETTE[1], "s"),
    }
    scores = tables[ladder.LADDER]
    with_curves = [rung for rung in recipes if _runs(tables, curves, rung, "net")]
    updates = {rung: _update_ranks(scores, rung) for rung in recipes}
    if not with_curves and not any(len(found) for found in updates.values()):
        raise NothingToDraw
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.8))
    for rung in with_curves:
        _, color, _ = recipes[rung]
        for system, style in (("net", NET), ("twin", TWIN)):
            _band(left, _runs(tables, curves, rung, system), "rank", color, style)
        runs = _runs(tables, curves, rung, "net")
        if _band(left, runs, "null_rank", LINE["color"], {"lw": LINE["lw"]}):
            start = _along(runs, "null_rank")[:, 0].mean()
            name = (
                f"straight line,\n{recipes[rung][0]}"
                if rung == ladder.TEXTBOOK
                else f"straight line, {recipes[rung][0]}"
            )
            remark(left, name, (0.02, start), (0, 8 if rung == ladder.DEFAULT else 3), size=7.5)
    for rung, (_, color, marker) in recipes.items():
        for aside, null in ((-0.7, False), (0.7, True)):
            found = updates[rung]
            found = found[found["null"] == null]
            x = found["mark"] + aside + (1.4 if rung == ladder.DEFAULT else -1.4)
            right.vlines(x, found["low"], found["high"], color=color, lw=1.5)
            fill, style = ("white", ":") if null else (color, "-")
            right.plot(x, found["mean"], ls=style, marker=marker, color=color, mfc=fill, ms=4.5, lw=1.2)
    left.set(xlabel=CLOCK_LABEL, ylabel="effective rank of the outputs'\nlinear part (participation ratio)")
    left.set(xlim=(0, CLOCK_END), ylim=(1, left.get_ylim()[1] + 0.4))
    right.set(xlabel=f"{CLOCK_LABEL} (%)", ylabel="stable rank of the weights' update\n(mean over layers)")
    right.set(xticks=MARKS, ylim=(1, None))
    handles = [Line2D([], [], color=c, marker=m, ms=4.5, lw=1.4, label=label) for label, c, m in recipes.values()]
    handles += [
        Line2D([], [], color=INK, label="linear twin", **TWIN),
        Line2D([], [], color=INK, ls=":", marker="o", mfc="white", ms=4.5, label="frozen features"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, title="mean and range over seeds")
    return figure


MARKS = (10, 25, 50, 75, 90)


def _update_ranks(scores: pd.DataFrame, rung: str) -> pd.DataFrame:
    rows = []
    for null, stem in ((False, "update_rank"), (True, "update_rank_null")):
        for mark in MARKS:
            values = _net(scores, rung, f"{stem}_{mark}%").to_numpy()
            if len(values):
                rows.append((mark, null, values.mean(), values.min(), values.max()))
    return pd.DataFrame(rows, columns=["mark", "null", "mean", "low", "high"])


def carry_over_ladder(tables: Tables) -> Figure:
    """Every rung: waypoint score of network and twin, how it tracks its twin, and the verdict."""
    table = tables["low_rank_progression"]
    table = table[table["n"] > 0]
    if table.empty:
        raise NothingToDraw
    groups = table["rung"].map(_group)
    heights, headings, y = {}, [], 0.0
    for title in (title for title, _ in GROUPS):
        members = table.index[groups == title]
        if len(members):
            headings.append((y, title))
            heights |= {index: y - place for place, index in enumerate(members, start=1)}
            y -= len(members) + 1.4
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 1.1 + 0.117 * -y), sharey=True, width_ratios=(3, 2))
    for axes, bound in ((left, ladder.GREEDY), (right, ladder.TRACKS)):
        axes.axvline(0, color="0.8", lw=0.8, zorder=0)
        axes.axvline(1, color="0.8", lw=0.8, zorder=0)
        axes.axvline(bound, color=INK, ls="--", lw=0.8, zorder=0)
    for index, row in table.iterrows():
        height, color = heights[index], VERDICTS.get(row["verdict"], "0.5")
        left.axhline(height, color="0.93", lw=0.5, zorder=0)
        right.axhline(height, color="0.93", lw=0.5, zorder=0)
        _dot(left, row, "twin_waypoint_score", height - 0.16, "0.45", filled=False)
        _dot(left, row, "waypoint_score", height + 0.16, color, filled=True)
        _dot(right, row, "tracking", height, color, filled=True)
        style = {"fontsize": SMALL_TYPE, "color": color, "annotation_clip": False}
        beside(right, row["verdict"], height, shift=(8, 0), **style)
    _names(left, [(heights[index], rung) for index, rung in table["rung"].items()], headings)
    for axes in (left, right):
        axes.set(xlim=SHOWN, xticks=(-0.5, 0, 0.5, 1), ylim=(y + 0.9, 0.8))
        axes.tick_params(axis="x", labelsize=7.5, top=True, labeltop=True)
        axes.tick_params(axis="y", length=0, pad=7)
        axes.spines["left"].set_visible(False)
    left.set_xlabel("waypoint score", fontsize=8.5)
    right.set_xlabel("tracking of the twin, P5", fontsize=8.5)
    handles = [
        Line2D([], [], ls="none", marker="o", ms=4, color=INK, label="network (colour: verdict)"),
        Line2D([], [], ls="none", marker="o", ms=4, color="0.45", mfc="white", label="linear twin"),
        Line2D([], [], ls="none", marker="<", ms=4, color=INK, label="beyond the axis"),
        Line2D([], [], color=INK, ls="--", lw=0.8, label="bound"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7.5)
    return figure


SHOWN = (-0.5, 1.1)
SMALL_TYPE = 6.5
VERDICTS = {
    "greedy": PALETTE[2],
    "tracks its twin": PALETTE[0],
    "neither": PALETTE[3],
    "not greedy": PALETTE[3],
    "undecided": "0.45",
    "censored": "0.45",
    "diverged": "0.45",
}
# Title of a group, and how the names of its rungs begin; the first that fits, the last for all others.
GROUPS = (
    ("factorial of four axes", tuple(ladder.CORNERS.values())),
    ("initialization, tanh", ("init-", "small-gd-tanh", "default-gd-tanh")),
    ("other draws and other data", ("draws-", "digits-")),
    ("slope of the ReLU below zero", ("leaky-",)),
    ("from the textbook recipe", ("textbook-", "depth-")),
    ("from the default recipe", ("practice-",)),
    ("controls", ("one-layer", "default-raw", "linearised", "flat-", "random-", "rotated-", "muon-", "uncentred-")),
    ("order of the modes swapped", ("swap-",)),
    ("modes of a kernel, or planted", ("",)),
)


def _group(rung: str) -> str:
    return next(title for title, starts in GROUPS if rung.startswith(starts))


def _dot(axes: Axes, row: pd.Series, quantity: str, height: float, color, *, filled: bool) -> None:
    """A mean and its 95 % interval; an arrow at the end of the axis where either goes beyond it."""
    mean, low, high = row[quantity], row[f"{quantity}_low"], row[f"{quantity}_high"]
    if not np.isfinite(mean):
        return
    if np.isfinite(low):
        axes.plot(np.clip([low, high], *SHOWN), [height] * 2, color=color, lw=1, solid_capstyle="butt", zorder=2)
        for beyond, end, arrow in ((low < SHOWN[0], SHOWN[0], "<"), (high > SHOWN[1], SHOWN[1], ">")):
            if beyond:
                axes.plot(end, height, arrow, ms=2.2, color=color, clip_on=False, zorder=2)
    marker = "<" if mean < SHOWN[0] else ">" if mean > SHOWN[1] else "o"
    fill = color if filled else "white"
    axes.plot(np.clip(mean, *SHOWN), height, marker, ms=3.4, color=color, mfc=fill, mew=0.8, clip_on=False, zorder=3)


def _names(axes: Axes, rungs: Iterable[tuple[float, str]], headings: Iterable[tuple[float, str]]) -> None:
    """The rungs' names as tick labels, their groups' titles in bold between them."""
    ticks = [
        *((height, name, "normal") for height, name in rungs),
        *((height, title, "bold") for height, title in headings),
    ]
    axes.set_yticks([height for height, _, _ in ticks], [name for _, name, _ in ticks], fontsize=SMALL_TYPE)
    for label, (_, _, weight) in zip(axes.get_yticklabels(), ticks):
        label.set_fontweight(weight)


def _net(scores: pd.DataFrame, rung: str, quantity: str) -> pd.Series:
    return ladder.by_seed(scores[scores["rung"] == rung], "net", quantity)


def _runs(tables: Tables, curves: pd.DataFrame, rung: str, system: str) -> list[pd.DataFrame]:
    """A rung's curves, one per seed that did not diverge."""
    if "rung" not in curves:
        return []
    scores = tables[ladder.LADDER]
    diverged = ladder.by_seed(scores[scores["rung"] == rung], system, "diverged")
    lost = set(diverged.index[diverged > 0])
    mine = curves[(curves["rung"] == rung) & (curves["system"] == system) & ~curves["seed"].isin(lost)]
    return [run for _, run in mine.groupby("seed")]


def _along(runs: list[pd.DataFrame], column: str) -> np.ndarray:
    """A column of each run when its clock first shows each value of `PHI`; nan past its end: runs x phi."""
    found = []
    for run in runs:
        phi, first = np.unique(run["phi"].to_numpy(float), return_index=True)
        found.append(np.interp(PHI, phi, run[column].to_numpy(float)[first], right=np.nan))
    return np.array(found)


def _band(axes: Axes, runs: list[pd.DataFrame], column: str, color, style: dict) -> bool:
    """Mean and range over seeds along progress; whether there was anything to draw."""
    runs = [run for run in runs if column in run and run[column].notna().all()]
    if not runs:
        return False
    values = _along(runs, column)
    axes.plot(PHI, values.mean(0), color=color, **style)
    axes.fill_between(PHI, values.min(0), values.max(0), color=color, alpha=0.2, lw=0)
    return True
