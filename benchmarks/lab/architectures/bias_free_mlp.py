"""Fully connected networks without biases, f(x) = W_L phi(... phi(W_1 x)): a deep linear network's nearest
relatives."""

from collections.abc import Sequence
from math import prod

from torch import nn

from benchmarks.lab.architectures.mlp import activation_module


def build(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    hidden: Sequence[int],
    activation: str,
    slope: float = 0.0,
    normalise: bool = False,
) -> nn.Module:
    """``slope``: slope of a ReLU below zero; ``normalise``: a LayerNorm without parameters before each activation.

    Raises:
        ValueError: for an unknown activation, or a slope with an activation other than ReLU.
    """
    if slope and activation != "relu":
        raise ValueError(f"only ReLU takes a slope below zero, not {activation!r}")
    widths = [prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers.append(nn.Linear(fan_in, fan_out, bias=False))
        if normalise:
            layers.append(nn.LayerNorm(fan_out, elementwise_affine=False))
        layers.append(nn.LeakyReLU(slope) if slope else activation_module(activation))
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs, bias=False))
