"""Tight rates: gradient descent and Nesterov's method on the functions on which they are at their worst (C1 to C4)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.studies.convex_rates import COLUMNS, peers
from benchmarks.studies.convex_rates.descent import Function, gradient_descent, objective
from benchmarks.studies.convex_rates.descent import run as descend
from benchmarks.theory import convex_rates

L, R = 1.0, 1.0
DECAY_STEPS = 60
BEYOND = 1.9


def run(settings: dict, seeds: Iterable[int]) -> pd.DataFrame:
    """Nothing here has a seed: the random problems are one fixed set, over which the largest counts.

    Quantities. A ``ratio`` is f(x_N) - f* over what the theorem allows.

        huber-N-G        ratio on the Huber function that is worst for N steps of G / L; ``huber``: largest_deviation,
                         of all those from one; ``by-hand``: the same without the library
        random           largest_ratio over random smooth convex problems
        beyond-N         ratio on a quadratic with a step of 1.9 / L, where no theorem holds
        quadratic        slope_ratio: slope of ln f in n over 2 ln(1 - mu/L); looseness: that slope over the textbook's;
                         textbook_ratio: the largest f over the textbook's bound; ``huber-decay``: slope_ratio on a
                         function without strong convexity
        nesterov-N       ratio, the largest over Huber widths; gain: gradient descent's worst value over that;
                         ``nesterov-by-hand``: ratio at the largest N without the library; ``plain-N``: gradient
                         descent's worst value over Nesterov's rate
        strongly-convex  largest_ratio over n and random quadratics; ``strongly-convex-by-hand``: the same without the
                         library; ``strongly-convex-plain``: of gradient descent
        pepit-...        ratio: PEPit's worst case over the formula, where PEPit is installed

    Args:
        settings: ``steps`` (N), ``step_sizes`` (G), ``problems`` (random ones), ``widths`` of the Huber grid, ``mu``,
            ``nesterov_steps``.
    """
    rows: list[tuple[str, str, float]] = []
    sizes = [(n, size) for n in settings["steps"] for size in settings["step_sizes"]]
    ratios = {pair: _huber_ratio(*pair) for pair in sizes}
    rows += [(f"huber-{n}-{size:g}", "ratio", ratio) for (n, size), ratio in ratios.items()]
    rows.append(("huber", "largest_deviation", max(abs(ratio - 1) for ratio in ratios.values())))
    rows.append(("by-hand", "largest_deviation", max(abs(_by_hand(*pair) - 1) for pair in sizes)))
    rows += [(f"beyond-{n}", "ratio", _beyond_ratio(n)) for n in settings["steps"]]
    problems = np.random.default_rng(0).spawn(settings["problems"])
    rows.append(("random", "largest_ratio", max(_random_ratio(rng, settings) for rng in problems)))
    rows += _decay(settings["mu"])
    rows += _nesterov(settings)
    rows += _strongly_convex(settings)
    rows += [(f"pepit-{name}", "ratio", value) for name, value in peers.pepit_ratios(settings["mu"]).items()]
    return pd.DataFrame([(system, None, *rest) for system, *rest in rows], columns=COLUMNS)


def _huber(width: float) -> Function:
    def function(x: Tensor) -> Tensor:
        inside = L * x**2 / 2
        outside = L * width * x.abs() - L * width**2 / 2
        return torch.where(x.abs() <= width, inside, outside).sum()

    return function


def _start() -> Tensor:
    return torch.tensor([R], dtype=torch.float64)


def _worst_value(n: int, step: float) -> float:
    """f(x_n) - f* of gradient descent on the Huber function that is worst for so many steps."""
    return gradient_descent(_huber(convex_rates.huber_width(L, R, step, n)), _start(), step, n)[-1]


def _huber_ratio(n: int, size: float) -> float:
    return _worst_value(n, size / L) / convex_rates.gradient_descent(L, R, size / L, n)


def _by_hand(n: int, size: float) -> float:
    """The same by the recursion x <- x - step f'(x), f' clipped at L times the width."""
    step, x = size / L, R
    width = convex_rates.huber_width(L, R, step, n)
    for _ in range(n):
        x -= step * L * np.clip(x, -width, width)
    return float(convex_rates.huber(np.array(x), L, width)) / convex_rates.gradient_descent(L, R, step, n)


def _beyond_ratio(n: int) -> float:
    values = gradient_descent(lambda x: (L * x**2 / 2).sum(), _start(), BEYOND / L, n)
    return values[-1] / convex_rates.gradient_descent(L, R, BEYOND / L, n)


def _random_ratio(rng: np.random.Generator, settings: dict) -> float:
    """On a sum of Huber functions of random directions, which is smooth, convex and least at zero."""
    size, terms = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    directions = torch.from_numpy(rng.standard_normal((terms, size)))
    directions = directions / torch.linalg.matrix_norm(directions, 2)  # so that the sum is L-smooth
    widths = torch.from_numpy(rng.uniform(0.01, 1.0, terms))

    def function(x: Tensor) -> Tensor:
        along = directions @ x
        inside = along**2 / 2
        outside = widths * along.abs() - widths**2 / 2
        return L * torch.where(along.abs() <= widths, inside, outside).sum()

    n, step = int(rng.choice(settings["steps"])), float(rng.choice(settings["step_sizes"])) / L
    values = gradient_descent(function, _direction(rng, size), step, n)
    return values[-1] / convex_rates.gradient_descent(L, R, step, n)


def _direction(rng: np.random.Generator, size: int) -> Tensor:
    start = torch.from_numpy(rng.standard_normal(size))
    return R * start / start.norm()


def _decay(mu: float) -> list[tuple[str, str, float]]:
    """Gradient descent with steps 1/L on the eigenvalues mu and L, of which the first is left after a step."""
    spectrum = torch.tensor([mu, L], dtype=torch.float64)
    start = torch.full((2,), R / 2**0.5, dtype=torch.float64)
    n = np.arange(DECAY_STEPS + 1)
    values = np.array(gradient_descent(lambda x: (spectrum * x**2).sum() / 2, start, 1 / L, DECAY_STEPS))
    flat = np.array(gradient_descent(_huber(1e-3), _start(), 1 / L, DECAY_STEPS))
    exact, textbook = convex_rates.quadratic_decay(L, mu), convex_rates.textbook_decay(L, mu)
    slope = np.polyfit(n[1:], np.log(values[1:]), 1)[0]
    return [
        ("quadratic", "slope_ratio", slope / exact),
        ("quadratic", "looseness", slope / textbook),
        ("quadratic", "textbook_ratio", float((values / (values[0] * np.exp(textbook * n))).max())),
        ("quadratic-by-hand", "slope_ratio", np.log((1 - mu / L) ** 2) / exact),
        ("huber-decay", "slope_ratio", np.polyfit(n[1:], np.log(flat[1:]), 1)[0] / exact),
    ]


def _nesterov(settings: dict) -> list[tuple[str, str, float]]:
    rows = []
    for n in settings["nesterov_steps"]:
        width, worst = _nesterov_worst(n, settings["widths"])
        bound, plain = convex_rates.accelerated(L, R, n), _worst_value(n, 1 / L)
        rows += [(f"nesterov-{n}", "ratio", worst / bound), (f"nesterov-{n}", "gain", plain / worst)]
        rows.append((f"plain-{n}", "ratio", plain / bound))
    rows.append(("nesterov-by-hand", "ratio", _nesterov_by_hand(n, width) / bound))
    return rows


def _nesterov_worst(n: int, widths: int) -> tuple[float, float]:
    """The width of the Huber function on which f(x_n) is largest, on a grid and then by golden section, and that."""
    momenta = [i / (i + 3) for i in range(n)]

    def last(width: float) -> float:
        return descend(objective(_huber(width), _start()), _start(), 1 / L, momenta)[-1]

    grid = np.geomspace(1e-3, 1.0, widths)
    best = int(np.argmax([last(width) for width in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, widths - 1)]
    golden = (5**0.5 - 1) / 2
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if last(a) > last(b) else (a, high)
    return (low + high) / 2, last((low + high) / 2)


def _nesterov_by_hand(n: int, width: float) -> float:
    """f(x_n) by the two sequences as papers write them."""
    x = y = R
    for i in range(n):
        ahead = y - np.clip(y, -width, width)
        x, y = ahead, ahead + i / (i + 3) * (ahead - x)
    return float(convex_rates.huber(np.array(x), L, width))


def _strongly_convex(settings: dict) -> list[tuple[str, str, float]]:
    """On random quadratics with eigenvalues from mu to L: the largest of f over its bound along the runs."""
    mu = settings["mu"]
    q = (mu / L) ** 0.5
    momentum = (1 - q) / (1 + q)
    found: dict[str, list[float]] = {"": [], "-by-hand": [], "-plain": []}
    for rng in np.random.default_rng(1).spawn(settings["problems"]):
        size = int(rng.integers(2, 8))
        spectrum = np.concatenate([[mu, L], rng.uniform(mu, L, size - 2)])
        start, eigenvalues = _direction(rng, size), torch.from_numpy(spectrum)

        def function(x: Tensor, eigenvalues: Tensor = eigenvalues) -> Tensor:
            return (eigenvalues * x**2).sum() / 2

        problem = objective(function, start)
        runs = {
            "": descend(problem, start, 1 / L, [momentum] * DECAY_STEPS),
            "-by-hand": _quadratic_by_hand(spectrum, start.numpy(), momentum),
            "-plain": descend(problem, start, 1 / L, [0.0] * DECAY_STEPS),
        }
        for name, values in runs.items():
            bounds = [convex_rates.strongly_convex_accelerated(L, mu, R, values[0], n) for n in range(len(values))]
            found[name].append(float(np.max(np.array(values) / bounds)))
    return [(f"strongly-convex{name}", "largest_ratio", max(ratios)) for name, ratios in found.items()]


def _quadratic_by_hand(spectrum: np.ndarray, start: np.ndarray, momentum: float) -> list[float]:
    x = y = start
    values = [float(spectrum @ x**2) / 2]
    for _ in range(DECAY_STEPS):
        ahead = y - spectrum * y / L
        x, y = ahead, ahead + momentum * (ahead - x)
        values.append(float(spectrum @ x**2) / 2)
    return values
