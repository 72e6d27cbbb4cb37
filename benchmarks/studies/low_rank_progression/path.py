"""Training that keeps the linear part of the outputs at every reading, and the weights at a few."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab.loop import descend
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Point, Problem
from benchmarks.studies.low_rank_progression.networks import Centred
from benchmarks.studies.low_rank_progression.setting import Setting
from benchmarks.theory.modes import CLOCK_END

# Where weights are kept, in the clock's phi.
MARKS = (0.1, 0.25, 0.5, 0.75, 0.9)
EIGEN_TOLERANCE = 1e-2
# At most this many readings per run, evenly spaced.
READINGS = 2000
# Times the first loss.
DIVERGENCE = 1e3


@dataclass
class Snapshot:
    """One run's weights, and the residuals summed over its steps so far."""

    phi: float
    params_P: Tensor
    residuals_NxC: Tensor


@dataclass
class Path:
    """The path of a stack.

    Attributes:
        steps_T: the updates made at each reading.
        maps_RxTxCxD: the linear part of the outputs.
        losses_RxT: on all data.
        snapshots: for each run, at its start and where phi first passes each of `MARKS`, and `CLOCK_END`.
        sharpness_R: the largest top Hessian eigenvalue among the snapshots.
        diverged: the rows that diverged.
    """

    steps_T: np.ndarray
    maps_RxTxCxD: np.ndarray
    losses_RxT: np.ndarray
    snapshots: list[list[Snapshot]]
    sharpness_R: np.ndarray
    diverged: tuple[int, ...]


def build_problem(modules: Sequence[nn.Module], setting: Setting, centred: bool) -> Problem:
    """The networks' loss on the setting's data, on their device; the networks themselves stay where they are.

    Args:
        centred: whether each is trained and read without its outputs at the start.
    """
    copies = [deepcopy(module).to(setting.inputs.device) for module in modules]
    stack = [Centred(copy) for copy in copies] if centred else copies
    return Problem(stack, setting.inputs, setting.targets, setting.loss)


@dataclass
class _Readings:
    """A path under construction."""

    setting: Setting
    steps: list[int] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    snapshots: list[list[Snapshot]] = field(default_factory=list)

    def add(self, step: int, point: Point) -> None:
        maps = self.setting.maps(point.outputs_RxNxC)
        if not self.steps:
            self._target = torch.from_numpy(self.setting.modes.target_CxD).to(maps)
            self._residuals = torch.zeros_like(point.outputs_RxNxC)
            self.snapshots = [[self._snapshot(point, r, 0.0)] for r in range(len(maps))]
        else:
            self._residuals += (step - self.steps[-1]) * self._before
        squares_R = (maps - self._target).double().square().sum((1, 2))
        if not self.steps:
            self._first_R = squares_R
        self._before = self.setting.residuals(point.outputs_RxNxC)
        for r, phi in enumerate((1 - squares_R / self._first_R).tolist()):
            taken = self.snapshots[r]
            # Several marks that are passed at once have a snapshot each, of the same weights.
            for _ in range(sum(phi >= mark for mark in (*MARKS, CLOCK_END)) + 1 - len(taken)):
                taken.append(self._snapshot(point, r, phi))
        self.steps.append(step)
        self.maps.append(maps)
        self.losses.append(point.losses_R)

    def _snapshot(self, point: Point, r: int, phi: float) -> Snapshot:
        return Snapshot(phi, point.params_RxP[r].clone().cpu(), self._residuals[r].clone().cpu())

    @property
    def finished(self) -> bool:
        return all(len(taken) == len(MARKS) + 2 for taken in self.snapshots)


def follow(
    modules: Sequence[nn.Module],
    setting: Setting,
    optimizer: Optimizer,
    *,
    steps: int,
    seeds: Sequence[int],
    batch_size: int | None = None,
    centred: bool = False,
    curvature: bool = True,
) -> Path:
    """Train a stack until every run has reached the end of the clock, for at most ``steps`` updates.

    It trains on the device of the setting's tensors; what it returns is on the CPU.

    Args:
        centred: as in `build_problem`.
        curvature: whether to measure the sharpness at the snapshots.
    """
    problem = build_problem(modules, setting, centred)
    params_RxP = problem.initial_RxP()
    minibatches = Minibatches(seeds, examples=problem.examples, size=batch_size) if batch_size else None
    every = max(1, -(-steps // READINGS))
    readings = _Readings(setting)
    for step in descend(problem, params_RxP, optimizer, steps=steps, minibatches=minibatches, divergence=DIVERGENCE):
        if bool(step.running_R.any()) and (step.number % every == 0 or step.number == steps):
            readings.add(step.number, step.full())
            if readings.finished:
                break
    # Where all have come to the end of the clock, none counts as diverged.
    diverged = () if readings.finished else tuple(step.diverged)
    sharpness_R = np.full(len(modules), np.nan)
    if curvature:
        for r, taken in enumerate(readings.snapshots):
            if r not in diverged:
                sharpness_R[r] = _sharpness(problem.only(r), taken, params_RxP.device)
    return Path(
        np.array(readings.steps),
        torch.stack(readings.maps, dim=1).double().cpu().numpy(),
        torch.stack(readings.losses, dim=1).double().cpu().numpy(),
        readings.snapshots,
        sharpness_R,
        diverged,
    )


def _sharpness(problem: Problem, taken: list[Snapshot], device: torch.device) -> float:
    """The largest top Hessian eigenvalue; snapshots of one reading are the same weights."""
    tops, vectors = [], None
    for params_P in {round(snapshot.phi, 12): snapshot.params_P for snapshot in taken}.values():
        point = problem.at(params_P[None].to(device), curvature=True)
        top, vectors = top_eigenpairs(point, vectors, 1, EIGEN_TOLERANCE)
        tops.append(float(top.eigenvalues_RxK[0, 0]))
    return max(tops)
