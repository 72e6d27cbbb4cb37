"""The ladder of Open Question 4.1 as a table: from the scores of every rung to one row per rung.

A rung is judged by three numbers that are never averaged: the network's own greediness (waypoint score P1 and
sequentiality SEQ), its linear twin's, and how well it tracks its twin (P5). The bounds below
were fixed before the first reference run. The word "nothing to track" was added after it: those rungs had been called
"neither", one of them on a single seed. P5 against the twin of another seed is shown beside it and changes no word.
"""

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from benchmarks.evidence.statistics import Interval, t_interval

# The table of all scores, by its file's name.
LADDER = "low_rank_progression.long"
GREEDY = 0.5
TRACKS = 0.8
# P5 is judged if at least so many of a rung's seeds have it, or all of a rung with fewer seeds.
FEWEST_TRACKED = 3
# The gate: what the toy's greediest linear network must score, and how far CIFAR's may be from its closed form.
TOY_SCORE = 0.9
GATE = 0.05
GATE_RUNG = "small-gd-linear-hat"
# The rungs of the textbook recipe and of the default one.
TEXTBOOK, DEFAULT = "small-gd-relu-hat", "default-adam-relu-real"
# The rungs whose curves the figures show.
DRAWN = ("small-gd-linear-hat", "small-gd-relu-hat", "small-gd-relu-real", "default-adam-relu-real")
# A carry-over ratio says nothing unless the twin's score is surely above this; an ideal score is 1.
LEAST_TWIN = 0.2
# Bands of the carry-over ratio; a word is used only where the whole interval lies inside.
WORDS = (
    ("carries over", 0.8, math.inf),
    ("mostly", 0.5, 0.8),
    ("weakly", 0.2, 0.5),
    ("not", -math.inf, 0.2),
)
WITH_INTERVALS = ("waypoint_score", "sequentiality", "tracking")
PLAIN = (
    "tracking_other",
    "visible_share",
    "loss_fall",
    "concurrency",
    "null_concurrency",
    "timing_slope",
    "growth_exponent",
)
OF_TWIN = ("timing_slope", "growth_exponent", "departure")
LAST = ("time_factor", "time_spread", "edge_share", "learning_rate", "steps", "modes")
ANSWER_COLUMNS = [
    "rung",
    "architecture",
    "optimizer",
    "labels",
    "data",
    "loss",
    "batch_size",
    "init",
    "n",
    *(f"{name}{end}" for name in WITH_INTERVALS for end in ("", "_low", "_high")),
    *(f"twin_{name}{end}" for name in WITH_INTERVALS[:2] for end in ("", "_low", "_high")),
    "verdict",
    *(f"carry_over_{name}{end}" for name in WITH_INTERVALS[:2] for end in ("", "_low", "_high", "_word")),
    *PLAIN,
    *(f"twin_{name}" for name in OF_TWIN),
    *LAST,
    "censored",
    "twin_censored",
    "tracking_n",
    "diverged",
    "largest_phi",
]


def answer(scores: pd.DataFrame, settings: dict[str, dict]) -> pd.DataFrame:
    """One row per rung, in the order of the settings.

    Args:
        scores: rung, system, seed, quantity, value.
        settings: each rung's resolved settings.
    """
    rows = [_row(name, scores[scores["rung"] == name], resolved) for name, resolved in settings.items()]
    return pd.DataFrame(rows).reindex(columns=ANSWER_COLUMNS)


class InstrumentBroken(ValueError):
    """The observables fail where the answer is known, so they cannot be used to judge anything."""


