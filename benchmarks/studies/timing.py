"""Seconds of pieces of work, each beside what it is compared with."""

import time
from collections.abc import Callable

import numpy as np
import torch


def clock(device: torch.device) -> float:
    """Seconds, read once the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def medians(works: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Of the seconds that each piece of work returns: all take turns, and the first turn warms up."""
    turns = [{name: work() for name, work in works.items()} for _ in range(repeats + 1)]
    return {name: float(np.median([turn[name] for turn in turns[1:]])) for name in works}
