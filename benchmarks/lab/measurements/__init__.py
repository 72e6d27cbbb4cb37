"""Measurements: what is measured during a run, and when, by name, one file each.

A file that defines ``build(setup, **options) -> Measurement`` is an entry of ``measure`` in params.yaml. A measurement
is an object with ``every`` (steps between two readings, the last step always read),
``curvature`` (whether it needs Hessian-vector products), ``measure(reading) -> {metric: values_R}`` and, where it
carries something from one reading to the next, ``state_dict`` and ``load_state_dict``. It knows neither training nor
optimizers: a preconditioner comes in as a positive vector. A value of nan is not recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from benchmarks.lab import registry
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Point, Problem


@dataclass(frozen=True)
class Reading:
    """A run as a measurement sees it.

    Attributes:
        step: updates made so far.
        point: the full-data problem at the runs' parameters.
        preconditioner: gives preconditioner_RxP, the positive diagonal P by which the optimizer divides its
            (momentum-averaged) gradient, or None before the first update; ones for a run that has diverged.
        running_R: which runs have not diverged; the parameters of those that have are zeros. All if not given.
    """

    step: int
    point: Point
    preconditioner: Callable[[], Tensor | None]
    running_R: Tensor | None = None

    def runs(self, r: int) -> bool:
        """Whether run r has not diverged."""
        return self.running_R is None or bool(self.running_R[r])


class Measurement(Protocol):
    every: int
    curvature: bool

    def measure(self, reading: Reading) -> dict[str, Tensor]: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


class Stateless:
    """For measurements that carry nothing from one reading to the next."""

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


@dataclass(frozen=True)
class Setup:
    """What entries are built from.

    Attributes:
        seeds: one per run of the stack.
        labels_N: class indices of the training data, or None where there are no classes.
        optimizer: with its options, ``lr`` among them.
        batch_size: examples per step, or None for all of them.
        built: the entries before this one in the settings, by name.
    """

    seeds: Sequence[int]
    problem: Problem
    labels_N: Tensor | None
    optimizer: Optimizer
    batch_size: int | None
    built: dict[str, Measurement] = field(default_factory=dict)

    def needs(self, entry: str, other: str) -> Measurement:
        """Another entry that this one reads.

        Raises:
            ValueError: if it is not measured, or measured later.
        """
        if other not in self.built:
            raise ValueError(f"measurement {entry!r} reads {other!r}: list it before")
        return self.built[other]

    def gradient_descent_lr(self, entry: str) -> float:
        """The learning rate, for what is defined along plain full-batch gradient descent.

        Raises:
            ValueError: for another optimizer.
        """
        plain = self.optimizer.implementation == "torch.optim.SGD"
        if not plain or {name for name, value in self.optimizer.options.items() if value} != {"lr"} or self.batch_size:
            raise ValueError(f"measurement {entry!r} is defined for full-batch gradient descent without momentum only")
        return self.optimizer.options["lr"]


def build(settings: dict[str, dict | None], setup: Setup) -> list[Measurement]:
    """The measurements named in ``measure`` of a configuration, in that order; those set to null are left out.

    Raises:
        ValueError: for an unknown name or options, or if an entry cannot measure such a run.
    """
    for name, options in settings.items():
        if options is not None:
            setup.built[name] = registry.load(__name__, name, "build")(setup, **options)
    return list(setup.built.values())


def due(measurement: Measurement, step: int, steps: int) -> bool:
    """Whether a measurement is read at this step of a run of ``steps`` updates."""
    return step % measurement.every == 0 or step == steps
