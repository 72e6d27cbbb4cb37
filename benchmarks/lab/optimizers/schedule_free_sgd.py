"""Schedule-Free SGD: gradients between the iterate and its average, which is evaluated (Defazio et al. 2024)."""

from collections.abc import Sequence

import pytorch_optimizer
import torch
from torch import nn

IMPLEMENTATION = "pytorch_optimizer.ScheduleFreeSGD"
SOURCE = "Defazio et al. 2024"
SCHEDULE_FREE = True


def build(parameters: Sequence[nn.Parameter], *, lr: float, momentum: float = 0.9) -> list[torch.optim.Optimizer]:
    """Evaluate between its ``eval()`` and ``train()``, which put the average into the parameters and take it out."""
    return [pytorch_optimizer.ScheduleFreeSGD(parameters, lr=lr, momentum=momentum)]
