"""The edge of stochastic stability with momentum (E12: Andreyev et al. 2026, arXiv:2604.14108)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from benchmarks.lab import architectures
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.losses import encode_targets, outputs
from benchmarks.lab.measurements import linear_stability
from benchmarks.lab.measurements.batch_sharpness import BatchSharpness
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import train
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import stability, stochastic_stability

# Of the threshold: where the simulated quadratic is stable and its square has a variance.
BELOW = 0.5
LR = 0.1  # of the quadratics, whose results do not depend on it
BURN_IN = 0.2
DIVERGENCE = 1e3
# A level is read of a run whose medians in the third and the last quarter agree so far.
SETTLED = 2 / 3
# A rarer direction takes longer to come to rest than is worth simulating.
LEAST_SHARE = 0.1


@tidy
def run(
    settings,
    seeds: Sequence[int],
    images: Images,
    compute,
    tick: Callable[[int, int], None] = lambda done, planned: None,
) -> Iterator[Result]:
    """Networks, trained by the library's SGD, all seeds of a system in one stack; and quadratics whose curvature
    differs from batch to batch, for which the thresholds are known.

    Systems: the names of ``systems``, and ``quadratic-BETA-SHARE``: without a seed its threshold, with a seed the
    variance of its simulation, for shares of a tenth or more. Quantities: see the data card.
    """
    planned = sum(system.steps for system in settings.systems.values())
    done = 0
    for name, system in settings.systems.items():

        def along(step: int, _: object, done: int = done) -> None:
            tick(done + step, planned)

        yield from _trained(name, system, settings, seeds, images, compute, along)
        done += system.steps
    for momentum in settings.momenta:
        for share in settings.shares:
            system = f"quadratic-{momentum:g}-{share:g}"
            known = stochastic_stability.batch_threshold(LR, momentum, share)
            found = library_threshold(momentum, share)
            yield (
                system,
                None,
                {
                    "threshold_ratio": found / known,
                    **_in_thresholds(found, LR, momentum),
                },
            )
            for seed in seeds if share >= LEAST_SHARE else ():
                measured = simulated_square(momentum, share, BELOW * known, settings, seed)
                expected = stochastic_stability.stationary_square(LR, momentum, share, BELOW * known, 1.0)
                yield system, seed, {"variance_ratio": measured / expected}


def _trained(name, system, settings, seeds, images, compute, along) -> Iterator[Result]:
    data = subset(images, settings.images, pool=settings.pool)
    inputs = data.train_inputs.to(getattr(torch, compute.dtype))
    targets = encode_targets(data.train_labels, "mse", data.classes, inputs.dtype)
    networks = architectures.build_stack(
        input_shape=tuple(inputs.shape[1:]), outputs=outputs("mse", data.classes), seeds=seeds, **system.architecture
    )
    problem = Problem([network.to(inputs.dtype) for network in networks], inputs, targets, "mse")
    size = system.batch_size or problem.examples
    every = max(1, system.steps // settings.readings)
    reader = BatchSharpness(
        seeds,
        examples=problem.examples,
        batch_size=size,
        batches=1 if system.batch_size is None else settings.batches,
        every=every,
    )
    outcome = train(
        problem,
        problem.initial_RxP(),
        sgd(lr=system.lr, momentum=system.momentum),
        seeds=seeds,
        steps=system.steps,
        divergence=DIVERGENCE,
        measurements=[reader],
        minibatches=None if system.batch_size is None else Minibatches(seeds, examples=problem.examples, size=size),
        observe=along,
    )
    history = outcome.history.frame()
    for seed in seeds:
        mine = history[history["seed"] == seed]
        series = {metric: rows.set_index("step")["value"] for metric, rows in mine.groupby("metric")}
        yield name, seed, _scores(series, system, seed in outcome.diverged)


def _scores(series: dict[str, pd.Series], system, diverged: bool) -> dict[str, float]:
    """Of one run, whose levels are nan if it has not settled. After divergence nothing is left to be read but that."""
    if diverged:
        return {"diverged": 1.0}
    sharpness = series["batch_sharpness"]
    late = sharpness[sharpness.index >= system.steps / 2]
    third, last = late[late.index < 0.75 * system.steps], late[late.index >= 0.75 * system.steps]
    of_ratios = series["batch_sharpness_mean_ratio"]
    settled = min(third.median(), last.median()) / max(third.median(), last.median())
    level = float(late.median()) if settled >= SETTLED else np.nan
    return {
        "diverged": 0.0,
        "settled": settled,
        **_in_thresholds(level, system.lr, system.momentum),
        "mean_ratio_level": float(of_ratios[of_ratios.index >= system.steps / 2].median()) / level,
        "loss_ratio": float(series["loss"].iloc[-1] / series["loss"].iloc[0]),
        **{f"reading-{step}": system.lr * value / 2 for step, value in sharpness.items()},
    }


def _in_thresholds(sharpness: float, lr: float, momentum: float) -> dict[str, float]:
    """A curvature over the two plateaus, 2 (1 - b) / lr and 2 (1 + b) / lr."""
    return {
        "small_batch_ratio": sharpness * lr / (2 * (1 - momentum)),
        "large_batch_ratio": sharpness / stability.polyak(lr, momentum),
    }


def library_threshold(momentum: float, share: float) -> float:
    """Where the second moments of (w, momentum) under the library's own step, averaged over the two batches, no longer
    shrink: by bisection of the spectral radius of their map."""
    build = sgd(lr=LR, momentum=momentum).build
    unseen = linear_stability.one_step_map(build, 0.0)

    def radius(curvature: float) -> float:
        seen = linear_stability.one_step_map(build, curvature)
        return linear_stability.spectral_radius((1 - share) * np.kron(unseen, unseen) + share * np.kron(seen, seen))

    # Without the direction's curvature nothing moves, and the radius is one: look from just above it.
    return linear_stability.largest_stable_curvature(radius, lowest=1e-2, highest=1e3, iterations=60)


def simulated_square(momentum: float, share: float, curvature: float, settings, seed: int) -> float:
    """The mean of w^2 over many copies of the quadratic and over time, by the library's SGD."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.nn.Parameter(torch.zeros(settings.copies, dtype=torch.float64))
    (optimizer,) = sgd(lr=LR, momentum=momentum).build([weights])
    squares = []
    for _ in range(settings.copied_steps):
        seen = torch.rand(settings.copies, generator=generator) < share
        noise = torch.randn(settings.copies, generator=generator, dtype=torch.float64)
        weights.grad = curvature * seen * weights.detach() + noise
        optimizer.step()
        squares.append(float(weights.detach().square().mean()))
    return float(np.mean(squares[int(BURN_IN * len(squares)) :]))
