"""Small convolutional networks: 3 x 3 convolutions, a smooth activation, average pooling (Cohen et al.'s cnn-avgpool).

Average pooling and a smooth activation keep the loss twice differentiable, so that its Hessian does not miss kinks.
"""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.lab.architectures.mlp import activation_module


def build(input_shape: tuple[int, ...], outputs: int, *, channels: Sequence[int], activation: str) -> nn.Module:
    """A convolution, an activation and a 2 x 2 average pooling for each entry of ``channels``, then a linear readout.

    Raises:
        ValueError: for an unknown activation, or inputs too small for this many poolings.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 2 ** len(channels):
        raise ValueError(f"inputs {tuple(input_shape)} are too small for {len(channels)} poolings")
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip([input_shape[0], *channels], channels):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), activation_module(activation), nn.AvgPool2d(2)]
    features = nn.Sequential(*layers, nn.Flatten())
    with torch.no_grad():
        width = features(torch.zeros(1, *input_shape)).shape[1]
    return nn.Sequential(features, nn.Linear(width, outputs))
