"""Adagrad (Duchi, Hazan and Singer 2011)."""

from collections.abc import Sequence

import torch
from torch import nn

IMPLEMENTATION = "torch.optim.Adagrad"
SOURCE = "Duchi, Hazan and Singer 2011"


def build(parameters: Sequence[nn.Parameter], *, lr: float, eps: float = 1e-10) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adagrad(parameters, lr=lr, eps=eps)]
