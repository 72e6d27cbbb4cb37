"""What gradient flow conserves in a ReLU neuron, and how steps and weight decay break it (U5)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.architectures import bias_free_mlp
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import Rule, descend, log10
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import scale_invariance as theory
from benchmarks.theory.exponents import log_slope

ACTIVATIONS = {"relu": "relu", "linear": "identity", "tanh": "tanh"}


@tidy
def run(settings, seeds: Sequence[int]) -> Iterator[Result]:
    """Full-batch gradient descent on two layers without bias: Q = |w_in|^2 - |w_out|^2 of each hidden neuron, at every
    step. Deviations are the largest over neurons and steps; ``flow`` is along the run at the largest learning rate,
    those with decay (by which Q is first multiplied by (1 - lr decay)^2) at the least. The rate of decay is that of
    <Q, Q_0> / |Q_0|^2, and ``decay_error`` the distance from Q_0 exp(-2 lr decay steps). A seed draws weights and data.

    Systems: ``relu``; ``linear``, which conserves Q as well; ``tanh``, the control, which does not.

    Quantities: see the data card.
    """
    for system, activation in ACTIVATIONS.items():
        for seed in seeds:
            inputs, targets = networks.gaussian_data(seed, settings.examples, settings.inputs, settings.outputs)
            options = {"hidden": [settings.width], "activation": activation}
            module = bias_free_mlp.build((settings.inputs,), settings.outputs, **options)
            problem = Problem(module.double(), inputs, targets, "mse")
            yield system, seed, _laws(problem, settings, seed)


def _laws(problem: Problem, settings, seed: int) -> dict[str, float]:
    scores: dict[str, float] = {}
    drifts = []
    for lr in settings.lrs:
        flow, increment, imbalance_TxH = _follow(problem, Rule(lr), settings.time, seed)
        if lr == max(settings.lrs):
            scores |= {"flow": flow, "increment": increment}
        drifts.append(float(np.sqrt(np.mean((imbalance_TxH[-1] - imbalance_TxH[0]) ** 2))))
        scores[f"drift-{lr:g}"] = drifts[-1]
    scores["drift_exponent"] = log_slope(settings.lrs, drifts)
    rule = Rule(min(settings.lrs), decay=settings.weight_decay)
    _, scores["decay-increment"], imbalance_TxH = _follow(problem, rule, settings.time, seed)
    first, last = imbalance_TxH[0], imbalance_TxH[-1]
    exponent = 2 * rule.lr * rule.decay * (len(imbalance_TxH) - 1)
    left = first * np.exp(-exponent)
    scores["decay_ratio"] = float(-np.log(first @ last / (first @ first)) / exponent)
    scores["decay_error"] = float(np.linalg.norm(last - left) / np.linalg.norm(first - left))
    return scores


def _follow(problem: Problem, rule: Rule, time: float, seed: int) -> tuple[float, float, np.ndarray]:
    """Log10 of both deviations, and Q of every neuron after every step."""
    imbalances: list[np.ndarray] = []
    rates, terms, errors, sizes = [], [], [], []
    for step in descend(problem, networks.start(problem.module, [seed]), [rule], round(time / rule.lr)):
        inner, outer = _squares(problem, step.before_RxP, step.before_RxP)
        into, out = _squares(problem, step.before_RxP, step.grads_RxP)
        g_in, g_out = _squares(problem, step.grads_RxP, step.grads_RxP)
        after, after_out = _squares(problem, step.after_RxP, step.after_RxP)
        imbalances += [inner - outer] if not imbalances else []
        predicted = theory.imbalance_step(inner - outer, rule.lr, rule.decay, g_in, g_out)
        imbalances.append(after - after_out)
        errors.append(np.abs(imbalances[-1] - predicted).max())
        sizes.append(rule.lr**2 * (g_in + g_out).max())
        rates.append(np.abs(into - out).max())
        terms.append(np.abs(into).max())
    return log10(max(rates) / max(terms)), log10(max(errors) / max(sizes)), np.stack(imbalances)


def _squares(problem: Problem, left_1xP: Tensor, right_1xP: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Inner products over each hidden neuron's incoming and over its outgoing weights."""
    (first, second), (other, another) = problem.views(left_1xP, 0), problem.views(right_1xP, 0)
    return torch.linalg.vecdot(first, other).numpy(), torch.linalg.vecdot(second, another, dim=0).numpy()
