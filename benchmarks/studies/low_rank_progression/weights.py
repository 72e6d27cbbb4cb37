"""Observables of the weights, S1 to S6: alignment, rank of updates, kernels, balance, subspaces, gaps.

A layer is a parameter of two or more axes, outputs first; a convolution's weight is read as a matrix. Layers are
neighbours where the one's outputs are the other's inputs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import ntk

KERNEL_EXAMPLES = 100


def layers(module: nn.Module, params_P: Tensor) -> list[np.ndarray]:
    """The layers of a run, first to last, each with the shape of its parameter."""
    return [p.double().numpy() for p in ntk.layers(module, params_P).values() if p.ndim >= 2]


def outputs_first(layer: np.ndarray) -> np.ndarray:
    """A layer as a matrix of outputs x everything else."""
    return layer.reshape(len(layer), -1)


def inputs_last(layer: np.ndarray, width: int) -> np.ndarray | None:
    """A layer as a matrix of everything else x ``width`` inputs; None if it does not take so many.

    A fully connected layer after a convolution sees its channels, each a block of pixels.
    """
    if layer.ndim > 2:
        return None if layer.shape[1] != width else np.moveaxis(layer, 1, -1).reshape(-1, width)
    outputs, inputs = layer.shape
    if inputs % width:
        return None
    return np.moveaxis(layer.reshape(outputs, width, -1), 1, -1).reshape(-1, width)


def pairs(weights: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Neighbouring layers: (before: width x everything else, after: everything else x width)."""
    facing = [(before, inputs_last(after, len(before))) for before, after in zip(weights, weights[1:])]
    return [(outputs_first(before), after) for before, after in facing if after is not None]


def alignment(weights: Sequence[np.ndarray], count: int) -> tuple[float, float]:
    """S1: |V_k' U_k|^2 / k of the top k right vectors of a layer and left ones of the layer before; and chance, k /
    width.

    Means over neighbours; k is at most their rank. nan without neighbours.
    """
    alignments, chances = [], []
    for before, after in pairs(weights):
        k = min(count, *before.shape, *after.shape)
        left, right = np.linalg.svd(before)[0][:, :k], np.linalg.svd(after)[2][:k]
        alignments.append(np.square(right @ left).sum() / k)
        chances.append(k / len(before))
    return _means(alignments, chances)


def frozen_update(module: nn.Module, start_P: Tensor, inputs: Tensor, residuals_NxC: Tensor) -> list[np.ndarray]:
    """S2's null: the gradients that these residuals have with the features of the start, J(w_0)' r / N, layer by
    layer."""
    leaf = start_P.detach().clone().requires_grad_()
    outputs_NxC = ntk.call(module, leaf, inputs)
    (gradient,) = torch.autograd.grad((outputs_NxC * residuals_NxC).sum() / len(inputs), leaf)
    return layers(module, gradient)


def imbalance(start: Sequence[np.ndarray], end: Sequence[np.ndarray]) -> tuple[float, float]:
    """S4: how far W_after' W_after - W_before W_before' has drifted, its diagonal and the rest, over |W_before
    W_before'|.

    Means over neighbours; nan without.
    """
    diagonals, rests = [], []
    for (before_0, after_0), (before, after) in zip(pairs(start), pairs(end)):
        drift = after.T @ after - before @ before.T - (after_0.T @ after_0 - before_0 @ before_0.T)
        size = np.linalg.norm(before @ before.T)
        diagonals.append(np.linalg.norm(np.diag(drift)) / size)
        rests.append(np.linalg.norm(drift - np.diag(np.diag(drift))) / size)
    return _means(diagonals, rests)


def subspace_energy(
    start: Sequence[np.ndarray], gradients: Sequence[np.ndarray], end: Sequence[np.ndarray], count: int
) -> tuple[float, float]:
    """S5: the fraction of each update but the last layer's within 2 K dimensions on either side; and chance.

    The subspaces are fixed at the start (Yaras et al. 2023): the top K singular vectors U, V of the first gradient,
    with W V and W' U beside them.
    """
    energies, chances = [], []
    for layer, gradient, last in list(zip(start, gradients, end))[:-1]:
        w, g = outputs_first(layer), outputs_first(gradient)
        k = min(count, *w.shape)
        left, _, right = np.linalg.svd(g, full_matrices=False)
        left, right = left[:, :k], right[:k].T
        columns = np.linalg.qr(np.concatenate([left, w @ right / np.linalg.norm(w)], axis=1))[0]
        rows = np.linalg.qr(np.concatenate([right, w.T @ left / np.linalg.norm(w)], axis=1))[0]
        update = outputs_first(last) - w
        whole = np.square(update).sum()
        energies.append(np.square(columns.T @ update @ rows).sum() / whole if whole > 0 else np.nan)
        chances.append(columns.shape[1] / w.shape[0] * rows.shape[1] / w.shape[1])
    return _means(energies, chances)


def _means(*values: list[float]) -> tuple[float, ...]:
    return tuple(float(np.mean(some)) if some else np.nan for some in values)


def gap(weights: Sequence[np.ndarray]) -> float:
    """S6: the least of (sigma_1 / sigma_2) / l^(1/4) over layers l >= 2 (Bantzis, Simon and Jacot 2025); nan if
    none."""
    gaps = []
    for place, layer in enumerate(weights[1:], start=2):
        s = np.linalg.svd(outputs_first(layer), compute_uv=False)
        if len(s) > 1:
            gaps.append(s[0] / s[1] / place**0.25)
    return float(min(gaps, default=np.nan))


def kernel(module: nn.Module, params_P: Tensor, inputs: Tensor) -> np.ndarray:
    """The tangent kernel summed over outputs, on the first inputs: `KERNEL_EXAMPLES` squared."""
    flat = ntk.jacobian(module, inputs[:KERNEL_EXAMPLES], params_P).flatten(1)
    return (flat @ flat.T).double().numpy()


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second)))
