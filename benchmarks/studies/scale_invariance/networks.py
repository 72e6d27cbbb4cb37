"""Networks whose weights are all scale-invariant, and the check that they are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem

FACTOR = 2.7  # not a power of two, by which floating point would multiply exactly


class Normaliser(nn.Module):
    """(z - mean) / sqrt(variance + eps) over the features: LayerNorm without parameters.

    Written out, since torch's needs eps > 0 and has wrong third derivatives.
    """

    def __init__(self, eps: float = 0.0):
        super().__init__()
        self.eps = eps

    def forward(self, z: Tensor) -> Tensor:
        centred = z - z.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()


class Readout(nn.Module):
    """A fixed linear readout with orthonormal columns, the same for all seeds: a trained one would have a scale."""

    def __init__(self, features: int, outputs: int):
        super().__init__()
        columns, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((features, outputs)))
        self.register_buffer("weight", torch.from_numpy(columns))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight


def build(
    inputs: int,
    outputs: int,
    hidden: Sequence[int],
    *,
    normalise: bool = True,
    eps: float = 0.0,
) -> nn.Sequential:
    """Layers without bias, each before a normaliser and a tanh; float64. Its values are `start`'s to set.

    Args:
        normalise: without it no weight is scale-invariant: a control.

    Raises:
        ValueError: for a last layer with fewer features than outputs.
    """
    if hidden[-1] < outputs:
        raise ValueError(f"the last hidden layer has {hidden[-1]} features, fewer than {outputs} outputs")
    layers: list[nn.Module] = []
    widths = [inputs, *hidden]
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers.append(nn.Linear(fan_in, fan_out, bias=False))
        if normalise:
            layers.append(Normaliser(eps))
        layers.append(nn.Tanh())
    return nn.Sequential(*layers, Readout(widths[-1], outputs)).double()


class Rayleigh(nn.Module):
    """w'Aw / 2|w|^2: scale-invariant by its formula, its output the loss. Its gradient and Hessian have closed forms.

    Args:
        matrix: A, symmetric.
    """

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.weight = nn.Parameter(torch.ones(len(matrix), dtype=matrix.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """The same for each input."""
        value = self.weight @ self.matrix @ self.weight / (2 * self.weight.square().sum())
        return value.expand(len(inputs), 1)


def rayleigh(size: int) -> Problem:
    """w'Aw / 2|w|^2 with the eigenvalues 1 / size, 2 / size, ... 1 of A, in a fixed random basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))
    matrix = basis @ np.diag(np.arange(1, size + 1) / size) @ basis.T
    return Problem(Rayleigh(torch.from_numpy(matrix)), torch.zeros(1, 1), torch.zeros(1), "objective")


class Direction(nn.Module):
    """x'w / |w|: its gradients are the inputs without their part along w, over |w|."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.weight / self.weight.norm())[:, None]


def noise(size: int, examples: int) -> Problem:
    """Gradients that are pure Gaussian noise orthogonal to the weights: the mean of x'w / |w| over inputs that occur
    with both signs, which is zero for every w; one fixed set, of twice ``examples`` inputs."""
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((examples, size)))
    both = torch.cat([inputs, -inputs])
    return Problem(Direction(size), both, torch.zeros(len(both)), "objective")


def start(module: nn.Module, seeds: Sequence[int]) -> Tensor:
    """Gaussian weights of variance 1 / fan-in, one row per seed: S x P."""
    rows = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        drawn = [generator.standard_normal(p.shape) / p.shape[-1] ** 0.5 for p in module.parameters()]
        rows.append(np.concatenate([weights.ravel() for weights in drawn]))
    return torch.from_numpy(np.stack(rows))


def gaussian_data(seed: int, examples: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Random inputs and targets: examples x inputs, examples x outputs."""
    generator = np.random.default_rng([seed, 1])  # not the stream of the weights
    drawn = (generator.standard_normal((examples, size)) for size in (inputs, outputs))
    return tuple(torch.from_numpy(values) for values in drawn)


def on_gaussian_data(settings, seed: int) -> tuple[Problem, Problem]:
    """The same layers with and without normalisers, on random inputs and targets.

    Raises:
        ValueError: if a layer of the normalised network is not scale-invariant: ``eps`` must be zero.
    """
    sizes = settings.inputs, settings.outputs
    inputs, targets = gaussian_data(seed, settings.examples, *sizes)
    normalised = build(*sizes, settings.hidden, eps=settings.eps)
    require_invariant(normalised, inputs)
    bare = build(*sizes, settings.hidden, normalise=False)
    return Problem(normalised, inputs, targets, "mse"), Problem(bare, inputs, targets, "mse")


def on_images(settings, images: Images, *, normalise: bool = True) -> Problem:
    """Cross-entropy of pooled images, in float64.

    Raises:
        ValueError: if a layer of the normalised network is not scale-invariant: ``eps`` must be zero.
    """
    chosen = subset(images, settings.images, pool=settings.pool)
    inputs = chosen.train_inputs.flatten(1).double()
    module = build(inputs.shape[1], chosen.classes, settings.hidden, normalise=normalise, eps=settings.eps)
    if normalise:
        require_invariant(module, inputs)
    return Problem(module, inputs, chosen.train_labels, "cross_entropy")


@torch.no_grad()
def require_invariant(module: nn.Module, inputs: Tensor, tolerance: float = 1e-9) -> None:
    """Raises ValueError, naming the weights, unless each weight tensor can be rescaled without changing the outputs."""
    weights = dict(module.named_parameters())
    before = module(inputs)
    for name, tensor in weights.items():
        after = functional_call(module, {name: FACTOR * tensor}, (inputs,))
        change = float((after - before).abs().max() / before.abs().max())
        if not change <= tolerance:
            raise ValueError(
                f"{name!r} is not scale-invariant: {FACTOR} times it changes the outputs by {change:.1e} of their "
                "largest; every trained weight needs a normaliser (with eps 0) behind it"
            )
