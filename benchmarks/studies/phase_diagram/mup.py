"""The maximal update parametrization of a perceptron under Adam, and how its best learning rate depends on width.

Yang et al. (2022, arXiv:2203.03466, table 3), relative to a base width at which it is the standard parametrization:
m = width / base. The readout's weights start 1 / sqrt(m) times as large (variance 1 / fan-in^2); Adam's learning rate
is that of the base for the first layer and all biases, 1 / m of it for the others.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import datasets, optimizers
from benchmarks.lab.architectures import mlp
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.optimizers import Built, Optimizer
from benchmarks.lab.problem import Problem
from benchmarks.studies.table import Result
from benchmarks.theory.exponents import log_slope

# Times the first loss.
DIVERGENCE = 20.0
# Steps after which the change of the outputs is read, at the lowest of the learning rates.
FIRST_STEPS = 4


def maximal(perceptron: nn.Module, base: int) -> nn.Module:
    """A copy of a perceptron in standard parametrization with the initial readout of muP."""
    copy = deepcopy(perceptron)
    readout = [child for child in copy.modules() if isinstance(child, nn.Linear)][-1]
    with torch.no_grad():
        readout.weight.mul_((base / readout.in_features) ** 0.5)
    return copy


def layered(recipe: Optimizer, ratio: float) -> Optimizer:
    """An Adam with muP's learning rates, for the parameters of a perceptron in their order: weight and bias of each
    layer, first to last.

    Args:
        ratio: width over base width.
    """

    def build(parameters: list[nn.Parameter], *, lr: float, **options) -> Built:
        first, *others = [p for p in parameters if p.ndim > 1]
        constant = [first, *(p for p in parameters if p.ndim == 1)]
        groups = [{"params": constant}, {"params": others, "lr": lr / ratio}]
        return recipe.factory(groups, lr=lr, **options)

    return replace(recipe, factory=build)


def transfer(
    settings, seeds: Sequence[int], images: Images, dtype: torch.dtype, along: Callable[[int], None]
) -> Iterator[Result]:
    """The best learning rate of a perceptron at each width, in muP and in the standard parametrization.

    Systems: ``transfer/mup``, ``transfer/standard``. Quantities: see the data card.

    Args:
        settings: `Transfer` of study.py.
    """
    data = datasets.subset(images, settings.images, pool=settings.pool)
    inputs, labels = data.train_inputs.to(dtype), data.train_labels
    done = 0
    for seed in seeds:
        for name in ("mup", "standard"):
            found, best, moved = {}, [], []
            for width in settings.widths:
                torch.manual_seed(seed)
                module = perceptron(inputs.shape[1:], data.classes, width, settings).to(dtype)
                recipe = optimizers.named(**{**settings.optimizer, "lr": settings.lrs[0]})
                if name == "mup":
                    ratio = width / settings.base
                    module, recipe = maximal(module, settings.base), layered(recipe, ratio)
                problem = Problem(module, inputs, labels, "cross_entropy")
                losses = []
                for lr in settings.lrs:
                    loss, change = end_of(problem, recipe(lr=lr), settings, seed)
                    losses.append(loss)
                    if lr == settings.lrs[0]:
                        moved.append(change)
                    done += settings.steps
                    along(done)
                best.append(least(settings.lrs, losses))
                found |= {f"best_lr-{width}": best[-1], f"best_loss-{width}": min(losses)}
                found |= {f"loss-{width}-{lr:g}": loss for lr, loss in zip(settings.lrs, losses)}
                found[f"inside-{width}"] = float(0 < int(np.argmin(losses)) < len(losses) - 1)
            found |= {
                "transfer_slope": log_slope(settings.widths, best),
                "change_slope": log_slope(settings.widths, moved),
                "inside": min(found[f"inside-{width}"] for width in settings.widths),
            }
            yield f"transfer/{name}", seed, {key: value for key, value in found.items() if np.isfinite(value)}


def steps_of(settings, seeds: int) -> int:
    """Steps of `transfer`."""
    return settings.steps * 2 * len(settings.widths) * len(settings.lrs) * seeds


def perceptron(shape: Sequence[int], classes: int, width: int, settings) -> nn.Module:
    """Hidden layers of one width, with biases of zero, whose scale would not be that of muP."""
    module = mlp.build(tuple(shape), classes, hidden=[width] * settings.depth, activation="relu")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return module


def end_of(problem: Problem, optimizer: Optimizer, settings, seed: int) -> tuple[float, float]:
    """The loss on all images at the end, infinite for a run that diverged; and the root mean square of the outputs'
    change after the first few steps."""
    batches = Minibatches([seed], examples=problem.examples, size=settings.batch_size)
    start = problem.initial_RxP()
    loop = descend(problem, start, optimizer, steps=settings.steps, minibatches=batches, divergence=DIVERGENCE)
    change = np.nan
    for step in loop:
        if bool(step.lost_R.any()):
            return np.inf, change
        if step.number == FIRST_STEPS:
            change = float((_outputs(problem, step.params_RxP) - _outputs(problem, start)).square().mean().sqrt())
    return float(problem.losses(step.params_RxP)[0]), change


def _outputs(problem: Problem, params_RxP: Tensor) -> Tensor:
    inputs, _ = next(problem.chunks())
    return problem.outputs(params_RxP, inputs)


def least(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate of the least loss: where the parabola through it and its neighbours in ln(rate) has its bottom, or it
    itself at an end of the grid and beside a run that diverged; nan if all did."""
    losses = np.asarray(losses, float)
    if not np.isfinite(losses).any():
        return np.nan
    k = int(np.argmin(losses))
    around = losses[max(k - 1, 0) : k + 2]
    if len(around) < 3 or not np.isfinite(around).all():
        return float(rates[k])
    square, slope, _ = np.polyfit(np.log(rates[k - 1 : k + 2]), around, 2)
    return float(np.exp(-slope / (2 * square))) if square > 0 else float(rates[k])
