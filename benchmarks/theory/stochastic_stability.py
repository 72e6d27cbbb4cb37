"""SGD with momentum on a one-dimensional quadratic whose curvature differs from batch to batch.

Each step draws the curvature ``A`` with probability ``share`` and 0 otherwise: a batch that holds one of the few
examples that see this direction. Its batch sharpness, E[g'Hg] / E[g'g], is A whatever the share. The step is
``m <- b m + g; w <- w - lr m``, as `torch.optim.SGD` writes it, so that with m = E[a] and v = Var[a]

    w_(t+1) = (1 + b - lr a_t) w_t - b w_(t-1).

E[w_t^2], E[w_t w_(t-1)] and E[w_(t-1)^2] follow a linear recursion, which has the eigenvalue one exactly where
(1 - b) m (2 (1 + b) - lr m) = (1 + b) lr v. These are the two plateaus of Andreyev et al. 2026 (arXiv:2604.14108) as
limits of one formula: share -> 0 gives 2 (1 - b) / lr, share = 1 gives 2 (1 + b) / lr.
"""


def batch_threshold(lr: float, momentum: float, share: float) -> float:
    """The largest A that is stable in mean square, 2 (1 - b^2) / (lr (1 + b - 2 b share)).

    Raises:
        ValueError: for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of batches that see the direction must be in (0, 1], got {share:g}")
    return 2 * (1 - momentum**2) / (lr * (1 + momentum - 2 * momentum * share))


def stationary_square(lr: float, momentum: float, share: float, curvature: float, noise: float) -> float:
    """E[w^2] at rest, when independent noise of standard deviation ``noise`` is added to each gradient.

    Raises:
        ValueError: for a curvature at or above the threshold, where there is none.
    """
    if curvature >= batch_threshold(lr, momentum, share):
        raise ValueError(f"curvature {curvature:g} is not below the threshold: the variance grows without bound")
    mean, variance = share * curvature, share * (1 - share) * curvature**2
    damping = (1 - momentum) * mean * (2 * (1 + momentum) - lr * mean) - (1 + momentum) * lr * variance
    return lr * noise**2 * (1 + momentum) / damping
