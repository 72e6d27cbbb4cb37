"""Adam with decoupled weight decay."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(
    parameters: Sequence[nn.Parameter], *, lr: float, weight_decay: float, beta1: float = 0.9, beta2: float = 0.999
) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)]


adamw = Optimizer(
    build,
    implementation="torch.optim.AdamW",
    source="Loshchilov and Hutter 2019",
)
