"""Gradient flow of logistic regression, as a function of the logarithm of time.

With facing examples z_i = y_i x_i and w = Z'c from zero, the flow of the mean loss is, in u = ln t,

    dc_i / du = exp(u - softplus(z_i.w)) / N

Both terms of the exponent grow like ln t, and their difference stays of order one: nothing underflows at any horizon,
and nothing becomes stiff. On separable data dw / du goes to the hard-margin vector, of norm 1 / margin (Soudry et al.
2018, arXiv:1710.10345, theorem 3).
"""

import numpy as np
from scipy.integrate import solve_ivp

START = -20.0


def coefficients(gram_NxN: np.ndarray, log_times_T: np.ndarray) -> np.ndarray:
    """c at these ln t, rising and above -20, from w = 0 at t = 0: T x N.

    Args:
        gram_NxN: of the facing examples, ZZ'.
    """
    n = len(gram_NxN)

    def rate(u: float, c: np.ndarray) -> np.ndarray:
        return np.exp(u - np.logaddexp(0, gram_NxN @ c)) / n

    def jacobian(u: float, c: np.ndarray) -> np.ndarray:
        margins = gram_NxN @ c
        return -(rate(u, c) * np.exp(-np.logaddexp(0, -margins)))[:, None] * gram_NxN

    # Until then every sigmoid is 1/2 but for a part in 1e9.
    start = np.full(n, np.exp(START) / (2 * n))
    solved = solve_ivp(
        rate, (START, log_times_T[-1]), start, "LSODA", log_times_T, jac=jacobian, rtol=1e-10, atol=1e-13
    )
    if not solved.success:
        raise RuntimeError(f"the flow was not integrated: {solved.message}")
    return solved.y.T


def along_an_axis(length: float, examples: int, log_times_T: np.ndarray) -> np.ndarray:
    """w at these ln t where a single facing example, of ``examples`` that are orthogonal, has this length: T.

    dw/dt = a / (N (1 + e^(a w))), so that e^(a w) + a w = 1 + a^2 t / N; solved in logarithms by Newton's method.
    """
    log_right = np.logaddexp(0, log_times_T + np.log(length**2 / examples))
    x = np.maximum(log_right - np.log1p(log_right), 0.0)
    for _ in range(100):  # ln(e^x + x) = ln of the right side
        value = x + np.log1p(x * np.exp(-x))
        slope = (1 + np.exp(-x)) / (1 + x * np.exp(-x))
        x = x - (value - log_right) / slope
    return x / length
