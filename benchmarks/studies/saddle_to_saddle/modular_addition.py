"""Is it foretold which frequency a network learns when, and how far the loss then falls? (T14)

A two-layer network with quadratic activation learns addition modulo p of a template with a few frequencies (Kunin et
al. 2025, arXiv:2506.06489, section 5). `benchmarks.theory.alternating_gradient_flow` foretells each drop of the loss
from the initial weights; the network is trained by gradient flow.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import RK23
from scipy.stats import kendalltau

from benchmarks.studies.table import Result, tidy
from benchmarks.theory.alternating_gradient_flow import ModularAddition, alternate, loss
from benchmarks.theory.modes import half_times

# The norm from which on a unit is active: above that of weights of the usual size.
ACTIVE = 10.0
# A run ends when this share of its first loss is left.
LEFT = 1e-3


@dataclass(frozen=True)
class Run:
    """Readings at times T: the loss, and how much of each frequency has been learned."""

    times_T: np.ndarray
    losses_T: np.ndarray
    amplitudes_TxK: np.ndarray


@tidy
def run(
    settings, seeds: Sequence[int], tick: Callable[[int, int], None] = lambda done, planned: None
) -> Iterator[Result]:
    """Gradient flow from ``small`` weights in symmetric groups, the same from ``default`` ones, whose units have a norm
    near 1, and from small weights that are ``ungrouped``. ``aligned`` is a single unit on its way, foretold and in
    closed form. Quantities: see the data card.

    A group is eight units of one utility, whose phases are a quarter apart and whose signs are mirrored: of a frequency
    it can learn all at once, as the theory has it. Alone, one unit learns a part and waits for others.
    """
    for number, seed in enumerate(seeds):
        generator = np.random.default_rng(seed)
        template, frequencies = drawn(generator, settings.modulus, settings.magnitudes)
        units = ModularAddition(template)
        size = 3 * settings.modulus
        groups_HxP = grouped(generator.standard_normal((settings.groups, size)) / size**0.5)
        singles_HxP = generator.standard_normal((8 * settings.groups, size)) / size**0.5
        systems = {
            "small": settings.scale * groups_HxP,
            "default": groups_HxP,
            "ungrouped": settings.scale * singles_HxP,
        }
        for place, (system, start) in enumerate(systems.items()):
            tick(number * len(systems) + place, len(seeds) * len(systems))
            until = settings.time / settings.scale
            found = flow(units, start, frequencies, until, settings.steps)
            yield system, seed, scores(found, units, start, frequencies, until, settings.magnitudes)
    tick(1, 1)
    yield "aligned", None, {"closed_form_error": aligned_error(settings)}


def drawn(generator: np.random.Generator, modulus: int, magnitudes: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A template whose Fourier coefficients are sqrt(p) times these magnitudes, at random frequencies (K, in the order
    of the magnitudes) and with random phases."""
    frequencies = generator.permutation(np.arange(1, (modulus + 1) // 2))[: len(magnitudes)]
    phases = generator.uniform(0, 2 * np.pi, len(magnitudes))
    angles = 2 * np.pi * np.outer(frequencies, np.arange(modulus)) / modulus + phases[:, None]
    return 2 / modulus**0.5 * np.array(magnitudes) @ np.cos(angles), frequencies


def grouped(weights_GxP: np.ndarray) -> np.ndarray:
    """Eight units for each of these, without their means: 8 G x P. Together they compute w times the product of u' x_a
    and v' x_b, and of each frequency the part that is a function of a + b."""
    u, v, w = (part - part.mean(1, keepdims=True) for part in np.split(weights_GxP, 3, axis=1))
    phases = ((u, v, w), (_turned(u), _turned(v), -w), (_turned(u), v, _turned(w)), (u, _turned(v), _turned(w)))
    signs = [(a, sign * b, sign * c) for a, b, c in phases for sign in (1, -1)]
    return np.concatenate([np.concatenate(unit, axis=1) for unit in signs])


def _turned(waves: np.ndarray) -> np.ndarray:
    """Each frequency's phase a quarter later (the Hilbert transform)."""
    return np.fft.irfft(-1j * np.fft.rfft(waves), waves.shape[1])


def flow(units: ModularAddition, start_HxP: np.ndarray, frequencies: np.ndarray, until: float, steps: int) -> Run:
    """Gradient flow until the loss is gone, by at most so many steps of a Runge-Kutta method of order 3."""

    def slope(_: float, flat: np.ndarray) -> np.ndarray:
        weights = flat.reshape(start_HxP.shape)
        return units.pull(weights, units.target_F - units.output(weights)).ravel()

    def read(time: float, flat: np.ndarray) -> tuple[float, float, np.ndarray]:
        output = units.output(flat.reshape(start_HxP.shape))
        return time, loss(units, output), units.amplitudes(output, frequencies)

    size = np.abs(start_HxP).max()
    solver = RK23(slope, 0.0, start_HxP.ravel(), until, rtol=1e-3, atol=1e-3 * size)
    readings = [read(0.0, solver.y)]
    while solver.status == "running" and len(readings) <= steps and readings[-1][1] > LEFT * readings[0][1]:
        solver.step()
        readings.append(read(solver.t, solver.y))
    return Run(*map(np.array, zip(*readings)))


def scores(
    found: Run,
    units: ModularAddition,
    start_HxP: np.ndarray,
    frequencies: np.ndarray,
    until: float,
    magnitudes: Sequence[float],
) -> dict[str, float]:
    """Of one run against what is foretold from its start; ``learned`` alone where either does not learn everything."""
    times_K = half_times(found.times_T, found.amplitudes_TxK, np.ones(len(frequencies)))
    course = alternate(units, start_HxP, until=until, active=ACTIVE, left=LEFT)
    passed_ExK = np.array([units.amplitudes(output, frequencies) for output in course.outputs_ExF]) >= 0.5
    events_K = passed_ExK.argmax(0)
    foretold_K = np.where(passed_ExK.any(0), course.times_E[events_K], np.nan)
    both = np.isfinite(times_K) & np.isfinite(foretold_K)
    if not both.all():
        return {"learned": float(np.isfinite(times_K).sum()), "foretold": float(np.isfinite(foretold_K).sum())}
    # From the strengths alone, in units of the first: all that is left of the theory without the initial weights.
    alone_K = times_K.min() * (magnitudes[0] / np.array(magnitudes)) ** 3
    order = np.sort(times_K)
    levels = np.interp(np.sqrt(order[:-1] * order[1:]), found.times_T, found.losses_T)
    drops = -np.diff([found.losses_T[0], *levels, found.losses_T[-1]])
    predicted = -np.diff(course.losses_E[[0, *np.sort(events_K)]])
    scored = {
        "learned": float(len(times_K)),
        "foretold": float(len(foretold_K)),
        "order": float(kendalltau(times_K, foretold_K).statistic),
        "time_error": float(np.abs(times_K / foretold_K - 1).max()),
        "strength_error": float(np.abs(times_K / alone_K - 1).max()),
        "drop_error": float(np.abs(drops / predicted - 1).max()),
    }
    pairs = {"time": np.sort(times_K), "foretold_time": np.sort(foretold_K), "drop": drops, "foretold_drop": predicted}
    for name, values in pairs.items():
        scored |= {f"{name}_{number}": float(value) for number, value in enumerate(values, start=1)}
    return scored


def aligned_error(settings) -> float:
    """How far the time foretold for a single unit, aligned with the strongest frequency, is from its closed form: under
    dn/dt = 3 n^2 U its norm n gets from one value to another in (1 / n_0 - 1 / n) / 3 U."""
    modulus, strongest = settings.modulus, settings.magnitudes[0]
    template, (frequency,) = drawn(np.random.default_rng(0), modulus, [strongest])
    phase = np.angle(np.fft.fft(template)[frequency])
    angles = 2 * np.pi * frequency * np.arange(modulus) / modulus
    wave = np.concatenate([np.cos(angles), np.cos(angles), np.cos(angles - phase)])
    start = settings.scale * wave / np.linalg.norm(wave)
    course = alternate(ModularAddition(template), start[None], until=settings.time / settings.scale, active=ACTIVE)
    utility = np.sqrt(2 / (27 * modulus**3)) * (modulus**0.5 * strongest) ** 3
    return float(abs(course.times_E[-1] / ((1 / settings.scale - 1 / ACTIVE) / (3 * utility)) - 1))