def require_gate(toy: pd.DataFrame, scores: pd.DataFrame) -> None:
    """The toy's linear network from weights of 1e-3 must score 0.9, and the ladder's be within 0.05 of its closed form.

    Where a profile does not have one of the two, only the other is asked for.

    Raises:
        InstrumentBroken: saying by how much.
    """
    faults = []
    toy_scores = toy[(toy["system"] == "linear-1e-3") & (toy["quantity"] == "waypoint_score")]["value"]
    if len(toy_scores) and not toy_scores.mean() >= TOY_SCORE:
        faults.append(f"the toy's linear network scores {toy_scores.mean():.3f}; at least {TOY_SCORE} is needed")
    rung = scores[scores["rung"] == GATE_RUNG]
    measured, predicted = (by_seed(rung, "net", name) for name in ("waypoint_score", "predicted_waypoint_score"))
    if len(measured):
        gap = float((measured - predicted).abs().max())
        if not gap <= GATE:
            faults.append(f"{GATE_RUNG} is {gap:.3f} from its closed form; at most {GATE} is allowed")
    if faults:
        raise InstrumentBroken(f"instrument broken: {'; '.join(faults)}")


def by_seed(scores: pd.DataFrame, system: str, quantity: str) -> pd.Series:
    """A quantity of a rung's network or twin, by seed; empty if there is none."""
    rows = scores[(scores["system"] == system) & (scores["quantity"] == quantity)]
    return rows.set_index("seed")["value"].astype(float)


def fieller(numerator: np.ndarray, denominator: np.ndarray, confidence: float = 0.95) -> Interval | None:
    """Fieller's interval for the ratio of two means of paired values; None where it is not a bounded interval.

    Source: Fieller 1954, "Some problems in interval estimation".
    """
    n = len(numerator)
    if n < 2:
        return None
    a, b = numerator.mean(), denominator.mean()
    (va, cab), (_, vb) = np.cov(numerator, denominator) / n
    t2 = stdtrit(n - 1, 0.5 + confidence / 2) ** 2
    # (a - r b)^2 <= t^2 (va - 2 r cab + r^2 vb)
    quadratic, half, constant = b**2 - t2 * vb, a * b - t2 * cab, a**2 - t2 * va
    discriminant = half**2 - quadratic * constant
    if quadratic <= 0 or discriminant < 0:
        return None
    root = math.sqrt(discriminant)
    return Interval((half - root) / quadratic, (half + root) / quadratic)


def carry_over(net: pd.Series, twin: pd.Series) -> tuple[float, Interval | None, str]:
    """The ratio of the network's mean score to its twin's, its interval, and its word.

    That is one of `WORDS`, ``open`` where the interval crosses their bounds, ``vacuous`` where the twin's score is too
    small to divide by, or empty without two seeds.
    """
    seeds = net.index.intersection(twin.index)
    if len(seeds) < 2:
        return math.nan, None, ""
    net_scores, twin_scores = net[seeds].to_numpy(), twin[seeds].to_numpy()
    lowest = t_interval(twin_scores, 0.95)
    if lowest is None or not lowest.low > LEAST_TWIN:
        return math.nan, None, "vacuous"
    interval = fieller(net_scores, twin_scores)
    word = "open"
    if interval is not None:
        word = next((w for w, low, high in WORDS if interval.inside(low, high)), "open")
    return float(net_scores.mean() / twin_scores.mean()), interval, word


def rung_verdict(
    waypoint: Interval | None,
    sequentiality: Interval | None,
    tracking: Interval | None,
    *,
    has_twin: bool,
    censored: bool,
    diverged: bool,
) -> str:
    """The word for a rung.

    greedy: the 95 % intervals of P1 and SEQ both lie above 0.5. not greedy: that of P1 or SEQ lies below, of a network
    that is its own twin. tracks its twin: not greedy, and that of P5 lies above 0.8. neither: not greedy, and it lies
    below. nothing to track: not greedy, and in all but two seeds or fewer the twin's own path is so nearly straight
    that P5 has no meaning. undecided: an interval crosses its bound. censored: a run's clock did not reach its end.
    diverged: a run left all bounds.
    """
    if diverged:
        return "diverged"
    if censored:
        return "censored"
    greeds = [interval for interval in (waypoint, sequentiality) if interval is not None]
    if len(greeds) < 2:
        return "undecided"
    if all(interval.low >= GREEDY for interval in greeds):
        return "greedy"
    if not any(interval.high < GREEDY for interval in greeds):
        return "undecided"
    if not has_twin:
        return "not greedy"
    if tracking is None:
        return "nothing to track"
    if tracking.high < TRACKS:
        return "neither"
    return "tracks its twin" if tracking.low >= TRACKS else "undecided"


