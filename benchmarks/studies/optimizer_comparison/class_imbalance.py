"""Softmax regression on one-hot inputs, where classes learn independently (Kunstner et al. 2024): for claim W1."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from benchmarks.lab import optimizers
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Problem
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.exponents import log_slope


@tidy
def run(settings) -> Iterator[Result]:
    """Each system of the settings, trained on all examples of classes with frequency 1/k: how the loss of a class
    depends on its frequency. Nothing is random: no seed.

    Quantities: see the data card.
    """
    classes = settings.classes
    frequencies = 1 / np.arange(1, classes + 1.0)
    frequencies /= frequencies.sum()
    for name, system in settings.systems.items():
        spec = system.optimizer
        steps = [
            round(time / spec.lr) if spec.name == "sgd" else system.steps for time in (settings.time, settings.early)
        ]
        late, early = class_losses(frequencies, optimizers.named(**spec), steps)
        limits = late * frequencies * settings.time
        scores = {
            "slope": log_slope(frequencies, late),
            "early_slope": log_slope(frequencies, early),
            "spread": late.max() / late.min(),
            "limit_low": limits.min(),
            "limit_high": limits.max(),
            "regime": frequencies.min() * settings.time / classes,
        }
        scores |= {f"frequency_{k}": value for k, value in enumerate(frequencies)}
        scores |= {f"loss_{k}": value for k, value in enumerate(late)}
        yield name, None, scores


def class_losses(frequencies: np.ndarray, optimizer: Optimizer, steps: Sequence[int]) -> list[np.ndarray]:
    """The loss of each class after ``steps`` steps of training on all of them, each weighted by its frequency."""
    classes = len(frequencies)
    weights = torch.from_numpy(frequencies)
    network = nn.Linear(classes, classes, bias=False, dtype=torch.float64)

    def weighted(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # `Problem` takes the mean over classes.
        return classes * weights[labels] * nn.functional.cross_entropy(outputs, labels, reduction="none")

    problem = Problem(network, torch.eye(classes, dtype=torch.float64), torch.arange(classes), weighted)
    start_1xP = torch.zeros(1, classes**2, dtype=torch.float64)
    at = {}
    for step in descend(problem, start_1xP, optimizer, steps=max(steps), divergence=1e6):
        if step.number in steps:
            logits = step.params_RxP.view(classes, classes).T
            at[step.number] = nn.functional.cross_entropy(logits, torch.arange(classes), reduction="none").numpy()
    return [at[number] for number in steps]
