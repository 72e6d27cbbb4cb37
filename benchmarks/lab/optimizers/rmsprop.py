"""RMSProp (Tieleman and Hinton 2012)."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters
from benchmarks.theory import stability


def build(parameters: Parameters, *, lr: float, beta2: float = 0.99, eps: float = 1e-8, momentum: float = 0.0) -> Built:
    """``momentum`` is Polyak's, on the preconditioned gradient, not a moving average as in Adam."""
    return [torch.optim.RMSprop(parameters, lr=lr, alpha=beta2, eps=eps, momentum=momentum)]


def stability_threshold(*, lr: float, beta2: float = 0.99, eps: float = 1e-8, momentum: float = 0.0) -> float:
    """On the preconditioned Hessian with a frozen preconditioner (Cohen et al. 2022)."""
    return stability.polyak(lr, momentum)


def preconditioner(optimizer: torch.optim.Optimizer) -> list[torch.Tensor] | None:
    """sqrt(v) + eps; torch corrects no bias here."""
    (group,) = optimizer.param_groups
    states = [optimizer.state.get(parameter) for parameter in group["params"]]
    return [state["square_avg"].sqrt() + group["eps"] for state in states] if all(states) else None


rmsprop = Optimizer(
    build,
    implementation="torch.optim.RMSprop",
    source="Tieleman and Hinton 2012",
    threshold=stability_threshold,
    diagonal=preconditioner,
)
