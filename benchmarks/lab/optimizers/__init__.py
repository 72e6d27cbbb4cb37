"""Optimizers by name, one file each, built from a library's implementation.

A file defines ``build(parameters, **options) -> list of torch optimizers`` (several where a library's
optimizer takes only some of the parameters), ``IMPLEMENTATION`` (what the tables call it), ``SOURCE`` (the paper)
and, where they exist, ``stability_threshold(**options) -> float``, the largest curvature at which it is stable on a
quadratic, preconditioned where the optimizer is; ``preconditioner(optimizer)``, the positive diagonal by which the
optimizer divides its gradient, a tensor a parameter, or None before the first step; ``CLOSURES = True`` for one that
evaluates the gradient again within a step; ``SCHEDULE_FREE = True`` for one that takes no decay of its rate; and
``BLOCK_RATES = True`` for one with an option ``rates``, a number a tensor, that is measured where training starts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.lab import registry


def build(parameters: Sequence[nn.Parameter], *, name: str, **options) -> list[Optimizer]:
    """The optimizers of one run. ``package.module:factory`` is a ``build`` from outside.

    Raises:
        ValueError: for an unknown name or options the optimizer does not take.
    """
    factory = registry.load(__name__, name, "build")
    try:
        return factory(parameters, **options)
    except TypeError as error:
        raise ValueError(f"optimizer {name!r}: {error}") from error


def implementation(name: str) -> str:
    """The library's own name of what an entry builds."""
    return name if ":" in name else registry.load(__name__, name, "IMPLEMENTATION")


def stability_threshold(name: str, **options) -> float | None:
    """The largest stable curvature of a quadratic, or None where no theory gives one."""
    if not registry.defines(__name__, name, "stability_threshold"):
        return None
    return registry.load(__name__, name, "stability_threshold")(**options)


def preconditioner(built: Sequence[Optimizer], *, name: str) -> Tensor | None:
    """The diagonal preconditioner of one run's optimizers, flat (P), or None before the first step.

    Raises:
        ValueError: if the entry has none (`has_preconditioner`).
    """
    if not has_preconditioner(name):
        raise ValueError(f"optimizer {name!r} has no diagonal preconditioner")
    (optimizer,) = built
    diagonals = registry.load(__name__, name, "preconditioner")(optimizer)
    return None if diagonals is None else torch.cat([diagonal.reshape(-1) for diagonal in diagonals])


def has_preconditioner(name: str) -> bool:
    """Whether an entry divides its gradient by a positive diagonal; one from outside is taken to have none."""
    return registry.defines(__name__, name, "preconditioner")


def closures(name: str) -> bool:
    """Whether an entry evaluates the gradient again within a step."""
    return registry.defines(__name__, name, "CLOSURES")
