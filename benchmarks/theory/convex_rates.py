"""Worst-case rates of first-order methods on convex functions, and the functions that attain them.

A function is L-smooth, and mu-strongly convex where mu is named; R bounds the distance of the start from a minimizer.

Sources: Drori and Teboulle 2014, "Performance of first-order methods for smooth convex minimization", theorem 3.1
(gradient descent, and the Huber function that attains it); Taylor, Hendrickx and Glineur 2017 (arXiv:1502.05666) and
PEPit (arXiv:2201.04040), the examples ``gradient_descent``, ``accelerated_gradient_convex`` and
``accelerated_gradient_strongly_convex``; Nesterov 2004, "Introductory lectures on convex optimization", section 2.2.
"""

import numpy as np


def gradient_descent(L: float, R: float, step: float, n: int) -> float:
    """L R^2 / (4 n step L + 2): the largest f(x_n) - f* of gradient descent with step <= 1/L. Tight."""
    return L * R**2 / (4 * n * step * L + 2)


def huber_width(L: float, R: float, step: float, n: int) -> float:
    """R / (2 n step L + 1): the width of the Huber function on which gradient descent is at its worst after n steps."""
    return R / (2 * n * step * L + 1)


def accelerated(L: float, R: float, n: int) -> float:
    """2 L R^2 / (n^2 + 5 n + 6): the largest f(x_n) - f* of Nesterov's method with steps 1/L and momentum i / (i + 3).

    A numerical bound of PEPit's, met by Huber functions; n >= 1.
    """
    return 2 * L * R**2 / (n**2 + 5 * n + 6)


def quadratic_decay(L: float, mu: float) -> float:
    """2 ln(1 - mu / L): the slope of ln(f(x_n) - f*) in n in the worst case over quadratics, for steps 1/L."""
    return 2 * np.log1p(-mu / L)


def textbook_decay(L: float, mu: float) -> float:
    """ln(1 - mu / L): the slope that textbooks guarantee for steps 1/L; valid, and half of the exact one."""
    return np.log1p(-mu / L)


def strongly_convex_accelerated(L: float, mu: float, R: float, first: float, n: int) -> float:
    """(1 - sqrt(mu / L))^n (f(x_0) - f* + mu R^2 / 2): an upper bound for Nesterov's method with momentum
    (1 - q) / (1 + q), q = sqrt(mu / L). Not tight.

    Args:
        first: f(x_0) - f*.
    """
    return (1 - np.sqrt(mu / L)) ** n * (first + mu * R**2 / 2)


def huber(x: np.ndarray, L: float, width: float) -> np.ndarray:
    """L x^2 / 2 within the width, L width |x| - L width^2 / 2 beyond: L-smooth and convex, least at zero."""
    return np.where(np.abs(x) <= width, L * x**2 / 2, L * width * np.abs(x) - L * width**2 / 2)
