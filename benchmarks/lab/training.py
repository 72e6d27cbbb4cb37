"""The one training loop: full-batch steps of a stack of runs, each with its own ordinary torch optimizers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.lab.history import History
from benchmarks.lab.measurements import Measurement, due
from benchmarks.lab.problem import Problem

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
    resume: dict | None = None,
    observe: Observer | None = None,
) -> Outcome:
    """Train R runs for ``steps`` updates; record the loss at every step and the measurements on their schedules.

    Each run's optimizers hold views of its row of the stack, so any optimizer works unchanged and a stack of R runs is
    R single runs. A run whose loss is not finite, or exceeds ``divergence`` times its first loss, has diverged: the
    loss is recorded, the step noted, and the others go on. Equal arguments give equal histories, also across a
    ``resume``.

    Args:
        params_RxP: the initial parameters; not changed.
        build_optimizers: from one run's parameters to its optimizers.
        seeds: one a run; they name the runs in the history.
        resume: a checkpoint that ``observe`` was given, from a run with the same arguments.
        observe: called after each step with the number of updates made and a function that makes a checkpoint.

    Raises:
        ValueError: if the number of seeds is not R.
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

    while True:
        now = [m for m in measurements if due(m, step, steps)]
        point = problem.at(params_RxP, curvature=any(m.curvature for m in now))
        running_R = torch.tensor([seed not in diverged for seed in seeds])
        history.add(step, "loss", point.losses_R, running_R)
        if step == 0:
            first_loss_R = point.losses_R.clone()
        lost_R = running_R & ~(point.losses_R.abs() <= divergence * first_loss_R.abs())
        for r in torch.nonzero(lost_R).flatten().tolist():
            diverged[seeds[r]] = step
            # Out of the way of the others: a non-finite row would spoil the solvers, which see the whole stack.
            params_RxP[r].zero_()
        running_R &= ~lost_R
        if not bool(running_R.any()):
            break
        if now and bool(lost_R.any()):
            point = problem.at(params_RxP, curvature=any(m.curvature for m in now))
        for measurement in now:
            for metric, values_R in measurement.measure(point, step).items():
                history.add(step, metric, values_R, running_R)
        if step == steps:
            break
        for r in torch.nonzero(running_R).flatten().tolist():
            for parameter, view in zip(parameters[r], problem.views(point.grads_RxP, r)):
                parameter.grad = view
            for optimizer in optimizers[r]:
                optimizer.step()
        step += 1
        if observe is not None:
            observe(step, checkpoint)
    return Outcome(history, params_RxP, diverged)
