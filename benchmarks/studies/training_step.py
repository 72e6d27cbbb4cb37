"""What one step of the training loop costs beside a bare forward and backward pass of the same network."""

from collections.abc import Sequence
from copy import deepcopy

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import datasets, losses, optimizers
from benchmarks.lab.loop import descend
from benchmarks.lab.problem import Problem
from benchmarks.studies.progressive_sharpening import build_problem
from benchmarks.studies.timing import clock, loop_seconds, medians

STEPS = 5


def run(settings: dict, data: datasets.Images, seeds: Sequence[int], compute: dict, timings: dict) -> pd.DataFrame:
    """Median seconds of both, timed in turn ``timings["repeats"]`` times on the first seed.

    Quantities: see the data card.
    """
    problem, params_RxP, _ = build_problem(settings, data, seeds[:1], compute)
    network, inputs, targets = plain_network(problem)
    set_parameters(network, problem, params_RxP)
    optimizer = optimizers.named(**settings["optimizer"])

    def bare() -> float:
        started = clock()
        for _ in range(STEPS):
            network.zero_grad()
            loss = losses.LOSSES[settings["loss"]](network(inputs), targets).mean()
            loss.backward()
        return (clock() - started) / STEPS

    def stepped() -> float:
        return loop_seconds(descend(problem, params_RxP, optimizer, steps=STEPS, divergence=settings["divergence"]))

    seconds = medians({"bare forward and backward": bare, "step of the training loop": stepped}, timings["repeats"])
    reference, _ = seconds.values()
    rows = [
        (what, torch.get_num_threads(), value, value / reference, timings["repeats"]) for what, value in seconds.items()
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
