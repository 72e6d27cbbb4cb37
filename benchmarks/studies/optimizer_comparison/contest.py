"""One optimizer on one workload: tuning, then the runs that count, then the same at other learning rates.

The protocol is the same for every optimizer and is kept here: so many trials from its registered search space
(scrambled Halton points, the same seed for all), each from the tuning seed and judged by the objective at its last
step; a diverged trial is a trial spent. Then the best trial's setting runs from seeds that tuning has not seen. Test
data are seen once, by these runs at their last step.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import packages_distributions, version
from math import cos, isfinite, pi, prod

import numpy as np
import pandas as pd
import torch
from scipy.stats import qmc
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.lab import datasets, optimizers, registry
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import train
from benchmarks.studies.optimizer_comparison import blocks, tasks

RUN_COLUMNS = ["role", "trial", "factor", "seed", "learning_rate", "options", "steps", "diverged", "objective"]
CURVE_COLUMNS = ["role", "factor", "seed", "step", "metric", "value"]
# A run whose loss exceeds its first one so many times counts as diverged.
DIVERGENCE = 10.0


@dataclass(frozen=True)
class Contest:
    """``runs``: a row a run (`RUN_COLUMNS`, then what its role measures); ``curves``: long; ``facts``: of the whole."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    facts: dict


def run(settings: dict, images: datasets.Images, compute: dict, note: Callable[[int, int], None] = lambda *_: None):
    """Tune, run, and vary the learning rate, as ``settings`` say: ``protocol``, ``workload``, ``optimizer``, ``space``.

    Args:
        note: told the runs done and the runs to do.

    Returns:
        A `Contest`. Where no trial was finite it has trials alone, and ``facts`` say so.
    """
    protocol, workload, space = settings["protocol"], settings["workload"], settings["space"]
    factors = workload["factors"]
    seeds = protocol["seeds"]
    planned = protocol["trials"] + len(seeds) + len(factors) * workload["factor_seeds"]
    task_of = {}

    def task(seed: int) -> tasks.Task:
        if seed not in task_of:
            task_of[seed] = tasks.build(workload, images, seed, compute)
        return task_of[seed]

    points = sample(space, protocol["trials"], protocol["space_seed"])
    rows, curves = [], []

    blockwise = registry.defines(optimizers.__name__, settings["optimizer"]["name"], "BLOCK_RATES")
    rates_of: dict[int, list[float]] = {}

    def attempt(role: str, options: dict, seed: int, trial: int | None = None, factor: float = 1.0) -> dict:
        spec = {**settings["optimizer"], **options, "lr": options["lr"] * factor}
        told = {key: value for key, value in spec.items() if key not in ("name", "lr")}
        if blockwise:
            if seed not in rates_of:
                point = blocks.initial_point(task(seed), workload["curvature_examples"])
                rates_of[seed] = blocks.rates(point, seed)
            spec["rates"] = rates_of[seed]
        row, curve = Attempt(task(seed), workload, spec, seed, role, protocol["marks"]).go()
        rows.append(
            {
                "role": role,
                "trial": trial,
                "factor": factor,
                "seed": seed,
                "learning_rate": spec["lr"],
                "options": json.dumps(told, sort_keys=True),
                **row,
            }
        )
        curves.extend((role, factor, seed, *reading) for reading in curve)
        note(len(rows), planned)
        return row

    objectives = [
        attempt("trial", options, protocol["tuning_seed"], trial)["objective"] for trial, options in enumerate(points)
    ]
    facts = facts_of(settings, task(protocol["tuning_seed"]))
    finite = [trial for trial, value in enumerate(objectives) if isfinite(value)]
    facts["finite_trials"] = len(finite)
    if finite:
        best = min(finite, key=lambda trial: objectives[trial])
        facts["best_trial"] = best
        for seed in seeds:
            attempt("final", points[best], seed, best)
        for factor in factors:
            for seed in seeds[: workload["factor_seeds"]]:
                attempt("factor", points[best], seed, best, factor)
    table = pd.DataFrame(rows)
    others = [name for name in table if name not in RUN_COLUMNS]
    return Contest(table[RUN_COLUMNS + others], pd.DataFrame(curves, columns=CURVE_COLUMNS), facts)


def sample(space: dict[str, dict], trials: int, seed: int) -> list[dict[str, float]]:
    """Quasi-random settings from a search space: scrambled Halton points, equal for equal numbers of dimensions.

    Args:
        space: by option, ``{log: [low, high]}`` (uniform in the logarithm), or ``{one_minus: [low, high]}``, one minus
            such a number, for averages.
    """
    points = qmc.Halton(len(space), scramble=True, seed=seed).random(trials)
    settings = []
    for point in points:
        setting = {}
        for share, (option, (how, (low, high))) in zip(
            point, ((option, next(iter(spec.items()))) for option, spec in space.items())
        ):
            value = float(low * (high / low) ** share)
            setting[option] = value if how == "log" else 1 - value
        settings.append(setting)
    return settings


