"""What one step of the training loop costs compared with a bare forward and backward pass of the same network."""

from copy import deepcopy

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import datasets, losses, optimizers
from benchmarks.lab.loop import descend
from benchmarks.lab.problem import Problem
from benchmarks.studies.progressive_sharpening.training import build_problem
from benchmarks.studies.timings.clock import clock, loop_seconds, medians

STEPS = 5


def run(settings, images: datasets.Images, compute) -> pd.DataFrame:
    """Median seconds of both, timed in turn ``settings.repeats`` times.

    Args:
        settings: `TimedTraining` of study.py.

    Quantities: see the data card.
    """
    training = settings.training
    problem, params_RxP, _ = build_problem(training, images, [settings.seed], compute)
    network, inputs, targets = plain_network(problem)
    set_parameters(network, problem, params_RxP)
    optimizer = optimizers.named(**training.optimizer)

    def bare() -> float:
        started = clock()
        for _ in range(STEPS):
            network.zero_grad()
            loss = losses.LOSSES[training.loss](network(inputs), targets).mean()
            loss.backward()
        return (clock() - started) / STEPS

    def stepped() -> float:
        return loop_seconds(descend(problem, params_RxP, optimizer, steps=STEPS, divergence=training.divergence))

    seconds = medians({"bare forward and backward": bare, "step of the training loop": stepped}, settings.repeats)
    reference, _ = seconds.values()
    rows = [
        (what, torch.get_num_threads(), value, value / reference, settings.repeats) for what, value in seconds.items()
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
