"""One optimizer on one workload: tuning, then the final runs, then the same at other learning rates.

The protocol is the same for every optimizer and is defined here: a fixed number of trials from its registered search
space (scrambled Halton points, the same seed for all), each with the tuning seed and judged by the objective at its
last step; a diverged trial counts as used. Then the best trial's settings are run with seeds not used in tuning. Test
data are used only once, at the last step of these runs.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import packages_distributions, version
from math import cos, isfinite, pi

import numpy as np
import pandas as pd
import torch
from scipy.stats import qmc
from torch import Tensor, nn

from benchmarks.lab import datasets, optimizers
from benchmarks.lab.loop import Step, descend
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import stack_parameters
from benchmarks.studies.optimizer_comparison import blocks, tasks
from benchmarks.studies.table import Runs
from benchmarks.theory.ranks import stable_rank

RUN_COLUMNS = ["role", "trial", "factor", "seed", "learning_rate", "options", "steps", "diverged", "objective"]
CURVE_COLUMNS = ["role", "factor", "seed", "step", "metric", "value"]
# A run whose loss exceeds this multiple of its first loss counts as diverged.
DIVERGENCE = 10.0


def run(settings, images: datasets.Images, compute, tick: Callable[[int, int], None] = lambda *_: None) -> Runs:
    """Tune, run, and vary the learning rate.

    Args:
        settings: `Contest` of study.py.
        tick: called after each run with the number of runs done and of all.

    Returns:
        One row per run (`RUN_COLUMNS`, then what its role measures), long curves, and facts about the contest. If no
        trial was finite there are only trials, and the facts say so.
    """
    protocol, workload = settings.protocol, settings.workload
    factors, seeds = workload.factors, protocol.seeds
    planned = protocol.trials + len(seeds) + len(factors) * workload.factor_seeds
    entry = optimizers.named(**settings.optimizer)
    points = sample(settings.space, protocol.trials, protocol.space_seed)
    rows, curves = [], []

    @cache
    def task(seed: int) -> tasks.Task:
        return tasks.build(workload, images, seed, compute)

    @cache
    def rates(seed: int) -> list[float]:
        return blocks.rates(blocks.initial_point(task(seed), workload.curvature_examples), seed)

    def attempt(role: str, options: dict, seed: int, trial: int, factor: float = 1.0) -> dict:
        optimizer = entry(**{**options, "lr": options["lr"] * factor})
        others = {name: value for name, value in optimizer.options.items() if name != "lr"}
        identity = {
            "role": role,
            "trial": trial,
            "factor": factor,
            "seed": seed,
            "learning_rate": optimizer.options["lr"],
            "options": json.dumps(others, sort_keys=True),
        }
        if optimizer.block_rates:
            optimizer = optimizer(rates=rates(seed))
        row, curve = Attempt(task(seed), workload, optimizer, seed, role, protocol.marks).go()
        rows.append(identity | row)
        curves.extend((role, factor, seed, *reading) for reading in curve)
        tick(len(rows), planned)
        return row

    objectives = [
        attempt("trial", options, protocol.tuning_seed, trial)["objective"] for trial, options in enumerate(points)
    ]
    facts = facts_of(settings, task(protocol.tuning_seed))
    finite = [trial for trial, value in enumerate(objectives) if isfinite(value)]
    facts["finite_trials"] = len(finite)
    if finite:
        best = min(finite, key=lambda trial: objectives[trial])
        facts["best_trial"] = best
        for seed in seeds:
            attempt("final", points[best], seed, best)
        for factor in factors:
            for seed in seeds[: workload.factor_seeds]:
                attempt("factor", points[best], seed, best, factor)
    table = pd.DataFrame(rows)
    others = [name for name in table if name not in RUN_COLUMNS]
    readings = pd.DataFrame(curves, columns=CURVE_COLUMNS).astype({"value": "float32", "step": "int32"})
    return Runs(table[RUN_COLUMNS + others], readings, facts)


def sample(space: dict[str, dict], trials: int, seed: int) -> list[dict[str, float]]:
    """Quasi-random settings from a search space: scrambled Halton points, equal for equal numbers of dimensions."""
    return [setting(space, point) for point in qmc.Halton(len(space), scramble=True, seed=seed).random(trials)]


def setting(space: dict[str, dict], place: Sequence[float]) -> dict[str, float]:
    """The options at a place in the unit cube.

    Args:
        space: by option, ``{log: [low, high]}`` (uniform in the logarithm), or ``{one_minus: [low, high]}``, one minus
            such a number, for averages.
    """
    options = {}
    for share, (option, spec) in zip(place, space.items()):
        ((how, (low, high)),) = spec.items()
        value = float(low * (high / low) ** share)
        options[option] = value if how == "log" else 1 - value
    return options


def schedule(step: int, *, steps: int, warmup: int, decay: bool) -> float:
    """The factor of the learning rate at a step: linear warmup, then cosine decay to zero or none."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + cos(pi * (step - warmup) / max(steps - warmup, 1))) if decay else 1.0


