"""Weight decay on scale-invariant weights is an exponential learning rate without any (U3)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import Rule, log10, output_differences
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import scale_invariance as theory

SYSTEMS = {
    "plain": {},
    "coupled": {"momentum": True},
    "decoupled": {"momentum": True, "decoupled": True},
}


@tidy
def run(settings, seeds: Sequence[int], images: Images) -> Iterator[Result]:
    """Logits of all images, of the run with weight decay and of its equivalent with an exponential learning rate and
    none. A seed draws weights and minibatches.

    Systems: ``plain``, ``coupled`` and ``decoupled`` (momentum) on a normalised network; ``rayleigh``: coupled, for
    w'Aw / 2|w|^2, whose ``logit`` is the loss. Controls: ``...-constant``, neither decay nor schedule;
    ``coupled-zero``, the schedule, but momentum that starts from zero; ``coupled-plain``, the schedule of SGD without
    momentum.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero; or if momentum and decay
            have no equivalent.

    Quantities: see the data card.
    """
    problem = networks.on_images(settings, images)
    for system, options in SYSTEMS.items():
        yield from _compare(system, problem, _rule(settings, **options), settings, seeds)
    rayleigh = networks.rayleigh(problem.module[0].in_features)
    yield from _compare("rayleigh", rayleigh, _rule(settings, momentum=True), settings, seeds)
    exponent = settings.lr * settings.weight_decay * settings.steps
    for seed in seeds:
        yield "plain", seed, {"exponent": exponent}


def _rule(settings, momentum: bool = False, decoupled: bool = False) -> Rule:
    beta = settings.momentum if momentum else 0.0
    return Rule(settings.lr, decay=settings.weight_decay, momentum=beta, decoupled=decoupled)


def _compare(system: str, problem: Problem, rule: Rule, settings, seeds: Sequence[int]) -> Iterator[Result]:
    exponential = rule.exponential()
    others = {system: exponential, f"{system}-constant": replace(rule, decay=0.0)}
    if system == "coupled":
        others["coupled-zero"] = replace(exponential, buffer=0.0)
        alpha = theory.growth_root(rule.lr, rule.decay)
        others["coupled-plain"] = replace(rule, lr=rule.lr / alpha, decay=0.0, growth=alpha**-2)
    readings = output_differences(problem, [rule, *others.values()], seeds, settings.steps, settings)
    quantities = {"difference": torch.stack(list(readings.values())).amax(0)}
    quantities |= {f"difference-{after}": differences for after, differences in readings.items()}
    for k, name in enumerate(others):
        for quantity, differences in quantities.items():
            for seed, value in zip(seeds, differences[k]):
                yield name, seed, {quantity: log10(float(value))}
