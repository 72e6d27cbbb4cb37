"""Which of many minimizers of least squares gradient descent finds: the nearest one, and only in linear models (N7)."""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.lab.architectures import bias_free_mlp, deep_linear
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend, last
from benchmarks.lab.ntk import call, jacobian, layers
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.lazy_training.setup import drawn, network
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.linearized import Descent

SMALL = 1e-3
NEWTON, DESCENTS, FLAT = 20, 300, 1e-6
# Of the loss: a network with more left does not interpolate.
FITTED = 1e-12


@tidy
def run(settings, seeds: Iterable[int], images: Images) -> Iterator[Result]:
    """Gradient descent on half squared errors with more parameters than examples, in float64, and w*, the interpolating
    parameters nearest to where it started; for a linear model that starts at zero these are X^+ y.

    Systems: ``gaussian`` and ``images``, linear models from zero; ``closed-form``, the first of them by its spectrum;
    ``away``, linear from random weights, against X^+ y; ``deep-linear`` and ``relu``, with a hidden layer and PyTorch's
    initialization, in the space of their parameters; ``deep-linear-map``, the first one's end-to-end map against
    X^+ y, and ``deep-linear-small-map``, the same from weights a thousandth as large. All but ``images`` learn Gaussian
    inputs and outputs.

    For networks w* is a local minimum of the distance, reached from w: the nearest can only be nearer. A network that
    does not interpolate has no w*, and neither ``error`` nor ``distance_ratio``.

    Raises:
        ValueError: for at least as many examples as inputs: there is then no choice of minimizers.

    Quantities: see the data card.
    """
    seeds = list(seeds)
    pixels = {seed: drawn(images, settings.images, settings.pool, seed) for seed in seeds}
    sizes = [("images", settings.images, one.shape[1]) for one, _ in pixels.values()]
    for name, count, size in (("examples", settings.examples, settings.inputs), *sizes):
        if count >= size:
            raise ValueError(f"{count} {name} of {size} inputs leave no choice of minimizers: fewer are needed")
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(settings.examples, settings.inputs, dtype=torch.float64, generator=generator)
        targets = torch.randn(settings.examples, 1, dtype=torch.float64, generator=generator)
        yield from _linear(inputs, targets, seed, settings.steps)
        yield from _deep(inputs, targets, seed, settings)
        inputs, signs = (torch.from_numpy(array) for array in pixels[seed])
        yield "images", seed, _from_zero(inputs, signs[:, None], settings.image_steps)


def _linear(inputs: Tensor, targets: Tensor, seed: int, steps: int) -> Iterator[Result]:
    away, left = _train(network(deep_linear.build, inputs, seed), inputs, targets, 1 / _top(inputs), steps)
    nearest = _pseudo_inverse(inputs, targets)
    spectral = Descent((inputs @ inputs.T).numpy(), -targets[:, 0].numpy(), 1 / _top(inputs))
    closed = -inputs.T @ torch.from_numpy(spectral.gathered(steps))
    yield "gaussian", seed, _from_zero(inputs, targets, steps)
    yield "away", seed, {"error": _error(away, nearest), "loss_left": left}
    yield "closed-form", seed, {"error": _error(closed, nearest)}


def _from_zero(inputs: Tensor, targets: Tensor, steps: int) -> dict[str, float]:
    module = network(deep_linear.build, inputs, seed=0, shrink=0.0)
    end, left = _train(module, inputs, targets, 1 / _top(inputs), steps)
    return {"error": _error(end, _pseudo_inverse(inputs, targets)), "loss_left": left}


def _top(inputs: Tensor) -> float:
    """The largest eigenvalue of XX' / N, at which a linear model's loss curves."""
    return float(torch.linalg.eigvalsh(inputs @ inputs.T)[-1]) / len(inputs)


def _pseudo_inverse(inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.linalg.pinv(inputs) @ targets[:, 0]


def _deep(inputs: Tensor, targets: Tensor, seed: int, settings) -> Iterator[Result]:
    linear = partial(deep_linear.build, hidden=[settings.hidden])
    relu = partial(bias_free_mlp.build, hidden=[settings.hidden], activation="relu")
    for system, build, shrink in (
        ("deep-linear", linear, 1.0),
        ("relu", relu, 1.0),
        ("deep-linear-small", linear, SMALL),
    ):
        module = network(build, inputs, seed, shrink)
        start = flatten_parameters(module)
        end, left = _train(module, inputs, targets, settings.rate / _top(inputs), settings.steps)
        yield system, seed, {"loss_left": left}
        if build is linear:
            first, second = layers(module, end).values()
            yield f"{system}-map", seed, {"error": _error((second @ first)[0], _pseudo_inverse(inputs, targets))}
        if shrink == 1.0 and left < FITTED:
            closest = nearest_interpolation(module, end, start, inputs, targets)
            distance = float((closest - start).norm())
            error, ratio = (float((end - origin).norm()) / distance for origin in (closest, start))
            yield system, seed, {"error": error, "distance_ratio": ratio}


def _train(module: nn.Module, inputs: Tensor, targets: Tensor, lr: float, steps: int) -> tuple[Tensor, float]:
    """The parameters at which gradient descent from the module's ends, and the last loss over the first."""
    problem = Problem(module, inputs, targets, "mse")
    end = last(descend(problem, problem.initial_RxP(), sgd(lr=lr), steps=steps))
    return end.params_RxP[0], float(end.losses_R) / float(end.first_loss_R)


def nearest_interpolation(module: nn.Module, end: Tensor, start: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Parameters that fit every example, at a least distance from ``start`` among their neighbours that do.

    From ``end``, which must nearly fit, and along parameters that fit: a step towards ``start`` in the null space of
    the Jacobian, halved until the point is nearer once Newton's method has brought it back.

    Raises:
        RuntimeError: if no parameters near ``end`` fit.
    """

    def fitted(weights: Tensor) -> tuple[Tensor, Tensor] | None:
        for _ in range(NEWTON):
            rows = jacobian(module, inputs, weights)[:, 0]
            missing = targets[:, 0] - call(module, weights, inputs)[:, 0]
            if missing.norm() < 1e-12 * targets.norm():
                return weights, rows
            weights = weights + _least(rows, missing)
        return None

    point = fitted(end)
    if point is None:
        raise RuntimeError("no parameters near the trained ones fit every example")
    weights, rows = point
    size = 1.0
    for _ in range(DESCENTS):
        away = weights - start
        along = away - _least(rows, rows @ away)
        if along.norm() < FLAT * away.norm() or size < FLAT:
            break
        point = fitted(weights - size * along)
        if point and (point[0] - start).norm() < away.norm():
            weights, rows = point
            size = min(1.0, 2 * size)
        else:
            size /= 2
    return weights


def _least(rows: Tensor, values: Tensor) -> Tensor:
    """The solution of least norm, of a singular system too: a ReLU's units may all be off for an example."""
    return torch.linalg.lstsq(rows, values[:, None], driver="gelsd").solution[:, 0]


def _error(weights: Tensor, nearest: Tensor) -> float:
    return float((weights - nearest).norm() / nearest.norm())
