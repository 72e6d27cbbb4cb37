"""Greedy low-rank progression and what destroys it: the calibration of the observables (D6), and Muon's order (D11).

The setting is a linear teacher with singular values 5, 3, 2, 1 on whitened inputs (256 x 10), and a student of width
40. A seed draws inputs, teacher and initialization.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.lab import optimizers
from benchmarks.lab.optimizers.muon import muon
from benchmarks.studies.deep_linear.simulation import (
    Path,
    gaussian_factors,
    problem,
    simulate,
    stacked,
    target,
    whitened_design,
)
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import deep_linear
from benchmarks.theory.modes import Modes, concurrency, half_times, sequentiality, timing_slope, waypoint_score

SPECTRUM = (5.0, 3.0, 2.0, 1.0)
SIZE, EXAMPLES, WIDTH = 10, 256, 40
CONVERGENT = {"newton_schulz": [1.875, -1.25, 0.375], "newton_schulz_steps": 15}


@tidy
def run(settings, seeds: Sequence[int]) -> Iterator[Result]:
    """Students of the teacher, by the systems of the settings: ``one-layer`` is their control, and the scores' own are
    ``linear-growth``, amplitudes t^2, and ``sigmoid``, the closed form of an aligned network. A system of ``rising``
    has a gain over the one before it.

    Square networks of depth 2 to 4 under Muon, with orthogonalization that converges (``muon-depth-2`` ...) and as the
    library has it (``muon-default-2`` ...), have a timing slope alone. Quantities: see the data card.
    """
    for seed in seeds:
        goal = target(seed, SPECTRUM, SIZE)
        inputs = whitened_design(seed, EXAMPLES, SIZE)
        modes = Modes.of(goal, len(SPECTRUM))
        by_system: dict[str, dict[str, float]] = {}
        for system, options in settings.systems.items():
            hidden = [] if options.activation == "none" else [WIDTH]
            activation = options.activation if hidden else None
            start = stacked([gaussian_factors(seed, [SIZE, *hidden, SIZE], options.scale)])
            optimizer = optimizers.named(**options.optimizer)
            path = simulate(problem(goal, hidden, activation, inputs), start, optimizer, steps=options.steps)
            by_system[system] = scores(path, modes)
            yield system, seed, by_system[system] | {"scale": options.scale}
        for before, after in itertools.pairwise(settings.rising):
            gain = by_system[after]["waypoint_score"] - by_system[before]["waypoint_score"]
            yield after, seed, {"waypoint_gain": gain}
        square = settings.muon
        for kind, options in (("depth", CONVERGENT), ("default", {})):
            for depth in (2, 3, 4):
                start = stacked([gaussian_factors(seed, [SIZE] * (depth + 1), square.scale)])
                optimizer = muon(lr=square.lr, momentum=0.0, **options)
                path = simulate(problem(goal, [SIZE] * (depth - 1)), start, optimizer, steps=square.steps)
                yield f"muon-{kind}-{depth}", seed, {"timing_slope": scores(path, modes)["timing_slope"]}
    # Two factors whose singular values grow at one rate: amplitudes t^2.
    times, s_K = np.arange(0.0, 3.0, 1e-3), np.array(SPECTRUM)
    halves = half_times(times, np.minimum(times[:, None] ** 2, s_K), s_K)
    yield "linear-growth", None, {"timing_slope": timing_slope(halves, s_K)}
    # The closed form of an aligned network, from an amplitude of 1e-7.
    times = np.arange(0, 20, 1e-3)
    modes = Modes.of(np.diag(SPECTRUM), len(SPECTRUM))
    maps = np.stack([np.diag([deep_linear.sigmoid(t, s, 1e-7) for s in SPECTRUM]) for t in times])
    yield "sigmoid", None, {"waypoint_score": waypoint_score(maps, modes)}


def scores(path: Path, modes: Modes) -> dict[str, float]:
    """The observables of a single run's path, all nan where it diverged."""
    if path.diverged:
        return dict.fromkeys(("waypoint_score", "timing_slope", "concurrency", "sequentiality"), np.nan)
    (maps,) = path.maps_RxTxCxD
    halves = half_times(path.steps_T.astype(float), modes.amplitudes(maps), modes.s_K)
    return {
        "waypoint_score": waypoint_score(maps, modes),
        "timing_slope": timing_slope(halves, modes.s_K),
        "concurrency": concurrency(maps, modes),
        "sequentiality": sequentiality(maps, modes),
    }
