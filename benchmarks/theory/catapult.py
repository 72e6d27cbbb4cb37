"""The catapult: gradient descent on a two-layer linear network and one example, as a map of two numbers.

The network is f = v.u / sqrt(n), with u and v of width n and the input x = 1, the loss e^2 / 2 with e = f - y. Its
curvature, the tangent kernel |grad f|^2, is q = (|u|^2 + |v|^2) / n. With a = lr e a step is

    u' = u - a v / sqrt(n)
    v' = v - a u / sqrt(n)

so that v'.u' = v.u - a (|u|^2 + |v|^2) / sqrt(n) + a^2 u.v / n, and |u'|^2 + |v'|^2 = (|u|^2 + |v|^2) (1 + a^2 / n)
- 4 a u.v / sqrt(n). Divided by sqrt(n) and by n, with u.v = sqrt(n) f, these are exact at every width:

    e' = e - a q + a^2 f / n
    q' = q + (a / n) (a q - 4 f)

For y = 0, in c = lr q and z = lr^2 f^2 / n <= c^2 / 4 (for 2 |u.v| <= |u|^2 + |v|^2), this is, without n,

    f' = f (1 - c + z)
    c' = c - z (4 - c)

    c < 2 + z       The loss falls, now and (if z < 1) always: c' = c - z (4 - c) < 2.
    2 + z < c < 4   The loss rises until z is of order one, for about ln(n / f^2) / (2 ln(c - 1)) steps. Meanwhile c
                    falls. All it can lose, the sum of z (4 - c), is finite, so z goes to zero, and only c <= 2 lets it.
    c > 4           c grows with every step, and gradient descent diverges.

So the upper boundary is 4 at every width, and the lower one 2 up to z = O(1 / n). A target y moves the upper one by a
term of order y / sqrt(n).

Source: Lewkowycz et al. 2020, "The large learning rate phase of deep learning: the catapult mechanism"
(arXiv:2003.02218), section 2, where y = 0.
"""

import numpy as np


def step(
    residual: np.ndarray, curvature: np.ndarray, lr: np.ndarray, *, width: int, target: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """One step of gradient descent: (e, q) to (e', q'), elementwise; ``residual`` and ``target`` in units of f."""
    output = residual + target
    a = lr * residual
    return residual - a * curvature + a**2 * output / width, curvature + a / width * (a * curvature - 4 * output)


def trajectory(
    residual: np.ndarray, curvature: np.ndarray, lr: np.ndarray, *, width: int, steps: int, target: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and curvatures before each of ``steps`` updates and after the last, steps first: (steps + 1) x ...

    The arguments broadcast. A diverging trajectory continues to inf and nan.
    """
    state = np.broadcast_arrays(residual, curvature, lr)[:2]
    states = [state]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            state = step(*state, lr, width=width, target=target)
            states.append(state)
    residuals, curvatures = zip(*states)
    return np.stack(residuals), np.stack(curvatures)
