"""Architectures by name, one file each: ``build(input_shape, outputs, **options) -> nn.Module``.

PyTorch's default initialization under the global seed, which `build_stack` sets for each run.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from benchmarks.lab import registry


def build(name: str, input_shape: tuple[int, ...], outputs: int, **options) -> nn.Module:
    """One network of the named architecture.

    Raises:
        ValueError: for an unknown name or options the architecture does not take.
    """
    factory = registry.load(__name__, name, "build")
    try:
        return factory(input_shape, outputs, **options)
    except TypeError as error:
        raise ValueError(f"architecture {name!r}: {error}") from error


def build_stack(
    name: str | Callable[..., nn.Module], input_shape: tuple[int, ...], outputs: int, seeds: Sequence[int], **options
) -> list[nn.Module]:
    """One network per seed, each initialized as if built alone. ``name`` may also be an entry's ``build`` itself."""
    factory = name if callable(name) else partial(build, name)
    modules = []
    for seed in seeds:
        torch.manual_seed(seed)
        modules.append(factory(input_shape, outputs, **options))
    return modules
