"""Run module: the phase diagram of networks that classify images, and muP's transfer of learning rates (T13)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from benchmarks.lab.architectures import deep_linear
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.carry_over.on_images import task
from benchmarks.studies.deep_linear import simulation
from benchmarks.studies.phase_diagram import mup, richness
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import modes as observables
from benchmarks.theory import predictions
from benchmarks.theory.modes import Modes


@tidy
def run(settings, seeds: Sequence[int], images: Images, compute, tick: Callable[[int, int], None]) -> Iterator[Result]:
    """Every network at each gamma, the two-layer linear network of the textbook at the same, and the transfer.

    Raises:
        ValueError: for more images than there are, or data without three modes above the noise.
    """
    dtype = getattr(torch, compute.dtype)
    ladders = settings.networks
    of_ladders = sum(one.seeds * richness.planned(one) for one in ladders.values())
    whole = of_ladders + mup.steps_of(settings.transfer, len(seeds))
    for seed in seeds:
        yield from textbook(settings.textbook, seed)
    yield from richness.run_ladders(
        ladders, seeds, lambda one, seed: task(one, images, seed, dtype), compute, lambda done: tick(done, whole)
    )
    yield from mup.transfer(settings.transfer, seeds, images, dtype, lambda done: tick(of_ladders + done, whole))


def textbook(settings, seed: int) -> Iterator[Result]:
    """Where the answer is known: a two-layer linear network on whitened inputs, from Gaussian weights of the usual
    size, by full-batch descent in float64. In the lazy limit all modes are learned at once, since the kernel at a wide
    start is a multiple of the identity; in the rich one each at a time of its own, near 1 / s.

    Systems: ``deep-linear@GAMMA`` and ``deep-linear``.
    """
    size = len(settings.spectrum)
    target = simulation.target(seed, settings.spectrum, size)
    modes, inputs = Modes.of(target, size), simulation.identity_design(size)
    torch.manual_seed(seed)
    module = deep_linear.build((size,), size, hidden=[settings.width]).double()
    start = simulation.stacked([simulation.gaussian_factors(seed, [size, settings.width, size], 1.0)])
    torch.nn.utils.vector_to_parameters(start[0], module.parameters())
    found = []
    for gamma in settings.gammas:
        problem = Problem(richness.Multiplied(module, gamma), inputs, inputs @ torch.from_numpy(target).T, "mse")
        maps, steps = [], []
        for step in descend(problem, start, sgd(lr=settings.lr * gamma**2), steps=settings.steps):
            steps.append(step.number)
            maps.append((step.point.outputs_RxNxC[0].mT @ inputs / size).numpy())
        halves = predictions.half_times(np.array(steps), modes.amplitudes(np.stack(maps)), modes.s_K)
        slope = observables.timing_slope(halves, modes.s_K) if np.isfinite(halves).all() else np.nan
        found.append({"timing_slope": slope, "gamma": gamma, "reached": float(np.isfinite(halves).all())})
        yield f"deep-linear@{gamma:g}", seed, {name: value for name, value in found[-1].items() if np.isfinite(value)}
    yield "deep-linear", seed, {name: value for name, value in richness.across(found).items() if np.isfinite(value)}
