"""Planted modes: what is put into the data with a known strength, when it is learned, and what theory makes of it.

Mode k joins a pattern of the input to a contrast of the targets, c_k; patterns and contrasts are orthogonal. Its
amplitude is read by intervention on held-out inputs, a_k = c_k' mean [p(x with +pattern k) - p(x with -pattern k)] / 2,
of probabilities p: on data that can be separated logits grow for ever, so that half of their way depends on when one
stops. The intervention is the same for all modes, whatever their strength in training.

A single layer learns b w by dw/dt = b_k - lambda_k w under gradient descent on a squared loss, with lambda_k the
variance of the inputs along the pattern: it takes ln 2 / lambda_k for half of its way, however strong the correlation
b_k. A strength that lies in the inputs makes lambda_k = sigma^2 + q s_k^2 (q: the share of examples that have the
pattern), and a slope of ln t on ln s between 0 and -2. A product of layers from small weights takes a time
proportional to 1 / b_k (Saxe et al. 2014), a slope of -1 even where all lambda_k are equal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.optimizers import Built, Optimizer
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.schedules import constant, warmup_cosine
from benchmarks.studies.carry_over.networks import Linearized, linear_twin, scaled, single_layer
from benchmarks.studies.carry_over.task import Task
from benchmarks.studies.carry_over.training import Path, follow
from benchmarks.studies.table import Result
from benchmarks.theory import modes as observables
from benchmarks.theory import predictions
from benchmarks.theory.modes import Modes

# How the data of a variant differ from those of the network itself, by what follows its name.
DATA = {"": "falling", "/swap": "swap", "/equal": "equal", "/level": "level"}
# And of the networks beside it.
BESIDE = {"/layer": "falling", "/layer-level": "level", "/lazy": "falling", "/small": "falling"}


@dataclass(frozen=True)
class Planted:
    """Data with planted modes.

    Attributes:
        task: whose ``maps`` gives the amplitudes, K x 1.
        s_K: the strengths in these data.
        least_K: the amplitude that a mode has at least when it counts as learned.
    """

    task: Task
    s_K: np.ndarray
    least_K: np.ndarray


def strengths(settings, network, data: str) -> np.ndarray:
    """Of all modes, K: falling by a constant ratio from the network's ``strongest``; with two exchanged (swap); or all
    their geometric mean (equal).

    Args:
        settings: have ``modes``, ``ratio``, and ``swap``, two modes counted from 1.
    """
    s_K = network.strongest * settings.ratio ** np.arange(settings.modes)
    if data == "swap":
        pair = np.array(settings.swap) - 1
        s_K[pair] = s_K[pair[::-1]]
    return np.full_like(s_K, np.exp(np.log(s_K).mean())) if data == "equal" else s_K


def ranks(modes: int) -> Modes:
    """Modes in the coordinates of their amplitudes: all that a reading asks of them is how many there are."""
    return Modes.of(np.diag(np.arange(modes, 0.0, -1.0)), modes)


def planned(network, level: bool) -> dict[str, int]:
    """Steps by what follows a network's name, itself first."""
    steps = {**dict.fromkeys(DATA, network.steps), "/layer": network.steps, "/layer-level": network.steps}
    steps |= {"/lazy": network.lazy, "/small": network.small and network.small.steps}
    return {name: count for name, count in steps.items() if count and (level or not name.endswith("level"))}


