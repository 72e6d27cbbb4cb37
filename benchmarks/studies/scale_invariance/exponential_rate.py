"""Weight decay on scale-invariant weights is an exponential learning rate without any (U3)."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import COLUMNS, networks
from benchmarks.studies.scale_invariance.descent import Rule, differences, log10
from benchmarks.theory import scale_invariance as theory

SYSTEMS = {
    "plain": {},
    "coupled": {"momentum": True},
    "decoupled": {"momentum": True, "decoupled": True},
}


def run(settings: dict, seeds: Sequence[int], images: Images) -> pd.DataFrame:
    """Quantities by seed, which draws weights and minibatches: ``difference``, log10 of the largest difference of the
    logits of all images from those of the run with weight decay, over all readings; ``difference-N``, log10 of that
    after N steps; ``exponent``, lr x decay x steps.

    Systems, with weight decay: ``plain``, ``coupled`` and ``decoupled`` (momentum), against their equivalents without;
    ``...-constant``: neither decay nor schedule; ``coupled-zero``: the schedule, but momentum that starts from zero;
    ``coupled-plain``: the schedule of SGD without momentum; ``rayleigh``: the same for w'Aw / 2|w|^2, whose ``logit``
    is the loss, coupled.

    Args:
        settings: ``images``, ``pool``, ``hidden``, ``eps``, ``batch_size``, ``lr``, ``weight_decay``, ``momentum``,
            ``steps``, ``every``: steps between readings.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero; or if momentum and decay
            have no equivalent.
    """
    problem = networks.on_images(settings, images)
    rows: list[tuple] = []
    for system, options in SYSTEMS.items():
        rows += _compare(system, problem, _rule(settings, **options), settings, seeds)
    rayleigh = networks.rayleigh(problem.module[0].in_features)
    rows += _compare("rayleigh", rayleigh, _rule(settings, momentum=True), settings, seeds)
    exponent = settings["lr"] * settings["weight_decay"] * settings["steps"]
    rows += [("plain", seed, "exponent", exponent) for seed in seeds]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rule(settings: dict, momentum: bool = False, decoupled: bool = False) -> Rule:
    beta = settings["momentum"] if momentum else 0.0
    return Rule(settings["lr"], decay=settings["weight_decay"], momentum=beta, decoupled=decoupled)


def _compare(system: str, problem: Problem, rule: Rule, settings: dict, seeds: Sequence[int]) -> list[tuple]:
    exponential = rule.exponential()
    others = {system: exponential, f"{system}-constant": replace(rule, decay=0.0)}
    if system == "coupled":
        others["coupled-zero"] = replace(exponential, buffer=0.0)
        alpha = theory.growth_root(rule.lr, rule.decay)
        others["coupled-plain"] = replace(rule, lr=rule.lr / alpha, decay=0.0, growth=alpha**-2)
    readings = differences(problem, [rule, *others.values()], settings, settings["steps"], seeds)
    quantities = {"difference": torch.stack(list(readings.values())).amax(0)}
    quantities |= {f"difference-{made}": values for made, values in readings.items()}
    return [
        (name, seed, quantity, log10(float(value)))
        for k, name in enumerate(others)
        for quantity, values in quantities.items()
        for seed, value in zip(seeds, values[k])
    ]
