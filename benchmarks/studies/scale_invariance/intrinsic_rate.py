"""What is left of learning rate and weight decay in equilibrium: their product (U7)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import COLUMNS, networks
from benchmarks.studies.scale_invariance.descent import Rule, descend, differences, log10, minibatches

FACTOR = 3.0  # of the learning rate, where the start follows


def run(settings: dict, seeds: Sequence[int], images: Images) -> pd.DataFrame:
    """Quantities by seed, which draws weights and minibatches.

    Of ``SYSTEM-LR-DECAY``, SYSTEM being ``network``, normalised, or ``bare``, without normalisers, means of the
    readings in the second half: ``loss`` and ``accuracy`` on the training images, ``test_loss`` and ``test_accuracy``;
    and ``drift``, the change of the loss from the third to the last quarter over the range over products.

    Of ``SYSTEM``: ``loss_ratio``, ``accuracy_ratio``, ..., the range of one of these over pairs of learning rate and
    decay with one product, over its range over products.

    Of ``rescaled``: ``difference``, log10 of the largest difference of the logits of all training images between a run
    and one with three times the learning rate, a third of the decay, and weights that start sqrt(3) times as large,
    over the first ``exact_steps``; ``same-start``: without the last of these.

    Args:
        settings: ``images``, ``pool``, ``hidden``, ``eps``, ``batch_size``, ``lr``, ``product``, ``lr_factors``,
            ``product_factors`` (each with 1), ``steps``, ``every``, steps between readings, ``exact_steps``.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.
    """
    network = networks.on_images(settings, images)
    rows = _equivalent(network, settings, seeds)
    bare = networks.on_images(settings, images, normalise=False)
    chosen = subset(images, settings["images"], pool=settings["pool"])
    tests = (chosen.test_inputs.flatten(1).double(), chosen.test_labels)
    for system, problem in (("network", network), ("bare", bare)):
        problems = {"": problem, "test_": Problem(problem.module, *tests, "cross_entropy")}
        rows += _spreads(system, problems, {"": chosen.train_labels, "test_": tests[1]}, settings, seeds)
    return pd.DataFrame(rows, columns=COLUMNS)


def _equivalent(problem: Problem, settings: dict, seeds: Sequence[int]) -> list[tuple]:
    lr, decay = settings["lr"], settings["product"] / settings["lr"]
    others = {
        "rescaled": Rule(FACTOR * lr, decay / FACTOR, start=FACTOR**0.5),
        "same-start": Rule(FACTOR * lr, decay / FACTOR),
    }
    readings = differences(problem, [Rule(lr, decay), *others.values()], settings, settings["exact_steps"], seeds)
    largest = torch.stack(list(readings.values())).amax(0)
    return [
        (name, seed, "difference", log10(float(value)))
        for name, values in zip(others, largest)
        for seed, value in zip(seeds, values)
    ]


def _spreads(
    system: str, problems: dict[str, Problem], labels: dict[str, Tensor], settings: dict, seeds: Sequence[int]
) -> list[tuple]:
    """Args: ``problems``, ``labels``: those of training under the name "", which is trained on, and others to read."""
    lr, product = settings["lr"], settings["product"]
    one_product = [(factor * lr, product / (factor * lr)) for factor in settings["lr_factors"]]
    products = [(lr, factor * product / lr) for factor in settings["product_factors"]]
    pairs = list(dict.fromkeys(one_product + products))
    problem = problems[""]
    batches = minibatches(problem, seeds, settings["batch_size"])
    readings: dict[str, list[Tensor]] = {f"{on}{what}": [] for on in problems for what in ("loss", "accuracy")}
    rules = [Rule(*pair) for pair in pairs]
    for step in descend(problem, networks.start(problem.module, seeds), rules, settings["steps"], batches):
        if (step.number + 1) % settings["every"] == 0 and step.number >= settings["steps"] // 2:
            for on, read in problems.items():
                point = read.at(step.after_RxP)
                readings[f"{on}loss"].append(point.losses_R)
                right = point.outputs_RxNxC.argmax(-1) == labels[on]
                readings[f"{on}accuracy"].append(right.double().mean(1))

    def ranges(values_PxS: np.ndarray, chosen: list[tuple[float, float]]) -> np.ndarray:
        return np.ptp(values_PxS[[pairs.index(pair) for pair in chosen]], axis=0)

    rows: list[tuple] = []
    for quantity, kept in readings.items():
        values_TxPxS = torch.stack(kept).view(-1, len(pairs), len(seeds)).numpy()
        final_PxS = values_TxPxS.mean(0)
        ratios = ranges(final_PxS, one_product) / ranges(final_PxS, products)
        rows += [(system, seed, f"{quantity}_ratio", value) for seed, value in zip(seeds, ratios)]
        rows += _by_pair(system, pairs, seeds, quantity, final_PxS)
        if quantity == "loss":
            early, late = (part.mean(0) for part in np.array_split(values_TxPxS, 2))
            rows += _by_pair(system, pairs, seeds, "drift", (late - early) / ranges(final_PxS, products))
    return rows


def _by_pair(
    system: str, pairs: list[tuple[float, float]], seeds: Sequence[int], quantity: str, values_PxS: np.ndarray
) -> list[tuple]:
    return [
        (f"{system}-{lr:g}-{decay:g}", seed, quantity, value)
        for (lr, decay), values in zip(pairs, values_PxS)
        for seed, value in zip(seeds, values)
    ]
