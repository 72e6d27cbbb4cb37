"""Gradient descent with momentum and a learning rate a tensor, in inverse proportion to the tensor's own sharpness at
the start: what is left of Adam if it adapts to blocks alone (Zhang et al. 2024)."""

from collections.abc import Sequence

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, momentum: float = 0.0, rates: Sequence[float] = ()) -> Built:
    """``rates``: factors by which ``lr`` is multiplied, one per tensor, measured by the caller; all 1 if not given.

    Raises:
        ValueError: if there are not as many rates as tensors.
    """
    parameters = list(parameters)
    rates = list(rates) or [1.0] * len(parameters)
    if len(rates) != len(parameters):
        raise ValueError(f"{len(parameters)} tensors but {len(rates)} rates")
    groups = [{"params": [parameter], "lr": lr * rate} for parameter, rate in zip(parameters, rates)]
    return [torch.optim.SGD(groups, lr=lr, momentum=momentum)]


blockwise_sgd = Optimizer(
    build, implementation="torch.optim.SGD, a group a tensor", source="Zhang et al. 2024", block_rates=True
)
