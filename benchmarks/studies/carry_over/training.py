"""A system's training and that of the networks beside it, read as deep linear theory asks."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.loop import Step, descend
from benchmarks.lab.optimizers import Built, Optimizer
from benchmarks.lab.problem import Problem
from benchmarks.lab.schedules import Schedule, constant, scheduled, warmup_cosine
from benchmarks.studies.carry_over import weights
from benchmarks.studies.carry_over.networks import Linearized, linear_twin, scaled, single_layer
from benchmarks.studies.carry_over.task import Task
from benchmarks.studies.table import Result, Runs, tabulate
from benchmarks.theory import modes as observables
from benchmarks.theory import predictions
from benchmarks.theory.modes import Modes
from benchmarks.theory.ranks import stable_rank

# Times the first loss.
DIVERGENCE = 20.0
# The permuted strengths and answers of the nulls.
DRAWS = 20
# Examples that are read at once: more do not fit the processor's cache.
AT_ONCE = 250
# A mode that starts within this fraction of its end has no way to go, and no time.
LEAST_WAY = 0.05


@dataclass(frozen=True)
class Path:
    """What was read of one training.

    Attributes:
        steps_T: updates made.
        times_T: the sum of the learning rates of these updates over the full one: steps at the full learning rate, so
            that a schedule is no clock of its own.
        told: other readings by name, each along the grid of steps.
        last: what is read at the end alone, by name.
    """

    steps_T: np.ndarray
    times_T: np.ndarray
    maps_TxCxD: np.ndarray
    told: dict[str, np.ndarray]
    last: dict[str, float]
    overlap: predictions.Overlap | None
    diverged: bool


def run_system(
    settings,
    seeds: Sequence[int],
    task_of: Callable[[int], Task],
    compute,
    tick: Callable[[int, int], None],
) -> Runs:
    """Train a system and the networks beside it, and score them, seed by seed.

    Args:
        settings: `System` of study.py.
        task_of: a seed's task.

    Returns:
        rows: a system is the role here (net, twin, ...); curves: a row per role, seed and reading.

    Raises:
        ValueError: for a network without a linear twin where one is asked for.
    """
    rows, curves = [], []
    for number, seed in enumerate(seeds):

        def along(done: int, planned: int, number: int = number) -> None:
            tick(number * planned + done, len(seeds) * planned)

        scored, curve = _of_seed(settings, task_of(seed), seed, compute, along)
        rows += scored
        curves.append(curve)
    return Runs(rows=tabulate(rows), curves=pd.concat(curves, ignore_index=True), facts={})


def _of_seed(
    settings, task: Task, seed: int, compute, tick: Callable[[int, int], None]
) -> tuple[list[Result], pd.DataFrame]:
    torch.manual_seed(seed)
    net = architectures.build(input_shape=task.shape, outputs=task.outputs, **settings.architecture)
    net = scaled(net.to(getattr(torch, compute.dtype)), settings.init)
    planned = _planned(settings)
    total, before = sum(planned.values()), 0
    paths: dict[str, Path] = {}
    for role, steps in planned.items():

        def along(step: int, before: int = before) -> None:
            tick(before + step, total)

        module, of, recipe = _trained(role, net, task, settings, seed)
        # A twin from small weights takes the steps of gradient descent.
        plain = role == "small"
        schedule = warmup_cosine(steps, settings.warmup) if settings.cosine and not plain else constant
        clip = None if plain else settings.clip
        paths[role] = follow(module, of, recipe, steps, schedule, clip, settings.readings, along, compute.device)
        before += steps
    scored = [(role, seed, _finite(_scores(role, path, task, paths))) for role, path in paths.items()]
    curves = pd.concat([_curve(path, task.modes).assign(role=role, seed=seed) for role, path in paths.items()])
    return scored, curves


def _trained(role: str, net: nn.Module, task: Task, settings, seed: int) -> tuple[nn.Module, Task, Optimizer]:
    """A role's network, what it learns, and by which optimizer."""
    recipe = _recipe(settings)
    match role:
        case "net":
            return net, task, recipe
        case "lazy":
            return Linearized(net), task, recipe
        case "random":
            return net, task.with_targets(torch.Generator().manual_seed(seed)), recipe
        case "small":
            small = settings.beside.small
            twin = scaled(linear_twin(net, task.shape, task.tokens), small.init)
            return twin, task, optimizers.named("sgd", lr=small.lr)
    # A linear twin, of the text read backwards too, or a single layer.
    lr = getattr(settings.beside, role).lr
    module = (
        single_layer(task.shape, task.outputs, task.tokens)
        if role == "layer"
        else linear_twin(net, task.shape, task.tokens)
    )
    return module, task.backwards() if role == "reversed" else task, recipe if lr is None else recipe(lr=lr)


