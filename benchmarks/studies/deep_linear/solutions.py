"""Closed forms against gradient descent: sigmoid (D1), half times (D2), growth with depth (D3), escape (D4).

All on one target; a seed draws a random initialization. In an aligned one only the bases between its factors are
random, and nothing depends on them: its quantities are computations, without a seed.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.studies.deep_linear.simulation import (
    Path,
    aligned_factors,
    gaussian_factors,
    problem,
    simulate,
    stacked,
    target,
)
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import deep_linear
from benchmarks.theory.exponents import log_slope
from benchmarks.theory.modes import Modes, growth_exponents, half_times, timing_slope

SPECTRUM = (5.0, 3.0, 2.0, 1.0)
SIZE = 10
# A mode counts as aligned once it holds this fraction of its final strength.
ALIGNED = 0.01


@tidy
def run(settings, seeds: Sequence[int]) -> Iterator[Result]:
    """Gradient descent from small weights compared with the closed forms.

    Systems: ``random``, two layers from Gaussian weights, and ``random-large``, the same at their default size.
    Controls: ``aligned``, two layers from an aligned start, and ``one-layer``. ``depth-N`` are aligned networks of N
    layers; one layer is a control, and so is ``quadrature-3``, the escape of three layers by quadrature.

    The sigmoid, and the closed form's half time, starts at the initialization ("aligned") or at the reading at which
    the mode first holds 1 % of s (the others). The growth exponent is the median over modes of `growth_exponents`. The
    escape slope is of 2 s t on ln(1 / u0) at depth 2, and of ln t on ln u0 beyond. Quantities: see the data card.
    """
    goal = target(0, SPECTRUM, SIZE)
    modes = Modes.of(goal, len(SPECTRUM))
    lr, steps = settings.lr, round(settings.time / settings.lr)
    scale = settings.scale

    def compare(system: str, path: Path, drawn: Sequence[int | None]) -> Iterator[Result]:
        for seed, maps in zip(drawn, path.maps_RxTxCxD):
            times, amplitudes = path.steps_T * lr, modes.amplitudes(maps)
            error, ratio = against_sigmoid(times, amplitudes, modes.s_K, from_start=seed is None)
            slope = timing_slope(half_times(times, amplitudes, modes.s_K), modes.s_K)
            yield system, seed, {"sigmoid_error": error, "half_time_ratio": ratio, "half_time_slope": slope}

    def aligned(depth: int, u0: float) -> torch.Tensor:
        return stacked([aligned_factors(0, goal, len(SPECTRUM), u0, depth)])

    flow = partial(simulate, optimizer=sgd(lr=lr), steps=steps, every=5)
    yield from compare("aligned", flow(problem(goal, [SIZE]), aligned(2, settings.u0)), [None])
    wide = problem(goal, [40])
    starts = stacked(gaussian_factors(s, [SIZE, 40, SIZE], scale) for s in seeds)
    yield from compare("random", flow(wide, starts), seeds)
    yield from compare("random-large", flow(wide, starts / scale), seeds)
    starts = stacked(gaussian_factors(s, [SIZE, SIZE], scale) for s in seeds)
    yield from compare("one-layer", flow(problem(goal, []), starts), seeds)

    for depth in (1, 2, 3, 4):
        growth_lr, u0 = settings.growth_lr, settings.u0
        # Until the weakest mode passes half.
        longest = deep_linear.growth_time(depth, SPECTRUM[-1], u0, 0.5 * SPECTRUM[-1])
        whole, steps = problem(goal, [SIZE] * (depth - 1)), round(longest / growth_lr)
        path = simulate(whole, aligned(depth, u0), sgd(lr=growth_lr), steps=steps, every=5)
        powers = growth_exponents(path.steps_T * growth_lr, modes.amplitudes(path.maps_RxTxCxD[0]), modes.s_K)
        yield f"depth-{depth}", None, {"growth_exponent": np.median(powers)}
    for depth in (2, 3, 4):
        yield f"depth-{depth}", None, {"escape_slope": escape_slope(depth, settings)}
    u0s = settings.escape_u0
    exact = [deep_linear.growth_time(3, 1.0, u0, 0.5) for u0 in u0s]
    yield "quadrature-3", None, {"escape_slope": log_slope(u0s, exact)}


def against_sigmoid(
    times_T: np.ndarray, amplitudes_TxK: np.ndarray, s_K: np.ndarray, *, from_start: bool
) -> tuple[float, float]:
    """The largest error over s, and the median half-time ratio, of amplitudes against the sigmoid through one reading.

    That reading is the first, or the mode's first at `ALIGNED` of s or more; inf and nan where a mode never gets there.
    """
    errors, ratios = [], []
    for a_T, s in zip(amplitudes_TxK.T, s_K):
        reached = np.flatnonzero(a_T >= ALIGNED * s)
        first = 0 if from_start else (reached[0] if len(reached) else None)
        if first is None or not 0 < a_T[first] < s:
            return np.inf, np.nan
        late_T = times_T[first:] - times_T[first]
        errors.append(np.abs(a_T[first:] - deep_linear.sigmoid(late_T, s, a_T[first])).max() / s)
        passed = np.flatnonzero(a_T[first:] >= s / 2)
        predicted = deep_linear.half_time(s, a_T[first])
        # The time of alignment is in both, as in the law for the whole.
        crossed = np.interp(s / 2, a_T[first:][: passed[0] + 1], late_T[: passed[0] + 1]) if len(passed) else np.nan
        ratios.append((times_T[first] + crossed) / (times_T[first] + predicted))
    return float(max(errors)), float(np.median(ratios))


def escape_slope(depth: int, settings) -> float:
    """How the half time of a single mode s = 1 depends on its initial amplitude."""
    size, lr, u0s = 5, settings.escape_lr, settings.escape_u0
    goal = target(0, (1.0,), size)
    starts = stacked(aligned_factors(0, goal, 1, u0, depth) for u0 in u0s)
    steps = round(deep_linear.growth_time(depth, 1.0, min(u0s), 0.9) / lr)
    path = simulate(problem(goal, [size] * (depth - 1)), starts, sgd(lr=lr), steps=steps)
    modes = Modes.of(goal, 1)
    times = []
    for maps in path.maps_RxTxCxD:
        a_T = modes.amplitudes(maps)[:, 0]
        last = int(np.argmax(a_T >= 0.5)) + 1
        times.append(np.interp(0.5, a_T[:last], path.steps_T[:last] * lr))
    if depth == 2:
        return float(np.polyfit(-np.log(u0s), 2 * np.array(times), 1)[0])
    return log_slope(u0s, times)
