"""Where training ends depends on where it starts (O4)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.architectures import deep_linear
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend, last
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.overparameterization.fitting import fit, fraction_true, interpolable, two_networks
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """Linear least squares in float64, by ``gradient-descent`` and ``momentum`` from Gaussian weights: where they end,
    against the Euclidean projection of the start on the solutions. Controls: ``one-step``, on orthonormal inputs, and
    ``minimum-norm``, gradient descent's end against the projection of zero, over the same distance as the others.

    Pairs of runs that differ only in their initialization: ``network``, trained to a loss of ``target``, whose values
    are nan if it does not get there. Controls: ``linear``, least squares from two Gaussian starts, and ``ridge``,
    the same with a ridge. A seed draws initializations and minibatches; the images are fixed.

    Raises:
        ValueError: if there are more linear images than inputs: least squares has one solution then, whatever the
            start. Nothing has run then.

    Quantities: see the data card.
    """
    few = interpolable(images, settings)
    data = subset(images, settings.images, pool=settings.pool).to(device)
    for seed in seeds:
        yield from _linear(settings, few, seed)
        yield "network", seed, _networks(settings, data, seed)


def _linear(settings, data: Images, seed: int) -> Iterator[Result]:
    inputs, tests = (x.flatten(1).double() for x in (data.train_inputs, data.test_inputs))
    targets = torch.nn.functional.one_hot(data.train_labels, data.classes).double()
    top = float(torch.linalg.eigvalsh(inputs @ inputs.T / len(inputs))[-1])
    generator = torch.Generator().manual_seed(seed)
    starts_RxP = torch.randn(2, data.classes * inputs.shape[1], generator=generator, dtype=torch.float64)
    steps = settings.linear_steps
    orthonormal = torch.linalg.qr(inputs.T).Q.T.contiguous()
    methods = {
        "gradient-descent": (inputs, sgd(lr=1 / top), steps),
        "momentum": (inputs, sgd(lr=1 / top, momentum=0.9), -(-steps // 4)),
        "one-step": (orthonormal, sgd(lr=float(len(inputs))), 1),
    }
    for system, (design, optimizer, length) in methods.items():
        ends_RxP = _train(design, targets, starts_RxP, optimizer, length)
        start, end = (w[0].view(data.classes, -1) for w in (starts_RxP, ends_RxP))
        projection = project(start, design, targets)
        distance = (start - projection).norm()
        error = float((end - projection).norm() / distance)
        residual = float((end @ design.T - targets.T).abs().max())
        yield system, seed, {"projection_error": error, "residual": residual}
        if system == "gradient-descent":
            least = project(torch.zeros_like(start), design, targets)
            yield "minimum-norm", seed, {"projection_error": float((end - least).norm() / distance)}
            yield "linear", seed, _compare(ends_RxP, inputs, targets, tests, data.test_labels)
    # A ridge of c |w|^2 / 2 is least squares with sqrt(n c) of each unit vector for further examples of target 0.
    ridge = settings.ridge * top
    size = inputs.shape[1]
    padded = torch.cat([inputs, (len(inputs) * ridge) ** 0.5 * torch.eye(size, dtype=inputs.dtype)])
    zeros = torch.zeros(size, data.classes, dtype=targets.dtype)
    scaled = sgd(lr=len(padded) / len(inputs) / (top + ridge))
    ends_RxP = _train(padded, torch.cat([targets, zeros]), starts_RxP, scaled, -(-steps // 2))
    yield "ridge", seed, _compare(ends_RxP, inputs, targets, tests, data.test_labels)


def project(start_CxD: Tensor, inputs_NxD: Tensor, targets_NxC: Tensor) -> Tensor:
    """The solution W of X W' = Y that is nearest to a start, W_0 + (Y - X W_0')' (X X')^-1 X, by Lagrange: C x D."""
    missing_NxC = targets_NxC - inputs_NxD @ start_CxD.T
    return start_CxD + torch.linalg.solve(inputs_NxD @ inputs_NxD.T, missing_NxC).T @ inputs_NxD


def _train(inputs: Tensor, targets: Tensor, starts_RxP: Tensor, optimizer: Optimizer, steps: int) -> Tensor:
    module = deep_linear.build(inputs.shape[1:], targets.shape[1]).double()
    return last(descend(Problem(module, inputs, targets, "mse"), starts_RxP, optimizer, steps=steps)).params_RxP


def _compare(ends_RxP: Tensor, inputs: Tensor, targets: Tensor, tests: Tensor, labels: Tensor) -> dict[str, float]:
    weights_RxCxD = ends_RxP.view(len(ends_RxP), targets.shape[1], -1)
    losses_R = [float((inputs @ w.T - targets).square().sum(1).mean() / 2) for w in weights_RxCxD]
    guesses_R = [(tests @ w.T).argmax(1) for w in weights_RxCxD]
    return _pair(guesses_R, labels, max(losses_R))


def _pair(guesses_R: Sequence[Tensor], labels: Tensor, train_loss: float) -> dict[str, float]:
    first, second = guesses_R
    disagreement = fraction_true(first != second)
    error = (fraction_true(first != labels) + fraction_true(second != labels)) / 2
    ratio = disagreement / error
    return {"disagreement": disagreement, "error": error, "ratio": ratio, "train_loss": train_loss}


def _networks(settings, data: Images, seed: int) -> dict[str, float]:
    modules = two_networks(data, seed, **settings.architecture)
    problem = Problem(modules[0], data.train_inputs, data.train_labels, "cross_entropy")
    runs = [
        fit(problem, flatten_parameters(module), settings, seed=seed, done=lambda loss, _: loss < settings.target)
        for module in modules
    ]
    if not all(run.reached for run in runs):
        return dict.fromkeys(("disagreement", "error", "ratio", "train_loss"), np.nan)
    guesses = [problem.outputs(run.params_1xP, data.test_inputs)[0].argmax(-1) for run in runs]
    return _pair(guesses, data.test_labels, max(run.losses[-1] for run in runs))
