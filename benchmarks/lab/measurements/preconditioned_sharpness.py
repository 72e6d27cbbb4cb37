"""The sharpness relevant to an optimizer with a diagonal preconditioner: the top eigenvalue of P^(-1) H."""

from benchmarks.lab.measurements import Setup
from benchmarks.lab.measurements.sharpness import Sharpness


def build(setup: Setup, *, every: int, tolerance: float, cold_every: int, max_hvps: int) -> Sharpness:
    """`Sharpness` of P^(-1/2) H P^(-1/2), P from the optimizer's state. Units: 1 / (units of the learning rate).

    Raises:
        ValueError: for an optimizer that declares no diagonal preconditioner.
    """
    if setup.optimizer.diagonal is None:
        raise ValueError(f"optimizer {setup.optimizer.implementation!r} declares no diagonal preconditioner")
    return Sharpness(
        setup.seeds,
        every=every,
        tolerance=tolerance,
        cold_every=cold_every,
        max_hvps=max_hvps,
        preconditioned=True,
    )
