"""What the experiments on deep linear networks share: targets, initializations, and training that records the path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.architectures import bias_free_mlp, deep_linear
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Problem

# Times the first loss.
DIVERGENCE = 1e6


@dataclass(frozen=True)
class Path:
    """The path of a stack.

    Attributes:
        steps_T: the updates made at each reading.
        maps_RxTxCxD: the outputs' linear part, F' X / N, which for a linear network is its end-to-end matrix.
        losses_RxT: on all data.
        params_RxP: at the end.
        diverged: the rows that diverged.
    """

    steps_T: np.ndarray
    maps_RxTxCxD: np.ndarray
    losses_RxT: np.ndarray
    params_RxP: Tensor
    diverged: tuple[int, ...]


def orthogonal(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A matrix with orthonormal columns (rows >= columns) or rows, uniformly distributed."""
    if rows < columns:
        return orthogonal(generator, columns, rows).T
    q, r = np.linalg.qr(generator.standard_normal((rows, columns)))
    return q * np.sign(np.diag(r))


def target(seed: int, spectrum: Sequence[float], size: int) -> np.ndarray:
    """A size x size matrix with these singular values and random singular vectors."""
    generator = np.random.default_rng(seed)
    rank = len(spectrum)
    return (orthogonal(generator, size, rank) * np.array(spectrum)) @ orthogonal(generator, size, rank).T


def identity_design(size: int) -> Tensor:
    """As many examples as inputs, with covariance exactly the identity: sqrt(size) times the unit vectors."""
    return size**0.5 * torch.eye(size, dtype=torch.float64)


def whitened_design(seed: int, examples: int, size: int) -> Tensor:
    """Gaussian inputs, then centred, with covariance made exactly the identity: examples x size."""
    inputs = np.random.default_rng(seed).standard_normal((examples, size))
    left, _, right = np.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
    return torch.from_numpy(examples**0.5 * left @ right)


def aligned_factors(seed: int, target_CxC: np.ndarray, rank: int, u0: float, depth: int) -> list[np.ndarray]:
    """Square balanced factors whose product is u0 on each of the target's leading modes and zero elsewhere.

    Their inner bases are random.
    """
    left, _, right = np.linalg.svd(target_CxC)
    generator = np.random.default_rng(seed)
    size = len(target_CxC)
    bases = [right[:rank].T, *(orthogonal(generator, size, rank) for _ in range(depth - 1)), left[:, :rank]]
    return [u0 ** (1 / depth) * after @ before.T for before, after in zip(bases, bases[1:])]


def gaussian_factors(seed: int, widths: Sequence[int], scale: float) -> list[np.ndarray]:
    """Factors with entries N(0, scale^2 / fan-in), input side first."""
    generator = np.random.default_rng(seed)
    return [
        scale * generator.standard_normal((fan_out, fan_in)) / fan_in**0.5
        for fan_in, fan_out in zip(widths, widths[1:])
    ]


def stacked(runs: Iterable[Sequence[np.ndarray]]) -> Tensor:
    """Each run's factors as a row of parameters: R x P."""
    return torch.from_numpy(np.stack([np.concatenate([factor.ravel() for factor in run]) for run in runs]))


def problem(
    target_CxD: np.ndarray, hidden: Sequence[int], activation: str | None = None, inputs_NxD: Tensor | None = None
) -> Problem:
    """The squared error of a bias-free network that learns a linear map; a linear one without an ``activation``.

    Args:
        inputs_NxD: `identity_design` if not given.
    """
    inputs_NxD = identity_design(target_CxD.shape[1]) if inputs_NxD is None else inputs_NxD
    targets_NxC = torch.from_numpy(inputs_NxD.numpy() @ target_CxD.T)
    sizes = (inputs_NxD.shape[1:], len(target_CxD))
    if activation is None:
        module = deep_linear.build(*sizes, hidden=hidden)
    else:
        module = bias_free_mlp.build(*sizes, hidden=hidden, activation=activation)
    return Problem(module.double(), inputs_NxD, targets_NxC, "mse")


def simulate(problem: Problem, params_RxP: Tensor, optimizer: Optimizer, *, steps: int, every: int = 1) -> Path:
    """Train a stack and record its path, with a reading every ``every`` steps and at the end."""
    ((inputs_NxD, _),) = problem.chunks()
    readings, maps, losses = [], [], []
    for step in descend(problem, params_RxP, optimizer, steps=steps, divergence=DIVERGENCE):
        if bool(step.running_R.any()) and (step.number % every == 0 or step.number == steps):
            readings.append(step.number)
            maps.append(step.point.outputs_RxNxC.mT @ inputs_NxD / len(inputs_NxD))
            losses.append(step.point.losses_R)
    return Path(
        np.array(readings),
        torch.stack(maps, dim=1).numpy(),
        torch.stack(losses, dim=1).numpy(),
        step.params_RxP,
        tuple(step.diverged),
    )