def schedule(step: int, *, steps: int, warmup: int, decay: bool) -> float:
    """The factor of the learning rate at a step: linear warmup, then cosine decay to zero or none."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + cos(pi * (step - warmup) / max(steps - warmup, 1))) if decay else 1.0


def facts_of(settings: dict, task: tasks.Task) -> dict:
    """What does not depend on a seed: names, memory, and whether the library's optimizer refused a shape."""
    name = settings["optimizer"]["name"]
    parameters = [nn.Parameter(p.detach().clone()) for p in task.network.parameters()]
    (first, *_) = sample(settings["space"], 1, 0)
    built = optimizers.build(parameters, **{**settings["optimizer"], **first})
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    for optimizer in built:
        optimizer.step(lambda: torch.zeros(())) if optimizers.closures(name) else optimizer.step()
    kept, held = sum(_bytes(optimizer.state) for optimizer in built), _bytes(parameters)
    total = sum(p.numel() for p in parameters)
    notes = []
    if len(built) > 1:  # a list, for the first takes only some of the parameters
        main, *fallbacks = built
        taken = sum(p.numel() for group in main.param_groups for p in group["params"])
        names = " and ".join(type(fallback).__name__ for fallback in fallbacks)
        notes.append(f"{type(main).__name__} takes {taken / total:.0%} of the parameters, {names} the rest")
    elif not any(p.ndim == 2 for p in parameters) and name == "muon":
        notes.append(f"no matrices: {type(built[0]).__name__} throughout")
    implementation = optimizers.implementation(name)
    package = implementation.replace(":", ".").partition(".")[0]
    outside = ":" in name
    return {
        "implementation": implementation,
        "package": f"{package} {_version(package)}".strip(),
        "source": "" if outside else registry.load(optimizers.__name__, name, "SOURCE"),
        "meaning": "" if outside else " ".join(registry.load(optimizers.__name__, name, "__doc__").split()),
        "parameters": total,
        "state_per_parameter": kept / held,
        "scheduled": not registry.defines(optimizers.__name__, name, "SCHEDULE_FREE"),
        "note": "; ".join(notes),
    }


def _version(package: str) -> str:
    """Of the distribution that has a package; empty for a loose file."""
    distributions = packages_distributions().get(package, [])
    return version(distributions[0]) if distributions else ""


def _bytes(value: object) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() if value.ndim else 0
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


@contextmanager
def evaluating(built: Sequence[torch.optim.Optimizer]):
    """Schedule-free optimizers put their averages into the parameters for as long as this lasts."""
    averaging = [optimizer for optimizer in built if hasattr(optimizer, "eval")]
    for optimizer in averaging:
        optimizer.eval()
    yield
    for optimizer in averaging:
        optimizer.train()


@dataclass
class _Before:
    """Stands before a run's optimizers and keeps gradient and weights as they were before a step that is measured."""

    parameters: list[nn.Parameter]
    wanted: set[int]
    made: int = 0
    grads: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def step(self, closure: Callable | None = None) -> None:
        self.made += 1
        if self.made in self.wanted:
            self.grads = [p.grad.clone() for p in self.parameters]
            self.weights = [p.detach().clone() for p in self.parameters]


