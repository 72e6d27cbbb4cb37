"""Gradient flow from a run's initialization, integrated alongside it."""

import numpy as np
import torch
from scipy.integrate import RK23
from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup
from benchmarks.lab.measurements.flow import Flow
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.problem import Problem


class GradientFlow(Flow):
    """dw/dt = -grad L(w), by an adaptive Runge-Kutta method of order three (scipy's RK23).

    Metrics: ``flow_sharpness``, ``flow_loss``, ``flow_distance`` (Euclidean, from the run at the same time) and
    ``flow_gradients`` (gradients spent so far). The local error of a step is held to ``tolerance`` relative to each
    parameter, plus a hundredth of it absolute, in root mean square.

    Args:
        steps: the run's step at which the flow ends; later there are no readings.
        lr, eigen_tolerance: see `Flow`.
    """

    metrics = ("flow_sharpness", "flow_loss", "flow_distance", "flow_gradients")

    def __init__(self, *, lr: float, every: int, tolerance: float, steps: int, eigen_tolerance: float):
        super().__init__(lr=lr, every=every, eigen_tolerance=eigen_tolerance)
        self.tolerance = tolerance
        self.steps = steps

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        return super().measure(reading) if reading.step <= self.steps else {}

    def start(self, params_P: Tensor) -> dict:
        return {"time": 0.0, "params": params_P.cpu().double().clone(), "next": None, "gradients": 0, "warm": None}

    def follow(self, run: dict, problem: Problem, step: int, params_P: Tensor) -> tuple[float, ...]:
        self._advance(run, problem, self.lr * step, params_P)
        row_1xP = run["params"].to(params_P)[None]
        point = problem.at(row_1xP, curvature=True)
        top, run["warm"] = top_eigenpairs(point, run["warm"], 1, self.eigen_tolerance)
        return (
            float(top.eigenvalues_RxK[0, 0]),
            float(point.losses_R[0]),
            float((params_P - row_1xP[0]).norm()),
            float(run["gradients"]),
        )

    def _advance(self, run: dict, problem: Problem, until: float, like_P: Tensor) -> None:
        if until <= run["time"]:
            return

        def slope(_: float, params_P: np.ndarray) -> np.ndarray:
            run["gradients"] += 1
            return -problem.at(torch.from_numpy(params_P).to(like_P)[None]).grads_RxP[0].cpu().double().numpy()

        left = until - run["time"]
        first = None if run["next"] is None else min(run["next"], left)
        solver = RK23(
            slope,
            run["time"],
            run["params"].numpy(),
            until,
            rtol=self.tolerance,
            atol=0.01 * self.tolerance,
            first_step=first,
        )
        while solver.status == "running":
            # The last step is cut to end at ``until``: what it would have been is the next call's first.
            proposed = solver.h_abs
            solver.step()
            if solver.status == "failed":
                raise ValueError(f"the gradient flow cannot be integrated beyond time {solver.t:g}: its steps vanish")
        run |= {"time": until, "params": torch.from_numpy(solver.y), "next": float(max(proposed, solver.h_abs))}


def build(setup: Setup, *, every: int, tolerance: float, steps: int, eigen_tolerance: float) -> GradientFlow:
    """Time is lr * step for any optimizer: with momentum that is not the time scale of the flow."""
    lr = setup.optimizer.options["lr"]
    return GradientFlow(lr=lr, every=every, tolerance=tolerance, steps=steps, eigen_tolerance=eigen_tolerance)
