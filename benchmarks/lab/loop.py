"""The one training loop: steps of a stack of runs, full-batch or not, each with its own ordinary torch optimizers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Point, Problem


@dataclass
class Step:
    """A stack of runs before an update: what the loop yields, and what its caller may read and change.

    Attributes:
        number: updates made so far.
        params_RxP: where the runs are; they move in place with the next update. Zeros for a run that has diverged.
        point: the loss being minimized, at these parameters: of all the data, or of this step's minibatches. The loop's
            body may change its ``grads_RxP`` in place; after that they go to the optimizers.
        losses_R: the losses there; for a run that diverges at this step, the loss before its parameters became zeros.
        running_R: which runs continue; on the CPU.
        lost_R: which diverged at this step; on the CPU.
        diverged: for each run that diverged, the step at which it did.
        optimizers: for each run its torch optimizers, whose learning rates and states may be changed.
        parameters: for each run the tensors that its optimizers hold, views of its row.
        rows_RxB: the examples of each run's minibatch, or None for all of them.
        first_loss_R: the losses at step 0, by which divergence is judged.
    """

    number: int
    params_RxP: Tensor
    point: Point
    losses_R: Tensor
    running_R: Tensor
    lost_R: Tensor
    diverged: dict[int, int]
    optimizers: list[list[torch.optim.Optimizer]]
    parameters: list[list[nn.Parameter]]
    rows_RxB: Tensor | None
    first_loss_R: Tensor

    def full(self, curvature: bool = False) -> Point:
        """The point of the full-data problem at the same parameters."""
        if self.rows_RxB is None and (self.point.curvature or not curvature):
            return self.point
        return self.point.problem.at(self.params_RxP, curvature=curvature)

    def state_dict(self) -> dict:
        """What `descend` resumes from. The next update changes its tensors: save it at once."""
        return {
            "step": self.number,
            "params": self.params_RxP.clone(),
            "first_loss": self.first_loss_R,
            "diverged": self.diverged,
            "optimizers": [[o.state_dict() for o in run] for run in self.optimizers],
        }


def descend(
    problem: Problem,
    params_RxP: Tensor,
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    steps: int,
    minibatches: Callable[[int], Tensor] | None = None,
    curvature: Callable[[int], bool] | bool = False,
    divergence: float = float("inf"),
    resume: dict | None = None,
) -> Iterator[Step]:
    """The steps of R runs, from before the first update to after the last: steps + 1 of them, fewer if all diverge.

    ``for step in descend(...)`` sees each point before its update is made; leaving the loop ends the training. Each
    run's optimizers hold views of its row of the stack, so any optimizer works unchanged and a stack of R runs is R
    single runs. A run whose loss or gradient is not finite, or whose loss exceeds ``divergence`` times its first one
    in absolute value, has diverged: its parameters become zeros, because a non-finite row would spoil solvers that see
    the whole stack, and the others go on. Equal arguments give equal steps, even across a ``resume``.

    Args:
        params_RxP: the initial parameters; not changed.
        optimizer: one for all runs, or one per run.
        minibatches: from the step to the rows_RxB of each run's batch; all the data if not given.
        curvature: whether the points have Hessian-vector products, for all steps or by number. Points of minibatches
            never do: use ``step.full(curvature=True)``.
        resume: a step's ``state_dict``, from a loop with the same arguments.

    Raises:
        ValueError: for a number of optimizers that is not R, or an optimizer that takes its parameters out of the stack
            (``p.data = ...``).
    """
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    R = len(params_RxP)
    each = [optimizer] * R if isinstance(optimizer, Optimizer) else list(optimizer)
    if len(each) != R:
        raise ValueError(f"{R} runs but {len(each)} optimizers")
    params_RxP = params_RxP.detach().clone()
    parameters = [[nn.Parameter(view) for view in run] for run in problem.all_views(params_RxP)]
    places = [[p.data_ptr() for p in run] for run in parameters]
    optimizers = [one.build(run) for one, run in zip(each, parameters)]
    number, diverged, first_loss_R, largest_R = 0, {}, None, None
    if resume is not None:
        number, first_loss_R, diverged = resume["step"], resume["first_loss"].clone(), dict(resume["diverged"])
        params_RxP.copy_(resume["params"])
        for run, saved in zip(optimizers, resume["optimizers"]):
            for built, state in zip(run, saved):
                built.load_state_dict(state)
    running = [r for r in range(R) if r not in diverged]
    running_R, none_R = _mask(running, R), _mask([], R)
    while True:
        rows_RxB = minibatches(number) if minibatches else None
        wanted = rows_RxB is None and (curvature if isinstance(curvature, bool) else curvature(number))
        point = problem.at(params_RxP, curvature=wanted, rows_RxB=rows_RxB)
        losses_R = point.losses_R
        if largest_R is None:
            first_loss_R = losses_R.clone() if first_loss_R is None else first_loss_R
            most = torch.finfo(params_RxP.dtype).max
            largest_R = (divergence * first_loss_R.abs()).nan_to_num(nan=most, posinf=most)
        bounded = _bounded(point, largest_R)
        running, lost = [r for r in running if bounded[r]], [r for r in running if not bounded[r]]
        if lost:
            running_R = _mask(running, R)
            for r in lost:
                diverged[r] = number
                params_RxP[r].zero_()
            if running:
                point = problem.at(params_RxP, curvature=wanted, rows_RxB=rows_RxB)
        yield Step(
            number,
            params_RxP,
            point,
            losses_R,
            running_R,
            _mask(lost, R) if lost else none_R,
            diverged,
            optimizers,
            parameters,
            rows_RxB,
            first_loss_R,
        )
        if number == steps or not running:
            return
        gradients = problem.all_views(point.grads_RxP)
        for r in running:
            _set_gradients(parameters[r], gradients[r])
            again = None
            if each[r].closures:
                again = partial(_again, problem.only(r), params_RxP[r], parameters[r], rows_RxB, r)
            for built in optimizers[r]:
                built.step() if again is None else built.step(again)
            if [p.data_ptr() for p in parameters[r]] != places[r]:
                raise ValueError(
                    f"{each[r].implementation} puts new tensors in place of its parameters (p.data = ...), so the run "
                    "would not move: change them in place instead, with p.data.copy_(...) or p.add_(...)"
                )
        number += 1


def last(steps: Iterable[Step]) -> Step:
    """The last of the steps, for training that does not need the steps in between."""
    (step,) = deque(steps, maxlen=1)
    return step


def _bounded(point: Point, largest_R: Tensor) -> list[bool]:
    """Which runs have a loss within bounds and a finite gradient."""
    inside_R = point.losses_R.abs() <= largest_R
    # A sum is finite only if every entry is, and costs a third of testing each entry.
    bounded = (inside_R & torch.isfinite(point.grads_RxP.sum(1))).tolist()
    return bounded if all(bounded) else (inside_R & torch.isfinite(point.grads_RxP).all(1)).tolist()


def _mask(runs: list[int], R: int) -> Tensor:
    return torch.tensor([r in runs for r in range(R)], device="cpu")


def _again(problem: Problem, row_P: Tensor, parameters: list[nn.Parameter], rows_RxB: Tensor | None, r: int) -> Tensor:
    """One run's loss at its current parameters, whose gradients are set."""
    with torch.enable_grad():
        point = problem.at(row_P[None], rows_RxB=None if rows_RxB is None else rows_RxB[r : r + 1])
    _set_gradients(parameters, problem.views(point.grads_RxP, 0))
    return point.losses_R[0]


def _set_gradients(parameters: Sequence[nn.Parameter], views: Sequence[Tensor]) -> None:
    for parameter, view in zip(parameters, views):
        parameter.grad = view
