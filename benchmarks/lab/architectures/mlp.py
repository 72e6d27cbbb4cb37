"""Fully connected networks. ``hidden: [200, 200], activation: tanh`` is Cohen et al.'s (2021) fc-tanh."""

from collections.abc import Sequence
from math import prod

from torch import nn

ACTIVATIONS = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU, "identity": nn.Identity}


def activation_module(name: str) -> nn.Module:
    """Raises ValueError for an unknown name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: known are {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]()


def build(input_shape: tuple[int, ...], outputs: int, *, hidden: Sequence[int], activation: str) -> nn.Module:
    """Linear layers with bias of the given hidden widths, an activation between them, a linear readout.

    Raises:
        ValueError: for an unknown activation.
    """
    widths = [prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation_module(activation)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
