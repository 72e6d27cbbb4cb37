"""The answer to Open Question 4.1 in words, each made from the tables, so that they cannot drift apart."""

from collections.abc import Callable
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from benchmarks.evidence import carry_over
from benchmarks.evidence.carry_over import SWEEPS, by_seed, half_score_init, main_effects, waterfall
from benchmarks.evidence.report import CAPTIONS, inline_svg, number, span
from benchmarks.evidence.statistics import t_interval

PRACTICE = ("default-adam-relu-real", "practice-")
FIGURES = (
    "carry_over_waterfall",
    "mode_trajectories",
    "score_against_init",
    "effective_rank",
    "carry_over_ladder",
)
NOT_SHOWN = (
    "One data set: 5,000 images of CIFAR-10 on 64 principal components, mostly whitened, with networks of two to "
    "four layers "
    "and at most 400 units; a small convolutional and a small residual network. No transformer, no large network, no "
    "long "
    "training: a rung ends when 95 % of the visible loss is gone, which in practice is early.",
    "The modes are those of the labels' linear part. What a network learns beyond it is seen only in the visible "
    "share, in "
    "planted tasks and in modes of the tangent kernel.",
    "Under cross-entropy the map is that of the class probabilities; the twin of a normalised network has no "
    "normalization; "
    "a network on images is read on the principal components of its pixels. Each is a convention.",
    "Carry-over ratios compare with a linear network from an output of the same size at the same learning rate. "
    "Where that twin "
    "is not greedy itself, nothing can be said of carrying over, and the table says so (vacuous).",
    "Three to five seeds; intervals are Student's, over seeds alone, for one draw of the data.",
)
COLUMNS = [
    ("rung", "rung"),
    ("waypoint_score", "waypoint score"),
    ("twin_waypoint_score", "its twin's"),
    ("sequentiality", "sequentiality"),
    ("twin_sequentiality", "its twin's"),
    ("tracking", "tracks its twin"),
    ("carry_over_waypoint_score", "carry-over"),
    ("visible_share", "visible share"),
    ("timing_slope", "slope of times"),
    ("n", "seeds"),
    ("verdict", "verdict"),
]


