"""Sharpness-aware minimization over gradient descent (Foret et al. 2021); one norm for all parameters."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lab.optimizers import Optimizer


def build(parameters: Sequence[nn.Parameter], *, lr: float, rho: float) -> list[torch.optim.Optimizer]:
    """w <- w - lr grad L(w + rho g / |g|) with g = grad L(w); the library takes |g| in float32."""
    from pytorch_optimizer import SAM

    return [SAM(parameters, torch.optim.SGD, rho=rho, lr=lr)]


sam = Optimizer(
    build,
    implementation="pytorch_optimizer.SAM over torch.optim.SGD",
    source="Foret et al. 2021",
    closures=True,
)
