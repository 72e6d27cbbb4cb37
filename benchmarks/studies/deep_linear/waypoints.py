"""Greedy low-rank progression and what undoes it: the calibration of the observables (D6), and Muon's order (D11).

The setting is a linear teacher with singular values 5, 3, 2, 1 on whitened inputs (256 x 10), and a student of width
40. A seed draws inputs, teacher and initialization.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.lab import optimizers
from benchmarks.lab.optimizers.muon import muon
from benchmarks.studies.deep_linear import COLUMNS
from benchmarks.studies.deep_linear.simulation import (
    Path,
    gaussian_factors,
    problem,
    simulate,
    stacked,
    target,
    whitened_design,
)
from benchmarks.theory import deep_linear
from benchmarks.theory.modes import Modes, concurrency, half_times, sequentiality, timing_slope, waypoint_score

SPECTRUM = (5.0, 3.0, 2.0, 1.0)
SIZE, EXAMPLES, WIDTH = 10, 256, 40
CONVERGENT = {"newton_schulz": [1.875, -1.25, 0.375], "newton_schulz_steps": 15}


def run(settings: dict, seeds: Sequence[int]) -> pd.DataFrame:
    """Students of the teacher, by the systems of the settings: ``one-layer`` is their control, and the scores' own are
    ``linear-growth``, amplitudes t^2, and ``sigmoid``, the closed form of an aligned network. A system of ``rising``
    has a gain over the one before it.

    Square networks of depth 2 to 4 under Muon, with orthogonalization that converges (``muon-depth-2`` ...) and as the
    library has it (``muon-default-2`` ...), have a timing slope alone.

    Quantities: see the data card.
    """
    rows: list[tuple] = []
    for seed in seeds:
        goal = target(seed, SPECTRUM, SIZE)
        inputs = whitened_design(seed, EXAMPLES, SIZE)
        modes = Modes.of(goal, len(SPECTRUM))
        by_system: dict[str, dict[str, float]] = {}
        for system, options in settings["systems"].items():
            hidden = [] if options["activation"] == "none" else [WIDTH]
            activation = options["activation"] if hidden else None
            start = stacked([gaussian_factors(seed, [SIZE, *hidden, SIZE], options["scale"])])
            optimizer = optimizers.named(**options["optimizer"])
            path = simulate(problem(goal, hidden, activation, inputs), start, optimizer, steps=options["steps"])
            by_system[system] = scores(path, modes)
            rows += [(system, seed, name, value) for name, value in by_system[system].items()]
            rows.append((system, seed, "scale", options["scale"]))
        for before, after in itertools.pairwise(settings["rising"]):
            gain = by_system[after]["waypoint_score"] - by_system[before]["waypoint_score"]
            rows.append((after, seed, "waypoint_gain", gain))
        square = settings["muon"]
        for kind, options in (("depth", CONVERGENT), ("default", {})):
            for depth in (2, 3, 4):
                path = simulate(
                    problem(goal, [SIZE] * (depth - 1)),
                    stacked([gaussian_factors(seed, [SIZE] * (depth + 1), square["scale"])]),
                    muon(lr=square["lr"], momentum=0.0, **options),
                    steps=square["steps"],
                )
                rows.append((f"muon-{kind}-{depth}", seed, "timing_slope", scores(path, modes)["timing_slope"]))
    # Two factors whose singular values grow at one rate: amplitudes t^2.
    halves = half_times(
        steps := np.arange(0.0, 3.0, 1e-3), np.minimum(steps[:, None] ** 2, SPECTRUM), np.array(SPECTRUM)
    )
    rows.append(("linear-growth", None, "timing_slope", timing_slope(halves, np.array(SPECTRUM))))
    # The closed form of an aligned network, from an amplitude of 1e-7.
    times = np.arange(0, 20, 1e-3)
    modes = Modes.of(np.diag(SPECTRUM), len(SPECTRUM))
    maps = np.stack([np.diag([deep_linear.sigmoid(t, s, 1e-7) for s in SPECTRUM]) for t in times])
    rows.append(("sigmoid", None, "waypoint_score", waypoint_score(maps, modes)))
    return pd.DataFrame(rows, columns=COLUMNS)


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
