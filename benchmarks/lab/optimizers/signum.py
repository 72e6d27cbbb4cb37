"""Sign descent with momentum: the sign of a moving average of gradients (Bernstein et al. 2018, Signum)."""

from collections.abc import Sequence

import pytorch_optimizer
import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(parameters: Sequence[nn.Parameter], *, lr: float, momentum: float = 0.9) -> list[torch.optim.Optimizer]:
    """``momentum: 0.0`` is sign descent itself."""
    return [pytorch_optimizer.SignSGD(parameters, lr=lr, momentum=momentum)]


signum = Optimizer(
    build,
    implementation="pytorch_optimizer.SignSGD",
    source="Bernstein et al. 2018",
)
