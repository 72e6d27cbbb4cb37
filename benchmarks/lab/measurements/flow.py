"""What the continuous-time references of a run share: one flow per run, from its initialization, read alongside it."""

from math import nan

import torch
from torch import Tensor

from benchmarks.lab.measurements import Reading
from benchmarks.lab.problem import Problem


class Flow:
    """A flow for each run of a stack. A subclass says how one starts and how it is followed to a step of the run.

    Args:
        lr: time per step of the run.
        eigen_tolerance: estimated relative error of the flow's eigenvalues.
    """

    curvature = False
    metrics: tuple[str, ...]

    def __init__(self, *, lr: float, every: int, eigen_tolerance: float):
        self.lr = lr
        self.every = every
        self.eigen_tolerance = eigen_tolerance
        self._runs: list[dict] | None = None

    def start(self, params_P: Tensor) -> dict:
        """The state of a flow from these parameters."""
        raise NotImplementedError

    def follow(self, run: dict, problem: Problem, step: int, params_P: Tensor) -> tuple[float, ...] | None:
        """Advance a flow to the time of a step; a value for each of ``metrics``, or None if it is lost.

        Args:
            params_P: the run's own parameters at that step.
        """
        raise NotImplementedError

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        point = reading.point
        if self._runs is None:
            self._runs = [self.start(params_P) for params_P in point.params_RxP]
        rows = []
        for r, (run, params_P) in enumerate(zip(self._runs, point.params_RxP)):
            followed = self.follow(run, point.problem.only(r), reading.step, params_P) if reading.runs(r) else None
            rows.append(followed or (nan,) * len(self.metrics))
        return {name: torch.tensor(values, dtype=torch.float64) for name, values in zip(self.metrics, zip(*rows))}

    def state_dict(self) -> dict:
        return {"runs": self._runs}

    def load_state_dict(self, state: dict) -> None:
        self._runs = state["runs"]
