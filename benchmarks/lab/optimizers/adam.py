"""Adam (Kingma and Ba 2015)."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters
from benchmarks.theory import stability


def build(parameters: Parameters, *, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Built:
    return [torch.optim.Adam(parameters, lr=lr, betas=(beta1, beta2), eps=eps)]


def stability_threshold(*, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> float:
    """On the preconditioned Hessian with a frozen preconditioner (Cohen et al. 2022, equation 2)."""
    return stability.ema_momentum(lr, beta1)


def preconditioner(optimizer: torch.optim.Optimizer) -> list[torch.Tensor] | None:
    """(1 - beta1^t) (sqrt(v / (1 - beta2^t)) + eps): corrections and epsilon included (Cohen et al. 2022, eq. 1)."""
    (group,) = optimizer.param_groups
    beta1, beta2 = group["betas"]
    diagonals = []
    for parameter in group["params"]:
        state = optimizer.state.get(parameter)
        if not state:
            return None
        step = float(state["step"])
        root = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt()
        diagonals.append((1 - beta1**step) * (root + group["eps"]))
    return diagonals


adam = Optimizer(
    build,
    implementation="torch.optim.Adam",
    source="Kingma and Ba 2015",
    threshold=stability_threshold,
    diagonal=preconditioner,
)
