"""Logistic regression on two classes of images: a familiar convex problem, with its constants measured (C1 to C4)."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.datasets import Images, subset
from benchmarks.studies.convex_rates.descent import constant_momentum, momenta, objective
from benchmarks.studies.convex_rates.descent import run as descend
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import convex_rates, margins


@tidy
def run(settings, seeds: Iterable[int], images: Images) -> Iterator[Result]:
    """Two classes of images, drawn by the seed: ``gradient-descent``, ``nesterov`` and, with a ridge,
    ``strongly-convex`` (Nesterov's with constant momentum) against the bounds with the constants of this ``problem``,
    X being its examples.

    Raises:
        ValueError: for a problem that is separable without a ridge, or does not match ``separable``.

    Quantities: see the data card.
    """
    for seed in seeds:
        inputs, signs = _data(settings, images, seed)
        margins.require(inputs.numpy(), signs.numpy(), settings.separable)
        if settings.separable and not settings.ridge:
            raise ValueError("a plane separates the two classes and there is no ridge: logistic loss has no minimizer")
        yield from _methods(settings, inputs, signs, seed)


def _data(settings, images: Images, seed: int) -> tuple[Tensor, Tensor]:
    whole = subset(images, int((images.train_labels < 2).sum()), classes=2, pool=settings.pool)
    chosen = np.random.default_rng(seed).choice(len(whole.train_labels), settings.images, replace=False)
    inputs = whole.train_inputs[chosen].flatten(1).double()
    return inputs, 2.0 * whole.train_labels[chosen].double() - 1


def _methods(settings, inputs: Tensor, signs: Tensor, seed: int) -> Iterator[Result]:
    facing, ridge, steps = signs[:, None] * inputs, settings.ridge, settings.steps
    loss = partial(_loss, facing, ridge)
    n, size = facing.shape
    smooth = float(torch.linalg.eigvalsh(facing.T @ facing / n)[-1]) / 4 + ridge
    best = _minimizer(facing, ridge)
    least = float(loss(best))
    mu = float(torch.linalg.eigvalsh(_hessian(facing, ridge, best))[0])
    start = torch.zeros(size, dtype=torch.float64)
    distance = float((start - best).norm())
    gradient = float(_gradient(facing, ridge, best).norm())
    yield "problem", seed, {"L": smooth, "mu": mu, "ridge": ridge, "distance": distance, "gradient": gradient}
    first = float(loss(start)) - least
    methods = [
        ("gradient-descent", [0.0] * steps, partial(convex_rates.gradient_descent, smooth, distance, 1 / smooth)),
        ("nesterov", momenta(steps), partial(convex_rates.accelerated, smooth, distance)),
    ]
    if ridge:
        bound = partial(convex_rates.strongly_convex_accelerated, smooth, ridge, distance, first)
        methods.append(("strongly-convex", [constant_momentum(smooth, ridge)] * steps, bound))
    problem = objective(loss, start)
    for system, chosen, bound in methods:
        gaps = np.array(descend(problem, start, 1 / smooth, chosen)) - least
        bounds = np.array([bound(k) for k in range(len(gaps))])
        yield system, seed, {"largest_ratio": (gaps[1:] / bounds[1:]).max()}
        for k in settings.marks:
            yield system, seed, {f"gap-{k}": gaps[k], f"bound-{k}": bounds[k]}


def _loss(facing: Tensor, ridge: float, w: Tensor) -> Tensor:
    return torch.nn.functional.softplus(-facing @ w).mean() + ridge * w.square().sum() / 2


def _gradient(facing: Tensor, ridge: float, w: Tensor) -> Tensor:
    return -(torch.sigmoid(-facing @ w) @ facing) / len(facing) + ridge * w


def _hessian(facing: Tensor, ridge: float, w: Tensor) -> Tensor:
    p = torch.sigmoid(facing @ w)
    return (facing * (p * (1 - p))[:, None]).T @ facing / len(facing) + ridge * torch.eye(len(w), dtype=w.dtype)


def _minimizer(facing: Tensor, ridge: float) -> Tensor:
    """By damped Newton steps, until the gradient is rounding."""
    loss, w = partial(_loss, facing, ridge), torch.zeros(facing.shape[1], dtype=torch.float64)
    for _ in range(200):
        gradient = _gradient(facing, ridge, w)
        if gradient.norm() < 1e-13:
            break
        step = torch.linalg.solve(_hessian(facing, ridge, w), gradient)
        size = 1.0
        while size > 1e-8 and loss(w - size * step) > loss(w) - size * (gradient @ step) / 4:
            size /= 2
        w = w - size * step
    return w
