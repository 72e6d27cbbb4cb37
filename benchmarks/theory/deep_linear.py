"""Deep linear networks on whitened inputs: what can be solved exactly.

The loss is L(W_1 .. W_L) = |W_L ... W_1 - T|^2 / 2, the squared error of a deep linear network whose inputs have
identity covariance; s_k are the singular values of T, and u_k(t) is the amplitude of mode k in the product. Time is
that of gradient flow, learning rate times steps.

Sources: Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
networks" (the sigmoid); Arora, Cohen and Hazan 2018 and Arora et al. 2019 (the equation for depth L); Fukumizu 1998,
Braun et al. 2022 and Domine et al. 2025 (the Riccati equation, rederived at `balanced_product`).
"""

import numpy as np
from scipy.integrate import quad


def sigmoid(time, s: float, u0: float):
    """u(t) = s / (1 + (s / u0 - 1) exp(-2 s t)): depth two, aligned and balanced, from u(0) = u0 (Saxe et al. 2014)."""
    return s / (1 + (s / u0 - 1) * np.exp(-2 * s * np.asarray(time)))


def half_time(s: float, u0: float) -> float:
    """When the sigmoid passes s / 2: ln(s / u0 - 1) / (2 s)."""
    return np.log(s / u0 - 1) / (2 * s)


def growth_exponent(depth: int) -> float:
    """2 - 2 / L, the p of du/dt = L u^p (s - u): 0 for a single layer."""
    return 2 - 2 / depth


def growth_time(depth: int, s: float, u0: float, u1: float) -> float:
    """The time from u0 to u1 < s under du/dt = L u^(2 - 2/L) (s - u), by quadrature in ln u."""
    power = 1 - growth_exponent(depth)
    return quad(lambda x: np.exp(power * x) / (depth * (s - np.exp(x))), np.log(u0), np.log(u1))[0]


def muon_exponent(depth: int) -> float:
    """1 / L: the slope of ln(half time) on ln(s) where every factor's singular values grow at one constant rate."""
    return 1 / depth


def balanced_product(
    first_HxD: np.ndarray, second_CxH: np.ndarray, target_CxD: np.ndarray, imbalance: float, times: np.ndarray
) -> np.ndarray:
    """W_2 W_1 along gradient flow from weights with W_2' W_2 - W_1 W_1' = imbalance * I, by a matrix Riccati equation.

    That difference is conserved. With Q = (W_1'; W_2), of D + C rows, gradient flow is dQ/dt = F Q - Q Q' Q / 2 with
    F = [[-imbalance / 2, T'], [T, imbalance / 2]], so that M = Q Q' obeys dM/dt = F M + M F - M^2, whose solution is

        M(t) = e^{Ft} Q_0 (I + Q_0' (int_0^t e^{2Fs} ds) Q_0)^{-1} Q_0' e^{Ft}

    and the product is M's lower left block. F is symmetric: its exponentials come from its eigenvectors.

    Returns:
        times x C x D.

    Raises:
        ValueError: if the weights are not balanced in this way.
    """
    difference = second_CxH.T @ second_CxH - first_HxD @ first_HxD.T
    if not np.allclose(difference, imbalance * np.eye(len(difference)), atol=1e-8):
        raise ValueError(f"W_2' W_2 - W_1 W_1' is not {imbalance:g} times the identity")
    outputs, inputs = target_CxD.shape
    generator = np.block(
        [[-imbalance / 2 * np.eye(inputs), target_CxD.T], [target_CxD, imbalance / 2 * np.eye(outputs)]]
    )
    rates, basis = np.linalg.eigh(generator)
    start = basis.T @ np.concatenate([first_HxD.T, second_CxH])
    products = []
    for time in times:
        # The integral of e^{2 r s} over [0, t]; t itself where the rate vanishes.
        integral = np.where(
            np.abs(rates) < 1e-12, time, np.expm1(2 * rates * time) / np.where(rates == 0, 1, 2 * rates)
        )
        grown = np.exp(rates * time)[:, None] * start
        inner = np.eye(start.shape[1]) + start.T @ (integral[:, None] * start)
        whole = basis @ grown @ np.linalg.solve(inner, grown.T) @ basis.T
        products.append(whole[inputs:, :inputs])
    return np.stack(products)
