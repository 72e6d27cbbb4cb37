"""Sign descent with momentum: the sign of a moving average of gradients (Bernstein et al. 2018, Signum)."""

from collections.abc import Sequence

import pytorch_optimizer
import torch
from torch import nn

IMPLEMENTATION = "pytorch_optimizer.SignSGD"
SOURCE = "Bernstein et al. 2018"


def build(parameters: Sequence[nn.Parameter], *, lr: float, momentum: float = 0.9) -> list[torch.optim.Optimizer]:
    """``momentum: 0.0`` is sign descent itself."""
    return [pytorch_optimizer.SignSGD(parameters, lr=lr, momentum=momentum)]
