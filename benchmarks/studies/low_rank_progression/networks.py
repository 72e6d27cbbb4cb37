"""Networks of this study: the linear twin of any network, its linearization, its outputs less those that it starts
with, and weights scaled to a given output."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.func import functional_call, jvp

NORMALIZATIONS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.modules.batchnorm._NormBase)
ATTENTION_AND_SOFTMAX = (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)


def linear_twin(module: nn.Module, input_shape: Sequence[int]) -> nn.Module:
    """The network with the same layers and no nonlinearity: activations and normalizations become identities.

    Its weights are copies of the network's; parameters of a normalization are left out.

    Raises:
        ValueError: if what results is not an affine function of its input, as where ``forward`` calls an activation
            as a function.
    """
    twin = without_nonlinearities(module)
    _assert_affine(twin, input_shape)
    return twin


def without_nonlinearities(module: nn.Module) -> nn.Module:
    """A copy whose activations and normalizations are identities."""
    copy = deepcopy(module)
    for parent in list(copy.modules()):
        for name, child in list(parent.named_children()):
            activation = type(child).__module__ == nn.ReLU.__module__ and not isinstance(child, ATTENTION_AND_SOFTMAX)
            if activation or isinstance(child, NORMALIZATIONS):
                setattr(parent, name, nn.Identity())
    return copy


def _assert_affine(module: nn.Module, input_shape: Sequence[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 8, *input_shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        copy = deepcopy(module).double()
        whole, sides = copy(a + b) + copy(torch.zeros_like(a)), copy(a) + copy(b)
    if not torch.allclose(whole, sides, rtol=1e-9, atol=1e-9 * float(sides.abs().max())):
        raise ValueError(
            "the network has no linear twin: with its activation and normalization modules taken out it is still not "
            "linear in its input. Write activations as modules (nn.ReLU()), pool by averages, leave attention out"
        )


class Linearized(nn.Module):
    """f(x; w_0) + J(x; w_0) (w - w_0): the first-order expansion of a network in its weights, where it starts.

    Its trainable parameters are w - w_0, zero at first.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = deepcopy(module).requires_grad_(False)
        self.moves = nn.ParameterList([torch.zeros_like(p) for p in module.parameters()])

    def forward(self, inputs: Tensor) -> Tensor:
        start = dict(self.module.named_parameters())
        outputs, change = jvp(
            lambda weights: functional_call(self.module, weights, (inputs,)),
            (start,),
            (dict(zip(start, self.moves)),),
        )
        return outputs + change


class Centred(nn.Module):
    """(f - f_0) / scale, with f_0 the module as it is given, so that training starts from zero (Chizat et al. 2019)."""

    def __init__(self, module: nn.Module, scale: float = 1.0):
        super().__init__()
        self.module = module
        self.start = deepcopy(module).requires_grad_(False)
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.module(inputs) - self.start(inputs)) / self.scale


def scaled(module: nn.Module, factor: float) -> nn.Module:
    """A copy with every weight and bias multiplied by a factor, except parameters of normalizations."""
    copy = deepcopy(module)
    with torch.no_grad():
        for child in copy.modules():
            if not isinstance(child, NORMALIZATIONS):
                for parameter in child.parameters(recurse=False):
                    parameter.mul_(factor)
    return copy


def mup(module: nn.Module, seed: int) -> nn.Module:
    """A copy with the initial weights of the maximal update parametrization, at a base width of one: Gaussian,
    of variance 1 / fan-in, in the last layer 1 / fan-in^2 (Yang and Hu 2021, table 3)."""
    copy, generator = deepcopy(module), torch.Generator().manual_seed(seed)
    layers = [p for p in copy.parameters() if p.ndim >= 2]
    with torch.no_grad():
        for layer in layers:
            fan_in = layer[0].numel()
            scale = 1 / fan_in if layer is layers[-1] and len(layers) > 1 else fan_in**-0.5
            layer.copy_(scale * torch.randn(layer.shape, generator=generator, dtype=torch.float64))
    return copy


def scale_to(module: nn.Module, strength: Callable[[nn.Module], float], wanted: float) -> float:
    """The factor by which all weights must be multiplied for the output's linear part to have this strength.

    Raises:
        ValueError: if there is none between 1e-9 and 1e3, as where the last layer is zero.
    """
    module = deepcopy(module).double()

    def excess(log_factor: float) -> float:
        return np.log(max(strength(scaled(module, np.exp(log_factor))), 1e-300)) - np.log(wanted)

    low, high = np.log(1e-9), np.log(1e3)
    if not (excess(low) < 0 < excess(high)):
        raise ValueError(
            f"no scale of the weights between 1e-9 and 1e3 gives the network's outputs a linear part of {wanted:.2g}"
        )
    return float(np.exp(brentq(excess, low, high, xtol=1e-6)))
