"""How the norm of scale-invariant weights grows under gradient descent (U2)."""

from collections.abc import Iterable, Iterator

import torch

from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import Rule, descend, log10, minibatches
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Iterable[int]) -> Iterator[Result]:
    """SGD on Gaussian data without decay. A seed draws weights, data and minibatches.

    Systems: ``network`` (normalised) and ``rayleigh``, w'Aw / 2|w|^2. Controls, where the identity must fail:
    ``momentum`` on that network, and ``bare``, without normalisers.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.

    Quantities: see the data card.
    """
    plain, momentum = Rule(settings.lr), Rule(settings.lr, momentum=settings.momentum)
    for seed in seeds:
        normalised, bare = networks.on_gaussian_data(settings, seed)
        for system, problem, rule in (
            ("network", normalised, plain),
            ("rayleigh", networks.rayleigh(settings.inputs), plain),
            ("momentum", normalised, momentum),
            ("bare", bare, plain),
        ):
            yield system, seed, _growth(problem, rule, settings, seed)


def _growth(problem: Problem, rule: Rule, settings, seed: int) -> dict[str, float]:
    start_1xP = networks.start(problem.module, [seed])
    batches = minibatches(problem, [seed], settings.batch_size)
    errors, predicted, squares = [], [], []
    for step in descend(problem, start_1xP, [rule], settings.steps, batches):
        before, grads, after = (
            torch.stack([layer.square().sum() for layer in problem.views(params, 0)])
            for params in (step.before_RxP, step.grads_RxP, step.after_RxP)
        )
        predicted.append(rule.lr**2 * grads)
        errors.append((after - before - predicted[-1]).abs())
        squares += [before, after]
    largest = torch.stack(errors).amax(0) / torch.stack(predicted).amax(0)
    return {"deviation": log10(float(largest.max())), "growth": float((squares[-1] / squares[0]).min())}
