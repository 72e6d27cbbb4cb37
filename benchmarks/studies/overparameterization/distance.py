"""How far weights travel, by width and layer (O5: Lee et al. 2019, arXiv:1902.06720, figure 1)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import optimizers
from benchmarks.lab.architectures import ntk_mlp
from benchmarks.lab.architectures.ntk_mlp import Scaled
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import Problem
from benchmarks.studies.overparameterization.fitting import networks
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.exponents import log_slope

LAYERS = 3


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """Three hidden ReLU layers in NTK parametrization, ``ntk``, trained on all of the data. Controls: ``mean-field``,
    the same with the readout divided by the width, at a learning rate in proportion to the width, and
    ``repeated-features`` (`_repeated`), a linear model. A seed draws the initialization; the images are fixed.

    Layers are ``input``, ``hidden`` (the two between hidden layers as one vector) and ``output``. The wider half is
    the widths above the geometric mean of the least and the largest.

    Raises:
        ValueError: for widths of a system of which fewer than two lie above that mean, or that are not multiples of an
            even least one: then there is no slope, or nothing to repeat. Nothing has run then.

    Quantities: see the data card.
    """
    for name, widths in (("widths", settings.widths), ("mean_field_widths", settings.mean_field_widths)):
        if len(set(_wide(widths))) < 2:
            raise ValueError(f"{name} {widths}: an exponent of the wide half needs two different widths there")
    least = min(settings.widths)
    if least % 2 or any(width % least for width in settings.widths):
        raise ValueError(f"widths {settings.widths}: repeated features need multiples of an even least width")
    data = subset(images, settings.images, pool=settings.pool).to(device)
    targets = encode_targets(data.train_labels, "mse", data.classes, data.train_inputs.dtype)
    for seed in seeds:
        for system in ("ntk", "mean-field", "repeated-features"):
            widths = settings.mean_field_widths if system == "mean-field" else settings.widths
            distances: dict[str, dict[int, float]] = {}
            for width in widths:
                module, inputs, optimizer = _system(system, settings, data, width, seed)
                problem = Problem(module.to(device), inputs, targets, "mse")
                half, end, loss_left = _travel(problem, optimizer, settings.steps)
                scores = {f"loss-{width}": loss_left}
                for layer, distance in end.items():
                    distances.setdefault(layer, {})[width] = distance
                    scores[f"distance-{layer}-{width}"] = distance
                    scores[f"plateau-{layer}-{width}"] = half[layer] / distance
                yield system, seed, scores
            for layer, by_width in distances.items():
                for quantity, chosen in (("exponent", widths), ("wide", _wide(widths))):
                    exponent = log_slope(chosen, [by_width[width] for width in chosen])
                    yield system, seed, {f"{quantity}-{layer}": exponent}


def _wide(widths: Sequence[int]) -> list[int]:
    return [width for width in widths if width**2 > min(widths) * max(widths)]


def _system(system: str, settings, data: Images, width: int, seed: int) -> tuple[nn.Module, Tensor, Optimizer]:
    """What is trained, on which inputs, by which optimizer."""
    optimizer = optimizers.named(**settings.optimizer)
    hidden = [min(settings.widths) if system == "repeated-features" else width] * LAYERS
    readout = "mean-field" if system == "mean-field" else "ntk"
    (module,) = networks(data, [seed], ntk_mlp.build, hidden=hidden, activation="relu", readout=readout)
    if system == "repeated-features":
        return *_repeated(module, data.train_inputs, width), optimizer
    if system == "mean-field":
        return module, data.train_inputs, optimizer(lr=settings.mean_field_lr * width)
    return module, data.train_inputs, optimizer


def _repeated(base: nn.Sequential, inputs: Tensor, width: int) -> tuple[nn.Module, Tensor]:
    """A readout and its inputs: half of a network's last features, repeated up to ``width``, in NTK scaling.

    The weights are repeated with alternating signs, so that the first output is zero at any width. Then each of n
    weights moves in proportion to n^-1/2 and all together as far at any width, while their norm grows as n^1/2.
    """
    with torch.no_grad():
        features_NxH = base[:-1](inputs)
        weights_CxH = base[-1].weight
        half = weights_CxH.shape[1] // 2
        pair_CxH = torch.cat([weights_CxH[:, :half], -weights_CxH[:, :half]], dim=1)
        copies = width // half
        readout = Scaled(width, len(weights_CxH), base[-1].factor * (2 * half / width) ** 0.5)
        readout.weight.copy_(pair_CxH.repeat(1, copies // 2))
        return readout, features_NxH[:, :half].repeat(1, copies)


def _travel(problem: Problem, optimizer: Optimizer, steps: int) -> tuple[dict[str, float], dict[str, float], float]:
    """Distances by layer at half the steps and at the end, and the last loss over the first; nan if it diverged."""
    start_1xP = problem.initial_RxP()
    for step in descend(problem, start_1xP, optimizer, steps=steps):
        if step.number == steps // 2:
            halfway = _distances(problem, start_1xP, step.params_RxP)
    end = _distances(problem, start_1xP, step.params_RxP)
    if step.diverged:
        return dict.fromkeys(end, np.nan), dict.fromkeys(end, np.nan), np.nan
    return halfway, end, float(step.losses_R) / float(step.first_loss_R)


def _distances(problem: Problem, start_1xP: Tensor, end_1xP: Tensor) -> dict[str, float]:
    starts, ends = ([w.double() for w in problem.views(params, 0)] for params in (start_1xP, end_1xP))
    groups = {"input": slice(0, 1), "hidden": slice(1, -1), "output": slice(-1, None)}
    if len(starts) == 1:
        groups = {"output": slice(None)}
    distances = {}
    for layer, part in groups.items():
        squares = sum(float((e - s).square().sum()) for s, e in zip(starts[part], ends[part]))
        distances[layer] = (squares / sum(float(s.square().sum()) for s in starts[part])) ** 0.5
    return distances
