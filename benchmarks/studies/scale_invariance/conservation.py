"""What gradient flow conserves in a ReLU neuron, and what steps and weight decay make of it (U5)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.lab.architectures import bias_free_mlp
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import COLUMNS, networks
from benchmarks.studies.scale_invariance.descent import Rule, descend, log10
from benchmarks.theory import scale_invariance as theory

ACTIVATIONS = {"relu": "relu", "linear": "identity", "tanh": "tanh"}


def run(settings: dict, seeds: Sequence[int]) -> pd.DataFrame:
    """Quantities by seed, which draws weights and data, of Q = |w_in|^2 - |w_out|^2 of each hidden neuron; deviations
    as log10 of the largest over neurons and steps.

        flow            |dQ/dt| of gradient flow along the run at the largest learning rate, 2 |<w_in, g_in> -
                        <w_out, g_out>|, over the largest 2 |<w_in, g_in>|
        increment       of Q after a step from lr^2 (|g_in|^2 - |g_out|^2) more, over the largest such sum of squares;
                        ``decay-increment``: with weight decay, Q first times (1 - lr decay)^2
        drift_exponent  slope, on ln lr, of ln of the root mean square over neurons of Q at a fixed time less Q at first
        drift-LR        that root mean square
        decay_ratio     with weight decay, -ln(<Q, Q_0> / |Q_0|^2) over 2 lr decay steps, at the least learning rate
        decay_error     |Q - Q_0 exp(-2 lr decay steps)| then, over the norm of what has decayed

    Systems, two layers without bias each: ``relu``; ``linear``, which conserves Q as well; ``tanh``, which does not.

    Args:
        settings: ``inputs``, ``outputs``, ``width``, ``examples``, ``lrs``, ``time``, ``weight_decay``.
    """
    rows: list[tuple] = []
    for system, activation in ACTIVATIONS.items():
        for seed in seeds:
            sizes = [settings[key] for key in ("examples", "inputs", "outputs")]
            inputs, targets = networks.gaussian_data(seed, *sizes)
            options = {"hidden": [settings["width"]], "activation": activation}
            module = bias_free_mlp.build((settings["inputs"],), settings["outputs"], **options)
            problem = Problem(module.double(), inputs, targets, "mse")
            rows += [(system, seed, *pair) for pair in _laws(problem, settings, seed).items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _laws(problem: Problem, settings: dict, seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    drifts = []
    for lr in settings["lrs"]:
        flow, increment, imbalance_TxH = _follow(problem, Rule(lr), settings["time"], seed)
        if lr == max(settings["lrs"]):
            found |= {"flow": flow, "increment": increment}
        drifts.append(float(np.sqrt(np.mean((imbalance_TxH[-1] - imbalance_TxH[0]) ** 2))))
        found[f"drift-{lr:g}"] = drifts[-1]
    found["drift_exponent"] = float(np.polyfit(np.log(settings["lrs"]), np.log(drifts), 1)[0])
    rule = Rule(min(settings["lrs"]), decay=settings["weight_decay"])
    _, found["decay-increment"], imbalance_TxH = _follow(problem, rule, settings["time"], seed)
    first, last = imbalance_TxH[0], imbalance_TxH[-1]
    exponent = 2 * rule.lr * rule.decay * (len(imbalance_TxH) - 1)
    left = first * np.exp(-exponent)
    found["decay_ratio"] = float(-np.log(first @ last / (first @ first)) / exponent)
    found["decay_error"] = float(np.linalg.norm(last - left) / np.linalg.norm(first - left))
    return found


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
