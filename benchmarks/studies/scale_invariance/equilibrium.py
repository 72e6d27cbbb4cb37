"""Where weight decay and gradients balance: angle per step, norm, and the relaxation to equilibrium (U4)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import Rule, Step, descend, minibatches
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import scale_invariance as theory

STATIONARY = 0.1
BINS = 40
KICK = 2**0.25  # of the weights: |w|^4 doubles


@tidy
def run(settings, seeds: Sequence[int], images: Images) -> Iterator[Result]:
    """SGD to equilibrium: means over the second half of the run, of the layer that is furthest from one; the curves are
    of the first layer, with the E|g~|^2 and memory of the second half. Closed forms of angles are by mean cosines. A
    ``drift`` beyond 0.1 in a normalised network means no equilibrium, and the ratios are missing. ``relaxation`` is the
    number of steps in which |w|^4, doubled or halved, relaxes by a factor e, for the first system. A seed draws weights
    and minibatches.

    Systems: those of the settings on a normalised network; the same ones ``toy-...``, where gradients are Gaussian
    noise orthogonal to the weights. Controls: ``bare-...``, the first of them on the network without normalisers, and
    ``as-coupled``, the toy's decoupled run compared with the norm of coupled decay.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.

    Quantities: see the data card.
    """
    rules = {
        name: Rule(one.lr, one.weight_decay, one.momentum, one.decoupled) for name, one in settings.systems.items()
    }
    first = next(iter(rules))
    network = networks.on_images(settings, images)
    toy = networks.noise(settings.toy_size, settings.toy_examples)
    bare = networks.on_images(settings, images, normalise=False)
    for prefix, problem, chosen, size in (
        ("", network, rules, settings.batch_size),
        ("toy-", toy, rules, 1),
        ("bare-", bare, {first: rules[first]}, settings.batch_size),
    ):
        yield from _settle(prefix, problem, chosen, size, settings, seeds)


def _settle(
    prefix: str, problem: Problem, rules: dict[str, Rule], size: int, settings, seeds: Sequence[int]
) -> Iterator[Result]:
    batches = minibatches(problem, seeds, size)
    start_SxP = networks.start(problem.module, seeds)
    steps = settings.steps
    moments = []
    for step in descend(problem, start_SxP, list(rules.values()), steps, batches, momenta=True):
        moments.append(_moments(problem, step))
    watched_TxMxLxR = torch.stack(moments).numpy()
    for k, (name, rule) in enumerate(rules.items()):
        for s, seed in enumerate(seeds):
            watched = watched_TxMxLxR[..., k * len(seeds) + s]
            ratios = _ratios(rule, watched, always=prefix == "bare-")
            yield f"{prefix}{name}", seed, ratios
            if rule.decoupled and prefix == "toy-":
                wrong = theory.equilibrium_norm(rule.lr, rule.decay, rule.momentum)
                right = theory.equilibrium_norm(rule.lr, rule.decay, rule.momentum, decoupled=True)
                yield "as-coupled", seed, {"norm_ratio": ratios["norm_ratio"] * right / wrong}
    if prefix != "bare-":
        name, rule = next(iter(rules.items()))
        relaxations = _relax(problem, step.after_RxP[: len(seeds)], rule, batches, settings)
        for seed, value in zip(seeds, relaxations):
            yield f"{prefix}{name}", seed, {"relaxation": value}


def _moments(problem: Problem, step: Step) -> Tensor:
    """|w|^2, |g|^2, |w'|^2, <w, w'>, <b, g> of each layer and run: 5 x layers x R."""
    stacks = (step.before_RxP, step.grads_RxP, step.after_RxP, step.buffers_RxP)
    moments = []
    for w, g, after, buffer in zip(*(stack.split(problem.sizes, dim=1) for stack in stacks)):
        pairs = ((w, w), (g, g), (after, after), (w, after), (buffer, g))
        moments.append(torch.stack([torch.linalg.vecdot(x, y) for x, y in pairs]))
    return torch.stack(moments, dim=1)


def _ratios(rule: Rule, watched_TxMxL: np.ndarray, always: bool) -> dict[str, float]:
    """``always``: whether or not there is an equilibrium."""
    options = (rule.lr, rule.decay, rule.momentum, rule.decoupled)
    steps = len(watched_TxMxL)
    settled = watched_TxMxL[steps // 2 :]
    w, g, after, along, buffer = np.moveaxis(settled, 1, 0)
    versine = 1 - theory.equilibrium_cosine(*options)
    angles = np.sqrt(np.mean(1 - along / np.sqrt(w * after), axis=0) / versine)
    unit = theory.equilibrium_norm(*options) * np.mean(w * g, axis=0)
    norms = np.mean(w**2, axis=0) / unit
    memory = theory.norm_memory(rule.lr, rule.momentum, -rule.lr * buffer.mean(0), g.mean(0))
    quarters = np.array_split(w, 2)
    drift = float(np.abs(quarters[1].mean(0) / quarters[0].mean(0) - 1).max())
    valid = always or drift <= STATIONARY
    scores = {
        "angle_ratio": _furthest(angles) if valid else np.nan,
        "norm_ratio": _furthest(norms) if valid else np.nan,
        "memory": _furthest(memory),
        "full_ratio": _furthest(norms / memory) if valid else np.nan,
        "drift": drift,
    }
    w, _, after, along, _ = watched_TxMxL[..., 0].T
    angles = np.sqrt(np.maximum(1 - along / np.sqrt(w * after), 0) / versine)
    edges = np.unique(np.geomspace(1, steps, BINS + 1).astype(int)) - 1
    for low, high in zip(edges, edges[1:]):
        middle = (low + high + 1) // 2
        scores[f"angle-{middle}"] = float(angles[low:high].mean())
        scores[f"norm-{middle}"] = float((w[low:high] ** 2).mean() / (unit[0] * memory[0]))
    return scores


def _furthest(ratios: np.ndarray) -> float:
    return float(ratios[np.abs(np.log(ratios)).argmax()])


def _relax(problem: Problem, weights_SxP: Tensor, rule: Rule, batches: Callable[[int], Tensor], settings) -> np.ndarray:
    """Relaxation time of |w|^4: scale the weights up and down alternately, each followed for four time constants; y is
    the difference of the mean responses; the time constant is sum(y) / (y_0 - y_T). Constant parts cancel."""
    expected = theory.relaxation_steps(rule.lr, rule.decay, rule.momentum, rule.decoupled)
    steps = round(4 * expected)
    following = {KICK: [], 1 / KICK: []}
    number = settings.steps
    for _ in range(settings.kicks):
        for kick, kept in following.items():
            norms = []
            for step in descend(problem, kick * weights_SxP, [rule], steps, lambda n, first=number: batches(first + n)):
                layers = step.before_RxP.split(problem.sizes, dim=1)
                norms.append(torch.stack([layer.square().sum(1) ** 2 for layer in layers]))
            kept.append(torch.stack(norms).numpy())
            weights_SxP, number = step.after_RxP, number + steps
    y_TxLxS = np.mean(following[KICK], axis=0) - np.mean(following[1 / KICK], axis=0)
    fall = y_TxLxS[0] - y_TxLxS[-1]
    ratios_LxS = y_TxLxS[:-1].sum(0) / fall / expected
    return np.array([_furthest(ratios) for ratios in ratios_LxS.T])
