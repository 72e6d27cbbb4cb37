"""Intervals over seeds and the one rule that turns them into verdicts."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def inside(self, low: float, high: float) -> bool:
        return low <= self.low and self.high <= high

    def outside(self, low: float, high: float) -> bool:
        return self.high < low or high < self.low


def t_interval(values: np.ndarray, confidence: float) -> Interval | None:
    """Student's interval for the mean of independent values; None from fewer than two.

    Args:
        values: one per seed; missing ones (nan) are left out.
        confidence: two-sided, in (0, 1).
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return None
    half = stdtrit(n - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(n)
    return Interval(values.mean() - half, values.mean() + half)


def verdict(inner: Interval, outer: Interval, low: float, high: float) -> str:
    """Equivalence testing: verified if the 90 % interval is inside [low, high], falsified if the 95 % one is wholly
    outside."""
    if inner.inside(low, high):
        return "verified"
    if outer.outside(low, high):
        return "falsified"
    return "inconclusive"


def seeds_needed(
    values: np.ndarray,
    low: float,
    high: float,
    most: int = 10**6,
    counts: Callable[[float], bool] = lambda p: True,
) -> int | None:
    """The fewest seeds at which the same mean and spread would no longer be inconclusive; None if not by ``most``.

    Args:
        counts: of a p value that the mean lies outside, whether it still falsifies after correction for several checks;
            true of every p below one of which it is true.
    """
    values = np.asarray(values, dtype=float)
    mean, sd = values.mean(), values.std(ddof=1)

    def decided(n: int) -> bool:
        halves = (stdtrit(n - 1, 0.5 + confidence / 2) * sd / np.sqrt(n) for confidence in (0.90, 0.95))
        inner, outer = (Interval(mean - half, mean + half) for half in halves)
        outcome = verdict(inner, outer, low, high)
        return outcome == "verified" or (outcome == "falsified" and counts(_p(mean, sd, n, low, high)))

    # Intervals only shrink as seeds are added, so whatever is decided stays decided.
    return bisect_left(range(most + 1), True, lo=len(values) + 1, key=decided) if decided(most) else None


def p_outside(values: np.ndarray, low: float, high: float) -> float:
    """The p value for a mean outside [low, high]: Student's two-sided test against the end that the mean is beyond.

    It is 1 where the mean is inside, and nan from fewer than two values. It is below 0.05 exactly where the 95 %
    interval is wholly outside.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return np.nan
    return _p(values.mean(), values.std(ddof=1), n, low, high)


def _p(mean: float, sd: float, n: int, low: float, high: float) -> float:
    beyond = max(low - mean, mean - high)
    if beyond <= 0:
        return 1.0
    error = sd / np.sqrt(n)
    return float(2 * stdtr(n - 1, -(beyond / error))) if error > 0 else 0.0


def holm(ps: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p values, in the order given. One that is nan counts as 1 for the others, and stays nan."""
    ps = np.asarray(ps, dtype=float)
    known = np.nan_to_num(ps, nan=1.0)
    ranks = np.argsort(known, kind="stable")
    stepped = known[ranks] * np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[ranks] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return np.where(np.isnan(ps), np.nan, adjusted)
