"""What every single step says about the curvature, at the cost of one forward pass."""

from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup
from benchmarks.lab.measurements.sharpness import Sharpness

# Distance along the tracked vector. Against exact products on fc-tanh at the edge of stability in float32: with 1e-3
# rounding, with 1e-2 the third derivative costs accuracy; at 2e-3 both stay near 0.2 %.
PROBE = 2e-3


class Path:
    """Step by step, between readings of the sharpness.

    Metrics, all along a full-batch run:

    ``step_curvature``: the directional smoothness of the step that led here (Mishkin et al. 2024), the m with
    L(w') = L(w) + g.d + m |d|^2 / 2 for d = w' - w; a weighted mean of the curvature along the segment.
    ``oscillation``: half the step, projected on the tracked top eigenvector u, so that a two-cycle of amplitude x
    reads +x, -x, ... (units: parameter).
    ``rayleigh_quotient``: u'Hu from L(w + e u), L(w) and g.u: a lower bound on the sharpness, but for e/3 of
    the third derivative.

    Args:
        sharpness: whose top eigenvectors are tracked; it must be measured before this one at the same step.
    """

    curvature = False
    every = 1

    def __init__(self, sharpness: Sharpness):
        self.sharpness = sharpness
        self._before: dict[str, Tensor] | None = None

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        point, u_RxP = reading.point, self.sharpness.vector_RxP
        losses_R, slopes_R = point.losses_R.cpu().double(), (point.grads_RxP * u_RxP).sum(1).cpu().double()
        probed_R = point.problem.losses(point.params_RxP + PROBE * u_RxP).cpu().double()
        metrics = {"rayleigh_quotient": 2 * (probed_R - losses_R - PROBE * slopes_R) / PROBE**2}
        if self._before is not None:
            step_RxP = point.params_RxP - self._before["params"]
            fall_R = losses_R - self._before["losses"] - (self._before["grads"] * step_RxP).sum(1).cpu().double()
            metrics["step_curvature"] = 2 * fall_R / step_RxP.square().sum(1).cpu().double()
            metrics["oscillation"] = 0.5 * (step_RxP * u_RxP).sum(1).cpu().double()
        # Copies: optimizers may change a gradient in place.
        self._before = {"losses": losses_R, "grads": point.grads_RxP.clone(), "params": point.params_RxP.clone()}
        return metrics

    def state_dict(self) -> dict:
        return {"before": self._before}

    def load_state_dict(self, state: dict) -> None:
        self._before = state["before"]


def build(setup: Setup) -> Path:
    """Raises ValueError for minibatches, between whose readings the full loss is unknown."""
    if setup.batch_size:
        raise ValueError("measurement 'path' follows a full-batch run")
    return Path(setup.needs("path", "sharpness"))
