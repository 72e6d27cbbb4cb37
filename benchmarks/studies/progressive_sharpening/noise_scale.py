"""The gradient noise scale (E14: McCandlish et al. 2018, arXiv:1812.06162)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab import architectures
from benchmarks.lab.architectures import mlp
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import noise

AT_ONCE = 100  # per-example gradients
# The full loss is read at steps that grow by this factor; between two readings a crossing is interpolated.
GROWTH = 1.03
LOST = 10.0  # times the first loss
# Of the system whose noise scale is known: dimensions, learning rate without noise, repetitions.
KNOWN_D, KNOWN_LR, KNOWN_RUNS = 100, 0.05, 20


@tidy
def run(
    settings,
    seeds: Sequence[int],
    images: Images,
    compute,
    tick: Callable[[int, int], None] = lambda done, planned: None,
) -> Iterator[Result]:
    """SGD on batches drawn with replacement, at several batch sizes, each with the learning rate of a grid that reaches
    the target loss in the fewest steps; and the noise scale along the run on all the data.

    Systems: ``network``. Controls: ``repeated``, the same on a single image, so that batches of any size have the same
    gradient; ``known``, a quadratic whose noise is a constant multiple of its gradient and whose noise scale is
    therefore constant.

    Raises:
        ValueError: if no learning rate of the grid reaches the target with all the data.

    Quantities: see the data card.
    """
    data = subset(images, settings.images, pool=settings.pool)
    dtype = getattr(torch, compute.dtype)
    inputs = data.train_inputs.to(dtype)
    targets = encode_targets(data.train_labels, "cross_entropy", data.classes, dtype)
    built = architectures.build_stack(
        mlp.build, tuple(inputs.shape[1:]), data.classes, seeds, hidden=settings.hidden, activation="tanh"
    )
    networks = [network.to(dtype) for network in built]
    problem = Problem(networks, inputs, targets, "cross_entropy")
    starts_SxP = problem.initial_RxP()
    planned = len(settings.batch_sizes) + 2
    steps_SxB = []
    for number, size in enumerate(settings.batch_sizes):
        steps_SxB.append(steps_to_target(problem, starts_SxP, seeds, size, settings))
        tick(number + 1, planned)
    steps_SxB = np.array(steps_SxB).T
    single = Problem(networks, inputs[:1], targets[:1], "cross_entropy")
    flat_SxB = np.array([steps_to_target(single, starts_SxP, seeds, size, settings) for size in settings.batch_sizes]).T
    tick(planned - 1, planned)
    for seed, start_P, steps_B, flat_B in zip(seeds, starts_SxP, steps_SxB, flat_SxB):
        along = readings(problem, start_P[None], seed, settings)
        yield (
            "network",
            seed,
            {
                **along,
                **tradeoff(settings.batch_sizes, steps_B, along["noise_scale"], along["curved_scale"]),
            },
        )
        yield "repeated", seed, {"log_speedup": float(np.log(flat_B[0] / flat_B[-1]))}
        known = [known_steps(seed, size, settings.known_scale) for size in settings.batch_sizes]
        yield "known", seed, tradeoff(settings.batch_sizes, np.array(known), settings.known_scale, settings.known_scale)
    tick(planned, planned)


def tradeoff(sizes: Sequence[int], steps_B: np.ndarray, scale: float, curved: float) -> dict[str, float]:
    """The fit of steps = least (1 + critical / size) over batch sizes, and its critical size over the noise scales. A
    batch size that never reached the target makes all nan but its own steps."""
    fitted = noise.fit_tradeoff(sizes, steps_B) if np.isfinite(steps_B).all() else None
    return {
        "critical_batch": fitted.critical if fitted else np.nan,
        "log_ratio": float(np.log(fitted.critical / scale)) if fitted else np.nan,
        "log_curved_ratio": float(np.log(fitted.critical / curved)) if fitted and curved > 0 else np.nan,
        "fit_error": fitted.error if fitted else np.nan,
        "log_speedup": float(np.log(steps_B[0] / steps_B[-1])) if fitted else np.nan,
        **{f"steps-{size}": steps for size, steps in zip(sizes, steps_B)},
    }


def steps_to_target(problem: Problem, starts_SxP: Tensor, seeds: Sequence[int], size: int, settings) -> np.ndarray:
    """The fewest steps over the grid of learning rates at which the loss of all the data is below ``target`` times its
    first, one per seed, interpolated in ln(loss); nan where none gets there in ``most_steps``."""
    lrs = settings.lrs
    params_RxP = starts_SxP.repeat_interleave(len(lrs), dim=0)
    generators = [torch.Generator().manual_seed(1_000_003 * seed + size) for seed in seeds]

    def rows(_: int) -> Tensor:
        # All learning rates of a seed see the same batches.
        drawn = torch.stack([torch.randint(problem.examples, (size,), generator=g) for g in generators])
        return drawn.repeat_interleave(len(lrs), dim=0)

    found_R = np.full(len(params_RxP), np.nan)
    goal, before, next_at = None, None, 0.0
    for step in descend(
        _wide(problem),
        params_RxP,
        [sgd(lr=lr) for _ in seeds for lr in lrs],
        steps=settings.most_steps,
        minibatches=rows,
        divergence=LOST,
    ):
        if step.number < next_at:
            continue
        next_at = max(step.number + 1, step.number * GROWTH)
        losses_R = np.where(step.running_R.numpy(), step.full().losses_R.double().numpy(), np.inf)
        goal = settings.target * losses_R if goal is None else goal
        if before is not None:
            number, last_R = before
            crossed = np.isnan(found_R) & (losses_R <= goal)
            with np.errstate(invalid="ignore", divide="ignore"):
                share_R = np.log(last_R / goal) / np.log(last_R / losses_R)
            found_R = np.where(crossed, number + share_R * (step.number - number), found_R)
        before = (step.number, losses_R)
        found_SxL = found_R.reshape(len(seeds), len(lrs))
        # A rate that has not arrived by now cannot be the fastest of its seed.
        if np.isfinite(found_SxL).any(1).all():
            break
    return np.fmin.reduce(found_SxL, axis=1)


def _wide(problem: Problem) -> Problem:
    """The problem for any number of runs: its networks differ in nothing but their trained parameters."""
    ((inputs, targets),) = problem.chunks()
    return Problem(problem.module, inputs, targets, problem.loss)


def readings(problem: Problem, start_1xP: Tensor, seed: int, settings) -> dict[str, float]:
    """The noise scale on the way of gradient descent to the target: its mean over ``readings`` evenly spaced steps,
    from the gradient of each example, and what the two-batch estimator makes of it.

    Raises:
        ValueError: if gradient descent does not get there.
    """
    whole = _wide(problem)
    path, goal = [], None
    for step in descend(whole, start_1xP, sgd(lr=settings.path_lr), steps=settings.most_steps):
        path.append(step.params_RxP.clone())
        goal = settings.target * float(step.losses_R[0]) if goal is None else goal
        if float(step.losses_R[0]) <= goal:
            break
    else:
        raise ValueError(f"gradient descent at {settings.path_lr:g} does not reach the target loss")
    generator = torch.Generator().manual_seed(seed)
    simple, curved, guessed = [], [], []
    for at in np.linspace(0, len(path) - 1, settings.readings).round().astype(int):
        scales = measured_scales(whole, path[at], settings.curved_examples, generator)
        simple.append(scales[0])
        curved.append(scales[1])
        squares = {
            size: float(np.mean([_drawn_square(whole, path[at], size, generator) for _ in range(settings.pairs)]))
            for size in settings.estimator_sizes
        }
        guessed.append(noise.estimated(squares))
    return {
        "noise_scale": float(np.mean(simple)),
        "curved_scale": float(np.mean(curved)),
        "estimator_ratio": float(np.exp(np.mean(np.log(np.divide(guessed, simple))))) if min(guessed) > 0 else np.nan,
        "log_growth": float(np.log(simple[-1] / simple[0])),
        "path_steps": len(path) - 1.0,
        **{f"scale-{number}": value for number, value in enumerate(simple)},
    }


def measured_scales(
    problem: Problem, params_1xP: Tensor, curved_examples: int, generator: torch.Generator
) -> tuple[float, float]:
    """The simple noise scale, from the gradient of each example's own loss; and the one with the Hessian, from some."""
    point = problem.at(params_1xP, curvature=True)
    squares = [
        example_gradients(problem, params_1xP, rows).double().square().sum(1)
        for rows in torch.arange(problem.examples).split(AT_ONCE)
    ]
    gradient_1xP = point.grads_RxP
    simple = noise.scale(float(torch.cat(squares).mean()), gradient_1xP[0].double().numpy())
    some = torch.randint(problem.examples, (curved_examples,), generator=generator)
    own_KxP = example_gradients(problem, params_1xP, some)
    products_KxP = point.hvp(own_KxP.mT[None])[0].mT
    curvature = float((own_KxP * products_KxP).sum(1).double().mean())
    along = float((gradient_1xP * point.hvp(gradient_1xP)).double().sum())
    return simple, noise.curved_scale(curvature, along)


