"""Optimizers by name, one file each, built from a library's implementation.

A file defines ``build(parameters, **options) -> list of torch optimizers`` (several where a library's
optimizer takes only some of the parameters), ``IMPLEMENTATION`` (what the tables call it), ``SOURCE`` (the paper)
and, where theory knows it, ``stability_threshold(**options) -> float``: the largest curvature at which it is
stable on a quadratic, preconditioned where the optimizer is.
"""

from collections.abc import Sequence
from importlib import import_module

from torch import nn
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
    registry.check(__name__, name)
    formula = None if ":" in name else getattr(import_module(f"{__name__}.{name}"), "stability_threshold", None)
    return formula(**options) if formula else None
