"""NAdam: Adam with Nesterov's momentum (Dozat 2016)."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(
    parameters: Sequence[nn.Parameter], *, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
) -> list[torch.optim.Optimizer]:
    return [torch.optim.NAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps)]


nadam = Optimizer(
    build,
    implementation="torch.optim.NAdam",
    source="Dozat 2016",
)
