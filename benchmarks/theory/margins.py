"""Linear classifiers of two classes: whether they are linearly separable, and the maximum margin."""

import numpy as np
from scipy.optimize import linprog, minimize


def is_separable(inputs_NxD: np.ndarray, signs_N: np.ndarray) -> bool:
    """Whether some w has y_i w.x_i >= 1 for every example (no offset): a linear program.

    Args:
        signs_N: -1 or 1.
    """
    facing = signs_N[:, None] * inputs_NxD
    solution = linprog(
        np.zeros(facing.shape[1]), A_ub=-facing, b_ub=-np.ones(len(facing)), bounds=(None, None), method="highs"
    )
    return solution.status == 0


def require(inputs_NxD: np.ndarray, signs_N: np.ndarray, separable: bool) -> None:
    """Raises ValueError unless a problem is separable, or is not, as its claim needs it."""
    if is_separable(inputs_NxD, signs_N) != separable:
        if separable:
            raise ValueError("the two classes are not linearly separable: fewer examples or more inputs are needed")
        raise ValueError(
            "a plane separates the two classes, so logistic loss has no minimizer: more examples or a ridge are needed"
        )


def widest(inputs_NxD: np.ndarray, signs_N: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit vector that maximizes min_i y_i w.x_i, and that margin: the dual quadratic program, to its tolerance.

    Source: Vapnik 1995; the limit direction of gradient descent on separable logistic regression (Soudry et al. 2018).
    """
    facing = signs_N[:, None] * inputs_NxD
    gram = facing @ facing.T

    def value(a: np.ndarray) -> tuple[float, np.ndarray]:
        product = gram @ a
        return a @ product / 2 - a.sum(), product - 1

    solution = minimize(
        value,
        np.zeros(len(facing)),
        jac=True,
        bounds=[(0, None)] * len(facing),
        method="L-BFGS-B",
        options={"maxiter": 100_000, "maxfun": 200_000, "ftol": 1e-16, "gtol": 1e-12},
    )
    w = solution.x @ facing
    w = w / np.linalg.norm(w)
    return w, float((facing @ w).min())
