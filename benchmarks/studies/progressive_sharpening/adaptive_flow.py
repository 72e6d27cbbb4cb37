"""The central flow of an adaptive optimizer (E13: Cohen et al. 2025, arXiv:2410.24206, on Scalar RMSProp)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from benchmarks.lab import architectures
from benchmarks.lab.architectures import mlp, self_stabilization
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.measurements.central_flow import complementary
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.optimizers.scalar_rmsprop import scalar_rmsprop
from benchmarks.lab.problem import Point, Problem
from benchmarks.studies.table import Result, tidy

EDGE = 2.0  # of the effective sharpness, lr S / sqrt(v)
# Eigenvalues this close to the edge, relatively, enter the complementarity problem, which decides if they are held.
MARGIN = 0.05
EIGEN_TOLERANCE = 1e-3
STABLE_TOLERANCE = 1e-6
# The least share of the readings at which the flow holds an eigenvalue. A run below it has no edge to compare at.
AT_EDGE = 0.5
# Two parameters whose curvature rises along the flow: where the edge holds it is known.
TOY = {"sharpness": 20.0, "drift": 0.4, "amplitude": 0.5}
TOY_LR = 1.0
OF_TOY = ("distance_ratio", "step_error_ratio", "flow_edge", "edge_share")  # its loss is negative


@tidy
def run(
    settings, seeds: Sequence[int], images: Images, tick: Callable[[int, int], None] = lambda done, planned: None
) -> Iterator[Result]:
    """Scalar RMSProp in float64 with two flows beside it, from the same weights and the same second moment: the central
    flow, and the stable flow, which has no oscillation.

    Systems: ``network``. Controls: ``toy``, two parameters, without a seed; ``below``, the network at a learning rate
    that stays below the edge, where the two flows are one.

    Quantities: see the data card.
    """
    data = subset(images, settings.images, classes=2, pool=settings.pool)
    inputs = data.train_inputs.double()
    targets = encode_targets(data.train_labels, "mse", 2, torch.float64)
    rates = {"network": settings.lr, "below": settings.lr_below}
    for number, seed in enumerate(seeds):
        (network,) = architectures.build_stack(
            mlp.build, tuple(inputs.shape[1:]), 1, [seed], hidden=settings.hidden, activation="tanh"
        )
        problem = Problem(network.double(), inputs, targets, "mse")
        for part, (system, lr) in enumerate(rates.items()):

            def along(step: int, before: int = len(rates) * number + part) -> None:
                tick(before * settings.steps + step, len(rates) * len(seeds) * settings.steps)

            yield system, seed, compared(problem, lr, settings, along, at_edge=AT_EDGE if system == "network" else 0.0)
    toy = self_stabilization.build((1,), 1, **TOY).double()
    empty = torch.zeros(1, 1, dtype=torch.float64)
    scores = compared(Problem(toy, empty, empty[0], "objective"), TOY_LR, settings, lambda step: None)
    yield "toy", None, {quantity: scores[quantity] for quantity in OF_TOY}


class CentralFlow:
    """In time t, one unit a step, with lr the learning rate, v the second moment, C the covariance of the oscillation:

        dw/dt = -(lr / sqrt(v)) [grad L + grad tr(H C) / 2]
        dv/dt = ((1 - b) / b) [|grad L|^2 + tr(H^2 C) - v]

    C is the least covariance on the eigenvectors at the edge that keeps every eigenvalue of H at or below
    2 sqrt(v) / lr, solved again at each Euler step: the oscillation lowers the eigenvalues and raises the bound.

    Attributes:
        params_1xP, moment: where the flow is.
        variance, held: the trace of C and its rank, as of the last step.
    """

    def __init__(self, problem: Problem, params_1xP: Tensor, *, lr: float, beta2: float, substeps: int, modes: int):
        self.problem, self.lr, self.substeps, self.modes = problem, lr, substeps, modes
        self.params_1xP = params_1xP.clone()
        self.moment = float(problem.at(params_1xP).grads_RxP.square().sum())
        self.rate = (1 - beta2) / beta2
        self.variance, self.held = 0.0, 0
        self._warm = None

    def step(self) -> None:
        for _ in range(self.substeps):
            self._euler(1 / self.substeps)

    def _euler(self, time: float) -> None:
        point = self.problem.at(self.params_1xP, curvature=True)
        top, self._warm = top_eigenpairs(point, self._warm, self.modes, EIGEN_TOLERANCE)
        bound = EDGE * self.moment**0.5 / self.lr
        values_K = top.eigenvalues_RxK[0]
        near = values_K > (1 - MARGIN) * bound
        gradient_P = point.grads_RxP[0]
        square, pull_P = float(gradient_P.square().sum()), torch.zeros_like(gradient_P)
        self.variance, self.held = 0.0, 0
        if bool(near.any()):
            vectors_PxM = top.vectors_RxPxB[0][:, : len(near)][:, near]
            covariance_MxM, pull_P = self._hold(point, values_K[near], vectors_PxM, bound, square, time)
            variances_M = torch.linalg.eigvalsh(covariance_MxM)
            self.variance = float(variances_M.sum())
            self.held = int((variances_M > 1e-6 * max(self.variance, 1e-300)).sum())
            # Held eigenvalues lie at the bound, so that tr(H^2 C) is its square times the trace.
            square += bound**2 * self.variance
        self.params_1xP = self.params_1xP - time * self.lr / self.moment**0.5 * (gradient_P + pull_P / 2)
        self.moment += time * self.rate * (square - self.moment)

    def _hold(
        self, point: Point, values_M: Tensor, vectors_PxM: Tensor, bound: float, square: float, time: float
    ) -> tuple[Tensor, Tensor]:
        """The covariance on the eigenvectors at the edge, M x M, and grad tr(H C), P."""
        M = len(values_M)
        slopes_MxMxP = vectors_PxM.new_empty(M, M, len(vectors_PxM))
        for i in range(M):
            for j in range(i, M):
                slopes_MxMxP[i, j] = slopes_MxMxP[j, i] = point.curvature_gradient(
                    vectors_PxM[:, i][None], vectors_PxM[:, j][None]
                )[0]
        step, unit_MxM = self.lr / self.moment**0.5, torch.eye(M, dtype=torch.float64)
        # How fast the bound rises, without the oscillation and with a trace of one.
        rise = self.rate * (square - self.moment) / (self.lr * self.moment**0.5)
        lift = self.rate * bound**2 / (self.lr * self.moment**0.5)
        falls_MxM = step * (slopes_MxMxP @ point.grads_RxP[0])
        room_MxM = torch.diag(bound - values_M) / time + falls_MxM + rise * unit_MxM
        flat = slopes_MxMxP.reshape(M * M, -1)
        response = step / 2 * flat @ flat.T + lift * torch.outer(unit_MxM.reshape(-1), unit_MxM.reshape(-1))
        covariance_MxM = complementary(room_MxM, response)
        return covariance_MxM, (covariance_MxM[:, :, None] * slopes_MxMxP).sum((0, 1))

    def effective_sharpness(self) -> float:
        point = self.problem.at(self.params_1xP, curvature=True)
        top, _ = top_eigenpairs(point, self._warm, 1, EIGEN_TOLERANCE)
        return self.lr * float(top.eigenvalues_RxK[0, 0]) / self.moment**0.5

    def loss(self) -> tuple[float, float]:
        """L on the flow, and the average that it predicts for the run, L + tr(H C) / 2."""
        loss = float(self.problem.at(self.params_1xP).losses_R[0])
        return loss, loss + self.moment**0.5 / self.lr * self.variance


def stable_flow(
    problem: Problem, params_1xP: Tensor, times_T: np.ndarray, *, lr: float, beta2: float
) -> tuple[np.ndarray, np.ndarray]:
    """The flow without an oscillation, by an adaptive Runge-Kutta method: params_TxP and moments_T.

    Raises:
        ValueError: if it cannot be integrated to the end.
    """
    rate = (1 - beta2) / beta2

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        gradient_P = problem.at(torch.from_numpy(state[None, :-1])).grads_RxP[0].numpy()
        return np.append(-lr / state[-1] ** 0.5 * gradient_P, rate * (gradient_P @ gradient_P - state[-1]))

    start = np.append(params_1xP[0].numpy(), float(problem.at(params_1xP).grads_RxP.square().sum()))
    solved = solve_ivp(
        slope, (times_T[0], times_T[-1]), start, t_eval=times_T, rtol=STABLE_TOLERANCE, atol=1e-3 * STABLE_TOLERANCE
    )
    if not solved.success:
        raise ValueError(f"the stable flow cannot be integrated: {solved.message}")
    return solved.y[:-1].T, solved.y[-1]


def compared(
    problem: Problem, lr: float, settings, along: Callable[[int], None], *, at_edge: float = AT_EDGE
) -> dict[str, float]:
    """Scores of the two flows beside the run, nan where the flow is at the edge at less than ``at_edge`` readings; and
    the three along time, ``run-STEP``, ``central-STEP``, ``stable-STEP``."""
    start_1xP, steps, every, beta2 = problem.initial_RxP(), settings.steps, settings.every, settings.beta2
    flow = CentralFlow(problem, start_1xP, lr=lr, beta2=beta2, substeps=settings.substeps, modes=settings.modes)
    losses, moments, tracks, seen_at = [], [], [], []
    for step in descend(problem, start_1xP, scalar_rmsprop(lr=lr, beta2=beta2), steps=steps):
        losses.append(float(step.losses_R[0]))
        if step.number > 0:
            (built,) = step.optimizers[0]
            state = built.state[step.parameters[0][0]]
            moments.append(float(state["square_norm_avg"]))
            flow.step()
            along(step.number)
        else:
            moments.append(flow.moment)
        if step.number % every == 0:
            seen_at.append(step.number)
            tracks.append((*flow.loss(), flow.moment, flow.held, flow.effective_sharpness()))
    end_P = step.params_RxP[0]
    losses_T, predicted_T, moment_T, held_T, effective_T = np.array(tracks).T
    times_T = np.array(seen_at, dtype=float)
    stable_TxP, stable_moment_T = stable_flow(problem, start_1xP, times_T, lr=lr, beta2=beta2)
    stable_T = np.array([float(problem.at(torch.from_numpy(row[None])).losses_R[0]) for row in stable_TxP])
    # The run oscillates: its readings are means over the steps around them.
    averaged_T, moments_T = _around(losses, seen_at, every), _around(moments, seen_at, every)
    late = times_T >= steps / 2
    moved = {
        "central": float((end_P - flow.params_1xP[0]).norm()),
        "stable": float(np.linalg.norm(end_P.numpy() - stable_TxP[-1])),
    }
    edge_share = float((held_T[late] > 0).mean())
    scores = {
        "distance_ratio": moved["central"] / moved["stable"],
        "relative_distance": moved["central"] / float((end_P - start_1xP[0]).norm()),
        "relative_distance_stable": moved["stable"] / float((end_P - start_1xP[0]).norm()),
        "loss_ratio": averaged_T[late].mean() / predicted_T[late].mean(),
        "loss_ratio_stable": averaged_T[late].mean() / stable_T[late].mean(),
        "loss_error": _log_error(averaged_T, predicted_T),
        "loss_error_stable": _log_error(averaged_T, stable_T),
        "step_error": _log_error(moments_T, moment_T) / 2,
        "step_error_stable": _log_error(moments_T, stable_moment_T) / 2,
        "flow_edge": float(np.median(effective_T[late])) / EDGE,
    }
    for quantity in ("loss_error", "step_error"):
        scores[f"{quantity}_ratio"] = scores[quantity] / scores[f"{quantity}_stable"]
    if not edge_share >= at_edge:
        scores = dict.fromkeys(scores, np.nan)
    curves = {"run": averaged_T, "central": predicted_T, "stable": stable_T}
    along_time = {f"{name}-{at}": value for name, values in curves.items() for at, value in zip(seen_at, values)}
    return {"edge_share": edge_share, "modes": held_T.max(), **scores, **along_time}


def _around(values: Sequence[float], steps: Sequence[int], width: int) -> np.ndarray:
    """Means over ``width`` + 1 values centred on these steps, as many as there are."""
    return np.array([np.mean(values[max(0, at - width // 2) : at + width // 2 + 1]) for at in steps])


def _log_error(measured_T: np.ndarray, predicted_T: np.ndarray) -> float:
    """The mean of |ln(measured / predicted)| along the whole path."""
    with np.errstate(invalid="ignore"):
        return float(np.abs(np.log(measured_T / predicted_T)).mean())