def _planned(settings) -> dict[str, int]:
    """The steps of each role; the network's own first."""
    beside = {role: getattr(settings.beside, role) for role in type(settings.beside).model_fields}
    return {"net": settings.steps, **{role: one.steps or settings.steps for role, one in beside.items() if one}}


def _recipe(settings) -> Optimizer:
    """The optimizer, with weight decay on the parameters that the settings say."""
    entry = optimizers.named(**settings.optimizer)
    if settings.decay is None:
        return entry

    def build(parameters: list[nn.Parameter], **options) -> Built:
        decayed = [p for p in parameters if settings.decays == "all" or (p.ndim > 1) == (settings.decays == "matrices")]
        groups = [{"params": decayed, "weight_decay": settings.decay}]
        if spared := [p for p in parameters if not any(p is one for one in decayed)]:
            groups.append({"params": spared, "weight_decay": 0.0})
        return entry.factory(groups, **options)

    return replace(entry, factory=build)


def grid(steps: int, readings: int) -> np.ndarray:
    """Steps to read at: 0 and about so many others, evenly spaced in their logarithm."""
    return np.unique(np.concatenate([[0], np.round(np.geomspace(1, steps, readings))])).astype(int)


def follow(
    module: nn.Module,
    task: Task,
    optimizer: Optimizer,
    steps: int,
    schedule: Schedule,
    clip: float | None,
    readings: int,
    along: Callable[[int], None],
    device: str = "cpu",
) -> Path:
    """Train a network and read it on a logarithmic grid of steps. A run that diverges ends its path there."""
    module = deepcopy(module).to(device)
    dressed = task.dress(module).to(device)
    trained = Problem(dressed, task.inputs.to(device), task.targets.to(device), "cross_entropy")
    read = [inputs.to(device) for inputs in (task.read_inputs, task.test_inputs)]
    bare = Problem(module, read[0], task.read_targets.to(device), "cross_entropy")
    wanted = set(grid(steps, readings).tolist())
    reader = _Reader(task, bare, module, read)
    lost = False
    loop = descend(
        trained,
        trained.initial_RxP(),
        optimizer,
        steps=steps,
        minibatches=task.batches,
        divergence=DIVERGENCE,
    )
    for step in scheduled(loop, schedule):
        lost = bool(step.lost_R.any())
        if lost:
            break
        if step.number in wanted:
            reader.read(step)
            along(step.number)
        if clip:
            size = float(step.point.grads_RxP.norm())
            if size > clip:
                step.point.grads_RxP.mul_(clip / size)
    rates = np.cumsum([0.0, *(schedule(number) for number in range(steps))])
    return reader.path(rates, lost)


