"""Fully connected networks. ``hidden: [200, 200], activation: tanh`` is Cohen et al.'s (2021) fc-tanh."""

from collections.abc import Sequence
from math import prod

from torch import nn

ACTIVATIONS = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU, "identity": nn.Identity}


def build(input_shape: tuple[int, ...], outputs: int, *, hidden: Sequence[int], activation: str) -> nn.Module:
    """Linear layers with bias of the given hidden widths, an activation between them, a linear readout.

    Raises:
        ValueError: for an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}: known are {', '.join(sorted(ACTIVATIONS))}")
    widths = [prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
