"""Logistic regression on separable data grows without bound, towards the maximum-margin direction (N8)."""

from collections.abc import Iterable, Iterator

import numpy as np

from benchmarks.lab.datasets import Images
from benchmarks.studies.lazy_training.setup import drawn
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import logistic_flow, margins
from benchmarks.theory.exponents import log_slope

# Two orthogonal facing examples of these lengths: everything about them is in closed form.
LENGTHS = (1.0, 0.5)
# Slopes of |w| are over the last stretch of so much ln t; exponents of the direction over the last decade of ln t.
STRETCH = 10.0
DECADE = 10


@tidy
def run(settings, seeds: Iterable[int], images: Images) -> Iterator[Result]:
    """Gradient flow from zero on the logistic loss of separable examples without offset, integrated in ln t.

    Systems: ``gaussian``, Gaussian examples pushed apart along a random direction; ``images``, two classes of them,
    drawn by seed; and, both in closed form, ``two-points``, orthogonal examples, and as a control ``least-squares``,
    the Gaussian examples under squared loss.

    Slopes of |w| are over the last 10 of ln t before a horizon, ``log_time`` or ``far``; that of the direction's error
    is over the last decade of ln t before ``far``.

    Raises:
        ValueError: for examples that are not linearly separable, before any flow.

    Quantities: see the data card.
    """
    times = _times(settings)
    yield "two-points", None, _two_points(times, settings)
    problems: list[tuple[str, int, np.ndarray]] = []
    for seed in seeds:
        pixels, signs = drawn(images, settings.images, settings.pool, seed)
        # Inputs of order one: their scale only shifts ln t.
        facing = signs[:, None] * pixels / np.sqrt(np.mean(np.sum(pixels**2, axis=1)))
        problems += [("gaussian", seed, _gaussian(settings, seed)), ("images", seed, facing)]
    for _, _, facing in problems:
        margins.require(facing, np.ones(len(facing)), separable=True)
    for system, seed, facing in problems:
        yield system, seed, _flow(facing, times, settings)
        if system == "gaussian":
            yield "least-squares", seed, _least_squares(facing, times, settings)


def _times(settings) -> np.ndarray:
    end, far = settings.log_time, settings.far
    grid = [*np.linspace(1, end, 12), *np.geomspace(end, far / DECADE, 6), *np.geomspace(far / DECADE, far, 10)]
    return np.unique(np.round([*grid, end - STRETCH, end, far - STRETCH, far], 6))


def _gaussian(settings, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    facing = generator.standard_normal((settings.points, settings.inputs))
    facing[:, 0] = np.abs(facing[:, 0]) + settings.gap
    return facing


def _flow(facing_NxD: np.ndarray, times_T: np.ndarray, settings) -> dict[str, float]:
    direction, margin = margins.widest(facing_NxD, np.ones(len(facing_NxD)))
    weights_TxD = logistic_flow.coefficients(facing_NxD @ facing_NxD.T, times_T) @ facing_NxD
    return _quantities(weights_TxD, direction, margin, times_T, settings)


def _two_points(times_T: np.ndarray, settings) -> dict[str, float]:
    lengths = np.array(LENGTHS)
    margin = float(1 / np.linalg.norm(1 / lengths))
    weights_TxD = np.stack([logistic_flow.along_an_axis(a, len(lengths), times_T) for a in lengths], axis=1)
    return _quantities(weights_TxD, margin / lengths, margin, times_T, settings)


def _least_squares(facing_NxD: np.ndarray, times_T: np.ndarray, settings) -> dict[str, float]:
    """w(t) = sum over singular triplets of (1 - exp(-t s^2 / N)) (u.1) v / s."""
    direction, margin = margins.widest(facing_NxD, np.ones(len(facing_NxD)))
    left, values, right = np.linalg.svd(facing_NxD, full_matrices=False)
    growth_TxK = -np.expm1(-np.exp(np.minimum(times_T, 100.0))[:, None] * values**2 / len(facing_NxD))
    weights_TxD = (growth_TxK * (left.sum(0) / values)) @ right
    return _quantities(weights_TxD, direction, margin, times_T, settings)


def _quantities(
    weights_TxD: np.ndarray, direction_D: np.ndarray, margin: float, times_T: np.ndarray, settings
) -> dict[str, float]:
    norms = np.linalg.norm(weights_TxD, axis=1)
    errors = np.linalg.norm(weights_TxD / norms[:, None] - direction_D, axis=1)
    end, far = settings.log_time, settings.far

    def at(u: float, values: np.ndarray) -> float:
        return float(values[np.argmin(np.abs(times_T - u))])

    def rise(u: float) -> float:
        return margin * (at(u, norms) - at(u - STRETCH, norms)) / STRETCH

    late = times_T >= far / DECADE - 1e-6
    return {
        "slope_ratio": rise(end),
        "far_slope_ratio": rise(far),
        "direction_exponent": log_slope(times_T[late], errors[late]),
        "direction_error": at(end, errors),
        "far_direction_error": at(far, errors),
        "margin": margin,
        **{f"norm-{u:g}": margin * norm for u, norm in zip(times_T, norms)},
        **{f"error-{u:g}": error for u, error in zip(times_T, errors)},
    }
