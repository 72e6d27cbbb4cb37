"""Measurements: what is read off a run, and when.

A measurement is an object with ``every`` (steps between two readings, the last step always read),
``curvature`` (whether it needs Hessian-vector products), ``measure(point, step) -> {metric: values_R}`` and, where it
carries something from one reading to the next, ``state_dict`` and ``load_state_dict``. It knows neither training nor
optimizers.
"""

from typing import Protocol

from torch import Tensor

from benchmarks.lab.problem import Point


class Measurement(Protocol):
    every: int
    curvature: bool

    def measure(self, point: Point, step: int) -> dict[str, Tensor]: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def due(measurement: Measurement, step: int, steps: int) -> bool:
    """Whether a measurement is read at this step of a run of ``steps`` updates."""
    return step % measurement.every == 0 or step == steps
