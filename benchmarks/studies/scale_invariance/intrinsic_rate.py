"""What is left of learning rate and weight decay in equilibrium: their product (U7)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import Rule, descend, log10, minibatches, output_differences
from benchmarks.studies.table import Result, tidy

FACTOR = 3.0  # of the learning rate, where the start follows


@tidy
def run(settings, seeds: Sequence[int], images: Images) -> Iterator[Result]:
    """SGD with weight decay for pairs of learning rate and decay, some of which share their product: means of the
    readings in the second half; ``drift`` is from the third to the last quarter. A seed draws weights and minibatches.

    Systems: ``network``, normalised, and ``bare``, the control, without normalisers, have the ratios;
    SYSTEM-LR-DECAY is one pair. ``rescaled``, a run with three times the learning rate, a third of the decay, and
    weights that start sqrt(3) times as large, should be the same as the first; ``same-start``, its control, is without
    the last of these.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.

    Quantities: see the data card.
    """
    network = networks.on_images(settings, images)
    yield from _equivalent(network, settings, seeds)
    bare = networks.on_images(settings, images, normalise=False)
    chosen = subset(images, settings.images, pool=settings.pool)
    tests = (chosen.test_inputs.flatten(1).double(), chosen.test_labels)
    for system, problem in (("network", network), ("bare", bare)):
        problems = {"": problem, "test_": Problem(problem.module, *tests, "cross_entropy")}
        yield from _spreads(system, problems, {"": chosen.train_labels, "test_": tests[1]}, settings, seeds)


def _equivalent(problem: Problem, settings, seeds: Sequence[int]) -> Iterator[Result]:
    lr, decay = settings.lr, settings.product / settings.lr
    others = {
        "rescaled": Rule(FACTOR * lr, decay / FACTOR, start=FACTOR**0.5),
        "same-start": Rule(FACTOR * lr, decay / FACTOR),
    }
    readings = output_differences(problem, [Rule(lr, decay), *others.values()], seeds, settings.exact_steps, settings)
    for name, values in zip(others, torch.stack(list(readings.values())).amax(0)):
        for seed, value in zip(seeds, values):
            yield name, seed, {"difference": log10(float(value))}


def _spreads(
    system: str, problems: dict[str, Problem], labels: dict[str, Tensor], settings, seeds: Sequence[int]
) -> Iterator[Result]:
    """Args: ``problems``, ``labels``: those of training under the name "", which is trained on, and others to read."""
    lr, product = settings.lr, settings.product
    one_product = [(factor * lr, product / (factor * lr)) for factor in settings.lr_factors]
    products = [(lr, factor * product / lr) for factor in settings.product_factors]
    pairs = list(dict.fromkeys(one_product + products))
    problem = problems[""]
    batches = minibatches(problem, seeds, settings.batch_size)
    readings: dict[str, list[Tensor]] = {f"{on}{what}": [] for on in problems for what in ("loss", "accuracy")}
    rules = [Rule(*pair) for pair in pairs]
    for step in descend(problem, networks.start(problem.module, seeds), rules, settings.steps, batches):
        if (step.number + 1) % settings.every == 0 and step.number >= settings.steps // 2:
            for on, read in problems.items():
                point = read.at(step.after_RxP)
                readings[f"{on}loss"].append(point.losses_R)
                right = point.outputs_RxNxC.argmax(-1) == labels[on]
                readings[f"{on}accuracy"].append(right.double().mean(1))

    def ranges(values_PxS: np.ndarray, chosen: list[tuple[float, float]]) -> np.ndarray:
        return np.ptp(values_PxS[[pairs.index(pair) for pair in chosen]], axis=0)

    def by_pair(quantity: str, values_PxS: np.ndarray) -> Iterator[Result]:
        for (lr, decay), values in zip(pairs, values_PxS):
            for seed, value in zip(seeds, values):
                yield f"{system}-{lr:g}-{decay:g}", seed, {quantity: value}

    for quantity, kept in readings.items():
        values_TxPxS = torch.stack(kept).view(-1, len(pairs), len(seeds)).numpy()
        final_PxS = values_TxPxS.mean(0)
        ratios = ranges(final_PxS, one_product) / ranges(final_PxS, products)
        for seed, value in zip(seeds, ratios):
            yield system, seed, {f"{quantity}_ratio": value}
        yield from by_pair(quantity, final_PxS)
        if quantity == "loss":
            early, late = (part.mean(0) for part in np.array_split(values_TxPxS, 2))
            yield from by_pair("drift", (late - early) / ranges(final_PxS, products))
