"""Gradient descent, alone or with Polyak's or Nesterov's momentum."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters
from benchmarks.theory import stability


def build(parameters: Parameters, *, lr: float, momentum: float = 0.0, nesterov: bool = False) -> Built:
    return [torch.optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov)]


def stability_threshold(*, lr: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    """On the Hessian: 2 / lr, and Cohen et al.'s (2021) appendix B with momentum."""
    return stability.nesterov(lr, momentum) if nesterov else stability.polyak(lr, momentum)


sgd = Optimizer(
    build,
    implementation="torch.optim.SGD",
    source="Cauchy 1847; Polyak 1964; Nesterov 1983 in the form of Sutskever et al. 2013",
    threshold=stability_threshold,
)
