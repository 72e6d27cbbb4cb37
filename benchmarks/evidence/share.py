"""The carry-over share: where a system stands between a null and the deep linear reference, by prediction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.evidence.carry_over import by_seed, fieller
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
        null: the network beside the system that lacks it, another quantity of the system itself, or a number.
        null_is: the null in words.
    """

    name: str
    quantity: str
    sign: int
    reference: str | float
    null: str | float
    null_is: str


PREDICTIONS = (
    Prediction("order", "timing_slope", -1, "small", "lazy", "the network to first order"),
    Prediction("one at a time", "active_modes", -1, "small", "active_modes_straight", "straight line from the start"),
    Prediction("rank", "rank_growth", +1, "small", "random", "targets without a relation to the inputs"),
    Prediction("alignment", "alignment_share", +1, "small", "random", "targets without a relation to the inputs"),
    Prediction("linear first", "explained", +1, "small", "explained_null", "answers permuted within each label"),
    Prediction("path", "path", +1, 1.0, 0.0, "straight line from the start"),
    Prediction("law", "law", +1, 1.0, "law_null", "the twin's times permuted over the modes"),
)
BESIDE = ("twin", "small", "lazy", "random")
# Why a quantity has no value, by its name.
ABSENT = {
    "timing_slope": "a mode never passes half",
    "law": "fewer than three modes pass half in both",
    "alignment_share": "no neighbouring layers leave room above chance",
    "explained": "nothing is said of the labels before the linear predictor is matched",
    "path": "a path ends near its start",
}


def rows(scores: pd.DataFrame, system: str, reference: str) -> Iterator[dict]:
    """A row per prediction of one system.

    Args:
        scores: system, seed, quantity, value; the networks beside a system are named SYSTEM/ROLE.
        reference: the system whose twin from small weights is the deep linear reference.
    """
    accuracy = _values(scores, system, "test_accuracy")
    for prediction in PREDICTIONS:
        yield {**_row(scores, system, reference, prediction), "test_accuracy": float(accuracy.mean())}


def _row(scores: pd.DataFrame, system: str, reference: str, prediction: Prediction) -> dict:
    every = _values(scores, system, "steps").index
    x = _values(scores, system, prediction.quantity)
    interval = t_interval(x.to_numpy(), 0.95)
    row = {
        "prediction": prediction.name,
        "measured": prediction.quantity,
        "network_value": float(x.mean()),
        "network_value_low": interval.low if interval else np.nan,
        "network_value_high": interval.high if interval else np.nan,
        "reference": np.nan,
        "null": np.nan,
        "null_is": prediction.null_is,
        "share": np.nan,
        "share_low": np.nan,
        "share_high": np.nan,
        "word": CANNOT,
        "why": "",
        "n": 0,
    }
    others = {"reference": prediction.reference, "null": prediction.null}
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
    return row | ({"share_low": wide.low, "share_high": wide.high} if wide else {})


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
