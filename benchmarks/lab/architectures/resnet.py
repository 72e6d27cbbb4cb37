"""ResNet-8: the smallest of the residual networks for small images (He et al. 2016, section 4.2, with n = 1).

A 3 x 3 convolution, then three stages of one basic block each with 16, 32 and 64 channels, then the mean over pixels
and a linear readout. Stages 2 and 3 halve the image. 78,042 parameters for 3 x 32 x 32 inputs and ten outputs.

Two things differ from the paper's networks for CIFAR-10, whose depth is 6n + 2: where a stage begins, the shortcut is a
1 x 1 convolution with BatchNorm (option B), and not the input padded with zero channels (option A). The ResNet-8 of
MLPerf Tiny (Banbury et al. 2021) has the same layers, but biases in its convolutions and no BatchNorm in the shortcuts.

BatchNorm normalises with the mean and variance of the batch that is evaluated, always: it keeps no running statistics,
because a loss here is a function of parameters alone. From this follows:

- A minibatch's loss is what practice trains on. The full-data loss is that of one batch with all the examples.
- The outputs for an example depend on the others that are evaluated with it. So a ``chunk_size`` below the number of
  examples, and a tangent kernel, are refused.
- Test accuracy is that of a batch of test images normalised with their own statistics, where practice takes running
  averages over training batches. It depends on the size of that batch and on what is in it: evaluate all test images
  together, or batches of one size with the classes mixed, and say which.
- Third derivatives are refused, for PyTorch has none for these statistics (docs/explanation/curvature.md).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from benchmarks.lab.architectures.mlp import activation_module


class Block(nn.Module):
    """phi(x + norm(conv(phi(norm(conv x))))), where x may be projected: N x C x H x W to N x channels x H' x W'."""

    def __init__(self, fan_in: int, channels: int, stride: int, activation: str):
        super().__init__()
        self.branch = nn.Sequential(
            *_normalised(fan_in, channels, 3, stride),
            activation_module(activation),
            *_normalised(channels, channels, 3, 1),
        )
        same = fan_in == channels and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_normalised(fan_in, channels, 1, stride))
        self.activation = activation_module(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branch(x) + self.shortcut(x))


def _normalised(fan_in: int, channels: int, side: int, stride: int) -> Sequence[nn.Module]:
    """A convolution without bias and a BatchNorm without running statistics."""
    convolution = nn.Conv2d(fan_in, channels, side, stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution, nn.BatchNorm2d(channels, track_running_stats=False)


def build(input_shape: tuple[int, ...], outputs: int, *, channels: int = 16, activation: str = "relu") -> nn.Module:
    """N x C x H x W images to N x outputs.

    Convolutions start as He et al. (2015) have it, Gaussian with variance 2 / fan-in; the readout as PyTorch's default.

    Args:
        input_shape: channels, height, width, in pixels.
        channels: of the first stage; the others have two and four times as many.
        activation: ReLU in the paper; a smooth one leaves the Hessian without kinks.

    Raises:
        ValueError: for inputs that are no images or have a side below 8 pixels, or for an unknown activation.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 8:
        raise ValueError(f"inputs {tuple(input_shape)}: a resnet needs images of at least 8 x 8 pixels")
    return nn.Sequential(
        *_normalised(input_shape[0], channels, 3, 1),
        activation_module(activation),
        Block(channels, channels, 1, activation),
        Block(channels, 2 * channels, 2, activation),
        Block(2 * channels, 4 * channels, 2, activation),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * channels, outputs),
    )
