"""Optimizers by name, one file each, built from a library's implementation.

A file ends with an `Optimizer` of its own name, ``adam = Optimizer(build, ...)``: all that is said of the entry.
``package.module:name`` names another one, an `Optimizer` too or a bare ``build``.
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
    """An optimizer and what is known of it; called with options, ``adam(lr=0.1)``, the same with these bound.

    Attributes:
        factory: ``build(parameters, **options) -> list of torch optimizers``, several where a library's optimizer
            takes only some of the parameters; ``parameters`` is a list.
        implementation: the library's own name of what is built, for the tables.
        source: the paper.
        threshold: from the options to the largest curvature at which it is stable on a quadratic, preconditioned where
            the optimizer is.
        diagonal: from a torch optimizer to the positive diagonal by which it divides its gradient, a tensor a
            parameter, or None before the first step.
        closures: it evaluates the gradient again within a step.
        schedule_free: it takes no decay of its rate, and averages between ``eval()`` and ``train()``.
        block_rates: it has an option ``rates``, a number a tensor, that is measured where training starts.
        options: those bound, ``lr`` among them.
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
        """The first words of its file, on one line; empty for a loose one."""
        loose = ":" in self.implementation
        return "" if loose else " ".join((getattr(self.factory, "__globals__", {}).get("__doc__") or "").split())

    def build(self, parameters: Iterable[nn.Parameter]) -> Built:
        """The torch optimizers of one run.

        Raises:
            ValueError: for options it does not take, or where it steps through a closure and does not say so.
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
                    "declare it, Optimizer(..., closures=True)"
                )
        return built

    def stability_threshold(self) -> float | None:
        """The largest stable curvature of a quadratic, or None where no theory gives one."""
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
    """The optimizer of a name in params.yaml, with options.

    Raises:
        ValueError: for an unknown name, or an outside one that is no optimizer.
    """
    entry = registry.load(__name__, name, name)
    if isinstance(entry, Optimizer):
        return entry(**options)
    if not callable(entry):
        raise ValueError(f"{name!r} is neither an Optimizer nor a function that builds one")
    return Optimizer(entry, implementation=name)(**options)
