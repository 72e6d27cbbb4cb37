"""Training that keeps what is asked of it: the linear part of the outputs at every reading, and the weights at a
few."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import optimizers
from benchmarks.lab.measurements import Reading, Stateless
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.lab.training import train
from benchmarks.studies.low_rank_progression.setting import Setting
from benchmarks.theory.modes import CLOCK_END

# Where weights are kept, in the clock's phi.
MARKS = (0.1, 0.25, 0.5, 0.75, 0.9)
EIGEN_TOLERANCE = 1e-2


@dataclass
class Snapshot:
    """One run's weights, and the residuals summed over its steps so far."""

    phi: float
    params_P: Tensor
    residuals_NxC: Tensor


@dataclass
class Path:
    """A stack's way.

    Attributes:
        steps_T: the updates made at each reading.
        maps_RxTxCxD: the linear part of the outputs.
        losses_RxT: on all data.
        snapshots: for each run, at its start and where phi first passes each of `MARKS`, and `CLOCK_END`.
        sharpness_R: the largest top Hessian eigenvalue among the snapshots.
        diverged: the rows that left all bounds.
    """

    steps_T: np.ndarray
    maps_RxTxCxD: np.ndarray
    losses_RxT: np.ndarray
    snapshots: list[list[Snapshot]]
    sharpness_R: np.ndarray
    diverged: tuple[int, ...]


@dataclass
class _Reader(Stateless):
    """Keeps the path; it records nothing in the history."""

    setting: Setting
    every: int
    curvature: bool = False
    steps: list[int] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    snapshots: list[list[Snapshot]] = field(default_factory=list)

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        point = reading.point
        maps = self.setting.maps(point.outputs_RxNxC)
        target = torch.from_numpy(self.setting.modes.target_CxD).to(maps)
        squares_R = (maps - target).double().square().sum((1, 2))
        if not self.steps:
            self._first_R = squares_R
            self._residuals = torch.zeros_like(point.outputs_RxNxC)
            self.snapshots = [[Snapshot(0.0, p.clone(), r.clone())] for p, r in zip(point.params_RxP, self._residuals)]
        else:
            self._residuals += (reading.step - self.steps[-1]) * self._before
        self._before = self.setting.residuals(point.outputs_RxNxC)
        phi_R = 1 - squares_R / self._first_R
        for r, phi in enumerate(phi_R.tolist()):
            taken = self.snapshots[r]
            # Several marks that are passed at once have a snapshot each, of the same weights.
            for _ in range(sum(phi >= mark for mark in (*MARKS, CLOCK_END)) + 1 - len(taken)):
                taken.append(Snapshot(phi, point.params_RxP[r].clone(), self._residuals[r].clone()))
        self.steps.append(reading.step)
        self.maps.append(maps)
        self.losses.append(point.losses_R)
        return {}

    @property
    def finished(self) -> bool:
        return bool(self.snapshots) and all(len(taken) == len(MARKS) + 2 for taken in self.snapshots)


class _Finished(Exception):
    """Every run has come to the end of the clock."""


def descend(
    modules: Sequence[nn.Module],
    setting: Setting,
    *,
    optimizer: dict,
    steps: int,
    readings: int,
    seeds: Sequence[int],
    batch_size: int | None = None,
    divergence: float = 1e3,
    curvature: bool = True,
) -> Path:
    """Train a stack until every run has come to the end of the clock, at most ``steps`` updates.

    Args:
        readings: at most, evenly spaced.
        curvature: whether to measure the sharpness at the snapshots.
    """
    problem = Problem(modules[0], setting.inputs, setting.targets, setting.loss)
    reader = _Reader(setting, max(1, -(-steps // readings)))
    minibatches = Minibatches(seeds, examples=problem.examples, size=batch_size) if batch_size else None

    def observe(*_) -> None:
        if reader.finished:
            raise _Finished

    diverged: tuple[int, ...] = ()
    try:
        outcome = train(
            problem,
            stack_parameters(modules),
            partial(optimizers.build, **optimizer),
            seeds=range(len(modules)),
            steps=steps,
            divergence=divergence,
            measurements=[reader],
            minibatches=minibatches,
            observe=observe,
        )
        diverged = tuple(outcome.diverged)
    except _Finished:
        pass
    sharpness_R = np.full(len(modules), np.nan)
    if curvature:
        for r, taken in enumerate(reader.snapshots):
            if r in diverged:
                continue
            # Snapshots of one reading are the same weights.
            points = {round(snapshot.phi, 12): snapshot.params_P for snapshot in taken}
            tops, before = [], None
            for params_P in points.values():
                top, before = top_eigenpairs(problem.at(params_P[None], curvature=True), before, 1, EIGEN_TOLERANCE)
                tops.append(float(top.eigenvalues_RxK[0, 0]))
            sharpness_R[r] = max(tops)
    return Path(
        np.array(reader.steps),
        torch.stack(reader.maps, dim=1).double().numpy(),
        torch.stack(reader.losses, dim=1).double().numpy(),
        reader.snapshots,
        sharpness_R,
        diverged,
    )
