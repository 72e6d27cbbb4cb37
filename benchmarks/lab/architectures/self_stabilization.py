"""A two-parameter loss whose gradient descent must settle at the edge of stability.

    L(x, y) = y x^2 / 2 - drift y

The curvature along x is y, and gradient descent raises y by lr (drift - x^2 / 2) per step: progressive sharpening at
rate lr * drift while x is small, self-stabilization once |1 - lr y| > 1 has made x large. The mean of
ln|1 - lr y| over a cycle of the oscillation is zero, so y is held at 2 / lr; the top Hessian eigenvalue is
(y + sqrt(y^2 + 4 x^2)) / 2, equal to y up to x^2 / y. It is the cubic model of Damian, Nichani and Lee 2023,
"Self-stabilization", with its constants written out.
"""

import torch
from torch import Tensor, nn


class SelfStabilization(nn.Module):
    def __init__(self, sharpness: float, drift: float, amplitude: float):
        super().__init__()
        self.x = nn.Parameter(amplitude * (1 + 0.1 * torch.randn(1)))
        self.y = nn.Parameter(torch.full((1,), float(sharpness)))
        self.drift = drift

    def forward(self, inputs_NxD: Tensor) -> Tensor:
        loss = 0.5 * self.y * self.x**2 - self.drift * self.y
        return loss.expand(len(inputs_NxD), 1)


def build(input_shape: tuple[int, ...], outputs: int, *, sharpness: float, drift: float, amplitude: float) -> nn.Module:
    """``sharpness``: y at the start; ``drift``: the pull on y; ``amplitude``: mean of x at the start (10 % sd)."""
    return SelfStabilization(sharpness, drift, amplitude)
