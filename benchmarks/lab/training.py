"""Training with a history: the loop with measurements on their schedules and checkpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.lab.history import History
from benchmarks.lab.loop import Step, descend
from benchmarks.lab.measurements import Measurement, Reading, due
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Problem

# Called with the step's number and a function that makes a checkpoint of it.
Observer = Callable[[int, Callable[[], dict]], None]


@dataclass(frozen=True)
class Outcome:
    """The result of training a stack: its history, last parameters, and the step at which each diverged seed did so."""

    history: History
    params_RxP: Tensor
    diverged: dict[int, int]


def train(
    problem: Problem,
    params_RxP: Tensor,
    optimizer: Optimizer,
    *,
    seeds: Sequence[int],
    steps: int,
    divergence: float,
    measurements: Sequence[Measurement] = (),
    minibatches: Callable[[int], Tensor] | None = None,
    resume: dict | None = None,
    observe: Observer | None = None,
) -> Outcome:
    """Train R runs for ``steps`` updates; record the loss at every step and the measurements on their schedules.

    The metric ``loss`` is that of all the data. It is recorded at every step; with ``minibatches``, only at readings,
    and ``batch_loss`` at every step. For the rest see `descend`.

    Args:
        seeds: one per run; they name the runs in the history.
        resume: a checkpoint made by ``observe``'s function, from a run with the same arguments.
        observe: called at each step but the first, with the updates made so far and a function that makes a checkpoint,
            whose tensors the next update changes: save it at once.

    Raises:
        ValueError: if the number of seeds is not R; or a measurement's own, with the step put before it.
    """
    if len(seeds) != len(params_RxP):
        raise ValueError(f"{len(params_RxP)} runs but {len(seeds)} seeds")
    history = History(list(seeds))
    if resume is not None:
        history.load_state_dict(resume["history"])
        for measurement, state in zip(measurements, resume["measurements"]):
            measurement.load_state_dict(state)

    def checkpoint() -> dict:
        return {
            "loop": step.state_dict(),
            "history": history.state_dict(),
            "measurements": [m.state_dict() for m in measurements],
        }

    done = resume["loop"]["step"] if resume else -1
    for step in descend(
        problem,
        params_RxP,
        optimizer,
        steps=steps,
        minibatches=minibatches,
        curvature=lambda number: any(m.curvature and due(m, number, steps) for m in measurements),
        divergence=divergence,
        resume=resume and resume["loop"],
    ):
        if step.number == done:
            continue  # all of it is in the checkpoint
        history.add(step.number, "batch_loss" if minibatches else "loss", step.losses_R, step.running_R | step.lost_R)
        now = [m for m in measurements if due(m, step.number, steps)] if bool(step.running_R.any()) else []
        if now:
            full = step.full(curvature=any(m.curvature for m in now))
            if minibatches:
                history.add(step.number, "loss", full.losses_R, step.running_R)
            reading = Reading(step.number, full, lambda step=step: _preconditioners(optimizer, step), step.running_R)
            for measurement in now:
                try:
                    metrics = measurement.measure(reading)
                except ValueError as error:
                    raise ValueError(f"step {step.number}: {error}") from error
                for metric, values_R in metrics.items():
                    history.add(step.number, metric, values_R, step.running_R)
        if observe is not None and step.number > 0:
            observe(step.number, checkpoint)
    return Outcome(history, step.params_RxP, {seeds[r]: number for r, number in step.diverged.items()})


def _preconditioners(optimizer: Optimizer, step: Step) -> Tensor | None:
    if optimizer.diagonal is None:
        return None
    rows = [
        optimizer.preconditioner(built) if running else torch.ones_like(params_P)
        for built, running, params_P in zip(step.optimizers, step.running_R.tolist(), step.params_RxP)
    ]
    return None if any(row is None for row in rows) else torch.stack(rows)
