"""What one step of the training loop costs beside a bare forward and backward pass of the same network."""

import time
from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import datasets, losses, optimizers
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import train
from benchmarks.studies.progressive_sharpening import build_problem

STEPS = 5


def run(settings: dict, data: datasets.Images, seeds: Sequence[int], compute: dict, timings: dict) -> pd.DataFrame:
    """Median seconds of both, timed in turn ``timings["repeats"]`` times on the first seed.

    Returns:
        columns what, threads, seconds, ratio (to the bare pass), repeats.
    """
    problem, params_RxP, _ = build_problem(settings, data, seeds[:1], compute)
    network, inputs, targets = plain_network(problem)
    set_parameters(network, problem, params_RxP)

    def bare() -> None:
        for _ in range(STEPS):
            network.zero_grad()
            loss = losses.LOSSES[settings["loss"]](network(inputs), targets).mean()
            loss.backward()

    def stepped() -> None:
        # n updates take n + 1 gradients: the last point is evaluated too.
        train(
            problem,
            params_RxP,
            partial(optimizers.build, **settings["optimizer"]),
            seeds=seeds[:1],
            steps=STEPS - 1,
            divergence=settings["divergence"],
        )

    seconds: dict[str, list[float]] = {"bare forward and backward": [], "step of the training loop": []}
    for _ in range(timings["repeats"] + 1):
        for name, work in zip(seconds, (bare, stepped)):
            started = time.perf_counter()
            work()
            seconds[name].append((time.perf_counter() - started) / STEPS)
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    reference = medians["bare forward and backward"]
    rows = [
        (name, torch.get_num_threads(), value, value / reference, timings["repeats"]) for name, value in medians.items()
    ]
    return pd.DataFrame(rows, columns=["what", "threads", "seconds", "ratio", "repeats"])


def plain_network(problem: Problem) -> tuple[nn.Module, Tensor, Tensor]:
    """A problem as others see it: an ordinary module of its own, all inputs and all targets."""
    inputs, targets = (torch.cat(parts) for parts in zip(*problem.chunks()))
    return deepcopy(problem.module), inputs, targets


def set_parameters(module: nn.Module, problem: Problem, params_RxP: Tensor) -> None:
    """Put an ordinary module at the first run's point of parameter space."""
    with torch.no_grad():
        for parameter, view in zip(module.parameters(), problem.views(params_RxP, 0)):
            parameter.copy_(view)
