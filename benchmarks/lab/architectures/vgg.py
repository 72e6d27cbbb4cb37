"""VGG-11 for images of 32 x 32 pixels (Simonyan and Zisserman 2015, configuration A), without dropout or BatchNorm, as
Cohen et al. (2021) trained it with full batches.

Eight 3 x 3 convolutions in five groups, each followed by a maximum over 2 x 2 pixels, then two hidden layers and a
readout; ReLU throughout. 9,750,922 parameters for 3 x 32 x 32 inputs and ten outputs. Examples do not depend on each
other, so that a full batch may go through it in chunks; a ResNet's, through its BatchNorm, do (resnet.py).
"""

from math import sqrt

from torch import nn

# Channels of each group's convolutions, in units of the first's.
GROUPS = ((1,), (2,), (4, 4), (8, 8), (8, 8))


def build(input_shape: tuple[int, ...], outputs: int, *, channels: int = 64) -> nn.Module:
    """N x C x H x W images to N x outputs.

    Weights of convolutions start Gaussian with variance 2 / (kernel x channels out), their biases at zero, as in the
    paper's code; all other weights as PyTorch's default.

    Args:
        channels: of the first convolution; hidden layers have eight times as many units.

    Raises:
        ValueError: for inputs that are no images or have a side below 32 pixels.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 2 ** len(GROUPS):
        raise ValueError(f"inputs {tuple(input_shape)}: a vgg needs images of at least 32 x 32 pixels")
    layers: list[nn.Module] = []
    fan_in = input_shape[0]
    for group in GROUPS:
        for times in group:
            convolution = nn.Conv2d(fan_in, times * channels, 3, padding=1)
            nn.init.normal_(convolution.weight, std=sqrt(2 / (9 * times * channels)))
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU()]
            fan_in = times * channels
        layers.append(nn.MaxPool2d(2))
    hidden = 8 * channels
    seen = fan_in * (input_shape[1] // 32) * (input_shape[2] // 32)
    readout = [nn.Linear(seen, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers, nn.Flatten(), *readout)