def example_gradients(problem: Problem, params_1xP: Tensor, rows_K: Tensor) -> Tensor:
    """K x P: the gradient of the loss of each of these examples alone."""
    params_KxP = params_1xP.expand(len(rows_K), -1).contiguous()
    return problem.at(params_KxP, rows_RxB=rows_K[:, None]).grads_RxP


def _drawn_square(problem: Problem, params_1xP: Tensor, size: int, generator: torch.Generator) -> float:
    rows_1xB = torch.randint(problem.examples, (1, size), generator=generator)
    return float(problem.at(params_1xP, rows_RxB=rows_1xB).grads_RxP.double().square().sum())


def known_steps(seed: int, size: int, scale: float) -> float:
    """Steps to a thousandth of |w|^2, the mean of some runs, on |w|^2 / 2 with noise of covariance trace
    ``scale`` |w|^2 in the gradient of an example. The learning rate is a small one over 1 + scale / size, as the theory
    has it, so that |w|^2 falls by a factor of 1 - (2 lr - lr^2) / (1 + scale / size) a step on average."""
    generator = np.random.default_rng((seed, size))
    lr = KNOWN_LR / (1 + scale / size)
    weights_RxD = np.ones((KNOWN_RUNS, KNOWN_D)) / KNOWN_D**0.5
    found_R, number = np.full(KNOWN_RUNS, np.nan), 0
    while np.isnan(found_R).any():
        number += 1
        norms_Rx1 = np.linalg.norm(weights_RxD, axis=1, keepdims=True)
        drawn_RxD = generator.standard_normal(weights_RxD.shape)
        weights_RxD = weights_RxD - lr * (weights_RxD + norms_Rx1 * (scale / (size * KNOWN_D)) ** 0.5 * drawn_RxD)
        arrived = np.square(weights_RxD).sum(1) <= 1e-3
        found_R = np.where(arrived & np.isnan(found_R), number, found_R)
    return float(found_R.mean())
