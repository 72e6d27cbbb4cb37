"""ResNets of depth 6n + 2 for small images (He et al. 2016, section 4.2): ResNet-20 with n = 3.

resnet.py has n = 1, and says what differs from the paper's and what follows from BatchNorm; here each of its three
stages has ``blocks`` blocks. 272,474 parameters with n = 3, for ten classes.
"""

from torch import nn

from benchmarks.lab.architectures import resnet
from benchmarks.lab.architectures.resnet import Block


def build(
    input_shape: tuple[int, ...], outputs: int, *, blocks: int, channels: int = 16, activation: str = "relu"
) -> nn.Module:
    """N x C x H x W images to N x outputs.

    Args:
        blocks: n, of each stage.
        channels, activation: as in resnet.py.

    Raises:
        ValueError: as resnet.py's, or for no blocks.
    """
    if blocks < 1:
        raise ValueError(f"{blocks} blocks: each stage of a deep_resnet needs one at least")
    layers, widths = [], iter((channels, 2 * channels, 4 * channels))
    for layer in resnet.build(input_shape, outputs, channels=channels, activation=activation):
        layers.append(layer)
        if isinstance(layer, Block):
            width = next(widths)
            layers += [Block(width, width, 1, activation) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)
