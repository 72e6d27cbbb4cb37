"""Residual networks of fully connected layers: a linear stem, blocks h + W_b phi(W_a h), a linear readout, no bias."""

from math import prod

from torch import Tensor, nn

from benchmarks.lab.architectures.mlp import activation_module


class Block(nn.Module):
    """h + W_b phi(W_a h)."""

    def __init__(self, width: int, activation: str):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Linear(width, width, bias=False), activation_module(activation), nn.Linear(width, width, bias=False)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.branch(hidden)


def build(input_shape: tuple[int, ...], outputs: int, *, width: int, blocks: int, activation: str) -> nn.Module:
    """Raises ValueError for an unknown activation."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(input_shape), width, bias=False),
        *(Block(width, activation) for _ in range(blocks)),
        nn.Linear(width, outputs, bias=False),
    )
