"""What gradient flow conserves, and where it moves: balancedness (D5) and the invariant subspace (D10)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.studies.deep_linear.simulation import (
    gaussian_factors,
    orthogonal,
    problem,
    simulate,
    stacked,
    target,
    whitened_design,
)
from benchmarks.studies.table import Result, tidy

SIZE, SPECTRUM = 10, (3.0, 2.0, 1.0)
PARSIMONY_SIZE, DEPTH = 30, 3


@tidy
def run(settings, seeds: Sequence[int]) -> Iterator[Result]:
    """The drift of balancedness, W_2' W_2 - W_1 W_1', from the start to a fixed time, by learning rate: ``linear``, a
    network with two square layers. Controls: ``relu``, and ``relu-diagonal``, the drift of its diagonal alone.

    The singular values of three square layers after training: ``orthogonal`` and ``orthogonal-small``, from orthogonal
    layers of two sizes. Controls: ``gaussian``, from Gaussian layers, and ``constructed``, an orthogonal matrix plus
    one of the target's rank. The bulk is the median, and of the layers the one with most outside it counts.
    Quantities: see the data card.
    """
    goal, inputs = target(0, SPECTRUM, SIZE), whitened_design(0, 64, SIZE)
    starts = stacked(gaussian_factors(s, [SIZE, SIZE, SIZE], settings.scale) for s in seeds)
    for system, activation, inside in (
        ("linear", None, torch.ones(SIZE, SIZE)),
        ("relu", "relu", 1 - torch.eye(SIZE)),
        ("relu-diagonal", "relu", torch.eye(SIZE)),
    ):
        whole, drifts = problem(goal, [SIZE], activation, inputs), []
        for lr in settings.lrs:
            steps = round(settings.time / lr)
            path = simulate(whole, starts, sgd(lr=lr), steps=steps, every=steps)
            change = imbalance(path.params_RxP) - imbalance(starts)
            drifts.append((change * inside).flatten(1).norm(dim=1).numpy())
        slopes = np.polyfit(np.log(settings.lrs), np.log(drifts), 1)[0]
        for seed, slope in zip(seeds, slopes):
            yield system, seed, {"drift_exponent": slope}

    size = PARSIMONY_SIZE
    whole = problem(target(0, SPECTRUM, size), [size] * (DEPTH - 1))
    for system, factors in (
        ("orthogonal", lambda s: _orthogonal_factors(s, 1.0)),
        ("orthogonal-small", lambda s: _orthogonal_factors(s, 0.1)),
        ("gaussian", lambda s: gaussian_factors(s, [size] * (DEPTH + 1), 1.0)),
    ):
        starts, steps = stacked(factors(seed) for seed in seeds), settings.parsimony_steps
        path = simulate(whole, starts, sgd(lr=settings.parsimony_lr), steps=steps, every=steps)
        for seed, params_P in zip(seeds, path.params_RxP):
            layers = params_P.reshape(DEPTH, size, size)
            yield system, seed, {"moved": max(moved(layer.numpy()) for layer in layers)}
    # An orthogonal matrix plus one of this rank: twice as many of its singular values move.
    for seed in seeds:
        constructed = _orthogonal_factors(seed, 1.0)[0] + target(seed, SPECTRUM, size)
        yield "constructed", seed, {"moved": moved(constructed)}


def imbalance(params_RxP: torch.Tensor) -> torch.Tensor:
    """W_2' W_2 - W_1 W_1' of square two-layer networks: R x SIZE x SIZE."""
    first, second = params_RxP.reshape(len(params_RxP), 2, SIZE, SIZE).unbind(1)
    return second.mT @ second - first @ first.mT


def moved(layer: np.ndarray) -> int:
    """How many singular values differ from the median by more than 1e-6 of it."""
    values = np.linalg.svd(layer, compute_uv=False)
    bulk = np.median(values)
    return int((np.abs(values - bulk) > 1e-6 * bulk).sum())


def _orthogonal_factors(seed: int, scale: float) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [scale * orthogonal(generator, PARSIMONY_SIZE, PARSIMONY_SIZE) for _ in range(DEPTH)]