class _Reader:
    """A path under construction."""

    def __init__(self, task: Task, bare: Problem, module: nn.Module, inputs: Sequence[Tensor]):
        self.task, self.bare, self.inputs = task, bare, inputs
        # A linearized network moves as the one that it expands.
        self.module = module.module if isinstance(module, Linearized) else module
        self.steps: list[int] = []
        self.maps: list[np.ndarray] = []
        self.told: dict[str, list[float]] = {}
        self._linear = task.linear.numpy()
        self._labels = task.test_targets.reshape(-1).numpy()
        self._level = float((self._linear == self._labels).mean())
        self._as_good = False

    def read(self, step: Step) -> None:
        params_RxP = step.params_RxP
        log_read, log_test = (self._log_probabilities(params_RxP, inputs) for inputs in self.inputs)
        self.steps.append(step.number)
        self.maps.append(self.task.maps(log_read.exp()))
        self._predicted = log_test.argmax(-1).reshape(-1).numpy()
        told = {
            "batch_loss": float(step.losses_R[0]),
            "loss": _cross_entropy(log_read, self.task.read_targets),
            "accuracy": float((log_read.argmax(-1) == self.task.read_targets).float().mean()),
            "test_loss": _cross_entropy(log_test, self.task.test_targets),
            "test_accuracy": float((self._predicted == self._labels).mean()),
        }
        told |= {f"distance_{name}": _divergence(log, log_test) for name, log in self.task.references.items()}
        told |= self._linear_first(told["test_accuracy"])
        now = weights.matrices(self.module, self.bare.views(params_RxP, 0))
        if not self.told:
            self._start = now
        self._now, self._change = now, weights.change(self._start, now)
        moved = len(self.steps) > 1
        reduced = weights.reduced(self._change) if moved else {}
        told["rank"] = weights.mean_rank(reduced)
        told["stable_rank"] = weights.mean_rank(reduced, stable_rank)
        for name, rank in weights.circuits(self.module, self._start, now).items() if moved else ():
            told[f"rank_{name}"] = rank
        for name, value in told.items():
            column = self.told.setdefault(name, [np.nan] * (len(self.steps) - 1))
            column.append(value)

    def _log_probabilities(self, params_RxP: Tensor, inputs: Tensor) -> Tensor:
        outputs = [self.bare.outputs(params_RxP, part)[0].float().cpu() for part in inputs.split(AT_ONCE)]
        return torch.cat(outputs).log_softmax(-1)

    def _linear_first(self, accuracy: float) -> dict[str, float]:
        """The share of what the answers say of the labels that the linear predictor explains, until the network is as
        good as it; and the same of answers permuted within each label, which say as much and agree by chance."""
        self._as_good = self._as_good or accuracy >= self._level
        if self._as_good:
            return {"explained": np.nan, "explained_null": np.nan}
        generator = np.random.default_rng(0)
        apart = self._predicted.copy()
        for label in np.unique(self._labels):
            of_label = np.flatnonzero(self._labels == label)
            apart[of_label] = generator.permutation(apart[of_label])
        return {
            name: predictions.explained_by_linear(answers, self._labels, self._linear, draws=5)
            for name, answers in (("explained", self._predicted), ("explained_null", apart))
        }

    def path(self, time_at: np.ndarray, diverged: bool) -> Path:
        count = int(self.task.modes.sizes_K.sum())
        last = {
            "forgotten": _forgotten(self._linear, self._labels, self._predicted),
            "weights_rank": weights.mean_rank(weights.reduced(self._now)),
        }
        return Path(
            np.array(self.steps),
            time_at[self.steps],
            np.stack(self.maps),
            {name: np.array(values) for name, values in self.told.items()},
            last,
            weights.facing(self.module, self._change, count),
            diverged,
        )


def _forgotten(linear_N: np.ndarray, labels_N: np.ndarray, predicted_N: np.ndarray) -> float:
    """I(L;Y|F) / I(L;Y) at the end: what of the linear predictor the network does not keep; 0 if it keeps all."""
    kept = predictions.explained_by_linear(linear_N, labels_N, predicted_N, draws=5)
    return 1 - kept


def _cross_entropy(log_probabilities: Tensor, targets: Tensor) -> float:
    return float(-log_probabilities.gather(-1, targets[..., None]).mean())


