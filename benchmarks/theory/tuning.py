"""The cost of a mistuned learning rate."""

import numpy as np


def lr_sensitivity(rates: np.ndarray, losses: np.ndarray, first: float) -> float:
    """E[min(loss(lr), first loss)] - min loss, lr uniform in its logarithm over the rates (Wortsman et al. 2023).

    Args:
        rates: at least two, in any order; between them the clipped loss is taken as linear in ln lr.
        losses: where training ended; infinite or nan where it diverged.
        first: the loss before training, which clips the rest.

    Raises:
        ValueError: for fewer than two rates.
    """
    order = np.argsort(rates)
    x = np.log(np.asarray(rates, dtype=float)[order])
    if len(x) < 2:
        raise ValueError(f"{len(x)} learning rates, 2 needed")
    losses = np.asarray(losses, dtype=float)[order]
    clipped = np.minimum(np.where(np.isnan(losses), np.inf, losses), first)
    return float(np.trapezoid(clipped, x) / (x[-1] - x[0]) - clipped.min())
