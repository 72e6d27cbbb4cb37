"""Linear stability of optimizers on a quadratic.

On ``L(w) = a w^2 / 2`` an optimizer with momentum is a linear map of (w, momentum); the quadratic is
stable exactly while every eigenvalue of that map lies in the closed unit disc. Each function returns the
largest stable curvature ``a`` (units: loss / parameter^2) for a learning rate ``lr``.

Sources: Cohen et al. 2021, "Gradient descent on neural networks typically occurs at the edge of
stability", equation 1 and appendix B (gradient descent, Polyak, Nesterov); Cohen et al. 2022,
"Adaptive gradient methods at the edge of stability", equation 2 (momentum as an exponential moving average).
"""

import numpy as np


def gradient_descent(lr: float) -> float:
    """2 / lr."""
    return 2.0 / lr


def polyak(lr: float, momentum: float) -> float:
    """(2 + 2 b) / lr for ``m <- b m + g; w <- w - lr m``, as ``torch.optim.SGD`` writes it."""
    return (2.0 + 2.0 * momentum) / lr


def nesterov(lr: float, momentum: float) -> float:
    """(2 + 2 b) / ((1 + 2 b) lr) for ``m <- b m + g; w <- w - lr (g + b m)``."""
    return (2.0 + 2.0 * momentum) / ((1.0 + 2.0 * momentum) * lr)


def ema_momentum(lr: float, momentum: float) -> float:
    """(2 + 2 b) / ((1 - b) lr) for ``m <- b m + (1 - b) g; w <- w - lr m``.

    This bounds the preconditioned curvature of Adam once its preconditioner is frozen and its bias
    corrections have faded: 38 / lr at b = 0.9.
    """
    return (2.0 + 2.0 * momentum) / ((1.0 - momentum) * lr)


def sam_edge(lr: float, rho: float, gradient_norm):
    """(|g| / (2 rho)) (sqrt(1 + 8 rho / (lr |g|)) - 1): the curvature along which SAM's steps just oscillate.

    On ``L(w) = a w^2 / 2``, w <- w - lr a (w + rho sign(w)) returns to -w if and only if a is this, for |g| = a |w|.
    It tends to 2 / lr as rho / (lr |g|) tends to zero. Source: Long and Bartlett 2024, "Sharpness-aware minimization
    and the edge of stability", section 3.

    Args:
        gradient_norm: |g| at the iterate, a number or an array of them.
    """
    # The quotient, not the difference above: it stays accurate as rho / (lr |g|) vanishes.
    return 4 / (lr * (1 + np.sqrt(1 + 8 * rho / (lr * gradient_norm))))


FORMULAS = {
    "gradient_descent": gradient_descent,
    "polyak": polyak,
    "nesterov": nesterov,
    "ema_momentum": ema_momentum,
}