def _divergence(log_reference: Tensor, log_probabilities: Tensor) -> float:
    """Mean KL divergence from a reference to the network, in nats."""
    return float((log_reference.exp() * (log_reference - log_probabilities)).sum(-1).mean())


def _scores(role: str, path: Path, task: Task, paths: dict[str, Path]) -> dict[str, float]:
    """Everything that is asked of one path."""
    modes = task.modes
    amplitudes = modes.amplitudes(path.maps_TxCxD)
    halves = predictions.half_times(path.times_T, amplitudes, modes.s_K)
    phi_T = observables.progress(path.maps_TxCxD, modes.target_CxD)
    told = path.told
    scores = {
        "diverged": float(path.diverged),
        "steps": float(path.steps_T[-1]),
        "modes": float(len(modes.s_K)),
        "noise_floor": task.floor,
        "largest_phi": float(phi_T.max()),
        "passed_half": float(np.isfinite(halves).sum()),
        "active_modes": predictions.active_modes(amplitudes),
        "active_modes_straight": predictions.straight_active_modes(amplitudes[0], modes.s_K),
        "active_modes_shifted": observables.shifted_concurrency(amplitudes) if len(amplitudes) > 2 else np.nan,
        "rank_growth": predictions.growth(told["rank"]),
        "rank_least": float(np.nanmin(told["rank"])) if len(told["rank"]) > 1 else np.nan,
        "rank_last": float(told["rank"][-1]),
        "stable_rank_growth": predictions.growth(told["stable_rank"]),
        "explained": _mean(told["explained"]),
        "explained_null": _mean(told["explained_null"]),
        **path.last,
    }
    for name in ("loss", "accuracy", "test_loss", "test_accuracy"):
        scores[name] = float(told[name][-1])
    scores["linear_accuracy"] = float((task.linear.numpy() == task.test_targets.reshape(-1).numpy()).mean())
    scores["above_linear"] = scores["test_accuracy"] - scores["linear_accuracy"]
    scores["least_test_loss"] = float(np.nanmin(told["test_loss"]))
    scores |= _timing(halves, amplitudes, modes, "")
    if task.whitened is not None:
        scores |= _whitened(path, task)
    if path.overlap is not None:
        scores |= {"alignment": path.overlap.value, "alignment_chance": path.overlap.chance}
        scores["alignment_share"] = path.overlap.share
        scores["alignment_ratio"] = path.overlap.value / path.overlap.chance
    for name in ("query_key", "value_output"):
        if f"rank_{name}" in told:
            ranks = told[f"rank_{name}"]
            scores[f"rank_{name}_first"], scores[f"rank_{name}_last"] = _first(ranks), float(ranks[-1])
            scores[f"rank_{name}_start"] = _first(ranks) / float(ranks[-1])
            scores[f"rank_{name}_rise"] = _rise(ranks)
    for name in task.references:
        distances = told[f"distance_{name}"]
        scores[f"nearest_{name}"] = float(path.steps_T[np.nanargmin(distances)])
        scores[f"distance_{name}"] = float(distances[-1])
    scores |= _ngrams(task, path)
    scores |= {f"half_time_{k}": time for k, time in enumerate(halves, start=1)}
    scores |= {f"strength_{k}": s for k, s in enumerate(modes.s_K, start=1)}
    if role not in ("twin", "reversed") and "twin" in paths:
        scores |= _against_twin(path, paths["twin"], paths.get("reversed"), modes, halves)
    return scores


def _ngrams(task: Task, path: Path) -> dict[str, float]:
    """In which order a network is nearest to the models that it is compared with, and how far apart in time."""
    if not task.references:
        return {}
    nearest = np.array([path.steps_T[np.nanargmin(path.told[f"distance_{name}"])] for name in task.references], float)
    bigram = _cross_entropy(task.references["bigram"], task.test_targets)
    return {
        "ngram_order": observables.timing_order(nearest, -np.arange(len(nearest), dtype=float))[0],
        "ngram_apart": float(np.min(nearest[1:] / np.maximum(nearest[:-1], 1))),
        "above_bigram": float(path.told["test_loss"][-1]) - bigram,
    }


