"""Optimizers by name, one file each, built from a library's implementation.

A file ends with an `Optimizer` that has the file's name, ``adam = Optimizer(build, ...)`` and declares everything about
the entry. ``package.module:name`` names one from outside, again an `Optimizer` or a bare ``build``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter, signature

import torch
from torch import Tensor, nn

from benchmarks.lab import registry

Parameters = list[nn.Parameter]
Built = list[torch.optim.Optimizer]


@dataclass(frozen=True)
class Optimizer:
    """An optimizer and what is known about it. Calling it, as in ``adam(lr=0.1)``, gives a copy with these options set.

    Attributes:
        factory: ``build(parameters, **options) -> list of torch optimizers``, several where a library's optimizer
            takes only some of the parameters; ``parameters`` is a list.
        implementation: the library's own name of what is built, for the tables.
        source: the paper.
        threshold: a function from the options to the largest curvature at which it is stable on a quadratic (of the
            preconditioned Hessian, if it preconditions).
        diagonal: a function from a torch optimizer to the positive diagonal by which it divides its gradient, one
            tensor per parameter, or None before the first step.
        closures: it re-evaluates the gradient within a step.
        schedule_free: its learning rate is not decayed, and ``eval()`` and ``train()`` switch to its average and back.
        block_rates: it has an option ``rates``, one number per tensor, measured where training starts.
        options: the options that have been set, such as ``lr``.
    """

    factory: Callable[..., Built]
    implementation: str
    source: str = ""
    threshold: Callable[..., float] | None = None
    diagonal: Callable[[torch.optim.Optimizer], Sequence[Tensor] | None] | None = None
    closures: bool = False
    schedule_free: bool = False
    block_rates: bool = False
    options: dict = field(default_factory=dict)

    def __call__(self, **options) -> "Optimizer":
        return replace(self, options={**self.options, **options})

    @property
    def meaning(self) -> str:
        """The docstring of its file, on one line; empty for an outside one."""
        loose = ":" in self.implementation
        return "" if loose else " ".join((getattr(self.factory, "__globals__", {}).get("__doc__") or "").split())

    def build(self, parameters: Iterable[nn.Parameter]) -> Built:
        """The torch optimizers of one run.

        Raises:
            ValueError: for options it does not take, or if its step needs a closure and that is not declared.
        """
        try:
            built = self.factory(list(parameters), **self.options)
        except TypeError as error:
            raise ValueError(f"optimizer {self.implementation!r}: {error}") from error
        for optimizer in built:
            closure = signature(optimizer.step).parameters.get("closure")
            if closure is not None and closure.default is Parameter.empty and not self.closures:
                raise ValueError(
                    f"{type(optimizer).__name__} evaluates the loss within its step: "
                    "declare it with Optimizer(..., closures=True)"
                )
        return built

    def stability_threshold(self) -> float | None:
        """The largest stable curvature on a quadratic, or None where no theory gives one."""
        return None if self.threshold is None else self.threshold(**self.options)

    def preconditioner(self, built: Built) -> Tensor | None:
        """The diagonal preconditioner of one run's optimizers, flat (P), or None before the first step.

        Raises:
            ValueError: if it has none.
        """
        if self.diagonal is None:
            raise ValueError(f"optimizer {self.implementation!r} has no diagonal preconditioner")
        (optimizer,) = built
        diagonals = self.diagonal(optimizer)
        return None if diagonals is None else torch.cat([diagonal.reshape(-1) for diagonal in diagonals])


def named(name: str, **options) -> Optimizer:
    """The optimizer with this name, with these options set.

    Raises:
        ValueError: for an unknown name, or an outside one that is not an optimizer.
    """
    entry = registry.load(__name__, name, name)
    if isinstance(entry, Optimizer):
        return entry(**options)
    if not callable(entry):
        raise ValueError(f"{name!r} is neither an Optimizer nor a function that builds one")
    return Optimizer(entry, implementation=name)(**options)
