"""Linear stability of optimizers on a quadratic.

On ``L(w) = a w^2 / 2`` an optimizer with momentum is a linear map of (w, momentum); the quadratic is
stable exactly while every eigenvalue of that map lies in the closed unit disc. Each function returns the
largest stable curvature ``a`` (units: loss / parameter^2) for a learning rate ``lr``.

Sources: Cohen et al. 2021, "Gradient descent on neural networks typically occurs at the edge of
stability", equation 1 and appendix B (gradient descent, Polyak, Nesterov); Cohen et al. 2022,
"Adaptive gradient methods at the edge of stability", equation 2 (momentum as an exponential moving average).
"""


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


FORMULAS = {
    "gradient_descent": gradient_descent,
    "polyak": polyak,
    "nesterov": nesterov,
    "ema_momentum": ema_momentum,
}
