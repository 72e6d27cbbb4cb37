"""The tangent kernel turns towards the targets as a network learns features, and early (N6)."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.lab.architectures import deep_linear, mlp, ntk_mlp
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.lazy_training.setup import TwoClasses, kernel, learning_rate, marks, network, two_classes
from benchmarks.studies.table import Result, tidy

EARLY = 0.1  # of log-time, or of time
FALLEN = 0.1
# Controls: linear networks with a hidden layer on orthogonal examples. From small weights the final kernel is known,
# and moves late; at a great width and a learning rate that all but solves the problem in a step, it moves at once.
WIDTH = 1000
SMALL = {"examples": 64, "lr": 0.1, "steps": 400, "shrink": 1e-2}
AT_ONCE = {"examples": 16, "lr": 0.5 * 16, "steps": 500, "shrink": 1.0}


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """Gradient descent on half squared errors of two classes; the tangent kernel of the training examples is taken at
    marks that are even in log-time, with time in steps.

    Systems: ``standard``, a network in PyTorch's default parametrization, and ``lazy``, the same from the same start
    with outputs centred and multiplied by ``scale`` (the loss over its square). Controls are linear networks with a
    hidden layer on N orthogonal examples: ``small``, from small weights, whose kernel grows late and ends at an
    alignment of 2 / sqrt(N + 3), and ``at-once``, so wide and at such a learning rate that a step or two do all.

    The kernel's path is the sum of |K - K'| over marks; the first tenth of log-time ends at step T^0.1. A centred
    kernel has centred rows and columns. If the last loss is over a tenth of the first, what is said of the whole run
    is nan.

    Raises:
        ValueError: for a kernel that does not fit in memory, before anything is trained.

    Quantities: see the data card.
    """
    data = two_classes(images, settings.images, 1, settings.pool, device=device)
    options = {"hidden": settings.hidden, "activation": settings.activation}
    for seed in seeds:
        for name, scale in (("standard", None), ("lazy", settings.scale)):
            module = network(mlp.build, data.inputs_NxD, seed, **options)
            first = kernel(module, settings.memory, data.inputs_NxD)
            lr = learning_rate(settings.rate, first)
            yield name, seed, _follow(module, data, lr, scale, settings)
        small = partial(deep_linear.build, hidden=[WIDTH])
        yield "small", seed, _orthogonal(small, seed, settings, **SMALL)
        at_once = partial(ntk_mlp.build, hidden=[WIDTH], activation="identity")
        yield "at-once", seed, _orthogonal(at_once, seed, settings, **AT_ONCE)


def aligned(kernel_NxN: np.ndarray, targets_N: np.ndarray) -> float:
    """<K, yy'> / |K| |yy'| (Cristianini et al. 2001)."""
    return float(targets_N @ kernel_NxN @ targets_N / (np.linalg.norm(kernel_NxN) * (targets_N @ targets_N)))


def _follow(module: nn.Module, data: TwoClasses, lr: float, scale: float | None, settings) -> dict[str, float]:
    steps, targets = settings.steps, data.targets_Nx1
    if scale is not None:
        with torch.no_grad():
            targets = module(data.inputs_NxD) + targets / scale
    problem = Problem(module, data.inputs_NxD, targets, "mse")
    log_end, end = round(steps**EARLY), round(EARLY * steps)
    at = {*marks(steps, settings.marks), log_end, end}
    kernels = {}
    for step in descend(problem, problem.initial_RxP(), sgd(lr=lr), steps=steps):
        if step.number in at:
            params_P = step.params_RxP[0]
            kernels[step.number] = kernel(module, settings.memory, data.inputs_NxD, params_P=params_P)
    times, stack = list(kernels), list(kernels.values())
    lengths = [0.0, *(np.linalg.norm(after - before) for before, after in zip(stack, stack[1:]))]
    path = np.cumsum(lengths) / np.sum(lengths)
    y = data.targets_Nx1[:, 0].double().cpu().numpy()
    ends = [aligned(end, y) for end in (stack[0], stack[-1])]
    centred = [aligned(_centred(end), y - y.mean()) for end in (stack[0], stack[-1])]
    trained = {
        "alignment": ends[1],
        "rise": ends[1] / ends[0],
        "centred_rise": centred[1] / centred[0],
        "early_log_share": path[times.index(log_end)],
        "early_share": path[times.index(end)],
        "kernel_change": np.linalg.norm(stack[-1] - stack[0]) / np.linalg.norm(stack[0]),
    }
    loss_left = float(step.losses_R) / float(step.first_loss_R)
    return {
        **(trained if loss_left < FALLEN else dict.fromkeys(trained, np.nan)),
        "loss_left": loss_left,
        **{f"alignment-{step}": aligned(now, y) for step, now in kernels.items()},
        **{f"movement-{step}": part for step, part in zip(times, path)},
    }


def _centred(kernel_NxN: np.ndarray) -> np.ndarray:
    rows = kernel_NxN - kernel_NxN.mean(0)
    return rows - rows.mean(1, keepdims=True)


def _orthogonal(
    build: Callable[..., nn.Module], seed: int, settings, *, examples: int, lr: float, steps: int, shrink: float
) -> dict[str, float]:
    """A linear network on orthogonal examples of norm sqrt(N), with random targets of -1 and 1."""
    generator = np.random.default_rng(seed)
    orthogonal = np.linalg.qr(generator.standard_normal((examples, examples)))[0]
    inputs = torch.from_numpy(examples**0.5 * orthogonal)
    targets = torch.from_numpy(generator.choice([-1.0, 1.0], (examples, 1)))
    module, data = network(build, inputs, seed, shrink), TwoClasses(inputs, targets, inputs[:1])
    followed = _follow(module, data, lr, None, settings.model_copy(update={"steps": steps, "marks": 10}))
    return {name: followed[name] for name in ("alignment", "rise", "early_log_share", "early_share", "loss_left")}
