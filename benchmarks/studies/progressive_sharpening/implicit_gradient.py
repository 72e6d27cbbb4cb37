"""Implicit gradient regularization (E15: Barrett and Dherin 2021, arXiv:2009.11162, theorem 3.1)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp

from benchmarks.lab import architectures
from benchmarks.lab.architectures import deep_linear, mlp
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.table import Result, tidy

# Of |grad L|^2 in the modified loss, over the learning rate.
REGULARIZER = 0.25
# The flows are compared with runs at errors down to 1e-7 of the way: this is far below.
TOLERANCE = 1e-10
SYSTEMS = {"network": REGULARIZER, "plain": 0.0, "doubled": 2 * REGULARIZER}


@tidy
def run(settings, seeds: Sequence[int], images: Images) -> Iterator[Result]:
    """Gradient descent to a fixed time, lr times steps, at several learning rates, in float64, against the flow of
    L + c lr |grad L|^2 from the same start.

    Systems: ``network``, c = 1/4. Nulls: ``plain``, c = 0, gradient flow; ``doubled``, c = 1/2. Control: ``quadratic``,
    linear regression with c = 1/4, whose flow is solved in the eigenvectors of its Hessian.

    Raises:
        ValueError: if the time is not a whole number of steps at some learning rate.

    Quantities: see the data card.
    """
    data = subset(images, settings.images, classes=2, pool=settings.pool)
    inputs = data.train_inputs.double()
    targets = encode_targets(data.train_labels, "mse", 2, torch.float64)
    lrs = [settings.lr / 2**halving for halving in range(settings.halvings + 1)]
    for lr in lrs:
        if abs(round(settings.time / lr) * lr - settings.time) > 1e-9 * settings.time:
            raise ValueError(f"time {settings.time:g} is not a whole number of steps of {lr:g}")
    for seed in seeds:
        network = Problem(
            _built(mlp.build, inputs, seed, hidden=settings.hidden, activation="tanh"), inputs, targets, "mse"
        )
        descents = [_descended(network, lr, settings.time) for lr in lrs]
        for system, c in SYSTEMS.items():
            ends = [flow_end(network, network.initial_RxP()[0].numpy(), settings.time, c * lr) for lr in lrs]
            yield system, seed, _scores(lrs, descents, ends, network.initial_RxP()[0].numpy())
        linear = Problem(_built(deep_linear.build, inputs, seed), inputs, targets, "mse")
        start_P = linear.initial_RxP()[0].numpy()
        scaled = [lr * settings.linear_lr / settings.lr for lr in lrs]
        time = settings.time * settings.linear_lr / settings.lr
        descents = [_descended(linear, lr, time) for lr in scaled]
        yield "quadratic", seed, _scores(scaled, descents, quadratic_ends(linear, time, scaled), start_P)


def _built(build: Callable[..., torch.nn.Module], inputs: torch.Tensor, seed: int, **options) -> torch.nn.Module:
    (module,) = architectures.build_stack(build, tuple(inputs.shape[1:]), 1, [seed], **options)
    return module.double()


def _descended(problem: Problem, lr: float, time: float) -> np.ndarray:
    for step in descend(problem, problem.initial_RxP(), sgd(lr=lr), steps=round(time / lr)):  # noqa: B007
        pass
    return step.params_RxP[0].clone().numpy()


def flow_end(problem: Problem, start_P: np.ndarray, time: float, weight: float) -> np.ndarray:
    """Where gradient flow on L + weight |grad L|^2 is at a time, by an adaptive method of order eight.

    Raises:
        ValueError: if it cannot be integrated that far.
    """

    def slope(_: float, params_P: np.ndarray) -> np.ndarray:
        point = problem.at(torch.from_numpy(params_P)[None], curvature=weight != 0)
        gradient_RxP = point.grads_RxP
        return -(gradient_RxP + 2 * weight * point.hvp(gradient_RxP) if weight else gradient_RxP)[0].numpy()

    solved = solve_ivp(slope, (0, time), start_P, method="DOP853", rtol=TOLERANCE, atol=TOLERANCE)
    if not solved.success:
        raise ValueError(f"the flow cannot be integrated to time {time:g}: {solved.message}")
    return solved.y[:, -1]


def quadratic_ends(problem: Problem, time: float, lrs: Sequence[float]) -> list[np.ndarray]:
    """The flow of L + lr |grad L|^2 / 4 for a quadratic L, at a time, from the eigenvectors of its Hessian."""
    start_1xP = problem.initial_RxP()
    P = start_1xP.shape[1]
    point = problem.at(start_1xP, curvature=True)
    hessian_PxP = point.hvp(torch.eye(P, dtype=torch.float64)[None])[0].numpy()
    values_P, vectors_PxP = np.linalg.eigh((hessian_PxP + hessian_PxP.T) / 2)
    gradient_P = vectors_PxP.T @ point.grads_RxP[0].numpy()
    ends = []
    for lr in lrs:
        rates_P = values_P * (1 + lr * values_P / 2)
        # g (1 - e^(-rate t)) / value: the way to the minimum; for a value of zero there is no gradient and none to go.
        way_P = np.where(
            values_P > 1e-12 * values_P.max(), -np.expm1(-rates_P * time) / np.maximum(values_P, 1e-300), 0
        )
        ends.append(start_1xP[0].numpy() - vectors_PxP @ (gradient_P * way_P))
    return ends


def _scores(
    lrs: Sequence[float], descents: Sequence[np.ndarray], ends: Sequence[np.ndarray], start_P: np.ndarray
) -> dict[str, float]:
    errors = [float(np.linalg.norm(run_P - end_P)) for run_P, end_P in zip(descents, ends)]
    way = float(np.linalg.norm(descents[-1] - start_P))
    # The largest learning rates are not yet in the limit that the exponent speaks of.
    kept = slice(len(lrs) // 2, None)
    slope = np.polyfit(np.log(lrs[kept]), np.log(errors[kept]), 1)[0]
    relative = {f"error-{lr:g}": error / way for lr, error in zip(lrs, errors)}
    return {"exponent": slope, "smallest_error": errors[-1] / way, **relative}
