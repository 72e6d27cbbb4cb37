"""Fully connected networks without biases, f(x) = W_L phi(... phi(W_1 x)): a deep linear network's nearest
relatives."""

from collections.abc import Sequence
from math import prod

from torch import nn

from benchmarks.lab.architectures.mlp import activation_module


def build(input_shape: tuple[int, ...], outputs: int, *, hidden: Sequence[int], activation: str) -> nn.Module:
    """Raises ValueError for an unknown activation."""
    widths = [prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers += [nn.Linear(fan_in, fan_out, bias=False), activation_module(activation)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs, bias=False))
