"""How long stages still take that run several at a time, from what they took when they last ran."""

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping
from statistics import fmean
from typing import Any

import numpy as np

# Seconds that a stage takes besides its work, until some have ended.
START_S = 4.0
PRIOR = 0.25
# From this part of a stage's steps on, its pace tells what is left of it better than earlier runs do.
TELLING = 0.1
# What a stage that takes longer than it should is taken to need still, as a part of its seconds so far.
OVERDUE = 0.1


def makespan(busy: Iterable[float], waiting: Iterable[float]) -> float:
    """Seconds until all is done, if whoever is free takes the next of those that wait.

    Args:
        busy: for how long each worker still is.
        waiting: seconds each.
    """
    free = list(busy)
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


class TimeLeft:
    """Learns while stages end: how much slower or faster they are than before, and what starting one costs.

    Args:
        expected: for every stage, in the order in which they will start, the seconds of its work when it last ran; None
            if it never has.
        jobs: how many run at once.
        clock: seconds.
    """

    def __init__(self, expected: Mapping[Any, float | None], jobs: int, clock: Callable[[], float]):
        self.waiting, self.running = dict(expected), {}
        self.jobs, self.clock = jobs, clock
        self.earlier, self.took, self.unknown_took, self.restored = [], [], [], 0

    def begin(self, stage: Hashable) -> None:
        self.running[stage] = self.waiting.pop(stage), self.clock(), 0.0

    def progress(self, stage: Hashable, part: float) -> None:
        """How much of its steps a stage has done, from 0 to 1."""
        expected, began, _ = self.running[stage]
        self.running[stage] = expected, began, part

    def end(self, stage: Hashable, restored: bool) -> None:
        """It has run, or was restored from a cache."""
        expected, began, _ = self.running.pop(stage)
        if restored:
            self.restored += 1
        elif expected is None:
            self.unknown_took.append(self.clock() - began)
        else:
            self.earlier.append(expected)
            self.took.append(self.clock() - began)

    @property
    def ended(self) -> int:
        return self.restored + len(self.took) + len(self.unknown_took)

    def seconds(self) -> tuple[float, int]:
        """Seconds until all have ended, and how many stages that does not count because nothing is known of them."""
        start, pace = self._learned()
        # Of many that were restored from a cache, others will be.
        pace *= 1 - self.restored / (self.ended + 1)
        unknown = fmean(self.unknown_took) if self.unknown_took else None

        def whole(expected: float | None) -> float | None:
            return unknown if expected is None else start + pace * expected

        busy, waiting, now = [], [whole(expected) for expected in self.waiting.values()], self.clock()
        for expected, began, part in self.running.values():
            elapsed = now - began
            if part >= TELLING:
                busy.append(elapsed * (1 - part) / part)
            elif (full := whole(expected)) is not None:
                busy.append(max(full - elapsed, OVERDUE * elapsed))
        uncounted = waiting.count(None) + len(self.running) - len(busy)
        busy += [0.0] * (self.jobs - len(busy))
        return makespan(busy, [one for one in waiting if one is not None]), uncounted

    def _learned(self) -> tuple[float, float]:
        """What starting a stage costs, and the ratio of seconds now to seconds earlier: least squares of the relative
        errors, as if `START_S` and 1 had each been seen, to a quarter as surely as the seconds of one stage."""
        earlier, took = np.array(self.earlier), np.array(self.took)
        weight = 1 / (earlier + START_S)
        rows = np.concatenate([np.stack([weight, weight * earlier], axis=1), PRIOR * np.diag([1 / START_S, 1.0])])
        start, pace = np.linalg.lstsq(rows, np.concatenate([weight * took, [PRIOR, PRIOR]]), rcond=None)[0]
        return max(start, 0.0), max(pace, 0.0)
