"""Tight rates: gradient descent and Nesterov's method on their worst-case functions (C1 to C4)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from benchmarks.studies.convex_rates import peers
from benchmarks.studies.convex_rates.descent import (
    Function,
    constant_momentum,
    gradient_descent,
    momenta,
    objective,
)
from benchmarks.studies.convex_rates.descent import run as descend
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import convex_rates

L, R = 1.0, 1.0
START = torch.tensor([R], dtype=torch.float64)
DECAY_STEPS = 60
BEYOND = 1.9


@tidy
def run(settings) -> Iterator[Result]:
    """Nothing here has a seed: the random problems are one fixed set.

    ``huber-N-G`` is gradient descent with N steps of G / L on the Huber function that is worst for these, and ``huber``
    covers all of them; ``random`` uses random smooth convex problems, ``quadratic`` one quadratic, with slopes of ln f
    in n. ``nesterov-N`` is Nesterov's method on the Huber function that is worst for it, ``strongly-convex`` the method
    with constant momentum on random quadratics, the largest over n; ``pepit-...`` is PEPit's worst case.

    Controls: ``...by-hand``, the same without the library (for ``nesterov`` at the largest N); ``beyond-N``, on a
    quadratic with a step of 1.9 / L, where no theorem holds; ``huber-decay``, without strong convexity; ``plain-N`` and
    ``strongly-convex-plain``, gradient descent against the rates of Nesterov's method. Quantities: see the data card.
    """
    sizes = [(n, size) for n in settings.steps for size in settings.step_sizes]
    ratios = [_worst_value(n, size / L) / convex_rates.gradient_descent(L, R, size / L, n) for n, size in sizes]
    for (n, size), ratio in zip(sizes, ratios):
        yield f"huber-{n}-{size:g}", None, {"ratio": ratio}
    yield "huber", None, {"largest_deviation": max(abs(ratio - 1) for ratio in ratios)}
    yield "by-hand", None, {"largest_deviation": max(abs(_huber_ratio_by_hand(*pair) - 1) for pair in sizes)}
    for n in settings.steps:
        yield f"beyond-{n}", None, {"ratio": _beyond_ratio(n)}
    problems = np.random.default_rng(0).spawn(settings.problems)
    yield "random", None, {"largest_ratio": max(_random_ratio(rng, settings) for rng in problems)}
    yield from _decay(settings.mu)
    yield from _nesterov(settings)
    yield from _strongly_convex(settings)
    for name, ratio in peers.pepit_ratios(settings.mu).items():
        yield f"pepit-{name}", None, {"ratio": ratio}


def _huber(width: float | Tensor) -> Function:
    def function(x: Tensor) -> Tensor:
        inside = L * x**2 / 2
        outside = L * width * x.abs() - L * width**2 / 2
        return torch.where(x.abs() <= width, inside, outside).sum()

    return function


def _worst_value(n: int, step: float) -> float:
    """f(x_n) - f* of gradient descent on the Huber function that is worst for n steps."""
    return gradient_descent(_huber(convex_rates.huber_width(L, R, step, n)), START, step, n)[-1]


def _huber_ratio_by_hand(n: int, size: float) -> float:
    step = size / L
    width = convex_rates.huber_width(L, R, step, n)
    return _huber_by_hand(width, step, [0.0] * n) / convex_rates.gradient_descent(L, R, step, n)


def _huber_by_hand(width: float, step: float, momenta: Sequence[float]) -> float:
    """f(x_n) on a Huber function, whose slope is clipped at L times the width."""
    last = _by_hand(lambda x: L * np.clip(x, -width, width), R, step, momenta)[-1]
    return float(convex_rates.huber(np.array(last), L, width))


def _by_hand(slope: Callable, start: float | np.ndarray, step: float, momenta: Sequence[float]) -> list:
    """x_0 to x_n by the two sequences as papers write them, without the library."""
    x = y = start
    points = [x]
    for momentum in momenta:
        ahead = y - step * slope(y)
        x, y = ahead, ahead + momentum * (ahead - x)
        points.append(x)
    return points


def _beyond_ratio(n: int) -> float:
    values = gradient_descent(lambda x: (L * x**2 / 2).sum(), START, BEYOND / L, n)
    return values[-1] / convex_rates.gradient_descent(L, R, BEYOND / L, n)


def _random_ratio(rng: np.random.Generator, settings) -> float:
    """On a sum of Huber functions in random directions, which is smooth, convex and least at zero."""
    size, terms = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    directions = torch.from_numpy(rng.standard_normal((terms, size)))
    directions = directions / torch.linalg.matrix_norm(directions, 2)  # so that the sum is L-smooth
    huber = _huber(torch.from_numpy(rng.uniform(0.01, 1.0, terms)))
    n, step = int(rng.choice(settings.steps)), float(rng.choice(settings.step_sizes)) / L
    values = gradient_descent(lambda x: huber(directions @ x), _direction(rng, size), step, n)
    return values[-1] / convex_rates.gradient_descent(L, R, step, n)


def _direction(rng: np.random.Generator, size: int) -> Tensor:
    start = torch.from_numpy(rng.standard_normal(size))
    return R * start / start.norm()


def _decay(mu: float) -> Iterator[Result]:
    """Gradient descent with steps 1/L on the eigenvalues mu and L, of which only the first is left after one step."""
    spectrum = torch.tensor([mu, L], dtype=torch.float64)
    start = torch.full((2,), R / 2**0.5, dtype=torch.float64)
    n = np.arange(DECAY_STEPS + 1)
    values = np.array(gradient_descent(lambda x: (spectrum * x**2).sum() / 2, start, 1 / L, DECAY_STEPS))
    flat = np.array(gradient_descent(_huber(1e-3), START, 1 / L, DECAY_STEPS))
    exact, textbook = convex_rates.quadratic_decay(L, mu), convex_rates.textbook_decay(L, mu)
    slope = np.polyfit(n[1:], np.log(values[1:]), 1)[0]
    above = (values / (values[0] * np.exp(textbook * n))).max()
    yield "quadratic", None, {"slope_ratio": slope / exact, "looseness": slope / textbook, "textbook_ratio": above}
    yield "quadratic-by-hand", None, {"slope_ratio": np.log((1 - mu / L) ** 2) / exact}
    yield "huber-decay", None, {"slope_ratio": np.polyfit(n[1:], np.log(flat[1:]), 1)[0] / exact}


def _nesterov(settings) -> Iterator[Result]:
    for n in settings.nesterov_steps:
        width, worst = _nesterov_worst(n, settings.widths)
        bound, plain = convex_rates.accelerated(L, R, n), _worst_value(n, 1 / L)
        yield f"nesterov-{n}", None, {"ratio": worst / bound, "gain": plain / worst}
        yield f"plain-{n}", None, {"ratio": plain / bound}
    yield "nesterov-by-hand", None, {"ratio": _huber_by_hand(width, 1 / L, momenta(n)) / bound}


def _nesterov_worst(n: int, widths: int) -> tuple[float, float]:
    """The width of the Huber function on which f(x_n) is largest, on a grid and then between its points, and that."""

    def minus_last(width: float) -> float:
        return -descend(objective(_huber(width), START), START, 1 / L, momenta(n))[-1]

    grid = np.geomspace(1e-3, 1.0, widths)
    best = int(np.argmin([minus_last(width) for width in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, widths - 1)]
    least = minimize_scalar(minus_last, bounds=around, method="bounded", options={"xatol": 1e-14})
    return least.x, -least.fun


def _strongly_convex(settings) -> Iterator[Result]:
    """On random quadratics with eigenvalues from mu to L: the largest of f over its bound along the runs."""
    mu = settings.mu
    accelerated = [constant_momentum(L, mu)] * DECAY_STEPS
    shares: dict[str, list[float]] = {"": [], "-by-hand": [], "-plain": []}
    for rng in np.random.default_rng(1).spawn(settings.problems):
        size = int(rng.integers(2, 8))
        spectrum = np.concatenate([[mu, L], rng.uniform(mu, L, size - 2)])
        start, eigenvalues = _direction(rng, size), torch.from_numpy(spectrum)

        def function(x: Tensor, eigenvalues: Tensor = eigenvalues) -> Tensor:
            return (eigenvalues * x**2).sum() / 2

        points = _by_hand(lambda x, spectrum=spectrum: spectrum * x, start.numpy(), 1 / L, accelerated)
        runs = {
            "": descend(objective(function, start), start, 1 / L, accelerated),
            "-by-hand": [float(spectrum @ x**2) / 2 for x in points],
            "-plain": gradient_descent(function, start, 1 / L, DECAY_STEPS),
        }
        for name, values in runs.items():
            bounds = [convex_rates.strongly_convex_accelerated(L, mu, R, values[0], n) for n in range(len(values))]
            shares[name].append(float(np.max(np.array(values) / bounds)))
    for name, ratios in shares.items():
        yield f"strongly-convex{name}", None, {"largest_ratio": max(ratios)}
