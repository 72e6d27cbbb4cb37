"""Sharpness-aware minimization over gradient descent (Foret et al. 2021); one norm for all parameters."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, rho: float) -> Built:
    """w <- w - lr grad L(w + rho g / |g|) with g = grad L(w); the library takes |g| in float32."""
    from pytorch_optimizer import SAM

    return [SAM(parameters, torch.optim.SGD, rho=rho, lr=lr)]


sam = Optimizer(
    build, implementation="pytorch_optimizer.SAM over torch.optim.SGD", source="Foret et al. 2021", closures=True
)
