"""Scalar RMSProp: one second moment for all parameters (Cohen et al. 2025, "Central flows", section 4)."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters
from benchmarks.theory import stability


class ScalarRMSProp(torch.optim.Optimizer):
    """v <- beta2 v + (1 - beta2) |g|^2 over all parameters at once; w <- w - lr g / sqrt(v). No library has it.

    v starts as the first |g|^2, so that no bias needs correcting.
    """

    def __init__(self, parameters: Parameters, lr: float, beta2: float):
        super().__init__(parameters, {"lr": lr, "beta2": beta2})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            gradients = [p.grad for p in group["params"]]
            square = torch.stack([g.square().sum() for g in gradients]).sum()
            state = self.state[group["params"][0]]
            moment = state.get("square_norm_avg", square)
            state["square_norm_avg"] = group["beta2"] * moment + (1 - group["beta2"]) * square
            rate = group["lr"] / state["square_norm_avg"].sqrt()
            for parameter, gradient in zip(group["params"], gradients):
                parameter.sub_(rate * gradient)


def build(parameters: Parameters, *, lr: float, beta2: float = 0.99) -> Built:
    return [ScalarRMSProp(parameters, lr, beta2)]


def stability_threshold(*, lr: float, beta2: float = 0.99) -> float:
    """On the Hessian over sqrt(v): the effective step lr / sqrt(v) is stable up to curvature 2 sqrt(v) / lr."""
    return stability.gradient_descent(lr)


def preconditioner(optimizer: torch.optim.Optimizer) -> list[torch.Tensor] | None:
    """sqrt(v), the same for every parameter."""
    (group,) = optimizer.param_groups
    state = optimizer.state.get(group["params"][0])
    if not state:
        return None
    return [torch.full_like(p, float(state["square_norm_avg"].sqrt())) for p in group["params"]]


scalar_rmsprop = Optimizer(
    build,
    implementation="benchmarks.lab.optimizers.scalar_rmsprop",
    source="Cohen et al. 2025",
    threshold=stability_threshold,
    diagonal=preconditioner,
)
