"""Fully connected networks in NTK parametrization, h = g W phi(h') / sqrt(fan-in), all weights N(0, 1), no biases.

The scaling is Jacot, Gabriel and Hongler's (2018, arXiv:1806.07572): at infinite width the tangent kernel is
deterministic and constant. With ``readout: mean-field`` the last layer divides by the width, not by its square root
(Mei, Montanari and Nguyen 2018, arXiv:1804.06561), and features move at any width, at rates proportional to it.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from benchmarks.lab.architectures.mlp import activation_module

GAINS = {"relu": 2**0.5}
READOUTS = {"ntk": 0.5, "mean-field": 1.0}


class Scaled(nn.Module):
    """A linear layer without bias whose output is multiplied by a number."""

    def __init__(self, fan_in: int, fan_out: int, factor: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in))
        self.factor = factor

    def forward(self, inputs_NxD: Tensor) -> Tensor:
        return self.factor * (inputs_NxD @ self.weight.T)


def build(
    input_shape: tuple[int, ...], outputs: int, *, hidden: Sequence[int], activation: str, readout: str = "ntk"
) -> nn.Module:
    """Layers of the given hidden widths; g is sqrt(2) after ReLU, which keeps the size of activations, and 1 otherwise.

    Raises:
        ValueError: for an unknown activation or readout, or no hidden layer.
    """
    if readout not in READOUTS:
        raise ValueError(f"unknown readout {readout!r}: known are {', '.join(sorted(READOUTS))}")
    if not hidden:
        raise ValueError("an ntk_mlp needs a hidden layer")
    gain = GAINS.get(activation, 1.0)
    inputs = prod(input_shape)
    layers: list[nn.Module] = [nn.Flatten(), Scaled(inputs, hidden[0], inputs**-0.5)]
    for fan_in, fan_out in zip(hidden, hidden[1:]):
        layers += [activation_module(activation), Scaled(fan_in, fan_out, gain * fan_in**-0.5)]
    last = gain * hidden[-1] ** -READOUTS[readout]
    return nn.Sequential(*layers, activation_module(activation), Scaled(hidden[-1], outputs, last))
