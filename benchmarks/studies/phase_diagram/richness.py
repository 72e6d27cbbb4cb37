"""One network from lazy to rich: its output multiplier 1 / gamma and its learning rate are moved together.

f -> (f - f_0) / gamma is Chizat, Oyallon and Bach's (2019) scaling with alpha = 1 / gamma: as gamma falls the network
learns as its first-order expansion, as it grows its weights and features must move further. f_0 is subtracted, where
they also start with a readout of zero, because then the lazy limit is the tangent kernel of all layers, and not that of
the readout alone. A step of SGD changes such an output by lr / gamma^2 times the kernel, one of Adam by lr / gamma
times the gradient's signs, so with lr = lr_1 gamma^2 or lr_1 gamma the first steps are the same for all gamma, and the
network to first order has the same path for all (Chizat et al. 2019, section 2.1; Atanasov et al. 2025,
arXiv:2410.04642, whose gamma this is).
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.optimizers import Built, Optimizer
from benchmarks.lab.schedules import constant, warmup_cosine
from benchmarks.studies.carry_over.networks import Linearized
from benchmarks.studies.carry_over.task import Task
from benchmarks.studies.carry_over.training import LEAST_WAY, Path, follow
from benchmarks.studies.phase_diagram import mup
from benchmarks.studies.table import Result
from benchmarks.theory import modes as observables
from benchmarks.theory import predictions

# The power of gamma by which the learning rate moves: of optimizers whose steps follow the gradient's size, and of
# those whose steps do not depend on it.
RATE_POWERS = {"sgd": 2, "adam": 1, "adamw": 1}
# What is asked of the ladder as a whole, with the sign that makes it rise with greed.
RISING = {"order": ("timing_slope", -1), "rank": ("rank_growth", 1), "movement": ("weights_change", 1)}


class Multiplied(nn.Module):
    """(f - f_0) / gamma, with f_0 the module as it is given.

    f_0 is neither a submodule nor a parameter: whoever reads the weights finds those of the module alone.
    """

    def __init__(self, module: nn.Module, gamma: float):
        super().__init__()
        self.module = deepcopy(module)
        self.gamma = gamma
        self._start = (deepcopy(module).requires_grad_(False),)

    def _apply(self, function, *args, **kwargs):
        self._start[0]._apply(function)
        return super()._apply(function, *args, **kwargs)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            start = self._start[0](inputs)
        return (self.module(inputs) - start) / self.gamma


@dataclass(frozen=True)
class Run:
    """One training of a ladder: the network to train and what trains it."""

    system: str
    module: nn.Module
    optimizer: Optimizer
    gamma: float


def run_ladders(
    ladders: dict[str, object],
    seeds: Sequence[int],
    task_of: Callable[[object, int], Task],
    compute,
    along: Callable[[int], None],
) -> Iterator[Result]:
    """Every ladder with its own number of seeds.

    Args:
        ladders: `Ladder` of study.py by name.
        task_of: of a ladder and a seed.
        along: called with the number of steps done.
    """
    done = 0
    for name, settings in ladders.items():
        for seed in (seed for seed in seeds if seed <= settings.seeds):
            yield from ladder(name, settings, task_of(settings, seed), seed, compute, lambda n: along(done + n))  # noqa: B023
            done += planned(settings)


def planned(settings) -> int:
    """Steps of one seed of a ladder."""
    return settings.steps * (len(settings.gammas) + 2 * settings.lazy + settings.rate + (settings.mup is not None))


def ladder(name: str, settings, task: Task, seed: int, compute, along: Callable[[int], None]) -> Iterator[Result]:
    """One network at each gamma, and beside it what else could make the difference.

    Systems: ``NAME@GAMMA``; ``NAME/lazy@GAMMA``, to first order, at the least and the largest gamma; ``NAME/rate``, the
    default network with the learning rate of the largest gamma; ``NAME/mup``, in muP; ``NAME`` and ``NAME/lazy``, what
    is asked of the ladder as a whole. Quantities: see the data card.

    Raises:
        ValueError: for a target without three modes above the noise.
    """
    if len(task.modes.s_K) < 3:
        raise ValueError(f"{name}: an order needs three modes above the noise, the data have {len(task.modes.s_K)}")
    torch.manual_seed(seed)
    net = architectures.build(input_shape=task.shape, outputs=task.outputs, **settings.architecture)
    net = net.to(getattr(torch, compute.dtype))
    found: dict[str, dict[str, float]] = {}
    for number, run in enumerate(runs(name, settings, net)):
        path, change_T = trained(run, settings, task, compute, lambda n: along(number * settings.steps + n))  # noqa: B023
        found[run.system] = scores(path, change_T, task, settings.target) | {"gamma": run.gamma}
    for system, quantities in found.items():
        yield system, seed, _finite(quantities)
    yield name, seed, _finite(across([found[f"{name}@{gamma:g}"] for gamma in settings.gammas]))
    ends = [settings.gammas[0], settings.gammas[-1]]
    if settings.lazy:
        yield f"{name}/lazy", seed, _finite(across([found[f"{name}/lazy@{gamma:g}"] for gamma in ends]))
    if settings.rate:
        yield f"{name}/rate", seed, _finite(_changes(found[f"{name}@1"], found[f"{name}/rate"]))


def runs(name: str, settings, net: nn.Module) -> Iterator[Run]:
    recipe = optimizers.named(**settings.optimizer)
    lr, power = settings.optimizer.lr, RATE_POWERS[settings.optimizer.name]
    for gamma in settings.gammas:
        yield Run(f"{name}@{gamma:g}", Multiplied(net, gamma), recipe(lr=lr * gamma**power), gamma)
    first, last = settings.gammas[0], settings.gammas[-1]
    for gamma in (first, last) if settings.lazy else ():
        system = f"{name}/lazy@{gamma:g}"
        yield Run(system, Linearized(Multiplied(net, gamma)), recipe(lr=lr * gamma**power), gamma)
    if settings.rate:
        yield Run(f"{name}/rate", Multiplied(net, 1.0), recipe(lr=lr * last**power), 1.0)
    if settings.mup is not None:
        width = settings.architecture["hidden"][0]
        module = Multiplied(mup.maximal(net, settings.mup), 1.0)
        yield Run(f"{name}/mup", module, mup.layered(recipe, width / settings.mup), (width / settings.mup) ** 0.5)


def trained(run: Run, settings, task: Task, compute, along: Callable[[int], None]) -> tuple[Path, np.ndarray]:
    """A path, and along it how far the weights have moved: mean over matrices of |w - w_0| / |w_0|."""
    weights: list[nn.Parameter] = []
    change_T: list[float] = []
    sizes = [float(p.detach().norm()) for p in _network(run.module).parameters()]
    first: list[Tensor] = []

    def build(parameters: list[nn.Parameter], **options) -> Built:
        weights.extend(parameters)
        first.extend(p.detach().clone() for p in parameters)
        return run.optimizer.factory(parameters, **options)

    def read(step: int) -> None:
        moved = [
            float((now - start).detach().norm()) / size
            for now, start, size in zip(weights, first, sizes)
            if now.ndim > 1
        ]
        change_T.append(float(np.mean(moved)))
        along(step)

    schedule = warmup_cosine(settings.steps, settings.warmup) if settings.cosine else constant
    clip = None if settings.clip is None else settings.clip / run.gamma
    optimizer = replace(run.optimizer, factory=build)
    path = follow(run.module, task, optimizer, settings.steps, schedule, clip, settings.readings, read, compute.device)
    return path, np.array(change_T)


def _network(module: nn.Module) -> nn.Module:
    """The network whose weights move, of one to first order that it expands."""
    return module.module if isinstance(module, Linearized) else module


def scores(path: Path, change_T: np.ndarray, task: Task, target: float) -> dict[str, float]:
    """What is asked of one path: its order as a whole, all else until its loss is the target's.

    Quantities that need the target are nan for a path that does not reach it.
    """
    modes, losses_T = task.modes, path.told["loss"]
    amplitudes = modes.amplitudes(path.maps_TxCxD)
    halves = predictions.half_times(path.times_T, amplitudes, modes.s_K)
    asked = np.abs(1 - amplitudes[0] / modes.s_K) > LEAST_WAY
    found = {
        "diverged": float(path.diverged),
        "reached": float((losses_T <= target).any()),
        "passed_half": float(np.isfinite(halves).sum()),
        "loss": float(losses_T[-1]),
        "test_accuracy": float(path.told["test_accuracy"][-1]),
        "active_modes_straight": predictions.straight_active_modes(amplitudes[0], modes.s_K),
    }
    if np.isfinite(halves[asked]).all():
        found |= {
            "timing_slope": observables.timing_slope(halves[asked], modes.s_K[asked]),
            "timing_order": observables.timing_order(halves[asked], modes.s_K[asked])[0],
            "timing_spread": float(np.log(halves[asked]).std()),
        }
    if found["reached"]:
        ranks_T = until(path.told["rank"], losses_T, target)
        found |= {
            "time_to_target": float(until(path.times_T, losses_T, target)[-1]),
            "active_modes": predictions.active_modes(until(amplitudes, losses_T, target)),
            "rank_growth": predictions.growth(ranks_T),
            "rank_least": float(np.fmin.reduce(ranks_T)),
            "rank_last": float(ranks_T[-1]),
            "weights_change": float(until(change_T, losses_T, target)[-1]),
        }
    found |= {f"half_time_{k}": time for k, time in enumerate(halves, start=1)}
    return found | {f"strength_{k}": s for k, s in enumerate(modes.s_K, start=1)}


def until(values_T: np.ndarray, losses_T: np.ndarray, target: float) -> np.ndarray:
    """Readings until the loss first is the target's, the last interpolated between its neighbours; T first.

    Raises:
        ValueError: for a loss that never is.
    """
    below = losses_T <= target
    if not below.any():
        raise ValueError(f"the loss never is {target:g}: the least is {losses_T.min():.3g}")
    end = int(np.argmax(below))
    if end == 0:
        return values_T[:1]
    share = (losses_T[end - 1] - target) / (losses_T[end - 1] - losses_T[end])
    last = (1 - share) * values_T[end - 1] + share * values_T[end] if share < 1 else values_T[end]
    return np.concatenate([values_T[:end], [last]])


def across(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """What is asked of a ladder, from the scores at each gamma, laziest first: Kendall's tau of greed with gamma, and
    how much changes from the laziest to the richest; both nan unless all reached the target, and where a score is
    missing. Of two steps alone there is no tau, since rounding would decide it."""
    found = {"reached": float(np.mean([one["reached"] for one in steps]))}
    if found["reached"] < 1:
        return found
    for name, (quantity, sign) in RISING.items():
        values = [sign * one.get(quantity, np.nan) for one in steps]
        if len(steps) > 2:
            found[f"{name}_rises"] = float(kendalltau(np.arange(len(values)), values).statistic)
    return found | _changes(steps[0], steps[-1])


def _changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {
        f"{name}_change": sign * (after.get(quantity, np.nan) - before.get(quantity, np.nan))
        for name, (quantity, sign) in RISING.items()
    }


def _finite(quantities: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in quantities.items() if np.isfinite(value)}