def results(
    name: str,
    network,
    settings,
    seeds: Sequence[int],
    plant: Callable[[str, int], Planted],
    compute,
    tick: Callable[[int], None],
    *,
    level: bool,
) -> Iterator[Result]:
    """Train a network and those beside it on planted modes, seed by seed, and score them.

    Args:
        name: of the network.
        network: `Network` of study.py.
        settings: the experiment's, see `strengths`; and ``readings``.
        plant: data by their variant and the seed.
        tick: called with the steps done.
        level: whether the data have a variant ``level``.
    """
    recipe, dtype, done = _recipe(network), getattr(torch, compute.dtype), 0
    for seed in seeds:
        made = {data: plant(data, seed) for data in {**DATA, **BESIDE}.values() if level or data != "level"}
        task = made["falling"].task
        torch.manual_seed(seed)
        net = architectures.build(input_shape=task.shape, outputs=task.outputs, **network.architecture)
        net = net.to(dtype)
        scored: dict[str, dict[str, float]] = {}
        for kind, steps in planned(network, level).items():
            data = made[{**DATA, **BESIDE}[kind]]
            module, by, schedule, clip = net, recipe, constant, network.clip
            if network.cosine:
                schedule = warmup_cosine(network.cosine, network.warmup)
            if kind == "/lazy":
                module = Linearized(net)
            elif kind == "/small":
                module = scaled(linear_twin(net, task.shape, task.tokens), network.small.init)
                by, schedule, clip = sgd(lr=network.small.lr), constant, None
            elif kind.startswith("/layer"):
                module = single_layer(task.shape, task.outputs, task.tokens).to(dtype)
                by = recipe(lr=network.layer_lr)

            def along(step: int, before: int = done) -> None:
                tick(before + step)

            path = follow(module, data.task, by, steps, schedule, clip, settings.readings, along, compute.device)
            scored[kind] = scores(path, data, strengths(settings, network, "falling"))
            if kind == "/swap":
                scored[kind] |= swapped(scored[""], scored[kind], settings.swap)
            yield f"{name}{kind}", seed, scored[kind]
            done += steps


def scores(path: Path, data: Planted, assigned_K: np.ndarray) -> dict[str, float]:
    """When each mode made half of its own way, and in which order, if all were learned.

    Args:
        assigned_K: the strengths that the same patterns have where they fall, by which equal ones are ordered too.
    """
    amplitudes, s_K = path.maps_TxCxD[:, :, 0], data.s_K
    last_K = amplitudes[-1]
    halves = np.where(last_K >= data.least_K, predictions.half_times(path.times_T, amplitudes, last_K), np.nan)
    found = {
        "diverged": float(path.diverged),
        "steps": float(path.steps_T[-1]),
        "passed_half": float(np.isfinite(halves).sum()),
        "test_accuracy": float(path.told["test_accuracy"][-1]),
        "rank_growth": predictions.growth(path.told["rank"]),
    }
    for name, values in (("half_time", halves), ("strength", s_K), ("amplitude", last_K)):
        found |= {f"{name}_{k}": float(value) for k, value in enumerate(values, start=1)}
    if np.isfinite(halves).all():
        by_K = assigned_K if np.ptp(s_K) < 1e-9 * s_K[0] else s_K
        found |= {
            "timing_slope": observables.timing_slope(halves, by_K),
            "timing_order": observables.timing_order(halves, by_K)[0],
            "timing_spread": float(np.log(halves).std()),
            "latest": float(halves.max() / path.times_T[-1]),
            "active_modes": predictions.active_modes(amplitudes),
            "active_modes_straight": predictions.straight_active_modes(amplitudes[0], last_K),
        }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def swapped(before: dict[str, float], after: dict[str, float], pair: Sequence[int]) -> dict[str, float]:
    """How far the half times of two modes move, in nats, when they exchange their strengths: the lesser of how much
    later the first, which is then the weaker, and how much earlier the other; and whether both moved that way. Empty
    where one has no half time."""
    times = [[run.get(f"half_time_{k}", np.nan) for k in pair] for run in (before, after)]
    (strong, weak), (weakened, strengthened) = np.log(times)
    least = np.minimum(weakened - strong, weak - strengthened)
    return {"swap_least": float(least), "swapped": float(least > 0)} if np.isfinite(least) else {}


def _recipe(network) -> Optimizer:
    """The optimizer, with its weight decay on all parameters or on matrices alone."""
    entry = optimizers.named(**network.optimizer)

    def build(parameters: list[nn.Parameter], **options) -> Built:
        groups = {True: [], False: []}
        for parameter in parameters:
            groups[network.decays == "all" or parameter.ndim > 1].append(parameter)
        decay = {True: network.decay, False: 0.0}
        return entry.factory(
            [{"params": held, "weight_decay": decay[decayed]} for decayed, held in groups.items() if held], **options
        )

    return replace(entry, factory=build)
