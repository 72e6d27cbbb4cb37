"""Adagrad (Duchi, Hazan and Singer 2011)."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(parameters: Sequence[nn.Parameter], *, lr: float, eps: float = 1e-10) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adagrad(parameters, lr=lr, eps=eps)]


adagrad = Optimizer(
    build,
    implementation="torch.optim.Adagrad",
    source="Duchi, Hazan and Singer 2011",
)
