"""Seconds that pieces of work take, each timed in turn with what it is compared with."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.lab.loop import Step, last


def clock() -> float:
    """Seconds, read after any GPU in use has finished its queued work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def loop_seconds(steps: Iterator[Step]) -> float:
    """Seconds per step of the training loop, from its first step on: an update and the gradient after it."""
    first = next(steps)
    started = clock()
    updates = last(steps).number - first.number
    return (clock() - started) / updates


def medians(works: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Medians of the seconds that each piece of work returns: they take turns, and the first turn warms up."""
    turns = [{name: work() for name, work in works.items()} for _ in range(repeats + 1)]
    return {name: float(np.median([turn[name] for turn in turns[1:]])) for name in works}
