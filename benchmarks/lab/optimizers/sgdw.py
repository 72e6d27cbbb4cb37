"""Gradient descent with weight decay; without momentum, coupled and decoupled decay are the same."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(parameters: Sequence[nn.Parameter], *, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)]


sgdw = Optimizer(
    build,
    implementation="torch.optim.SGD",
    source="Hanson and Pratt 1988",
)
