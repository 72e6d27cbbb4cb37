"""The top Hessian eigenvalues along a run at the edge of stability: our solver and its peers, at the same points.

No solver is timed on a wrong answer: each is used at the cheapest of its settings whose worst error over the points
meets the target. The reference is one for all: Lanczos in float64 from a random vector, with a thousandth of the
target for its error estimate.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.lab import datasets, losses, optimizers
from benchmarks.lab.loop import descend
from benchmarks.lab.measurements import eigensolvers
from benchmarks.lab.measurements.peers import PEERS, Peer
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.problem import Problem
from benchmarks.studies.progressive_sharpening.training import build_problem
from benchmarks.studies.timings.clock import clock
from benchmarks.studies.timings.training_step import plain_network, set_parameters

EIGENVALUES = (1, 3)
REFERENCE_ERROR = 1e-3  # of the target


@dataclass(frozen=True)
class Solver:
    """One method for the top k eigenvalues.

    Attributes:
        settings: (label, setting) pairs, cheapest first.
        solve: (index of the point, setting, state) -> (eigenvalues, products, next state). A warm solver is given what
            its solve at the point before returned, a cold one None.
        prepare: called with the index of the point before the clock starts.
    """

    name: str
    version: str
    k: int
    warm: bool
    settings: list[tuple[str, Any]]
    solve: Callable[[int, Any, Any], tuple[Sequence[float], int, Any]]
    prepare: Callable[[int], None] = lambda point: None


@dataclass(frozen=True)
class Solve:
    """Seconds, products, and the worst relative error of the k eigenvalues."""

    seconds: float
    products: int
    error: float


def run(settings, images: datasets.Images, compute) -> pd.DataFrame:
    """One row per solver, k and start; means of products and medians of seconds over the points, and the worst error.

    The points are ``settings.refreshes`` readings of a run, after ``settings.warmup`` steps and one more reading, at
    which warm solvers start. Seconds include making the gradient and its graph, which a training run needs anyway.
    Where no setting meets the target, the row says so and has no seconds, products or points.

    Args:
        settings: `TimedTraining` of study.py.

    Quantities: see the data card.
    """
    training = settings.training
    problem, params_RxP, _ = build_problem(training, images, [settings.seed], compute)
    optimizer = optimizers.named(**training.optimizer)
    measure = training.measure["sharpness"]
    readings = [settings.warmup + k * measure["every"] for k in range(settings.refreshes + 1)]
    steps = descend(problem, params_RxP, optimizer, steps=readings[-1], divergence=training.divergence)
    points = [step.params_RxP.clone() for step in steps if step.number in readings]
    gradient_s = float(np.median([_timed(lambda: problem.at(points[0]))[0] for _ in range(settings.repeats)]))
    # The first point is where warm solvers start, so no solver is judged there.
    references = [[], *reference(problem, training.loss, points[1:], REFERENCE_ERROR * settings.target)]

    rows = []
    for k in EIGENVALUES:
        solvers = [*_ours(problem, points, k, measure["tolerance"]), *_peers(problem, training.loss, points, k)]
        timed = [_row(solver, *cheapest(solver, references, settings.target), gradient_s) for solver in solvers]
        for row in timed:
            slower = row["seconds"] / timed[0]["seconds"]
            rows.append({**row, "times_slower": slower, "threads": torch.get_num_threads()})
    return pd.DataFrame(rows)


def cheapest(solver: Solver, references: list[Sequence[float]], target: float) -> tuple[str, list[Solve]]:
    """The label of the cheapest setting that meets the target at every point but the first, and its solves.

    Settings that miss the target at the second point are skipped by bisection, because errors decrease along the
    settings; from the first that meets it there, they are tried in turn, each up to its first miss. If all miss, there
    are no solves, and the label says so.
    """
    begun: dict[int, Iterator[Solve]] = {}

    def meets_at_first(index: int) -> bool:
        solves = _solves(solver, solver.settings[index][1], references, target)
        opening = list(islice(solves, 1))
        begun[index] = chain(opening, solves)
        return bool(opening)

    indices = range(len(solver.settings))
    for index in indices[bisect_left(indices, True, key=meets_at_first) :]:
        label, setting = solver.settings[index]
        solves = list(begun.get(index) or _solves(solver, setting, references, target))
        if len(solves) == len(references) - 1:
            return label, solves
    return f"none of {len(solver.settings)} met the target", []


def _solves(solver: Solver, setting: Any, references: list[Sequence[float]], target: float) -> Iterator[Solve]:
    """The solves at the points after the first, up to the first that misses the target, which is left out."""
    state = None
    if solver.warm:
        solver.prepare(0)
        _, _, state = solver.solve(0, setting, None)
    for index in range(1, len(references)):
        solver.prepare(index)
        seconds, (values, products, after) = _timed(partial(solver.solve, index, setting, state))
        error = float(np.max(np.abs(np.array(values) / np.array(references[index][: solver.k]) - 1)))
        if not error <= target:
            return
        yield Solve(seconds, products, error)
        state = after if solver.warm else None


def reference(problem: Problem, loss: str, points: Sequence[Tensor], tolerance: float) -> list[list[float]]:
    """The largest eigenvalues at each point, in float64.

    Raises:
        ValueError: if Lanczos does not get there.
    """
    module, inputs, targets = plain_network(problem)
    targets = targets.double() if targets.is_floating_point() else targets
    exact = Problem(module.double(), inputs.double(), targets, loss, chunk_size=problem.chunk_size)
    rows = []
    for index, params_RxP in enumerate(points):
        params_RxP = params_RxP.double()
        start_RxP = torch.randn(params_RxP.shape, generator=torch.Generator().manual_seed(7919 + index)).to(params_RxP)
        point = exact.at(params_RxP, curvature=True)
        result = eigensolvers.lanczos(point.hvp, start_RxP, max(EIGENVALUES), tolerance=tolerance, max_products=400)
        if not bool(result.converged_R.all()):
            raise ValueError("the float64 reference did not converge")
        rows.append(result.eigenvalues_RxK[0].tolist())
    return rows


def _ours(problem: Problem, points: Sequence[Tensor], k: int, tolerance: float) -> list[Solver]:
    def solve(index: int, tolerance: float, before):
        top, after = top_eigenpairs(problem.at(points[index], curvature=True), before, k, tolerance)
        return top.eigenvalues_RxK[0].tolist(), top.products, after

    settings = [(f"estimated error {tolerance:g}", tolerance)]
    return [Solver("block Rayleigh-Ritz", "this project", k, warm, settings, solve) for warm in (True, False)]


def _peers(problem: Problem, loss: str, points: Sequence[Tensor], k: int) -> list[Solver]:
    module, inputs, targets = plain_network(problem)

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return losses.LOSSES[loss](outputs, targets).mean()

    def prepare(index: int) -> None:
        set_parameters(module, problem, points[index])

    def solver(peer: Peer) -> Solver:
        def solve(index: int, setting: Any, before):
            return peer.solve(module, criterion, inputs, targets, setting, index, k, before)

        return Solver(peer.name, peer.version, k, peer.warm, peer.settings(k), solve, prepare)

    return [solver(peer) for peer in PEERS]


def _row(solver: Solver, label: str, solves: list[Solve], gradient_s: float) -> dict:
    seconds = float(np.median([s.seconds for s in solves])) if solves else np.nan
    return {
        "solver": solver.name,
        "version": solver.version,
        "k": solver.k,
        "start": "warm" if solver.warm else "cold",
        "setting": label,
        "products": np.mean([s.products for s in solves]) if solves else np.nan,
        "seconds": seconds,
        "gradient_times": seconds / gradient_s,
        "worst_error": max((s.error for s in solves), default=np.nan),
        "solves": len(solves),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = clock()
    result = work()
    return clock() - started, result
