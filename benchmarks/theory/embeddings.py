"""Embeddings whose learning is solved: the quadratic model of word vectors and the linear model of Barlow Twins.

Word vectors W (V x D) with the loss |W W' - M|^2 / 4 obey dW/dt = (M - W W') W. Where W is aligned with the
eigenvectors u_k of M, the amplitude a_k = |W' u_k|^2 obeys da/dt = 2 a (m_k - a): the sigmoid of a two-layer linear
network (`benchmarks.theory.deep_linear`) with m_k, an eigenvalue of M, for its strength (Karkada et al. 2025,
arXiv:2502.09863).

A linear encoder W (D x P) with the loss |W G W' - I|^2 obeys dW/dt = -4 (W G W' - I) W G, with G the symmetric
cross-covariance of two views. Where W is aligned with the eigenvectors of G, each eigenvalue c of the embeddings'
cross-covariance W G W' obeys dc/dt = 8 g c (1 - c) (Simon et al. 2023, arXiv:2303.15438).

From small random weights both follow the aligned solution whose start is that of `aligned_start`: what a fast mode
takes of the embedding is lost to slower ones.
"""

import numpy as np

from benchmarks.theory import deep_linear


def quadratic_target(joint_VxV: np.ndarray) -> np.ndarray:
    """M = 2 (P_ij - P_i P_j) / (P_ij + P_i P_j), between -2 and 2, of a symmetric distribution of pairs.

    Raises:
        ValueError: for a word that is in no pair.
    """
    unigram_V = joint_VxV.sum(1)
    if not (unigram_V > 0).all():
        raise ValueError(f"word {int(np.argmin(unigram_V))} of the vocabulary is in no pair")
    chance = np.outer(unigram_V, unigram_V)
    return 2 * (joint_VxV - chance) / (joint_VxV + chance)


def aligned_start(rows_KxD: np.ndarray) -> np.ndarray:
    """|r_k|^2 of each row's part that is orthogonal to all rows before it: K, with K at most D.

    Row k is what the weights hold of mode k, the fastest mode first.
    """
    return np.square(np.diag(np.linalg.qr(rows_KxD.T)[1]))


def word_half_times(strengths_K: np.ndarray, start_K: np.ndarray) -> np.ndarray:
    """When a_k passes m_k / 2, from a_k(0): ln(m_k / a_k(0) - 1) / (2 m_k)."""
    return deep_linear.half_time(strengths_K, start_K)


def view_half_times(strengths_K: np.ndarray, start_K: np.ndarray) -> np.ndarray:
    """When c_k passes 1 / 2, from c_k(0): ln(1 / c_k(0) - 1) / (8 g_k)."""
    return np.log(1 / start_K - 1) / (8 * strengths_K)


def word_gram(start_VxD: np.ndarray, target_VxV: np.ndarray, time: float) -> np.ndarray:
    """W W' along the flow of the quadratic model from any weights, by the Riccati equation dA/dt = M A + A M - 2 A^2.

    A(t) = e^{Mt} W_0 (I + 2 W_0' (int_0^t e^{2Ms} ds) W_0)^{-1} W_0' e^{Mt}; compare `deep_linear.balanced_product`.
    """
    rates_V, basis = np.linalg.eigh(target_VxV)
    start = basis.T @ start_VxD
    steady = np.abs(rates_V) < 1e-12
    integral_V = np.where(steady, time, np.expm1(2 * rates_V * time) / np.where(steady, 1, 2 * rates_V))
    grown = basis @ (np.exp(rates_V * time)[:, None] * start)
    inner = np.eye(start.shape[1]) + 2 * start.T @ (integral_V[:, None] * start)
    return grown @ np.linalg.solve(inner, grown.T)
