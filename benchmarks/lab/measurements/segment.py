"""The curvature along a whole gradient-descent step, where the descent lemma needs it."""

import torch
from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup, Stateless
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.problem import Point

# A loss from which float32 curvature may overflow.
BOUND = 1e15


class Segment(Stateless):
    """The step -lr g that starts here.

    Metrics: ``segment_sharpness``, the largest of the top eigenvalues at the start, the middle and the end of the step
    -lr g; ``segment_rise``, L(w - lr g) - L(w); ``segment_curvature``, the m of `Path` for that step, which cannot
    exceed the largest curvature along it.

    Args:
        sharpness: measured before this one at the same step.
        lr: the learning rate of the gradient descent that is followed.
    """

    curvature = True

    def __init__(self, sharpness: Sharpness, *, lr: float, every: int):
        self.sharpness = sharpness
        self.lr = lr
        self.every = every

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        point = reading.point
        step_RxP, bounded_R = bounded_step(point, self.lr)
        tops = []
        for fraction in (0.0, 0.5, 1.0):
            along = (
                point if fraction == 0.0 else point.problem.at(point.params_RxP + fraction * step_RxP, curvature=True)
            )
            tops.append(self.sharpness.solve(along.hvp).eigenvalues_RxK[:, 0])
        rise_R = along.losses_R.cpu().double() - point.losses_R.cpu().double()
        squares_R = step_RxP.square().sum(1).cpu().double()
        slopes_R = (point.grads_RxP * step_RxP).sum(1).cpu().double()
        metrics = {
            "segment_sharpness": torch.stack(tops).amax(0),
            "segment_rise": rise_R,
            "segment_curvature": 2 * (rise_R - slopes_R) / squares_R,
        }
        return {name: torch.where(bounded_R, values_R, torch.nan) for name, values_R in metrics.items()}


def bounded_step(point: Point, lr: float) -> tuple[Tensor, Tensor]:
    """The gradient-descent step -lr g, R x P, and which runs it leaves finite, R and on the CPU.

    A step that is not finite ends its run: it is set to zero here so that it does not spoil the other runs' solves, and
    anything measured along it must be ignored.
    """
    step_RxP = -lr * point.grads_RxP
    ends = point.problem.at(point.params_RxP + step_RxP)
    bounded_R = torch.isfinite(ends.grads_RxP).all(1) & (ends.losses_R.abs() < BOUND)
    return torch.where(bounded_R[:, None], step_RxP, 0.0), bounded_R.cpu()


def build(setup: Setup, *, every: int) -> Segment:
    return Segment(setup.needs("segment", "sharpness"), lr=setup.gradient_descent_lr("segment"), every=every)
