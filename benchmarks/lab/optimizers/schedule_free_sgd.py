"""Schedule-Free SGD: gradients between the iterate and its average, which is evaluated (Defazio et al. 2024)."""

from collections.abc import Sequence

import pytorch_optimizer
import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(parameters: Sequence[nn.Parameter], *, lr: float, momentum: float = 0.9) -> list[torch.optim.Optimizer]:
    """Evaluate between its ``eval()`` and ``train()``, which put the average into the parameters and take it out."""
    return [pytorch_optimizer.ScheduleFreeSGD(parameters, lr=lr, momentum=momentum)]


schedule_free_sgd = Optimizer(
    build,
    implementation="pytorch_optimizer.ScheduleFreeSGD",
    source="Defazio et al. 2024",
    schedule_free=True,
)
