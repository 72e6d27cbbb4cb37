"""The curvature along a whole gradient-descent step, where the descent lemma needs it."""

import torch
from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup, Stateless
from benchmarks.lab.measurements.sharpness import Sharpness


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
        step_RxP = -self.lr * point.grads_RxP
        tops = []
        for fraction in (0.0, 0.5, 1.0):
            along = (
                point if fraction == 0.0 else point.problem.at(point.params_RxP + fraction * step_RxP, curvature=True)
            )
            tops.append(self.sharpness.solve(along.hvp).eigenvalues_RxK[:, 0])
        rise_R = along.losses_R.double() - point.losses_R.double()
        squares_R = step_RxP.square().sum(1).double()
        slopes_R = (point.grads_RxP * step_RxP).sum(1).double()
        return {
            "segment_sharpness": torch.stack(tops).amax(0),
            "segment_rise": rise_R,
            "segment_curvature": 2 * (rise_R - slopes_R) / squares_R,
        }


def build(setup: Setup, *, every: int) -> Segment:
    return Segment(setup.needs("segment", "sharpness"), lr=setup.gradient_descent_lr("segment"), every=every)
