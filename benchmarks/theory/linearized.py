"""Gradient descent on a model that is linear in its parameters, in the space of its outputs.

With the mean of half squared errors over N examples, tangent kernel K = J J' and learning rate lr, a step takes the
residual r = f - y of the training outputs to (I - lr K / N) r, so that after t steps

    r_t = (I - lr K / N)^t r_0
    f_t(x) = f_0(x) - K(x, X) G_t r_0,    w_t = w_0 - J' G_t r_0,    G_t = (lr / N) sum_{s<t} (I - lr K / N)^s

which holds for a singular K too. Source: Lee et al. 2019 (arXiv:1902.06720), section 2.2, for gradient flow.
"""

import numpy as np


class Descent:
    """Training residuals, outputs elsewhere and weights after any number of steps.

    Args:
        kernel_NxN: the kernel of the training examples, one output each; it is symmetrised.
        residuals_N: f_0 - y on them.
    """

    def __init__(self, kernel_NxN: np.ndarray, residuals_N: np.ndarray, lr: float):
        kernel = np.asarray(kernel_NxN, dtype=np.float64)
        # Largest eigenvalue first.
        values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
        self.eigenvalues_N, self.eigenvectors_NxN = values[::-1].copy(), vectors[:, ::-1].copy()
        self.step = lr / len(kernel)
        self.factors_N = 1 - self.step * self.eigenvalues_N
        self.modes_N = self.eigenvectors_NxN.T @ np.asarray(residuals_N, dtype=np.float64)

    def residuals(self, steps: int) -> np.ndarray:
        """f_t - y on the training examples: N."""
        return self.eigenvectors_NxN @ (self.factors_N**steps * self.modes_N)

    def gathered(self, steps: int) -> np.ndarray:
        """G_t r_0, N: outputs elsewhere have changed by - K(x, X) times this, weights by - J' times it."""
        left = 1 - self.factors_N
        small = np.abs(left) * steps < 1e-8
        sums = np.where(small, steps, (1 - self.factors_N**steps) / np.where(small, 1.0, left))
        return self.eigenvectors_NxN @ (self.step * sums * self.modes_N)