def facts_of(settings, task: tasks.Task) -> dict:
    """What does not depend on a seed: names, memory, and parameters that the library's optimizer leaves to another."""
    optimizer = optimizers.named(**settings.optimizer)(**setting(settings.space, [0.5] * len(settings.space)))
    parameters = [nn.Parameter(p.detach().clone()) for p in task.network.parameters()]
    built = optimizer.build(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    for one in built:
        one.step(lambda: torch.zeros(())) if optimizer.closures else one.step()
    kept, held = sum(_bytes(one.state) for one in built), _bytes(parameters)
    total = sum(p.numel() for p in parameters)
    notes = []
    main, *fallbacks = built
    elsewhere, *_ = optimizer.build([nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))])
    if fallbacks:
        taken = sum(p.numel() for group in main.param_groups for p in group["params"])
        names = " and ".join(type(fallback).__name__ for fallback in fallbacks)
        notes.append(f"{type(main).__name__} takes {taken / total:.0%} of the parameters, {names} the rest")
    elif type(main) is not type(elsewhere):
        notes.append(f"no matrices: {type(main).__name__} throughout")
    package = optimizer.implementation.replace(":", ".").partition(".")[0]
    return {
        "implementation": optimizer.implementation,
        "package": f"{package} {_version(package)}".strip(),
        "source": optimizer.source,
        "meaning": optimizer.meaning,
        "parameters": total,
        "state_per_parameter": kept / held,
        "scheduled": not optimizer.schedule_free,
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
def evaluating(step: Step) -> Iterator[None]:
    """Schedule-free optimizers put their averages into the parameters for as long as this lasts."""
    averaging = [built for built in step.optimizers[0] if hasattr(built, "eval")]
    trained_RxP = step.params_RxP.clone()
    for built in averaging:
        built.eval()
    yield
    for built in averaging:
        built.train()
    step.params_RxP.copy_(trained_RxP)  # train() brings them back but for rounding


class Attempt:
    """One run: a setting of an optimizer on a seed's task."""

    def __init__(self, task: tasks.Task, workload, optimizer: Optimizer, seed: int, role: str, marks: int):
        self.task, self.workload, self.optimizer, self.seed, self.role = task, workload, optimizer, seed, role
        self.steps = workload.steps
        self.split = "validation" if "validation" in task.splits else "train"
        self.marks = {round(k * self.steps / marks) for k in range(1, marks + 1)}
        self.half = max(mark for mark in self.marks if mark <= max(self.steps / 2, min(self.marks)))
        self.share = partial(
            schedule,
            steps=self.steps,
            warmup=workload.warmup,
            decay=workload.decay and not optimizer.schedule_free,
        )
        self.row: dict = {}
        self.curve: list[tuple[int, str, float]] = []

    def go(self) -> tuple[dict, list[tuple[int, str, float]]]:
        """Train; the run's row, and its curve as (step, metric, value)."""
        rates: list[float] = []
        before: tuple[Tensor, Tensor] | None = None
        losses = []
        for step in descend(
            self.task.problem,
            stack_parameters([self.task.network]),
            self.optimizer,
            steps=self.steps,
            minibatches=self.task.minibatches(self.workload.batch_size, self.seed),
            divergence=DIVERGENCE,
        ):
            losses.append((step.number, "training_loss", float(step.losses_R)))
            if step.diverged:
                break
            if before is not None:
                self._update(step, *before)
            self._read(step)
            groups = [group for built in step.optimizers[0] for group in built.param_groups]
            rates = rates or [group["lr"] for group in groups]
            for group, rate in zip(groups, rates):
                group["lr"] = rate * self.share(step.number)
            watched = self.role == "final" and step.number + 1 in self.marks
            before = (step.params_RxP.clone(), step.point.grads_RxP.clone()) if watched else None
        objective = self.row.get("objective", np.nan)
        lost = bool(step.diverged) or not isfinite(objective)
        self.row |= {"steps": step.number, "diverged": int(lost), "objective": np.inf if lost else objective}
        if self.role == "final":
            self.curve += losses[:: max(self.steps // 100, 1)]
        return self.row, [reading for reading in self.curve if isfinite(reading[-1])]

    def _read(self, step: Step) -> None:
        """Trials are read at the end, the others at the start and the marks as well."""
        if step.number == self.steps or (self.role != "trial" and step.number in {0, *self.marks}):
            with evaluating(step):
                self._note(step)
                if self.role == "final" and step.number in (self.half, self.steps):
                    self._curvature(step)

    def _note(self, step: Step) -> None:
        """The objective, and for final runs the rest."""
        scores = self.task.evaluate(step.params_RxP, self.split)
        self.curve.append((step.number, "objective", scores["loss"]))
        if self.role == "final":
            self.curve.append((step.number, "accuracy", scores["accuracy"]))
            groups = enumerate(scores["group_losses"].tolist())
            self.curve += [(step.number, f"group_loss_{g}", value) for g, value in groups]
        if step.number < self.steps:
            return
        self.row["objective"] = scores["loss"]
        if self.role != "final":
            return
        self.row["train_loss"] = self.task.evaluate(step.params_RxP, "train")["loss"]
        if self.split == "validation":
            test = self.task.evaluate(step.params_RxP, "test")
            for split, of_split in (("validation", scores), ("test", test)):
                self.row |= {f"{split}_{name}": of_split[name] for name in ("loss", "accuracy")}

    def _update(self, step: Step, weights_1xP: Tensor, grads_1xP: Tensor) -> None:
        """The last update compared with the weights and the gradient, and the stable rank of its matrices."""
        moved_1xP = step.params_RxP - weights_1xP
        if not bool(torch.isfinite(moved_1xP).all()):
            return
        moved, weights, grads = (one_1xP[0].double() for one_1xP in (moved_1xP, weights_1xP, grads_1xP))
        ranks = [stable_rank(t.double().cpu().numpy()) for t in self.task.problem.views(moved_1xP, 0) if t.ndim >= 2]
        scores = {
            "update_to_weight": float(moved.norm() / weights.norm()),
            "alignment": float(-(moved @ grads) / (moved.norm() * grads.norm())),
            "update_rank": float(np.nanmean(ranks)) if np.isfinite(ranks).any() else np.nan,
        }
        self.curve += [(step.number, metric, value) for metric, value in scores.items()]
        if step.number == self.half:
            self.row |= scores

    def _curvature(self, step: Step) -> None:
        """Sharpness of the loss on part of the training data, and halfway through in units of the optimizer's edge."""
        point = self.task.part(self.workload.curvature_examples).at(step.params_RxP, curvature=True)
        preconditioned = self.optimizer.diagonal is not None

        def preconditioner() -> Tensor | None:
            diagonal_P = self.optimizer.preconditioner(step.optimizers[0])
            return None if diagonal_P is None else diagonal_P[None]

        when = "half" if step.number < self.steps else "end"
        reading = Reading(step.number, point, preconditioner)
        metrics = ("sharpness", "preconditioned_sharpness") if preconditioned else ("sharpness",)
        for metric in metrics:
            solver = Sharpness(
                [self.seed],
                every=1,
                tolerance=1e-2,
                max_hvps=60,
                cold_every=10**6,
                preconditioned=metric != "sharpness",
            )
            try:
                values = solver.measure(reading)
            except ValueError:  # no finite curvature there: the row has no value
                continue
            if metric in values:
                self.row[f"{metric}_{when}"] = float(values[metric][0])
        lr = self.optimizer.options["lr"] * self.share(step.number - 1)
        threshold = self.optimizer(lr=lr).stability_threshold() if lr > 0 else None
        met = self.row.get(f"{metrics[-1]}_{when}")
        if when == "half" and threshold is not None and met is not None:
            self.row["edge_ratio_half"] = met / threshold
