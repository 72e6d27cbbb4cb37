"""Deep linear networks, f(x) = W_L ... W_1 x, without biases (Saxe et al. 2014). No hidden layer: linear regression."""

from collections.abc import Sequence
from math import prod

from torch import nn


def build(input_shape: tuple[int, ...], outputs: int, *, hidden: Sequence[int] = ()) -> nn.Module:
    widths = [prod(input_shape), *hidden, outputs]
    layers = [nn.Linear(fan_in, fan_out, bias=False) for fan_in, fan_out in zip(widths, widths[1:])]
    return nn.Sequential(nn.Flatten(), *layers)
