"""How the norm of scale-invariant weights grows under gradient descent (U2)."""

from collections.abc import Iterable

import pandas as pd
import torch

from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import COLUMNS, networks
from benchmarks.studies.scale_invariance.descent import Rule, descend, log10, minibatches


def run(settings: dict, seeds: Iterable[int]) -> pd.DataFrame:
    """Quantities by seed, which draws weights, data and minibatches: ``deviation``, log10 of the largest, over layers
    and steps, of | |w'|^2 - |w|^2 - lr^2 |g|^2 | over the run's largest lr^2 |g|^2; ``growth``, |w|^2 at the end over
    that at the start, the least over layers.

    Systems: ``network`` (normalised, SGD without decay), ``rayleigh`` (w'Aw / 2|w|^2), and what must fail, ``momentum``
    on that network and ``bare``, without normalisers.

    Args:
        settings: ``inputs``, ``outputs``, ``hidden``, ``examples``, ``eps``, ``batch_size``, ``lr``, ``momentum`` of
            the control, ``steps``.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.
    """
    rows: list[tuple] = []
    sizes = [settings[key] for key in ("examples", "inputs", "outputs")]
    plain, momentum = Rule(settings["lr"]), Rule(settings["lr"], momentum=settings["momentum"])
    for seed in seeds:
        inputs, targets = networks.gaussian_data(seed, *sizes)
        modules = [
            networks.build(*sizes[1:], settings["hidden"], **options)
            for options in ({"eps": settings["eps"]}, {"normalise": False})
        ]
        networks.require_invariant(modules[0], inputs)
        normalised, bare = (Problem(module, inputs, targets, "mse") for module in modules)
        for system, problem, rule in (
            ("network", normalised, plain),
            ("rayleigh", networks.rayleigh(settings["inputs"]), plain),
            ("momentum", normalised, momentum),
            ("bare", bare, plain),
        ):
            rows += [(system, seed, name, value) for name, value in _growth(problem, rule, settings, seed)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _growth(problem: Problem, rule: Rule, settings: dict, seed: int) -> list[tuple[str, float]]:
    start_1xP = networks.start(problem.module, [seed])
    batches = minibatches(problem, [seed], settings["batch_size"])
    errors, predicted, squares = [], [], []
    for step in descend(problem, start_1xP, [rule], settings["steps"], batches):
        before, grads, after = (
            torch.stack([layer.square().sum() for layer in networks.layers(problem.module, params)])
            for params in (step.before_RxP, step.grads_RxP, step.after_RxP)
        )
        predicted.append(rule.lr**2 * grads)
        errors.append((after - before - predicted[-1]).abs())
        squares += [before, after]
    largest = torch.stack(errors).amax(0) / torch.stack(predicted).amax(0)
    return [
        ("deviation", log10(float(largest.max()))),
        ("growth", float((squares[-1] / squares[0]).min())),
    ]
