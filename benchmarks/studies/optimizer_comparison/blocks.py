"""The Hessian's diagonal blocks, one per parameter tensor, and how much their spectra differ (Zhang et al. 2024)."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from benchmarks.lab.measurements.eigensolvers import krylov
from benchmarks.lab.problem import Point, stack_parameters
from benchmarks.studies.optimizer_comparison.tasks import Task

# Of a block's spectrum: |eigenvalue| in decades below the largest of all blocks, smoothed.
DECADES = 8.0
WIDTH = 0.25
GRID = np.linspace(-DECADES, 1.0, 361)


def initial_point(task: Task, examples: int) -> Point:
    """The loss on part of the training data at the task's initialization."""
    return task.part(examples).at(stack_parameters([task.network]), curvature=True)


def spectra(point: Point, seed: int, products: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Eigenvalues and weights (summing to 1) of each block, by stochastic Lanczos quadrature from one random vector of
    signs (Ubaru, Chen and Saad 2017)."""
    spectra, start = [], 0
    for index, size in enumerate(point.problem.sizes):
        block = slice(start, start + size)

        def apply(vectors_1xB: Tensor, block=block) -> Tensor:
            whole = torch.zeros_like(point.params_RxP)
            whole[:, block] = vectors_1xB
            return point.hvp(whole)[:, block]

        (mixed,) = np.random.SeedSequence((seed, index)).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed))
        signs = torch.randint(0, 2, (1, size), generator=generator).to(point.params_RxP) * 2 - 1
        steps = min(products, size)
        result = krylov(apply, signs, steps, tolerance=0.0, max_products=steps)
        weights = (signs @ result.vectors_RxPxB[0]).square()[0].double()
        spectra.append((result.eigenvalues_RxK[0].cpu().numpy(), (weights / weights.sum()).cpu().numpy()))
        start += size
    return spectra


def heterogeneity(blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The mean Jensen-Shannon distance (base 2, in [0, 1]) between the spectra of two blocks.

    Spectra are densities in log10 |eigenvalue|, for they differ by orders of magnitude, on one grid that ends `DECADES`
    below the largest eigenvalue of all: whatever is smaller counts as there. The source smooths in its own way, which
    it does not fully give: the scale of this number is ours.
    """
    top = max(np.abs(values).max() for values, _ in blocks)
    densities = []
    for values, weights in blocks:
        places = np.log10(np.maximum(np.abs(values) / top, 10.0**-DECADES))
        density = (weights * np.exp(-0.5 * np.square((GRID[:, None] - places) / WIDTH))).sum(1)
        densities.append(density / density.sum())
    distances = [jensenshannon(p, q, base=2) for p, q in combinations(densities, 2)]
    # The distance of equal densities may be nan: the root of a rounding error below zero.
    return float(np.mean(np.nan_to_num(distances)))


def rates(point: Point, seed: int, *, products: int = 12, most: float = 1e3) -> list[float]:
    """For each block, the largest sharpness of any block over its own, at most ``most``."""
    tops = np.array([values.max() for values, _ in spectra(point, seed, products)])
    return [float(min(tops.max() / top, most)) if top > 0 else most for top in tops]
