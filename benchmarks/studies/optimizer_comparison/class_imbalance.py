"""Softmax regression on one-hot inputs, where every class learns alone (Kunstner et al. 2024): for claim W1."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.lab import optimizers
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import train

COLUMNS = ["system", "seed", "quantity", "value"]


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
        at = {}
        for time in sorted({settings["time"], settings["early"]}):
            steps = round(time / system["optimizer"]["lr"]) if system["optimizer"]["name"] == "sgd" else system["steps"]
            at[time] = class_losses(frequencies, system["optimizer"], steps)
        late, early = at[settings["time"]], at[settings["early"]]
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


def class_losses(frequencies: np.ndarray, optimizer: dict, steps: int) -> np.ndarray:
    """The loss of each class after training on all of them, each weighted by its frequency."""
    classes = len(frequencies)
    weights = torch.from_numpy(frequencies)
    network = _Softmax(classes)

    def weighted(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # `Problem` takes the mean over classes.
        return classes * weights * nn.functional.cross_entropy(outputs, labels, reduction="none")

    problem = Problem(network, torch.eye(classes, dtype=torch.float64), torch.arange(classes), weighted)
    outcome = train(
        problem,
        torch.zeros(1, classes**2, dtype=torch.float64),
        partial(optimizers.build, **optimizer),
        seeds=[0],
        steps=steps,
        divergence=1e6,
    )
    logits = outcome.params_RxP.view(classes, classes)
    return nn.functional.cross_entropy(logits, torch.arange(classes), reduction="none").numpy()


def _slope(frequencies: np.ndarray, losses: np.ndarray) -> float:
    return float(np.polyfit(np.log(frequencies), np.log(losses), 1)[0])
