"""The third-order quantities behind self-stabilization (Damian, Nichani and Lee 2023; Cohen et al. 2025)."""

import torch
from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup, Stateless
from benchmarks.lab.measurements.segment import bounded_step
from benchmarks.lab.measurements.sharpness import Sharpness


class SelfStabilization(Stateless):
    """The pull of -grad L on the sharpness S, and the oscillation that would balance it.

    Everything is evaluated at the midpoint of the gradient-descent step that starts here, w - lr g / 2: the iterate
    itself swings about the valley floor, the midpoint does not. With u the top eigenvector there:

    ``sharpness_pull``: <-grad L, grad S>, the rate at which gradient flow would raise S (S per unit of time);
    ``sharpness_alignment``: the cosine of the two;
    ``predicted_variance``: 2 <-grad L, grad S> / |grad S|^2, the variance along u at which the oscillation's own pull
    on S, -|grad S|^2 variance / 2, cancels it, where a single eigenvalue is at the edge (units: parameter^2);
    ``midpoint_sharpness`` and ``midpoint_sharpness_2``: the two largest eigenvalues there.

    Args:
        sharpness: measured before this one at the same step.
        lr: the learning rate of the gradient descent that is followed.
    """

    curvature = False

    def __init__(self, sharpness: Sharpness, *, lr: float, every: int):
        self.sharpness = sharpness
        self.lr = lr
        self.every = every

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        point = reading.point
        step_RxP, bounded_R = bounded_step(point, self.lr)
        middle = point.problem.at(point.params_RxP + 0.5 * step_RxP, curvature=True)
        top = self.sharpness.solve(middle.hvp, 2)
        u_RxP = top.vectors_RxPxB[:, :, 0]
        rise_RxP = middle.curvature_gradient(u_RxP, u_RxP).cpu().double()
        fall_RxP = -middle.grads_RxP.cpu().double()
        pull_R, squares_R = (fall_RxP * rise_RxP).sum(1), rise_RxP.square().sum(1)
        norms_R = fall_RxP.norm(dim=1) * squares_R.sqrt()
        metrics = {
            "sharpness_pull": pull_R,
            "sharpness_alignment": pull_R / norms_R,
            "predicted_variance": 2 * pull_R / squares_R,
            "midpoint_sharpness": top.eigenvalues_RxK[:, 0],
            "midpoint_sharpness_2": top.eigenvalues_RxK[:, 1],
        }
        return {name: torch.where(bounded_R, values_R, torch.nan) for name, values_R in metrics.items()}


def build(setup: Setup, *, every: int) -> SelfStabilization:
    lr = setup.gradient_descent_lr("self_stabilization")
    return SelfStabilization(setup.needs("self_stabilization", "sharpness"), lr=lr, every=every)
