"""Kernels, waits and copies of a gradient, a step and a reading, counted on a device that is the CPU in disguise.

On networks this small a GPU spends its time on starting kernels and on being waited for: seconds there are about the
launches times a few microseconds, whatever the examples.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.launches import Counted
from benchmarks.lab.loop import descend
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.pretend_device import NAME
from benchmarks.lab.problem import Problem

# Readings before a warm one.
BEFORE = 2


def run(settings) -> pd.DataFrame:
    """What each network, in each stack, asks of a device.

    Args:
        settings: `Launches` of study.py.

    Quantities: see the data card.
    """
    rows = []
    for name, network in settings.networks.items():
        for stack in settings.stacks:
            for what, seen, products in _counts(network, settings, stack):
                counts = {kind: getattr(seen, kind).total() for kind in ("launches", "waits", "transfers")}
                rows.append({"network": name, "what": what, "stack": stack, **counts, "products": products})
    return pd.DataFrame(rows)


def _counts(network, settings, stack: int) -> Iterator[tuple[str, Counted, int]]:
    problem = _problem(network, settings.examples, stack)
    params_RxP = problem.initial_RxP()
    problem.at(params_RxP, curvature=True)  # checks of the network are made once
    seen, _ = counted(lambda: problem.at(params_RxP))
    yield "gradient", seen, 0
    for name, options in settings.optimizers.items():
        steps = descend(problem, params_RxP, optimizers.named(**options), steps=2)
        next(steps), next(steps)  # optimizers make their states in the first update
        seen, _ = counted(lambda steps=steps: next(steps))
        yield f"step of {name}", seen, 0
    point = problem.at(params_RxP, curvature=True)
    seen, _ = counted(lambda: point.hvp(torch.ones_like(params_RxP)))
    yield "product", seen, 1
    solver = Sharpness(range(1, stack + 1), every=1, tolerance=settings.tolerance)
    for number in range(BEFORE):
        solver.measure(Reading(number, point, lambda: None))
    seen, found = counted(lambda: solver.measure(Reading(BEFORE, point, lambda: None)))
    yield "warm reading", seen, int(found["sharpness_hvps"][0])


def counted(work: Callable[[], object]) -> tuple[Counted, object]:
    """The counts of a piece of work on the device, and what it returns."""
    with Counted(NAME) as seen:
        made = work()
    return seen, made


def _problem(network, examples: int, stack: int) -> Problem:
    generator = np.random.default_rng(0)
    shape, outputs = tuple(network.inputs), network.outputs
    if network.tokens:
        inputs, labels = (torch.from_numpy(generator.integers(outputs, size=(examples, *shape))) for _ in range(2))
    else:
        inputs = torch.from_numpy(generator.normal(size=(examples, *shape))).float()
        labels = torch.arange(examples) % outputs
    modules = architectures.build_stack(input_shape=shape, outputs=outputs, seeds=range(stack), **network.architecture)
    return Problem([module.to(NAME) for module in modules], inputs.to(NAME), labels.to(NAME), "cross_entropy")