def _timing(halves_K: np.ndarray, amplitudes_TxK: np.ndarray, modes: Modes, suffix: str) -> dict[str, float]:
    """How the half times depend on the strengths, of modes that have a way to go; only if each of them passes half, and
    there are three."""
    asked = np.abs(1 - amplitudes_TxK[0] / modes.s_K) > LEAST_WAY
    halves_K, s_K = halves_K[asked], modes.s_K[asked]
    if len(halves_K) < 3 or not np.isfinite(halves_K).all():
        return {}
    return {
        f"timing_slope{suffix}": observables.timing_slope(halves_K, s_K),
        f"timing_order{suffix}": observables.timing_order(halves_K, s_K)[0],
        f"timing_spread{suffix}": float(np.log(halves_K).std()),
    }


def _whitened(path: Path, task: Task) -> dict[str, float]:
    """The order of the modes as they would be read on inputs of unit variance."""
    modes = Modes.of(task.modes.target_CxD / task.whitened, len(task.modes.s_K))
    amplitudes = modes.amplitudes(path.maps_TxCxD / task.whitened)
    return _timing(predictions.half_times(path.times_T, amplitudes, modes.s_K), amplitudes, modes, "_whitened")


def _against_twin(
    path: Path, twin: Path, backwards: Path | None, modes: Modes, halves_K: np.ndarray
) -> dict[str, float]:
    maps, other = path.maps_TxCxD, twin.maps_TxCxD
    end = min(observables.CLOCK_END, *(float(observables.progress(m, modes.target_CxD).max()) for m in (maps, other)))
    found = {"path_end": end}
    if end > 2 * predictions.PATH_START:
        found["path"] = predictions.path_agreement(maps, other, modes, end)
        found["twin_bend"] = predictions.bend(other, modes, end)
        if backwards is not None:
            last = min(end, float(observables.progress(backwards.maps_TxCxD, modes.target_CxD).max()))
            if last > 2 * predictions.PATH_START:
                found["path_reversed"] = predictions.path_agreement(maps, backwards.maps_TxCxD, modes, last)
    times_K = predictions.half_times(twin.times_T, modes.amplitudes(other), modes.s_K)
    law = predictions.law(halves_K, times_K)
    found |= {"law": law.r2, "law_modes": float(law.modes), "time_ratio": law.ratio}
    generator = np.random.default_rng(0)
    shuffled = [predictions.law(halves_K, generator.permutation(times_K)).r2 for _ in range(DRAWS)]
    found["law_null"] = float(np.mean(shuffled))
    return found


def _curve(path: Path, modes: Modes) -> pd.DataFrame:
    shares = modes.amplitudes(path.maps_TxCxD) / modes.s_K
    table = pd.DataFrame(
        {
            "step": path.steps_T,
            "phi": observables.progress(path.maps_TxCxD, modes.target_CxD),
            **{f"amplitude_{k}": share for k, share in enumerate(shares.T, start=1)},
            **path.told,
        }
    )
    return table.astype({name: "float32" for name in table if name != "step"})


def _first(values_T: Sequence[float]) -> float:
    finite = np.asarray(values_T)[np.isfinite(values_T)]
    return float(finite[0]) if len(finite) else np.nan


def _mean(values_T: np.ndarray) -> float:
    finite = values_T[np.isfinite(values_T)]
    return float(finite.mean()) if len(finite) else np.nan


def _rise(values_T: np.ndarray) -> float:
    """Kendall's tau of a reading with time."""
    finite = np.isfinite(values_T)
    times = np.arange(len(values_T))[finite].astype(float)
    return observables.timing_order(-times, values_T[finite])[0] if finite.sum() > 2 else np.nan


def _finite(scores: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if np.isfinite(value)}
