"""The one training loop: steps of a stack of runs, full-batch or not, each with its own ordinary torch optimizers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.lab.history import History
from benchmarks.lab.measurements import Measurement, Reading, due
from benchmarks.lab.problem import Point, Problem

# What an observer sees after each step: the step, and a function that makes a checkpoint of it.
Observer = Callable[[int, Callable[[], dict]], None]


@dataclass(frozen=True)
class Outcome:
    """What a stack came to: its history, its last parameters, and the step at which each run diverged, if it did."""

    history: History
    params_RxP: Tensor
    diverged: dict[int, int]


def train(
    problem: Problem,
    params_RxP: Tensor,
    build_optimizers: Callable[[list[nn.Parameter]], list[Optimizer]],
    *,
    seeds: Sequence[int],
    steps: int,
    divergence: float,
    measurements: Sequence[Measurement] = (),
    preconditioner: Callable[[list[Optimizer]], Tensor | None] | None = None,
    minibatches: Callable[[int], Tensor] | None = None,
    closures: bool = False,
    resume: dict | None = None,
    observe: Observer | None = None,
) -> Outcome:
    """Train R runs for ``steps`` updates; record the loss at every step and the measurements on their schedules.

    The metric ``loss`` is that of all the data: at every step, or with ``minibatches`` at the readings, and then
    ``batch_loss`` at every step.

    Each run's optimizers hold views of its row of the stack, so any optimizer works unchanged and a stack of R runs is
    R single runs. A run whose loss or gradient is not finite, or whose loss exceeds ``divergence`` times its first, has
    diverged: the loss is recorded, the step noted, and the others go on. Equal arguments give equal histories, also
    across a ``resume``.

    Args:
        params_RxP: the initial parameters; not changed.
        build_optimizers: from one run's parameters to its optimizers.
        seeds: one a run; they name the runs in the history.
        preconditioner: from one run's optimizers to their diagonal preconditioner, flat (P), or None before the first
            update; for the measurements that ask.
        minibatches: from the step to the rows_RxB of each run's batch; all the data if not given.
        closures: the optimizers evaluate a gradient again within their step (SAM), through a closure.
        resume: a checkpoint that ``observe`` was given, from a run with the same arguments.
        observe: called after each step with the number of updates made and a function that makes a checkpoint, whose
            tensors the next step changes: save it at once.

    Raises:
        ValueError: if the number of seeds is not R, or from a measurement, with the step.
    """
    R = len(params_RxP)
    if len(seeds) != R:
        raise ValueError(f"{R} runs but {len(seeds)} seeds")
    params_RxP = params_RxP.detach().clone()
    parameters = [[nn.Parameter(view) for view in problem.views(params_RxP, r)] for r in range(R)]
    optimizers = [build_optimizers(run) for run in parameters]
    history = History(list(seeds))
    first_loss_R = torch.full((R,), torch.nan, dtype=params_RxP.dtype)
    diverged: dict[int, int] = {}
    step = 0
    if resume is not None:
        step = resume["step"]
        params_RxP.copy_(resume["params"])
        first_loss_R = resume["first_loss"].clone()
        diverged = dict(resume["diverged"])
        history.load_state_dict(resume["history"])
        for mine, saved in zip(optimizers, resume["optimizers"]):
            for optimizer, state in zip(mine, saved):
                optimizer.load_state_dict(state)
        for measurement, state in zip(measurements, resume["measurements"]):
            measurement.load_state_dict(state)

    def checkpoint() -> dict:
        return {
            "step": step,
            "params": params_RxP.clone(),
            "first_loss": first_loss_R,
            "diverged": diverged,
            "history": history.state_dict(),
            "optimizers": [[o.state_dict() for o in mine] for mine in optimizers],
            "measurements": [m.state_dict() for m in measurements],
        }

    def preconditioners() -> Tensor | None:
        if preconditioner is None:
            return None
        rows = []
        for r, (seed, mine) in enumerate(zip(seeds, optimizers)):
            rows.append(torch.ones_like(params_RxP[r]) if seed in diverged else preconditioner(mine))
        return None if any(row is None for row in rows) else torch.stack(rows)

    while True:
        now = [m for m in measurements if due(m, step, steps)]
        curvature = any(m.curvature for m in now)
        rows_RxB = minibatches(step) if minibatches else None
        running_R = torch.tensor([seed not in diverged for seed in seeds])

        full, batch = _points(problem, params_RxP, rows_RxB, bool(now), curvature)
        if now or rows_RxB is None:
            history.add(step, "loss", full.losses_R, running_R)
        if rows_RxB is not None:
            history.add(step, "batch_loss", batch.losses_R, running_R)
        if step == 0:
            first_loss_R = full.losses_R.clone()
        bounded_R = batch.losses_R.abs() <= divergence * first_loss_R.abs()
        lost_R = running_R & ~(bounded_R & torch.isfinite(batch.grads_RxP).all(1))
        for r in torch.nonzero(lost_R).flatten().tolist():
            diverged[seeds[r]] = step
            # Out of the way of the others: a non-finite row would spoil the solvers, which see the whole stack.
            params_RxP[r].zero_()
        running_R &= ~lost_R
        if not bool(running_R.any()):
            break
        if bool(lost_R.any()):
            full, batch = _points(problem, params_RxP, rows_RxB, bool(now), curvature)
        reading = Reading(step, full, preconditioners, running_R)
        for measurement in now:
            try:
                metrics = measurement.measure(reading)
            except ValueError as error:
                raise ValueError(f"step {step}: {error}") from error
            for metric, values_R in metrics.items():
                history.add(step, metric, values_R, running_R)
        if step == steps:
            break
        for r in torch.nonzero(running_R).flatten().tolist():
            _set_gradients(parameters[r], problem.views(batch.grads_RxP, r))
            for optimizer in optimizers[r]:
                if closures:
                    mine_1xB = None if rows_RxB is None else rows_RxB[r : r + 1]
                    optimizer.step(partial(_again, problem, params_RxP, r, parameters[r], mine_1xB))
                else:
                    optimizer.step()
        step += 1
        if observe is not None:
            observe(step, checkpoint)
    return Outcome(history, params_RxP, diverged)


def _points(
    problem: Problem, params_RxP: Tensor, rows_RxB: Tensor | None, measured: bool, curvature: bool
) -> tuple[Point, Point]:
    """The point that is measured and the point that is descended on: with minibatches two, if anything is measured."""
    if rows_RxB is None:
        full = problem.at(params_RxP, curvature=curvature)
        return full, full
    batch = problem.at(params_RxP, rows_RxB=rows_RxB)
    return (problem.at(params_RxP, curvature=curvature) if measured else batch), batch


def _again(
    problem: Problem, params_RxP: Tensor, run: int, parameters: list[nn.Parameter], rows_1xB: Tensor | None
) -> Tensor:
    """One run's loss and gradients where its parameters are by now."""
    with torch.enable_grad():
        point = problem.at(params_RxP[run : run + 1], rows_RxB=rows_1xB)
    _set_gradients(parameters, problem.views(point.grads_RxP, 0))
    return point.losses_R[0]


def _set_gradients(parameters: list[nn.Parameter], views: list[Tensor]) -> None:
    for parameter, view in zip(parameters, views):
        parameter.grad = view