class Attempt:
    """One run: a setting of an optimizer on a seed's task."""

    def __init__(self, task: tasks.Task, workload: dict, spec: dict, seed: int, role: str, marks: int):
        self.task, self.workload, self.spec, self.seed, self.role = task, workload, spec, seed, role
        self.steps = workload["steps"]
        self.split = "validation" if "validation" in task.splits else "train"
        self.marks = {round(k * self.steps / marks) for k in range(1, marks + 1)}
        self.half = max(mark for mark in self.marks if mark <= max(self.steps / 2, min(self.marks)))
        self.row: dict = {}
        self.curve: list[tuple[int, str, float]] = []
        self.scheduled = not registry.defines(optimizers.__name__, spec["name"], "SCHEDULE_FREE")

    def go(self) -> tuple[dict, list[tuple[int, str, float]]]:
        problem, batch_size = self.task.problem, self.workload["batch_size"]
        params_1xP = torch.cat([p.detach().reshape(-1) for p in self.task.network.parameters()])[None]
        batches = Minibatches([self.seed], examples=problem.examples, size=batch_size) if batch_size else None
        if self.role != "trial":
            self._note(0, list(self.task.network.parameters()))
        outcome = train(
            problem,
            params_1xP,
            self._build,
            seeds=[self.seed],
            steps=self.steps,
            divergence=DIVERGENCE,
            minibatches=batches,
            closures=optimizers.closures(self.spec["name"]),
            observe=self._observe,
        )
        losses = outcome.history.frame()
        losses = losses[losses["metric"] == ("batch_loss" if batch_size else "loss")]
        stopped = outcome.diverged.get(self.seed)
        objective = self.row.get("objective", np.nan)
        lost = stopped is not None or not isfinite(objective)
        self.row |= {
            "steps": self.steps if stopped is None else stopped,
            "diverged": int(lost),
            "objective": np.inf if lost else objective,
        }
        if self.role == "final":
            kept = losses.iloc[:: max(self.steps // 100, 1)]
            self.curve += [(s, "training_loss", v) for s, v in zip(kept["step"].tolist(), kept["value"].tolist())]
        return self.row, [(s, m, v) for s, m, v in self.curve if isfinite(v)]

    def _build(self, parameters: list[nn.Parameter]) -> list:
        self.parameters = parameters
        self.built = optimizers.build(parameters, **self.spec)
        shape = partial(
            schedule,
            steps=self.steps,
            warmup=self.workload["warmup"],
            decay=self.workload["decay"] and self.scheduled,
        )
        self.schedulers = [LambdaLR(optimizer, shape) for optimizer in self.built]
        self.shape = shape
        self.before = _Before(parameters, self.marks if self.role == "final" else set())
        return [self.before, *self.built]

    def _observe(self, step: int, checkpoint: Callable[[], dict]) -> None:
        if self.role == "final" and step in self.marks:
            self._update(step)
        if step == self.steps or (self.role != "trial" and step in self.marks):
            with evaluating(self.built):
                self._note(step, self.parameters)
                if self.role == "final" and step in (self.half, self.steps):
                    self._curvature(step)
        for scheduler in self.schedulers:
            scheduler.step()

    def _note(self, step: int, parameters: list[Tensor]) -> None:
        """The objective, and of runs that count the rest."""
        told = self.task.evaluate(parameters, self.split)
        self.curve.append((step, "objective", told["loss"]))
        if self.role == "final":
            self.curve.append((step, "accuracy", told["accuracy"]))
            self.curve += [(step, f"group_loss_{g}", v) for g, v in enumerate(told["group_losses"].tolist())]
        if step < self.steps:
            return
        self.row["objective"] = told["loss"]
        if self.role != "final":
            return
        self.row["train_loss"] = self.task.evaluate(parameters, "train")["loss"]
        if self.split == "validation":
            self.row |= {"validation_loss": told["loss"], "validation_accuracy": told["accuracy"]}
            seen = self.task.evaluate(parameters, "test")
            self.row |= {"test_loss": seen["loss"], "test_accuracy": seen["accuracy"]}

    def _update(self, step: int) -> None:
        """What the last update was beside the weights and the gradient, and how many directions its matrices have."""
        moved = [p.detach() - w for p, w in zip(self.parameters, self.before.weights)]
        flat, grads, weights = (
            torch.cat([t.reshape(-1) for t in ts]).double() for ts in (moved, self.before.grads, self.before.weights)
        )
        if not bool(torch.isfinite(flat).all()):
            return
        ranks = [_stable_rank(t) for t in moved if t.ndim >= 2]
        told = {
            "update_to_weight": float(flat.norm() / weights.norm()),
            "alignment": float(-(flat @ grads) / (flat.norm() * grads.norm())),
            "update_rank": float(np.nanmean(ranks)) if np.isfinite(ranks).any() else np.nan,
        }
        self.curve += [(step, metric, value) for metric, value in told.items()]
        if step == self.half:
            self.row |= told

    def _curvature(self, step: int) -> None:
        """Sharpness of the loss of the first training examples, and at half time in units of the optimizer's edge."""
        inputs, labels = self.task.splits["train"]
        count = min(self.workload["curvature_examples"], len(inputs))
        rows = torch.arange(count) * len(inputs) // count
        problem = Problem(self.task.problem.module, inputs[rows], labels[rows], "cross_entropy", chunk_size=count)
        flat_1xP = torch.cat([p.detach().reshape(-1) for p in self.parameters])[None]
        point = problem.at(flat_1xP, curvature=True)
        name, lr = self.spec["name"], self.spec["lr"] * self.shape(step - 1)
        has = optimizers.has_preconditioner(name)

        def preconditioner() -> Tensor | None:
            flat_P = optimizers.preconditioner(self.built, name=name) if has else None
            return None if flat_P is None else flat_P[None]

        when = "half" if step < self.steps else "end"
        reading = Reading(step, point, preconditioner)
        for preconditioned in (False, True) if has else (False,):
            solver = Sharpness(
                [self.seed], every=1, tolerance=1e-2, max_hvps=60, cold_every=10**6, preconditioned=preconditioned
            )
            try:
                values = solver.measure(reading)
            except ValueError:  # no finite curvature there: the row has no value
                continue
            metric = "preconditioned_sharpness" if preconditioned else "sharpness"
            if metric in values:
                self.row[f"{metric}_{when}"] = float(values[metric][0])
        threshold = optimizers.stability_threshold(**{**self.spec, "lr": lr}) if lr > 0 else None
        met = self.row.get(f"{'preconditioned_' if has else ''}sharpness_{when}")
        if when == "half" and threshold is not None and met is not None:
            self.row["edge_ratio_half"] = met / threshold


def _stable_rank(update: Tensor) -> float:
    """|U|_F^2 / |U|_2^2 of an update as a matrix of its outputs by the rest."""
    values = torch.linalg.svdvals(update.reshape(len(update), prod(update.shape[1:])).double())
    return float(values.square().sum() / values[0].square()) if values[0] > 0 else float("nan")
