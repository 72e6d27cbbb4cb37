"""The page that answers Open Question 4.1, and what it says of the ladder, its second section.

Every sentence with a number is generated from the tables, so that the two cannot drift apart. What is said of the
systems that people train is in `benchmarks.evidence.share`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.evidence import ladder, share
from benchmarks.evidence.ladder import by_seed, main_effects, waterfall
from benchmarks.evidence.report import Drawn, template
from benchmarks.evidence.statistics import t_interval

PRACTICE = ("default-adam-relu-real", "practice-")
NOT_SHOWN = (
    "One data set, but for the rungs on digits: 5,000 images of CIFAR-10 on 64 principal components, mostly whitened, "
    "with networks of two to four layers and at most 400 units; a small convolutional and a small residual network. No "
    "transformer, no large network, no long training: a rung ends when 95 % of the visible loss is gone, and says "
    "nothing about what happens after that.",
    "The modes are those of the linear part of the labels. What a network learns beyond it shows up only in the "
    "visible share, in planted tasks and in modes of the tangent kernel.",
    "Networks and twins are trained and read without their outputs at the start, which nobody does in practice: with "
    "them left in, the readings from default weights show how a random start is forgotten (the uncentred rungs).",
    "Under cross-entropy the map is that of the class probabilities; the twin of a normalised network has no "
    "normalization; a network on images is measured on the principal components of its pixels. These are conventions.",
    "Carry-over ratios compare a network with a linear one that starts from an output of the same size at the same "
    "learning rate. Where that twin is not itself greedy, carry-over is undefined, and the table says so (vacuous).",
    "Three to twenty seeds; intervals are Student's t, over seeds only, for one draw of the data but in the rungs "
    "named draws.",
)
WOULD_CHANGE = (
    "Another null. Order is compared with the same network to first order, or with a single layer where that was too "
    "slow to train, rank and alignment with training on targets that have nothing to do with the inputs, one at a time "
    "and path with the straight line from the network's own start, linear first with permuted answers, law with one "
    "time for all modes. A share is about the distance between that and a deep linear network, and a closer null makes "
    "it smaller.",
    "Another reference: the deep linear network starts from small weights and learns by plain SGD. Where its own "
    "readings are far from the ideal, a share of 1 means only 'like this network', not 'like infinitesimal weights'.",
    "Other modes. On images they are those of the classes on principal components of the pixels, in text those of the "
    "bigram: features that are learned beyond them are in none of the predictions but rank and alignment.",
    "Larger networks, longer training: no network here was trained for longer than 2,000 steps or on more than 5,000 "
    "images or a megabyte of text. A system's rows would be replaced by those of the same system at size.",
)
COLUMNS = [
    ("rung", "rung"),
    ("waypoint_score", "waypoint score"),
    ("twin_waypoint_score", "its twin's"),
    ("sequentiality", "sequentiality"),
    ("twin_sequentiality", "its twin's"),
    ("tracking", "tracks its twin"),
    ("tracking_other", "tracks another seed's"),
    ("twin_departure", "bend of the twin's path"),
    ("carry_over_waypoint_score", "carry-over"),
    ("visible_share", "visible share"),
    ("timing_slope", "slope of times"),
    ("n", "seeds"),
    ("verdict", "verdict"),
]


@dataclass(frozen=True)
class Part:
    """Of a study that says why: its title, what it measured (`Section.parts`), and its figures."""

    title: str
    measured: Sequence[str | dict]
    figures: Sequence[Drawn]

    @property
    def checks(self) -> list[dict]:
        """The checks that it measured."""
        return [part for part in self.measured if not isinstance(part, str)]


def render(
    asked: pd.DataFrame,
    asked_scores: pd.DataFrame,
    scores: pd.DataFrame,
    table: pd.DataFrame,
    figures: Iterable[Drawn],
    ladder_figures: Iterable[Drawn],
    why: Iterable[Part],
    profile: str,
    source: str,
    contributed: Iterable[dict] = (),
) -> str:
    """The page as HTML.

    Args:
        asked: ``open_question_4_1``; ``asked_scores`` is ``carry_over/scores``.
        scores: ``low_rank_progression.long``.
        table: ``low_rank_progression``.
        figures: of the study ``carry_over``; ``ladder_figures`` are those of ``low_rank_progression``.
        why: of the studies between these two.
        contributed: rows that other machines made (`contributed.html.j2`).
    """
    return template("answer.html.j2").render(
        answer=share.in_three(asked),
        cells=asked.to_dict("records"),
        predictions=share.PREDICTIONS,
        would_change=[*share.left_open(asked), *filter(None, [share.other_twins(asked_scores)]), *WOULD_CHANGE],
        figures=list(figures),
        why=list(why),
        short=in_short(table),
        sentences=sentences(scores, table),
        not_shown=NOT_SHOWN,
        ladder_figures=list(ladder_figures),
        columns=COLUMNS,
        rows=table.to_dict("records"),
        intervals=set(ladder.WITH_INTERVALS)
        | {f"twin_{name}" for name in ladder.WITH_INTERVALS[:2]}
        | {f"carry_over_{name}" for name in ladder.WITH_INTERVALS[:2]},
        profile=profile,
        source=source,
        contributed=contributed,
    )


def in_short(table: pd.DataFrame) -> str:
    """What the rungs around the default recipe say, by the register's rule: greedy in two or more architectures counts
    as carry-over in practice, neither greedy nor tracking in all of them as its refutation, anything else as a map."""
    practice = table[table["rung"].str.startswith(PRACTICE)]
    if practice.empty:
        return "No rung of the default recipe was run, so there is no answer about practice."
    verdicts = practice["verdict"].value_counts()
    architectures = practice[practice["verdict"] == "greedy"]["architecture"].nunique()
    counted = ", ".join(f"{word} {count}" for word, count in verdicts.items())
    if architectures >= 2:
        answer = "Greedy low-rank progression carries over to practice"
    elif (practice["verdict"] == "neither").all():
        answer = "Deep linear dynamics do not carry over to practice: neither greedy progression nor the twin's path"
    elif "greedy" in verdicts:
        answer = "Greedy low-rank progression survives in practice in only one architecture"
    else:
        answer = "Greedy low-rank progression does not carry over to practice"
        if "tracks its twin" in verdicts:
            answer += ", though many networks there follow the path of their linear twin, which is not greedy either"
    text = f"{answer}. The {len(practice)} rungs at and around the default recipe, by verdict: {counted}."
    first = practice.iloc[0]
    if np.isfinite([first.get("steps", np.nan), first.get("loss_fall", np.nan)]).all():
        text += (
            f" This is about the early phase: the linear modes are learned in {first['steps']:.0f} steps of the "
            f"default recipe, in which the loss falls by {first['loss_fall']:.0%}."
        )
    return text


def sentences(scores: pd.DataFrame, table: pd.DataFrame) -> list[tuple[str, str]]:
    """(heading, text) for everything that the tables support; the rest is left out."""
    rows = table.set_index("rung")
    makers: list[tuple[str, Callable[[pd.DataFrame, pd.DataFrame], str]]] = [
        ("The nonlinearity", _activation),
        ("Real labels", _labels),
        ("Which axis costs most", _axes),
        ("How far away practice is", _distance),
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
        f"From small weights, on labels that a linear network can learn, {'; '.join(parts)}. An ideally greedy "
        "path scores 1, a straight line 0."
    )


def _labels(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    relu, tanh = rows.loc["small-gd-relu-real"], rows.loc["small-gd-tanh-real"]
    text = (
        f"On the real labels tanh scores {tanh.waypoint_score:.2f} and ReLU {relu.waypoint_score:.2f} (carry-over "
        f"{tanh.carry_over_waypoint_score:.2f} and {relu.carry_over_waypoint_score:.2f}). Of ReLU's loss decrease "
        f"{1 - relu.visible_share:.0%} lies outside the linear modes, and of tanh's {abs(1 - tanh.visible_share):.0%}"
    )
    if abs(1 - tanh.visible_share) < 0.05:
        text += ": from such small weights tanh is almost linear, and its carry-over says no more than that"
    return f"{text}."


def _axes(scores: pd.DataFrame, rows: pd.DataFrame) -> str:
    steps = waterfall(scores, "waypoint_score")
    effects = main_effects(scores, "waypoint_score")
    if not np.isfinite([*steps["mean"], *effects]).all():
        raise KeyError("the factorial is not whole")
    listed = ", ".join(f"{axis} {effects[axis]:+.2f}" for axis in effects.sort_values().index)
    alone = _score(rows, "default-gd-linear-hat"), _score(rows, "small-adam-linear-hat")
    text = (
        "From the textbook corner of the factorial to the practice corner, the waypoint score goes from "
        f"{steps['mean'].iloc[0]:.2f} to {steps['mean'].iloc[-1]:.2f}. Averaged over the other three axes, each "
        f"changes it by: {listed}. The effects are not additive: in a linear network on linear labels the default "
        f"initialization alone leaves a score of {alone[0]:.2f}, Adam alone {alone[1]:.2f}."
    )
    turned = {
        (init, activation): _score(rows, f"rotated-{init}-adam-{activation}")
        for init in ("small", "default")
        for activation in ("linear", "relu")
    }
    descent = {key: _score(rows, f"{key[0]}-gd-{key[1]}-hat") for key in turned}
    optimizer = float(np.mean([turned[key] - descent[key] for key in turned]))
    initialization = float(
        np.mean(
            [corners["default", a] - corners["small", a] for corners in (turned, descent) for a in ("linear", "relu")]
        )
    )
    return (
        f"{text} Adam's effect depends on the basis: these are principal components; over random rotations, which do "
        f"not affect gradient descent, the optimizer changes the score by {optimizer:+.2f} and the initialization "
        f"by {initialization:+.2f} on linear labels, and Adam alone leaves {turned['small', 'linear']:.2f}."
    )


def _score(rows: pd.DataFrame, rung: str) -> float:
    return float(rows.loc[rung, "waypoint_score"])


def _distance(scores: pd.DataFrame, rows: pd.DataFrame) -> str:
    scored = scores[scores["rung"] == "default-adam-relu-real"]
    measured = []
    for quantity in ("init", "init_mup"):
        inits = by_seed(scored, "net", quantity)
        decades = ladder.decades_from_half_score(scores, "relu", inits)
        interval = t_interval(decades, 0.95)
        if interval is None:
            raise KeyError("no half score")
        measured.append((inits.mean(), np.nanmean(decades), interval))
    (init, decades, interval), (mup, mup_decades, _) = measured
    real = rows.loc["small-gd-relu-real", "waypoint_score"]
    text = (
        "Under gradient descent on linear labels, a ReLU network's score drops to one half where its initial output "
        f"is $10^{{{np.log10(init) - decades:.1f}}}$ of the strongest mode. The default recipe starts at "
        f"{init:.2f} of it, {decades:.1f} decades higher (95 % interval {interval.low:.1f} to {interval.high:.1f}). "
        f"The maximal update parametrization, at {mup:.2f}, is {mup_decades:.1f} decades higher."
    )
    if real < ladder.GREEDY:
        text += (
            f" Scale alone does not explain the gap to practice: on real labels the score is {real:.2f} even from the "
            "smallest initialization measured."
        )
    return text


def _tracking(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    judged = rows[rows["tracking"].notna() & (rows["tracking_n"] >= ladder.FEWEST_TRACKED)]
    if judged.empty:
        raise KeyError("no twin")
    practice = rows.loc["default-adam-relu-real"]
    near = judged.index.str.startswith(PRACTICE)
    close = judged["tracking_low"] >= ladder.TRACKS
    return (
        f"P5 is significantly above {ladder.TRACKS:g} (1: the twin's path; 0: no closer to it than the straight "
        "line from the network's own start) in "
        f"{int(close[near].sum())} of {int(near.sum())} rungs at and around the default recipe where it can be "
        f"measured, and in {int(close[~near].sum())} of {int((~near).sum())} elsewhere. Under the default recipe it is "
        f"{practice.tracking:.2f} ({_between(practice, 'tracking')}), at {practice.time_factor:.1f} times the twin's "
        f"time, and {practice['tracking_other']:.2f} against the twin of another seed, which starts elsewhere. There "
        f"the twin's own path departs from the straight line by {practice.twin_departure:.2f} of the target's norm "
        f"(textbook: {rows.loc['small-gd-relu-hat', 'twin_departure']:.2f})."
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
    small = factors["small-gd-relu-real", "net"], factors["swap-small-relu", "net"]
    twin = factors["small-gd-relu-real", "twin"], factors["swap-small-relu", "twin"]
    text = (
        "The strengths of the first and the third mode are swapped in the labels, and nothing else is changed. From "
        f"small weights a ReLU network takes {small[0]:.2f} times as long for the weaker of the two as for the "
        f"stronger before the swap, and {small[1]:.2f} times after it (its linear twin {twin[0]:.2f} and "
        f"{twin[1]:.2f}); from default weights {before:.2f} and {after:.2f}."
    )
    if min(small) > 1:
        shift = np.log(small).sum() / np.log(twin).sum()
        text += f" From small weights the order follows the strengths; the shift is {shift:.0%} of the twin's."
    return text


# Rungs from small weights that differ only in the optimizer, or also in a rotation of the inputs.
OPTIMIZERS = {
    "gradient descent": "small-gd-relu-hat",
    "Adam": "rotated-small-adam-relu",
    "NAdam": "rotated-small-nadam",
    "Adagrad": "rotated-small-adagrad",
    "Signum": "rotated-small-signum",
    "Lion": "rotated-small-lion",
    "SOAP": "rotated-small-soap",
    "Muon": "textbook-muon",
    "Muon with an orthogonalization that converges": "muon-relu",
}


def _optimizer(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    there = {label: rows.loc[rung] for label, rung in OPTIMIZERS.items() if rung in rows.index}
    if len(there) < 2:
        raise KeyError("one optimizer")
    listed = ", ".join(f"{label} {row.timing_slope:+.2f} ({row.waypoint_score:.2f})" for label, row in there.items())
    reversing = [label for label, row in there.items() if row.timing_slope > 0]
    text = (
        "Slope of ln(half time) against ln(strength) for a ReLU network from small weights on linear labels, with its "
        f"waypoint score in parentheses; diagonal methods over random rotations of the inputs: {listed}. Negative "
        "means strongest first."
    )
    if reversing:
        text += f" The order is reversed only by {', '.join(reversing)}."
    if "small-adam-relu-hat" in rows.index:
        slope = rows.loc["small-adam-relu-hat"].timing_slope
        text += f" In the basis of principal components Adam's slope is {slope:+.2f}."
    return text


def _beyond(_: pd.DataFrame, rows: pd.DataFrame) -> str:
    small, default = rows.loc["planted-he2"], rows.loc["planted-he2-default"]
    return (
        "Modes that no linear network can see, planted second Hermite polynomials, are learned "
        f"{small.concurrency:.2f} at a time from small weights and {default.concurrency:.2f} from default weights, "
        f"where a straight line would move {default.null_concurrency:.2f}; the waypoint score from small weights is "
        f"{small.waypoint_score:.2f}. That is {'' if small.concurrency <= 1.5 else 'not '}greedy by the registered "
        "bound of 1.5 at a time."
    )


def _between(row: pd.Series, name: str) -> str:
    return f"95 % interval {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"
