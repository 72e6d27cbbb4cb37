"""Matrix completion: depth against the nuclear norm (D7). Protocol of Arora et al. 2019, their sizes, synthetic
matrices."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor

from benchmarks.lab.architectures import deep_linear
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.deep_linear.simulation import gaussian_factors, simulate, stacked
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Sequence[int]) -> Iterator[Result]:
    """A matrix M of low rank is completed from some of its entries: by descent on a product of factors, ``depth-1`` to
    ``depth-3``, and by minimum nuclear norm, ``nuclear``.

    ``depth-2/depth-3`` and ``nuclear/depth-2`` compare two of them. Controls: ``depth-1/depth-2``, and ``noise``, depth
    2 over depth 3 on a matrix of full rank. Quantities: see the data card.
    """
    for seed in seeds:
        generator = np.random.default_rng(seed)
        size, rank = settings.size, settings.rank
        whole = generator.standard_normal((size, rank)) @ generator.standard_normal((rank, size)) / rank**0.5
        noise = generator.standard_normal((size, size))
        seen = (generator.permutation(size * size) < settings.observed).reshape(size, size)
        completed = {"nuclear": nuclear_norm_minimizer(whole, seen)}
        for depth in (1, 2, 3):
            completed[f"depth-{depth}"] = descended(whole, seen, depth, seed, settings)
        errors = {system: np.linalg.norm(matrix - whole) for system, matrix in completed.items()}
        ranks = {system: effective_rank(matrix) for system, matrix in completed.items()}
        for system, matrix in completed.items():
            error = errors[system] / np.linalg.norm(whole)
            misfit = np.linalg.norm((matrix - whole)[seen]) / np.linalg.norm(whole[seen])
            yield system, seed, {"error": error, "effective_rank": ranks[system], "misfit": misfit}
        for worse, better in (("depth-2", "depth-3"), ("nuclear", "depth-2"), ("depth-1", "depth-2")):
            error_ratio, rank_ratio = (np.log(values[worse] / values[better]) for values in (errors, ranks))
            yield f"{worse}/{better}", seed, {"log_error_ratio": error_ratio, "log_rank_ratio": rank_ratio}
        two, three = (np.linalg.norm(descended(noise, seen, depth, seed, settings) - noise) for depth in (2, 3))
        yield "noise", seed, {"log_error_ratio": np.log(two / three)}


def masked(outputs_NxC: Tensor, targets_Nx2C: Tensor) -> Tensor:
    """Half the squared error over observed entries; the targets are values and, beside them, which are observed."""
    values, seen = targets_Nx2C.chunk(2, dim=-1)
    return 0.5 * (seen * (outputs_NxC - values)).square().sum(-1)


def descended(whole: np.ndarray, seen: np.ndarray, depth: int, seed: int, settings) -> np.ndarray:
    """The product at which gradient descent on the observed entries ends."""
    size = len(whole)
    inputs = torch.eye(size, dtype=torch.float64)
    targets = torch.from_numpy(np.concatenate([whole.T, seen.T], axis=1))
    problem = Problem(deep_linear.build((size,), size, hidden=[size] * (depth - 1)).double(), inputs, targets, masked)
    start = stacked([gaussian_factors(seed, [size] * (depth + 1), settings.init ** (1 / depth))])
    steps, optimizer = settings.steps, sgd(lr=settings.lr[depth - 1])
    path = simulate(problem, start, optimizer, steps=steps, every=steps)
    if path.diverged:
        return np.full((size, size), np.nan)
    return size * path.maps_RxTxCxD[0, -1]


def nuclear_norm_minimizer(whole: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The matrix of least nuclear norm with the observed entries of ``whole``, by the alternating direction method.

    Its threshold is the mean singular value of what is observed, which sets the speed and not the limit.
    """
    threshold = np.linalg.svd(np.where(seen, whole, 0), compute_uv=False).mean()
    feasible, dual = np.where(seen, whole, 0.0), np.zeros_like(whole)
    for _ in range(3000):
        left, s, right = np.linalg.svd(feasible - dual, full_matrices=False)
        low_rank = (left * np.maximum(s - threshold, 0)) @ right
        before, feasible = feasible, np.where(seen, whole, low_rank + dual)
        dual += low_rank - feasible
        if max(np.linalg.norm(feasible - before), np.linalg.norm(low_rank - feasible)) < 1e-7 * np.linalg.norm(whole):
            break
    return feasible


def effective_rank(matrix: np.ndarray) -> float:
    """exp(-sum p ln p) of the singular values' shares p (Roy and Vetterli 2007)."""
    if not np.isfinite(matrix).all():
        return np.nan
    return float(np.exp(entropy(np.linalg.svd(matrix, compute_uv=False))))
