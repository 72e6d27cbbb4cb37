"""Closed forms of training under scale-invariance and other rescalings.

A loss with L(cw) = L(w) for c > 0 has <w, g(w)> = 0, g(cw) = g(w) / c and H(cw) = H(w) / c^2. Momentum is torch's:
b <- beta b + g, w <- w - lr b. Weight decay is coupled if g is g + decay w, decoupled if w is (1 - lr decay) w.
"""

import numpy as np


def radial_gradient(
    output_gradients_NxF: np.ndarray, outputs_NxF: np.ndarray, variances_N: np.ndarray, eps: float
) -> float:
    """<w, g> of a layer whose outputs z pass y = (z - mean) / sqrt(variance + eps), by the gradients in y.

    From z(cw) = c z(w): dy / dc = y eps / (variance + eps) at c = 1. Linear in eps while that is far below the
    variances, and zero with it.

    Args:
        output_gradients_NxF: of the loss, in y.
    """
    along_N = (output_gradients_NxF * outputs_NxF).sum(1)
    return float((along_N * eps / (variances_N + eps)).sum())


def growth_root(lr: float, decay: float, momentum: float = 0.0, decoupled: bool = False) -> float:
    """The factor by which weights trained with decay shrink relative to the equivalent without: w_t = alpha^t v_t.

    The larger root of x^2 - (1 + beta - lr decay) x + beta = 0 for coupled decay (Li and Arora 2020, arXiv:1910.07454,
    theorem 2.7); 1 - lr decay for decoupled decay and without momentum.

    Raises:
        ValueError: if the roots are not real: decay is then too strong for any such equivalent.
    """
    if decoupled or not momentum:
        return 1 - lr * decay
    half = (1 + momentum - lr * decay) / 2
    if half**2 < momentum:
        raise ValueError(f"lr x decay = {lr * decay:g} with momentum {momentum:g} has no exponential equivalent")
    return half + (half**2 - momentum) ** 0.5


def initial_buffer(lr: float, decay: float, momentum: float) -> float:
    """b_0 over w_0 of the equivalent without decay, -(1 - alpha) / (lr alpha), if b_0 = 0 with decay (coupled).

    From w_1 = (1 - lr decay) w_0 - lr g = alpha v_1.
    """
    alpha = growth_root(lr, decay, momentum)
    return -(1 - alpha) / (lr * alpha)


def equilibrium_cosine(lr: float, decay: float, momentum: float = 0.0, decoupled: bool = False) -> float:
    """E<w, w'> / E|w|^2 over a step, in equilibrium: 1 - lr decay / (1 + beta), or (rho + beta) / (1 + rho beta) with
    rho = 1 - lr decay for decoupled decay.

    This requires only <w, g> = 0 and stationarity. The angle is then sqrt(2 lr decay / (1 + beta)) and
    sqrt(2 lr decay (1 - beta) / (1 + beta)) (Wan et al. 2021, arXiv:2006.08419; Kosson et al. 2024, arXiv:2305.17212).
    """
    if decoupled:
        rho = 1 - lr * decay
        return (rho + momentum) / (1 + rho * momentum)
    return 1 - lr * decay / (1 + momentum)


def equilibrium_norm(lr: float, decay: float, momentum: float = 0.0, decoupled: bool = False) -> float:
    """|w|^4 over E|g~|^2 in equilibrium, g~ = |w| g being the gradient at unit norm, for gradients without memory
    (else see `norm_memory`; there is none to matter without momentum).

    Tends to lr / (2 decay (1 - beta)), and to lr / (2 decay (1 - beta)^2) for decoupled decay, as lr decay becomes
    smaller than 1 - beta (Wan et al. 2021, arXiv:2006.08419). As written here by hand, from the stationary second
    moments of weights and steps and <w, g> = 0:

        coupled     lr^2 / (2 lr decay (1 - beta) (1 - lr decay / (2 (1 + beta))))
        decoupled   lr^2 (1 + rho beta) / ((1 - rho^2) (1 - rho beta) (1 - beta^2)),  rho = 1 - lr decay
    """
    x = lr * decay
    if decoupled:
        rho = 1 - x
        return lr**2 * (1 + rho * momentum) / ((1 - rho**2) * (1 - rho * momentum) * (1 - momentum**2))
    return lr**2 / (2 * x * (1 - momentum) * (1 - x / (2 * (1 + momentum))))


def norm_memory(lr: float, momentum: float, step_gradient, gradient):
    """The factor on `equilibrium_norm` for gradients with memory: 1 - 2 beta E<u, g> / (lr E|g|^2),
    u = -lr b being the step that momentum brings along (with decoupled decay; else up to terms in lr decay).

    From E|u'|^2 = beta^2 E|u|^2 + lr^2 E|g|^2 - 2 beta lr E<u, g>. It is one without momentum, and where a gradient is
    uncorrelated with those before it.

    Args:
        step_gradient: E<u, g>.
        gradient: E|g|^2.
    """
    return 1 - 2 * momentum * step_gradient / (lr * gradient)


def relaxation_steps(lr: float, decay: float, momentum: float = 0.0, decoupled: bool = False) -> float:
    """Steps in which |w|^4 approaches its equilibrium by a factor e: 1 / (4 lr decay), times 1 - beta if the decay is
    coupled. From d|w|^4 / dt = -4 lr decay |w|^4 + 2 lr^2 |g~|^2 at constant E|g~|^2."""
    return (1.0 if decoupled else 1 - momentum) / (4 * lr * decay)


def imbalance_step(imbalance, lr: float, decay: float, inner, outer):
    """|w_in|^2 - |w_out|^2 of a ReLU neuron after a step of gradient descent: (1 - lr decay)^2 of what it was, plus
    lr^2 (|g_in|^2 - |g_out|^2).

    From <w_in, g_in> = <w_out, g_out>, by which gradient flow conserves it (Du et al. 2018, arXiv:1806.00900); with
    decay it falls as exp(-2 lr decay t) (Kunin et al. 2021, arXiv:2012.04728).

    Args:
        imbalance, inner, outer: numbers or arrays; the last two are |g_in|^2 and |g_out|^2.
    """
    return (1 - lr * decay) ** 2 * imbalance + lr**2 * (inner - outer)


def rescaling_exponents(degree: float) -> dict[str, float]:
    """Powers p of a factor c: with the learning rate times c^p a rescaled run follows the same path.

    ``degree`` is k in u(c g) = c^k u(g), u being the optimizer's step: 1 for SGD, 0 where steps are normalised (Adam,
    sign, Muon). ``loss``: c L in place of L, -k. ``parameter``: v with w = c v, -(1 + k). ``start``: weights of a
    scale-invariant network that start c times as large, 1 + k.
    """
    return {"loss": -degree, "parameter": -(1 + degree), "start": 1 + degree}
