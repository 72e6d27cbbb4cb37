"""Negative curvature, and the barrier between two solutions (O2: Sagun et al. 2017, arXiv:1706.04454)."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab import optimizers
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.measurements.eigensolvers import dense_matrix, lanczos
from benchmarks.lab.problem import Point, Problem, stack_parameters
from benchmarks.studies.overparameterization.fitting import two_networks
from benchmarks.studies.table import Result, tidy

MIDDLE = 0.5
TOLERANCE = 1e-3
CHORD = 51


@tidy
def run(settings, seeds: Iterable[int], images: Images) -> Iterator[Result]:
    """Two runs of each system from initializations that a seed draws, in float64; the images are fixed. The control is
    the linear system, whose loss is convex.

    ``start``, ``middle`` (where the training loss first is half of the first) and ``end`` are points of the first run.
    The chord is straight between the ends of both runs, and the barrier zero at these.

    Raises:
        ValueError: for an activation without a second derivative. Nothing has run then.

    Quantities: see the data card.
    """
    for name, system in settings.systems.items():
        if getattr(system.architecture, "activation", None) == "relu":
            raise ValueError(f"system {name!r}: ReLU has a kink and no Hessian there: use a smooth activation")
    data = subset(images, settings.images, pool=settings.pool)
    for seed in seeds:
        for name, system in settings.systems.items():
            yield name, seed, _system(system, data, seed, settings)


def _system(system, data: Images, seed: int, settings) -> dict[str, float]:
    modules = [module.double() for module in two_networks(data, seed, **system.architecture)]
    targets = encode_targets(data.train_labels, system.loss, data.classes, torch.float64)
    problem = Problem(modules[0], data.train_inputs.double(), targets, system.loss)
    starts_RxP = stack_parameters(modules)
    middle_step, middle_1xP, ends_RxP = _train(problem, starts_RxP, system)
    scores = {"step-middle": middle_step}
    for when, params_1xP in (("start", starts_RxP[:1]), ("middle", middle_1xP), ("end", ends_RxP[:1])):
        if params_1xP is None:
            scores |= {f"{quantity}-{when}": np.nan for quantity in ("loss", "negativity", "error")}
            continue
        point = problem.at(params_1xP, curvature=True)
        negativity, error = extremes(point, seed, settings)
        scores |= {f"loss-{when}": float(point.losses_R[0]), f"negativity-{when}": negativity, f"error-{when}": error}
    fall = abs(scores["negativity-start"]) / max(abs(scores["negativity-end"]), np.finfo(float).tiny)
    weights_K = torch.linspace(0, 1, CHORD, dtype=torch.float64)
    chord_K = np.array([float(problem.losses(torch.lerp(*ends_RxP, t)[None])[0]) for t in weights_K])
    line_K = chord_K[0] + weights_K.numpy() * (chord_K[-1] - chord_K[0])
    barrier = float((chord_K - line_K).max())
    return {
        **scores,
        "log_fall": float(np.log(fall)),
        "barrier": barrier,
        "log_barrier": float(np.log1p(max(barrier, 0.0) / line_K.mean())),
        **{f"chord-{round(100 * float(t)):d}": loss for t, loss in zip(weights_K[::5], chord_K[::5])},
    }


def _train(problem: Problem, starts_RxP: Tensor, system) -> tuple[float, Tensor | None, Tensor]:
    """The step at which the first run's loss is `MIDDLE` of its first, its parameters there, and both ends."""
    middle_step, middle_1xP = float("nan"), None
    for step in descend(problem, starts_RxP, optimizers.named(**system.optimizer), steps=system.steps):
        if middle_1xP is None and float(step.losses_R[0]) <= MIDDLE * float(step.first_loss_R[0]):
            middle_step, middle_1xP = step.number, step.params_RxP[:1].clone()
    return middle_step, middle_1xP, step.params_RxP


def extremes(point: Point, seed: int, settings) -> tuple[float, float]:
    """lambda_min / lambda_max of the Hessian of one run, and its estimated error.

    The least is found as the top of lambda_max - H, for it may be zero, to which no relative error comes down. Ritz
    values lie inside the spectrum, so that a negative one is proof of a negative eigenvalue.
    """
    if point.problem.parameters <= settings.dense:
        (hessian_PxP,) = dense_matrix(point.hvp, 1, point.problem.parameters)
        values_P = torch.linalg.eigvalsh((hessian_PxP + hessian_PxP.T) / 2)
        return float(values_P[0] / values_P[-1]), 0.0
    max_products = settings.max_products
    generator = torch.Generator().manual_seed(seed)
    start_1xP = torch.randn(point.params_RxP.shape, generator=generator, dtype=torch.float64)
    top = lanczos(point.hvp, start_1xP, 1, tolerance=TOLERANCE, max_products=max_products)
    most = float(top.eigenvalues_RxK[0, 0])
    turned = lanczos(lambda v: most * v - point.hvp(v), start_1xP, 1, tolerance=TOLERANCE**2, max_products=max_products)
    ratio = 1 - float(turned.eigenvalues_RxK[0, 0]) / most
    error = float(turned.errors_RxK[0, 0]) * (1 - ratio) + float(top.errors_RxK[0, 0]) * abs(ratio)
    return ratio, error