def render(scores: pd.DataFrame, table: pd.DataFrame, svgs: dict[str, str], profile: str, source: str) -> str:
    """The page as HTML.

    Args:
        scores: ``low_rank_progression.long``.
        table: ``open_question_4_1``.
        svgs: each figure's SVG text.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    environment.globals["span"] = span
    return environment.get_template("answer.html.j2").render(
        short=in_short(table),
        sentences=sentences(scores, table),
        not_shown=NOT_SHOWN,
        figures=[(name, CAPTIONS[name][0], inline_svg(svgs[name], name)) for name in FIGURES],
        columns=COLUMNS,
        rows=table.to_dict("records"),
        intervals=set(carry_over.WITH_INTERVALS)
        | {f"twin_{name}" for name in carry_over.WITH_INTERVALS[:2]}
        | {f"carry_over_{name}" for name in carry_over.WITH_INTERVALS[:2]},
        profile=profile,
        source=source,
    )


def in_short(table: pd.DataFrame) -> str:
    """What the rungs around the default recipe say, by the register's rule: greedy in two architectures or more is
    carry-over in practice, neither greedy nor tracking in all of them its refutation, anything else a map."""
    mine = table[table["rung"].str.startswith(PRACTICE)]
    if mine.empty:
        return "No rung of the default recipe was run, so there is no answer about practice."
    verdicts = mine["verdict"].value_counts()
    architectures = mine[mine["verdict"] == "greedy"]["architecture"].nunique()
    counted = ", ".join(f"{count} {word}" for word, count in verdicts.items())
    if architectures >= 2:
        answer = "Greedy low-rank progression carries over to practice"
    elif (mine["verdict"] == "neither").all():
        answer = "Deep linear dynamics do not carry over to practice: neither the greed nor the path of the linear twin"
    elif "greedy" in verdicts:
        answer = "Greedy low-rank progression survives in practice in one architecture alone"
    else:
        answer = "Greedy low-rank progression does not carry over to practice"
        if "tracks its twin" in verdicts:
            answer += ", though many networks there follow the path of their linear twin, which is not greedy either"
    return f"{answer}. Of {len(mine)} rungs at and around the default recipe: {counted}."


def sentences(scores: pd.DataFrame, table: pd.DataFrame) -> list[tuple[str, str]]:
    """(heading, text) of what the tables allow to be said; what they lack is left out."""
    rows = table.set_index("rung")
    makers: list[tuple[str, Callable[[pd.DataFrame, pd.DataFrame], str]]] = [
        ("The nonlinearity", _activation),
        ("Real labels", _labels),
        ("Which axis costs most", _axes),
        ("How far practice is away", _distance),
        ("Following the linear twin", _tracking),
        ("An intervention on the order", _intervention),
        ("The optimizer", _optimizer),
        ("Beyond the linear component", _beyond),
    ]
    said = []
    for heading, make in makers:
        try:
            said.append((heading, make(scores, rows)))
        except KeyError:
            continue
    return said


def _activation(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    parts = []
    for label, rung in (("tanh", "small-gd-tanh-hat"), ("ReLU", "small-gd-relu-hat")):
        row = rows.loc[rung]
        parts.append(
            f"{label} scores {row.waypoint_score:.2f} where its linear twin scores {row.twin_waypoint_score:.2f} "
            f"(carry-over {row.carry_over_waypoint_score:.2f}, {_between(row, 'carry_over_waypoint_score')})"
        )
    return (
        f"From small weights, on labels that a linear network can learn, {'; '.join(parts)}. "
        "Ideal greed is 1, a straight line 0."
    )


def _labels(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    relu, tanh = rows.loc["small-gd-relu-real"], rows.loc["small-gd-tanh-real"]
    return (
        f"On the real labels tanh scores {tanh.waypoint_score:.2f} and ReLU {relu.waypoint_score:.2f} (carry-over "
        f"{tanh.carry_over_waypoint_score:.2f} and {relu.carry_over_waypoint_score:.2f}). ReLU sees what no linear "
        f"network can: "
        f"only {relu.visible_share:.0%} of its fall in loss is in the linear modes, against {tanh.visible_share:.0%} "
        f"of tanh's."
    )


def _axes(scores: pd.DataFrame, rows: pd.DataFrame) -> str:
    steps = waterfall(scores, "waypoint_score")
    effects = main_effects(scores, "waypoint_score")
    if not np.isfinite([*steps["mean"], *effects]).all():
        raise KeyError("the factorial is not whole")
    most = effects.abs().idxmax()
    listed = ", ".join(f"{axis} {effects[axis]:+.2f}" for axis in effects.sort_values().index)
    text = (
        "From the textbook's corner of the factorial to practice's the waypoint score goes from "
        f"{steps['mean'].iloc[0]:.2f} to {steps['mean'].iloc[-1]:.2f}. Averaged over the other three axes, each "
        f"changes it by: {listed}. {most.capitalize()} carries most, {effects[most] / effects.sum():.0%} of the sum."
    )
    alone = _corner(scores, "default", "gd"), _corner(scores, "small", "adam")
    if max(map(abs, alone)) < carry_over.LEAST_TWIN:
        text += (
            " The effects do not add up: in a linear network on linear labels the default initialization alone leaves "
            f"{alone[0]:.2f}, Adam alone {alone[1]:.2f}; either is enough."
        )
    return text


def _corner(scores: pd.DataFrame, init: str, optimizer: str) -> float:
    """The mean waypoint score of the linear network on linear labels at a corner."""
    rung = f"{init}-{optimizer}-linear-hat"
    return by_seed(scores[scores["rung"] == rung], "net", "waypoint_score").mean()


def _distance(scores: pd.DataFrame, rows: pd.DataFrame) -> str:
    mine = scores[scores["rung"] == "default-adam-relu-real"]
    found = []
    for quantity in ("init", "init_mup"):
        inits = by_seed(mine, "net", quantity)
        halves = [half_score_init(scores, SWEEPS["relu"], seed) for seed in inits.index]
        decades = np.log10(inits.to_numpy()) - np.array(halves)
        interval = t_interval(decades, 0.95)
        if interval is None:
            raise KeyError("no half score")
        found.append((inits.mean(), np.nanmean(decades), interval))
    (init, decades, interval), (mup, mup_decades, _) = found
    return (
        f"Where a ReLU network's score falls through one half, its output at the start is "
        f"10^{np.log10(init) - decades:.1f} of "
        f"the strongest mode. The default recipe starts at {init:.2f} of it: {decades:.1f} decades above "
        f"(95 % interval {interval.low:.1f} to {interval.high:.1f}). The maximal update parametrization, at "
        f"{mup:.2f}, is "
        f"{mup_decades:.1f} decades above."
    )


def _tracking(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    judged = rows[rows["tracking"].notna()]
    if judged.empty:
        raise KeyError("no twin")
    practice = rows.loc["default-adam-relu-real"]
    close = int((judged["tracking_low"] >= carry_over.TRACKS).sum())
    return (
        f"Greedy or not, networks mostly go where their linear twins go: in {close} of {len(judged)} rungs where the "
        f"question can be "
        f"put, P5 is surely above {carry_over.TRACKS:g} (1 is the twin's path, 0 no closer than the straight line). "
        f"Under the default "
        f"recipe it is {practice.tracking:.2f} ({_between(practice, 'tracking')}), at {practice.time_factor:.1f} "
        f"times the twin's time."
    )


def _intervention(scores: pd.DataFrame, _: pd.DataFrame) -> str:
    factors = {}
    for rung in ("small-gd-relu-real", "swap-small-relu", "default-gd-relu-real", "swap-default-relu"):
        for system in ("net", "twin"):
            ratios = by_seed(scores[scores["rung"] == rung], system, "log_time_ratio_31")
            if ratios.empty:
                raise KeyError(rung)
            factors[rung, system] = float(np.exp(ratios.mean()))
    before, after = factors["default-gd-relu-real", "net"], factors["swap-default-relu", "net"]
    text = (
        "Where the strengths of the first and the third mode trade places in the labels and nothing else changes, the "
        "weaker of the two takes a ReLU network from small weights "
        f"{factors['small-gd-relu-real', 'net']:.2f} times as long before and {factors['swap-small-relu', 'net']:.2f} "
        f"times after (its linear twin {factors['small-gd-relu-real', 'twin']:.2f} and "
        f"{factors['swap-small-relu', 'twin']:.2f}), and a network from the default ones {before:.2f} and {after:.2f}."
    )
    if min(factors["small-gd-relu-real", "net"], factors["swap-small-relu", "net"]) > 1 > min(before, after):
        text += " The first follows the strengths, the second does not."
    return text


# Rungs from small weights that differ in the optimizer alone; in no basis of their own where that matters.
OPTIMIZERS = {
    "gradient descent": "small-gd-relu-hat",
    "Adam": "rotated-small-adam-relu",
    "NAdam": "rotated-small-nadam",
    "Adagrad": "rotated-small-adagrad",
    "Signum": "rotated-small-signum",
    "Lion": "rotated-small-lion",
    "SOAP": "rotated-small-soap",
    "Muon": "muon-relu",
}


def _optimizer(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    there = {label: rows.loc[rung] for label, rung in OPTIMIZERS.items() if rung in rows.index}
    if len(there) < 2:
        raise KeyError("one optimizer")
    listed = ", ".join(f"{label} {row.timing_slope:+.2f} ({row.waypoint_score:.2f})" for label, row in there.items())
    return (
        "Which mode comes first is the optimizer's choice. Slope of ln(half time) on ln(strength) of a ReLU network "
        f"from small weights, and its waypoint score in brackets: {listed}. A negative slope is strongest first, a "
        "positive one weakest first."
    )


def _beyond(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    small, default = rows.loc["planted-he2"], rows.loc["planted-he2-default"]
    return (
        "Modes that no linear network can see, planted second Hermite polynomials, are learned "
        f"{small.concurrency:.2f} at a time from small weights and {default.concurrency:.2f} from the default ones, "
        f"where the straight "
        f"line moves {default.null_concurrency:.2f}: greed is not a matter of linearity."
        if small.concurrency < 0.75 * default.concurrency
        else "Modes that no linear network can see, planted second Hermite polynomials, are learned "
        f"{small.concurrency:.2f} at a time from small weights and {default.concurrency:.2f} from the default ones, "
        f"where the "
        f"straight line moves {default.null_concurrency:.2f}."
    )


def _between(row: pd.Series, name: str) -> str:
    return f"95 % interval {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"