def _row(name: str, scores: pd.DataFrame, settings: dict) -> dict:
    row: dict = {"rung": name, **described(settings)}
    net = {quantity: by_seed(scores, "net", quantity) for quantity in scores["quantity"].unique()}
    twin = {quantity: by_seed(scores, "twin", quantity) for quantity in scores["quantity"].unique()}
    empty = pd.Series(dtype=float)
    intervals: dict[str, Interval | None] = {}
    for prefix, mine, names in (("", net, WITH_INTERVALS), ("twin_", twin, WITH_INTERVALS[:2])):
        for quantity in names:
            values = mine.get(quantity, empty)
            if quantity == "tracking":
                row["tracking_n"] = len(values)
            interval = t_interval(values.to_numpy(), 0.95)
            intervals[prefix + quantity] = interval
            if len(values):
                row[prefix + quantity] = values.mean()
            if interval is not None:
                row |= {f"{prefix}{quantity}_low": interval.low, f"{prefix}{quantity}_high": interval.high}
    for quantity in (*PLAIN, *LAST, "init", "largest_phi"):
        if len(net.get(quantity, empty)):
            row[quantity] = net[quantity].mean()
    for quantity in OF_TWIN:
        if len(twin.get(quantity, empty)):
            row[f"twin_{quantity}"] = twin[quantity].mean()
    has_twin = len(twin.get("diverged", empty)) > 0
    censored, twin_censored = (int(mine.get("censored", empty).sum()) for mine in (net, twin))
    diverged = int(net.get("diverged", empty).sum() + twin.get("diverged", empty).sum())
    row |= {"censored": censored, "diverged": diverged, "n": len(net.get("diverged", empty))}
    if has_twin:
        row["twin_censored"] = twin_censored
        for quantity in WITH_INTERVALS[:2]:
            ratio, interval, word = carry_over(net.get(quantity, empty), twin.get(quantity, empty))
            row |= {f"carry_over_{quantity}": ratio, f"carry_over_{quantity}_word": word}
            if interval is not None:
                row |= {f"carry_over_{quantity}_low": interval.low, f"carry_over_{quantity}_high": interval.high}
    row["verdict"] = rung_verdict(
        intervals["waypoint_score"],
        intervals["sequentiality"],
        intervals["tracking"] if row["tracking_n"] >= min(FEWEST_TRACKED, row["n"]) else None,
        has_twin=has_twin,
        censored=censored + twin_censored > 0,
        diverged=diverged > 0,
    )
    return row


