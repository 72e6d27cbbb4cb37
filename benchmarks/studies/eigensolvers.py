"""The top Hessian eigenvalue at the edge of stability: our solver along a run, and its peers at the same point.

No solver is timed on a wrong answer: each is used at its cheapest setting whose worst error over the repeats meets the
target. The reference is a float64 Lanczos run to an error estimate of 1e-10.
"""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures, datasets, losses, optimizers
from benchmarks.lab.measurements import eigensolvers
from benchmarks.lab.measurements.peers import PEERS
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import train
from benchmarks.studies.progressive_sharpening import build_problem

REPEATS = 3
COLUMNS = [
    "solver",
    "version",
    "setting",
    "start",
    "products",
    "seconds",
    "gradient_times",
    "worst_error",
    "solves",
    "threads",
]


def run(settings: dict, data: datasets.Images, seeds: Sequence[int], compute: dict, timings: dict) -> pd.DataFrame:
    """One row a solver; seconds are medians over ``solves``, errors relative to the reference, worst of all solves.

    Every figure includes making the gradient and its graph, which a training run needs anyway.
    """
    seeds = list(seeds[:1])
    problem, params_RxP, _ = build_problem(settings, data, seeds, compute)
    optimizer = partial(optimizers.build, **settings["optimizer"])
    advance = partial(train, problem, build_optimizers=optimizer, seeds=seeds, divergence=settings["divergence"])
    params_RxP = advance(params_RxP, steps=timings["warmup"]).params_RxP
    gradient_s = np.median([_timed(lambda: problem.at(params_RxP))[0] for _ in range(timings["repeats"])])
    rows = []

    measure = settings["measure"]
    sharpness = Sharpness(seeds, every=measure["every"], tolerance=measure["tolerance"], cold_every=10**9)
    readings = []
    for reading in range(timings["refreshes"] + 1):
        seconds, metrics = _timed(lambda: sharpness.measure(problem.at(params_RxP, curvature=True), reading))  # noqa: B023
        check = eigensolvers.lanczos(
            problem.at(params_RxP, curvature=True).hvp, _start(problem, params_RxP, reading), 1, tolerance=1e-6
        )
        error = abs(float(metrics["sharpness"][0] / check.eigenvalues_RxK[0, 0]) - 1)
        readings.append((int(metrics["sharpness_hvps"][0]), seconds, error))
        if reading < timings["refreshes"]:
            params_RxP = advance(params_RxP, steps=measure["every"]).params_RxP
    label = f"estimated error {measure['tolerance']:g}"
    rows.append(_row("block Rayleigh-Ritz", "this project", label, "warm", readings[1:], gradient_s))

    exact = _reference(settings, data, params_RxP, problem)

    def cold(seed: int):
        point = problem.at(params_RxP, curvature=True)
        start = _start(problem, params_RxP, seed)[:, :, None]
        return eigensolvers.block_rayleigh_ritz(point.hvp, start, 1, tolerance=measure["tolerance"])

    solves = []
    for seed in range(REPEATS):
        seconds, result = _timed(lambda: cold(seed))  # noqa: B023
        solves.append((result.products, seconds, abs(float(result.eigenvalues_RxK[0, 0]) / exact - 1)))
    rows.append(_row("block Rayleigh-Ritz", "this project", label, "cold", solves, gradient_s))

    module, inputs, targets = _plain(settings, data, params_RxP, problem)
    loss = losses.LOSSES[settings["loss"]]
    for peer in PEERS:
        for name, setting in peer.settings:
            solves = []
            for seed in range(REPEATS):
                seconds, (value, products) = _timed(
                    lambda: peer.solve(module, lambda o, t: loss(o, t).mean(), inputs, targets, setting, seed)  # noqa: B023
                )
                solves.append((products, seconds, abs(value / exact - 1)))
                if solves[-1][2] > timings["target"]:
                    break
            if max(error for *_, error in solves) <= timings["target"]:
                rows.append(_row(peer.name, peer.version, name, "cold", solves, gradient_s))
                break
        else:
            missed = _row(
                peer.name, peer.version, f"none of {len(peer.settings)} met the target", "cold", solves, gradient_s
            )
            rows.append({**missed, "products": np.nan, "seconds": np.nan, "gradient_times": np.nan})
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(solver: str, version: str, setting: str, start: str, solves: list, gradient_s: float) -> dict:
    products, seconds, errors = map(np.array, zip(*solves))
    return {
        "solver": solver,
        "version": version,
        "setting": setting,
        "start": start,
        "products": products.mean(),
        "seconds": np.median(seconds),
        "gradient_times": np.median(seconds) / gradient_s,
        "worst_error": errors.max(),
        "solves": len(solves),
        "threads": torch.get_num_threads(),
    }


def _timed(work) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _start(problem: Problem, params_RxP: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(7919 + seed)
    return torch.randn(1, problem.parameters, generator=generator).to(params_RxP)


def _plain(
    settings: dict, data: datasets.Images, params_RxP: Tensor, problem: Problem
) -> tuple[nn.Module, Tensor, Tensor]:
    """The network as an ordinary module at a point of parameter space, with its training data."""
    subset = datasets.subset(data, settings["images"])
    shape = tuple(subset.train_inputs.shape[1:])
    module = architectures.build(input_shape=shape, outputs=data.classes, **settings["architecture"])
    with torch.no_grad():
        for parameter, view in zip(module.parameters(), problem.views(params_RxP, 0)):
            parameter.copy_(view)
    targets = losses.encode_targets(subset.train_labels, settings["loss"], data.classes, subset.train_inputs.dtype)
    return module, subset.train_inputs, targets


def _reference(settings: dict, data: datasets.Images, params_RxP: Tensor, problem: Problem) -> float:
    module, inputs, targets = _plain(settings, data, params_RxP, problem)
    if targets.is_floating_point():
        targets = targets.double()
    exact = Problem(module.double(), inputs.double(), targets, settings["loss"])
    point = exact.at(params_RxP.double(), curvature=True)
    start = _start(problem, params_RxP, 0).double()
    result = eigensolvers.lanczos(point.hvp, start, 1, tolerance=1e-10, max_products=400)
    if not bool(result.converged_R.all()):
        raise ValueError("the float64 reference did not converge")
    return float(result.eigenvalues_RxK[0, 0])
