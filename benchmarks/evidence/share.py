"""The carry-over share: where a system stands between a null and the deep linear reference, by prediction."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.evidence.ladder import by_seed, fieller
from benchmarks.evidence.statistics import Interval, t_interval

# The table of all scores, by its file's name.
SCORES = "carry_over/scores"
CARRIES_OVER, PARTLY, DOES_NOT = "carries over", "partly", "does not"
UNDECIDED, CANNOT = "undecided", "cannot be asked"


@dataclass(frozen=True)
class Prediction:
    """Something that deep linear networks from small weights do.

    Attributes:
        name: as the table and the figures have it.
        quantity: how it is measured.
        sign: of the quantity where the prediction holds, against the null: +1 larger, -1 smaller.
        reference: the network beside the system that has it, or what it is where it holds.
        null: the network beside the system that lacks it, if several the first that was trained; another quantity of
            the system itself, or a number.
        null_is: the null in words, of each of several.
    """

    name: str
    quantity: str
    sign: int
    reference: str | float
    null: str | float | tuple[str, ...]
    null_is: str | tuple[str, ...]


PREDICTIONS = (
    Prediction(
        "order", "timing_slope", -1, "small", ("lazy", "layer"), ("the network to first order", "a single layer")
    ),
    Prediction("one at a time", "active_modes", -1, "small", "active_modes_straight", "straight line from the start"),
    Prediction("rank", "rank_growth", +1, "small", "random", "targets without a relation to the inputs"),
    Prediction("alignment", "alignment_share", +1, "small", "random", "targets without a relation to the inputs"),
    Prediction("linear first", "explained", +1, "small", "explained_null", "answers permuted within each label"),
    Prediction("path", "path", +1, 1.0, 0.0, "straight line from the start"),
    # Not the permuted times, whose R^2 is far below zero: times predicted worse than by their mean would have a share.
    Prediction("law", "law", +1, 1.0, 0.0, "one time for all modes"),
)
BESIDE = ("twin", "small", "lazy", "layer", "random")
# Why a share has no interval.
UNBOUNDED = "over these seeds the reference could be as near to the null as not to differ: the interval has no ends"
# Why a quantity has no value, by its name.
ABSENT = {
    "timing_slope": "a mode never passes half",
    "law": "fewer than three modes pass half in both",
    "alignment_share": "no neighbouring layers leave room above chance",
    "explained": "the answers carry no information about the labels before the linear predictor is matched",
    "path": "a path ends near its start",
}


def rows(
    scores: pd.DataFrame, system: str, reference: str, meaningless: Mapping[str, str] | None = None
) -> Iterator[dict]:
    """A row per prediction of one system.

    Args:
        scores: system, seed, quantity, value; the networks beside a system are named SYSTEM/ROLE.
        reference: the system whose twin from small weights is the deep linear reference.
        meaningless: predictions that cannot be asked of a system of this kind, by name, and why.
    """
    accuracy = _values(scores, system, "test_accuracy")
    for prediction in PREDICTIONS:
        row = _row(scores, system, reference, prediction, (meaningless or {}).get(prediction.name, ""))
        yield {**row, "test_accuracy": float(accuracy.mean())}


def _row(scores: pd.DataFrame, system: str, reference: str, prediction: Prediction, meaningless: str) -> dict:
    every = _values(scores, system, "steps").index
    x = _values(scores, system, prediction.quantity)
    interval = t_interval(x.to_numpy(), 0.95)
    null, null_is = _null(scores, system, prediction)
    row = {
        "prediction": prediction.name,
        "quantity": prediction.quantity,
        "network_value": float(x.mean()),
        "network_value_low": interval.low if interval else np.nan,
        "network_value_high": interval.high if interval else np.nan,
        "reference": np.nan,
        "null": np.nan,
        "null_is": null_is,
        "share": np.nan,
        "share_low": np.nan,
        "share_high": np.nan,
        "word": CANNOT,
        "why": meaningless,
        "n": 0,
    }
    if meaningless:
        return row
    others = {"reference": prediction.reference, "null": null}
    found = {name: _other(scores, system, reference, prediction.quantity, of, every) for name, of in others.items()}
    row |= {name: float(values.mean()) for name, values in found.items()}
    for what, values in (("the network", x), ("the reference", found["reference"]), ("the null", found["null"])):
        if len(values) < len(every):
            return row | {"why": f"{ABSENT.get(prediction.quantity, 'not measured')} in {what}"}
    x1, x0 = (found[name].to_numpy() for name in ("reference", "null"))
    top, bottom = x.to_numpy() - x0, x1 - x0
    error = bottom.std(ddof=1) / len(bottom) ** 0.5
    if not prediction.sign * bottom.mean() > 2 * error:
        return row | {"why": "the reference does not exceed the null by two standard errors"}
    share = float(top.mean() / bottom.mean())
    wide, narrow = (fieller(top, bottom, confidence) for confidence in (0.95, 0.9))
    row |= {"share": share, "n": len(every), "word": word(wide, narrow)}
    return row | ({"share_low": wide.low, "share_high": wide.high} if wide else {"why": UNBOUNDED})


def _null(scores: pd.DataFrame, system: str, prediction: Prediction) -> tuple[str | float, str]:
    """The null that this system has, and what it is."""
    if not isinstance(prediction.null, tuple):
        return prediction.null, prediction.null_is
    trained = [len(_values(scores, f"{system}/{role}", "steps")) > 0 for role in prediction.null]
    which = trained.index(True) if any(trained) else 0
    return prediction.null[which], prediction.null_is[which]


def word(wide: Interval | None, narrow: Interval | None) -> str:
    """The word for a share, from its 95 % and 90 % intervals: carries over above 0.5, does not below 0.2, partly
    inside (0.2, 0.5) or with the narrow one inside (0.2, 0.8); else undecided."""
    if wide is None or narrow is None:
        return UNDECIDED
    if wide.low > 0.5:
        return CARRIES_OVER
    if wide.high < 0.2:
        return DOES_NOT
    return PARTLY if wide.inside(0.2, 0.5) or narrow.inside(0.2, 0.8) else UNDECIDED


def in_three(answer: pd.DataFrame) -> list[str]:
    """Three sentences: what carries over, whether strong modes come first, and what the nulls do.

    The first counts intervals, the others compare means over seeds, and say so.

    Args:
        answer: ``open_question_4_1``.
    """
    asked = answer[answer["word"] != CANNOT]
    counted = []
    for prediction in PREDICTIONS:
        words = asked.loc[asked["prediction"] == prediction.name, "word"]
        if len(words):
            counted.append((prediction.name, (words == CARRIES_OVER).sum(), len(words)))
    if not counted:
        return ["No prediction can be asked of any system that was run."]
    (name, first, of), *rest = counted
    others = "".join(f", {name} in {count} of {of}" for name, count, of in rest)
    said = [
        f"Of what deep linear networks from small weights do, asked of {answer['system'].nunique()} systems and "
        f"variants, {name} carries over in {first} of the {of} where it can be asked{others} (the 95 % interval of "
        "its share lies above one half)."
    ]
    order = _measured(answer, "order", "network_value")
    if len(order):
        first, references = (order["network_value"] < 0).sum(), order["reference"].dropna()
        deep = f"; in deep linear networks from small weights {_from_to(references)}" if len(references) else ""
        said.append(
            f"Strong modes are learned first in {first} of the {len(order)} systems in which every mode is learned by "
            f"half, judged by means over seeds without intervals (slope of ln(half time) on ln(strength) "
            f"{_from_to(order['network_value'])}{deep})."
        )
    nulls = []
    beside = _measured(order, "order", "null")
    if len(beside):
        steep = (beside["null"] <= beside["network_value"]).sum()
        nulls.append(
            f"a null without feature learning has as steep a slope, or a steeper one, in {steep} of {len(beside)}"
        )
    ranks = _measured(answer, "rank", "network_value", "null")
    if len(ranks):
        flat = (ranks["network_value"] <= ranks["null"]).sum()
        nulls.append(
            f"the rank of the weights' change grows no more than on targets without a relation to the inputs in {flat} "
            f"of {len(ranks)}"
        )
    if nulls:
        said.append(f"But, judged the same way, {', and '.join(nulls)}.")
    return said


def left_open(answer: pd.DataFrame) -> list[str]:
    """Which cells have no word, and why."""
    undecided = (answer["word"] == UNDECIDED).sum()
    lines = [
        f"{undecided} of {len(answer)} cells are undecided: their intervals are too wide for a word. More seeds may "
        "decide them."
    ]
    for why, cells in answer[answer["word"] == CANNOT].groupby("why", sort=False):
        where = ", ".join(f"{cell.prediction} of {cell.system}" for cell in cells.itertuples())
        lines.append(f"Cannot be asked, because {why}: {where}.")
    return lines


def other_twins(scores: pd.DataFrame) -> str:
    """How closely networks follow linear twins that are not theirs: what a path has in common with any of them; "" if
    none was compared.

    Args:
        scores: ``carry_over/scores``.
    """
    said = []
    means = scores.groupby(["system", "quantity"], sort=False)["value"].mean()
    for system in dict.fromkeys(scores["system"]):
        own, other, back = (means.get((system, name)) for name in ("path", "path_other_seed", "path_reversed"))
        if own is not None and other is not None:
            reverse = "" if back is None else f", {back:.2f} of the text read backwards"
            said.append(f"{system} {own:.2f}, {other:.2f} of another seed{reverse}")
    if not said:
        return ""
    return (
        f"How closely each path follows its own linear twin, and others (P5, the measure of path): {'; '.join(said)}."
    )


def _measured(answer: pd.DataFrame, prediction: str, *columns: str) -> pd.DataFrame:
    """The rows of a prediction in which these columns have values."""
    return answer[(answer["prediction"] == prediction) & answer[list(columns)].notna().all(axis=1)]


def _from_to(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:.2f}" if round(low, 2) == round(high, 2) else f"from {low:.2f} to {high:.2f}"


def _values(scores: pd.DataFrame, system: str, quantity: str) -> pd.Series:
    return by_seed(scores, system, quantity).sort_index()


def _other(
    scores: pd.DataFrame, system: str, reference: str, quantity: str, which: str | float, seeds: pd.Index
) -> pd.Series:
    if isinstance(which, float):
        return pd.Series(which, index=seeds)
    if which == "small":
        values = _values(scores, f"{reference}/small", quantity)
        return values[values.index.isin(seeds)]
    if which in BESIDE:
        return _values(scores, f"{system}/{which}", quantity)
    return _values(scores, system, which)