def described(settings: dict) -> dict:
    """A rung's settings in words."""
    data, architecture = settings["data"], settings["architecture"]
    options = ", ".join(f"{key} {value}" for key, value in architecture.items() if key != "name")
    optimizer = ", ".join(f"{key} {value:g}" for key, value in settings["optimizer"].items() if _is_number(value))
    planted = data["name"] == "planted"
    labels = "planted" if planted else data["labels"]
    if not planted and data["swap"]:
        labels += f", s{data['swap'][0]} and s{data['swap'][1]} swapped"
    if not planted and data["spectrum"] != "natural":
        labels += f", {data['spectrum']} spectrum"
    inputs = "Gaussian" if planted else data["inputs"] + (", rotated" if data["rotate"] else "")
    examples = f"{data['examples'] if planted else data['images']} examples"
    if not planted:
        examples += (" of scikit-learn's digits" if data["source"] == "digits" else "") + (
            ", others for each seed" if data["draw"] else ""
        )
    return {
        "architecture": f"{architecture['name']} ({options})"
        + (", linearized" if settings["linearized"] else "")
        + ("" if settings["centred"] else ", not centred"),
        "optimizer": settings["optimizer"]["name"] + (f" ({optimizer})" if optimizer else ""),
        "labels": labels + (f", {settings['basis']} modes" if settings["basis"] != "data" else ""),
        "data": f"{examples}, {data['components']} components, {inputs}",
        "loss": settings["loss"],
        "batch_size": settings["batch_size"] or "all",
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# The factorial's corners: (initialization, optimizer, activation, labels).
AXES = {
    "initialization": ("small", "default"),
    "optimizer": ("gd", "adam"),
    "activation": ("linear", "relu"),
    "labels": ("hat", "real"),
}
# The registered order of the waterfall from the textbook recipe to the default one.
ORDER = ("activation", "labels", "initialization", "optimizer")


def corner(levels: dict[str, int]) -> str:
    """The rung of a corner of the factorial: 0 is the textbook's level of an axis, 1 practice's."""
    return "-".join(AXES[axis][levels[axis]] for axis in AXES)


# The factorial's rungs, by their levels in the order of `AXES`.
CORNERS = {bits: corner(dict(zip(AXES, bits))) for bits in np.ndindex(2, 2, 2, 2)}


def waterfall(scores: pd.DataFrame, quantity: str, order: tuple[str, ...] = ORDER) -> pd.DataFrame:
    """From the textbook's corner to practice's, an axis at a time.

    Returns:
        one row per step: axis (none for the first), rung, mean, low, high (95 %) of the quantity, and ``change``.
    """
    levels, rows = dict.fromkeys(AXES, 0), []
    for axis in (None, *order):
        if axis is not None:
            levels[axis] = 1
        rung = corner(levels)
        values = by_seed(scores[scores["rung"] == rung], "net", quantity).to_numpy()
        interval = t_interval(values, 0.95)
        mean = values.mean() if len(values) else math.nan
        rows.append(
            {
                "axis": axis,
                "rung": rung,
                "mean": mean,
                "low": interval.low if interval else math.nan,
                "high": interval.high if interval else math.nan,
                "change": mean - rows[-1]["mean"] if rows else math.nan,
            }
        )
    return pd.DataFrame(rows)


def main_effects(scores: pd.DataFrame, quantity: str) -> pd.Series:
    """The mean change of a quantity over the factorial when one axis goes from textbook to practice, by axis."""
    means = {bits: by_seed(scores[scores["rung"] == rung], "net", quantity).mean() for bits, rung in CORNERS.items()}
    effects = {}
    for place, axis in enumerate(AXES):
        effects[axis] = float(
            np.mean([means[(*b[:place], 1, *b[place + 1 :])] - means[b] for b in means if b[place] == 0])
        )
    return pd.Series(effects)


SWEEPS = {
    "linear": (
        "small-gd-linear-hat",
        "init-1e-4-linear",
        "init-1e-2-linear",
        "init-1e-1-linear",
        "default-gd-linear-hat",
    ),
    "tanh": ("small-gd-tanh-hat", "init-1e-4-tanh", "init-1e-2-tanh", "init-1e-1-tanh", "default-gd-tanh-hat"),
    "relu": ("small-gd-relu-hat", "init-1e-4-relu", "init-1e-2-relu", "init-1e-1-relu", "default-gd-relu-hat"),
}


def half_score_init(scores: pd.DataFrame, rungs: tuple[str, ...], seed: int) -> float:
    """log10 of u0 / s_1 where the waypoint score falls through one half, along rungs of rising initialization.

    Between two rungs it is interpolated in the logarithm. nan if it does not fall so far, or if the seed lacks a rung.
    """
    points = []
    for rung in rungs:
        rows = scores[scores["rung"] == rung]
        init, score = by_seed(rows, "net", "init").get(seed), by_seed(rows, "net", "waypoint_score").get(seed)
        if init is None or score is None:
            return math.nan
        points.append((math.log10(init), score))
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if y0 >= 0.5 > y1:
            return x0 + (y0 - 0.5) / (y0 - y1) * (x1 - x0)
    return math.nan


def decades_from_half_score(scores: pd.DataFrame, sweep: str, inits: pd.Series) -> np.ndarray:
    """log10 of u0 / s_1, by seed, over that at which a sweep's waypoint score is one half; nan where it has none."""
    halves = [half_score_init(scores, SWEEPS[sweep], seed) for seed in inits.index]
    return np.log10(inits.to_numpy()) - np.array(halves)
