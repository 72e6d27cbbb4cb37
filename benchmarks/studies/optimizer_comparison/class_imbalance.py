"""Softmax regression on one-hot inputs, where every class learns alone (Kunstner et al. 2024): for claim W1."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.lab import optimizers
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Problem
from benchmarks.studies.optimizer_comparison import COLUMNS


class _Softmax(nn.Module):
    """Logits of one-hot inputs from zero weights."""

    def __init__(self, classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, classes, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.weight


def run(settings: dict, seeds: Iterable[int]) -> pd.DataFrame:
    """On classes of frequency 1/k, how the loss of a class follows from its frequency. Nothing is random: no seed."""
    rows = []
    classes = settings["classes"]
    frequencies = 1 / np.arange(1, classes + 1.0)
    frequencies /= frequencies.sum()
    for name, system in settings["systems"].items():
        spec = system["optimizer"]
        steps = [
            round(time / spec["lr"]) if spec["name"] == "sgd" else system["steps"]
            for time in (settings["time"], settings["early"])
        ]
        late, early = class_losses(frequencies, optimizers.named(**spec), steps)
        rows += [
            (name, None, "slope", _slope(frequencies, late)),
            (name, None, "early_slope", _slope(frequencies, early)),
            (name, None, "spread", late.max() / late.min()),
            (name, None, "limit_low", (late * frequencies * settings["time"]).min()),
            (name, None, "limit_high", (late * frequencies * settings["time"]).max()),
            (name, None, "regime", frequencies.min() * settings["time"] / classes),
        ]
        rows += [(name, None, f"frequency_{k}", value) for k, value in enumerate(frequencies)]
        rows += [(name, None, f"loss_{k}", value) for k, value in enumerate(late)]
    return pd.DataFrame(rows, columns=COLUMNS)


def class_losses(frequencies: np.ndarray, optimizer: Optimizer, steps: Sequence[int]) -> list[np.ndarray]:
    """The loss of each class after so many steps of training on all of them, each weighted by its frequency."""
    classes = len(frequencies)
    weights = torch.from_numpy(frequencies)
    network = _Softmax(classes)

    def weighted(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # `Problem` takes the mean over classes.
        return classes * weights[labels] * nn.functional.cross_entropy(outputs, labels, reduction="none")

    problem = Problem(network, torch.eye(classes, dtype=torch.float64), torch.arange(classes), weighted)
    start_1xP = torch.zeros(1, classes**2, dtype=torch.float64)
    at = {}
    for step in descend(problem, start_1xP, optimizer, steps=max(steps), divergence=1e6):
        if step.number in steps:
            logits = step.params_RxP.view(classes, classes)
            at[step.number] = nn.functional.cross_entropy(logits, torch.arange(classes), reduction="none").numpy()
    return [at[number] for number in steps]


def _slope(frequencies: np.ndarray, losses: np.ndarray) -> float:
    return float(np.polyfit(np.log(frequencies), np.log(losses), 1)[0])
