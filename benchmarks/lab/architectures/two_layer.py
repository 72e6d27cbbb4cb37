"""Two-layer networks in NTK parametrization, f(x) = v phi(u x / sqrt(D)) / sqrt(n), all weights N(0, 1), no biases.

The scaling is Jacot, Gabriel and Hongler's (2018); with ``identity`` it is the solvable model of Lewkowycz et al. 2020
(arXiv:2003.02218), section 2.
"""

from math import prod

import torch
from torch import Tensor, nn

from benchmarks.lab.architectures.mlp import activation_module


class TwoLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int, activation: nn.Module):
        super().__init__()
        self.u = nn.Parameter(torch.randn(width, inputs))
        self.v = nn.Parameter(torch.randn(outputs, width))
        self.activation = activation

    def forward(self, inputs_NxD: Tensor) -> Tensor:
        width, inputs = self.u.shape
        hidden_NxW = self.activation(inputs_NxD.flatten(1) @ self.u.T / inputs**0.5)
        return hidden_NxW @ self.v.T / width**0.5


def build(input_shape: tuple[int, ...], outputs: int, *, width: int, activation: str) -> nn.Module:
    """A hidden layer of ``width`` units.

    Raises:
        ValueError: for an unknown activation.
    """
    return TwoLayer(prod(input_shape), outputs, width, activation_module(activation))
