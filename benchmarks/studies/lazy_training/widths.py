"""Networks of growing width and their linearization: how far the tangent kernel moves, how far outputs deviate, and
how fast each of its eigenvectors is learned (N1, N2, N5)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab.architectures import deep_linear, ntk_mlp
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.lazy_training.setup import TwoClasses, kernel, learning_rate, marks, network, two_classes
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.exponents import log_slope
from benchmarks.theory.linearized import Descent

MARKS = 40
# A run whose loss is above this fraction of its first has not trained, and its movement says nothing.
FALLEN = 0.1
# Modes with at least this residual, in units of the root mean square over modes, have their own rate: a smaller one is
# driven by the others.
OWN = 0.1
# The control's target: well above outputs at initialization, of order one, whose square would blur the exponent.
TARGET = 10.0
CONTROL_WIDTHS = (256, 512, 1024, 2048, 4096)


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """Gradient descent on half squared errors of two classes, at a fixed rate in units of N / (largest eigenvalue of
    the first kernel), beside the exact descent of the linearized network.

    Systems: those of the settings, each of ``ntk_mlp`` with one hidden layer, with the width behind a hyphen; and
    controls: ``linear``, regression on the pixels, which is its own linearization, and ``one-example``, a linear
    network with a hidden layer and one example of target y = 10, on whose gradient flow K^2 - 4 f^2 / width stays, so
    that the kernel's change is in proportion to 1 / width.

    Kernels are of training examples; the discrepancy is the largest at 40 t, evenly in ln t. Exponents are nan if a
    loss has not fallen below a tenth of the first.

    A mode is an eigenvector of K_0. Its rate is ln |r_i(0) / r_i(t)| / t at the first t at which its prediction,
    -ln |1 - lr lambda_i / N|, has brought it to 1/e; modes that this takes longer than the run, or that have hardly any
    residual at the start, are left out. ``rate_slope`` is the slope through the origin with all modes weighing the
    same. The rates themselves are kept for the first seed and each system's largest and smallest width.

    Raises:
        ValueError: for a kernel that does not fit in memory, before anything is trained.

    Quantities: see the data card.
    """
    data = two_classes(images, settings.images, settings.tests, settings.pool, device=device)
    seeds = list(seeds)
    # The widest first: a kernel that does not fit is found before any work.
    todo = sorted(((width, name) for name, system in settings.systems.items() for width in system.widths), reverse=True)
    by_width: dict[tuple[str, int], dict[int, Outcome]] = {}
    for width, name in todo:
        system = settings.systems[name]
        options = {"hidden": [width], "activation": system.activation, "readout": system.readout}
        for seed in seeds:
            outcome = _train(network(ntk_mlp.build, data.inputs_NxD, seed, **options), data, settings)
            by_width.setdefault((name, seed), {})[width] = outcome
            yield f"{name}-{width}", seed, outcome.quantities | outcome.of_rates()
    for seed in seeds:
        linear = _train(network(deep_linear.build, data.inputs_NxD, seed), data, settings)
        yield "linear", seed, linear.quantities | linear.of_rates()
        by_width["one-example", seed] = {width: _one_example(width, seed, settings) for width in CONTROL_WIDTHS}
    for (name, seed), outcomes in by_width.items():
        yield name, seed, _across(outcomes)
    for name in settings.systems:
        outcomes = by_width[name, seeds[0]]
        for width in sorted({min(outcomes), max(outcomes)}):
            for i, (measured, predicted) in enumerate(outcomes[width].rates_Kx2, 1):
                yield f"{name}-{width}", seeds[0], {f"rate-{i}": measured, f"predicted_rate-{i}": predicted}


class Outcome(NamedTuple):
    """What a run shows. rates_Kx2: measured and predicted, fastest first."""

    quantities: dict[str, float]
    rates_Kx2: np.ndarray

    def of_rates(self) -> dict[str, float]:
        measured, predicted = self.rates_Kx2.T
        slope = float((measured / predicted).mean())
        return {"rate_slope": slope, "rate_r2": r2(measured, predicted), "modes": len(measured)}


def r2(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Of the prediction as it stands, in logarithms; 0 where a measured one is not positive."""
    if (measured <= 0).any():
        return 0.0
    x, y = np.log(predicted), np.log(measured)
    return float(1 - ((y - x) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _train(module: nn.Module, data: TwoClasses, settings) -> Outcome:
    n, steps = len(data.inputs_NxD), settings.steps
    everything = torch.cat([data.inputs_NxD, data.tests_MxD])
    start = kernel(module, settings.memory, everything, data.inputs_NxD)
    with torch.no_grad():
        first = module(everything)[:, 0].double().cpu().numpy()
    residuals = first[:n] - data.targets_Nx1[:, 0].double().cpu().numpy()
    lr = learning_rate(settings.rate, start[:n])
    linear = Descent(start[:n], residuals, lr)

    problem = Problem(module, data.inputs_NxD, data.targets_Nx1, "mse")
    at = set(marks(steps, MARKS))
    path, discrepancy = [], 0.0
    for step in descend(problem, problem.initial_RxP(), sgd(lr=lr), steps=steps):
        path.append((step.point.outputs_RxNxC[0] - data.targets_Nx1)[:, 0])
        if step.number in at:
            tests = problem.outputs(step.params_RxP, data.tests_MxD)[0, :, 0].double().cpu().numpy()
            expected = first[n:] - start[n:] @ linear.gathered(step.number)
            discrepancy = max(discrepancy, _rms(tests - expected))
    end = kernel(module, settings.memory, data.inputs_NxD, params_P=step.params_RxP[0])
    quantities = {
        "kernel_change": float(np.linalg.norm(end - start[:n]) / np.linalg.norm(start[:n])),
        "discrepancy": discrepancy,
        "relative_error": discrepancy / _rms(expected),
        "loss_left": float(step.losses_R) / float(step.first_loss_R),
    }
    return Outcome(quantities, rates(linear, torch.stack(path).double().cpu().numpy()))


def rates(linear: Descent, residuals_TxN: np.ndarray) -> np.ndarray:
    """Measured and predicted rates of the modes that have one, K x 2, fastest first."""
    predicted = -np.log(np.maximum(np.abs(linear.factors_N), 1e-300))
    steps = np.ceil(1 / np.maximum(predicted, 1e-12)).astype(int)
    own = np.abs(linear.modes_N) >= OWN * _rms(linear.modes_N)
    (chosen,) = np.nonzero(own & (steps < len(residuals_TxN)))
    modes_TxN = np.abs(residuals_TxN @ linear.eigenvectors_NxN)
    measured = np.log(modes_TxN[0, chosen] / modes_TxN[steps[chosen], chosen]) / steps[chosen]
    return np.stack([measured, predicted[chosen]], axis=1)


def _one_example(width: int, seed: int, settings) -> Outcome:
    one = torch.ones(1, 1, dtype=torch.float64)
    module = network(ntk_mlp.build, one, seed, hidden=[width], activation="identity")
    return _train(module, TwoClasses(one, TARGET * one, one), settings.model_copy(update={"rate": 0.1, "steps": 200}))


def _across(outcomes: dict[int, Outcome]) -> dict[str, float]:
    fallen = all(outcome.quantities["loss_left"] < FALLEN for outcome in outcomes.values())
    slopes = {}
    for prefix, least in (("", 0), ("wide_", max(outcomes) / 8)):
        widths = [width for width in outcomes if width >= least]
        for exponent, quantity in (("kernel_exponent", "kernel_change"), ("discrepancy_exponent", "discrepancy")):
            slope = log_slope(widths, [outcomes[width].quantities[quantity] for width in widths])
            slopes[prefix + exponent] = slope if fallen else float("nan")
    return slopes


def _rms(values: np.ndarray | Tensor) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
