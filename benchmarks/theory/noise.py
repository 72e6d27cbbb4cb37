"""The gradient noise scale and what it says of batch sizes (McCandlish et al. 2018, arXiv:1812.06162).

With the gradient G of the loss and the covariance Sigma of the gradient of one example, the simple noise scale is
tr(Sigma) / |G|^2, in examples; with the Hessian H, the noise scale proper is tr(H Sigma) / G'HG.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar


def scale(square: float, gradient_P: np.ndarray) -> float:
    """tr(Sigma) / |G|^2 from the mean squared norm of the examples' gradients, and the gradient of the loss."""
    signal = float(gradient_P @ gradient_P)
    return (square - signal) / signal


def curved_scale(curvature: float, along: float) -> float:
    """tr(H Sigma) / G'HG from the mean g'Hg of the examples' gradients, and from G'HG (equation 2.8): the batch size at
    which a step of the best length gains half of what it gains without noise, where the loss is quadratic."""
    return (curvature - along) / along


def estimated(squares: Mapping[int, float]) -> float:
    """From the mean squared norm of gradients of batches of two sizes (appendix A.1): E|G_B|^2 = |G|^2 + tr(Sigma) / B.

    Raises:
        ValueError: unless there are two sizes.
    """
    if len(squares) != 2:
        raise ValueError(f"the estimator takes two batch sizes, got {len(squares)}")
    (small, of_small), (big, of_big) = sorted(squares.items())
    signal = (big * of_big - small * of_small) / (big - small)
    trace = (of_small - of_big) / (1 / small - 1 / big)
    return trace / signal


@dataclass(frozen=True)
class Tradeoff:
    """steps = least (1 + critical / size), fitted in ln(steps); ``error`` is the root mean square of what is left."""

    least: float
    critical: float
    error: float


def fit_tradeoff(sizes: Sequence[int], steps_B: np.ndarray) -> Tradeoff:
    """Raises ValueError for fewer than three batch sizes: two fit any law."""
    if len(sizes) < 3:
        raise ValueError(f"a tradeoff is fitted to three batch sizes or more, got {len(sizes)}")
    sizes_B = np.asarray(sizes, dtype=float)

    def residuals(log_critical: float) -> np.ndarray:
        left = np.log(steps_B) - np.log1p(np.exp(log_critical) / sizes_B)
        return left - left.mean()

    bounds = (np.log(sizes_B.min()) - 5, np.log(sizes_B.max()) + 5)
    found = minimize_scalar(
        lambda x: float(np.square(residuals(x)).sum()), bounds=bounds, method="bounded", options={"xatol": 1e-8}
    )
    critical = float(np.exp(found.x))
    least = float(np.exp((np.log(steps_B) - np.log1p(critical / sizes_B)).mean()))
    return Tradeoff(least, critical, float(np.sqrt(np.square(residuals(found.x)).mean())))
