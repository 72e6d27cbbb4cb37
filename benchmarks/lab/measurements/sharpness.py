"""Sharpness: the largest eigenvalue of the training-loss Hessian (units: loss / parameter^2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.lab.measurements import eigensolvers
from benchmarks.lab.problem import Point


class Sharpness:
    """The top Hessian eigenvalue along a run, tracked warm and checked cold.

    Metrics: ``sharpness``; ``sharpness_residual`` and ``sharpness_error`` (both relative, see `EigenResult`);
    ``sharpness_hvps`` (Hessian-vector products spent on this run, cold checks apart); and at each ``cold_every``-th
    reading
    ``sharpness_cold``, the same by Lanczos from a random vector, beside ``sharpness_warm``. Both are lower bounds, so
    the larger is the reading. Where the cold one is larger by more than both tolerances, the warm solver has lost the
    top eigenvector and goes on from the cold one.

    Args:
        seeds: one a run; they and the step determine every random vector.
        every: steps between readings.
        tolerance: estimated relative eigenvalue error at which a solve stops.
        cold_every: readings between cold checks.
        max_hvps: products at most, a solve; the reading is then marked by a ``sharpness_error`` above the tolerance.
    """

    curvature = True
    GUARDS = 1
    # A cold solve that stops early may sit on the second of two close eigenvalues: at the edge of stability one of 27
    # did, by 2.4 %, at the warm solver's own tolerance.
    COLD_TOLERANCE = 1e-2

    def __init__(
        self, seeds: Sequence[int], *, every: int, tolerance: float, cold_every: int = 20, max_hvps: int = 200
    ):
        self.seeds = list(seeds)
        self.every = every
        self.tolerance = tolerance
        self.cold_every = cold_every
        self.max_hvps = max_hvps
        self._readings = 0
        self._warm_RxPxK: Tensor | None = None

    def measure(self, point: Point, step: int) -> dict[str, Tensor]:
        start = self._warm_RxPxK
        if start is None:
            start = self._random(point, step)[:, :, None]
        warm = eigensolvers.block_rayleigh_ritz(
            point.hvp, start, 1, tolerance=self.tolerance, guards=self.GUARDS, max_products=self.max_hvps
        )
        vectors, values = warm.vectors_RxPxK, warm.eigenvalues_RxK[:, 0]
        metrics = {
            "sharpness_residual": warm.residuals_RxK[:, 0],
            "sharpness_error": warm.errors_RxK[:, 0],
            "sharpness_hvps": torch.full_like(values, warm.products),
        }
        if self._readings % self.cold_every == self.cold_every - 1:
            cold = eigensolvers.lanczos(
                point.hvp,
                self._random(point, step),
                1,
                tolerance=self.COLD_TOLERANCE * self.tolerance,
                max_products=self.max_hvps,
            )
            cold_R = cold.eigenvalues_RxK[:, 0]
            lost_R = cold_R > values + 2 * self.tolerance * values.abs()
            vectors = vectors.clone()
            vectors[lost_R, :, 0] = cold.vectors_RxPxK[lost_R, :, 0]
            metrics |= {"sharpness_cold": cold_R, "sharpness_warm": values}
            values = torch.maximum(values, cold_R)
        self._readings += 1
        self._warm_RxPxK = vectors
        return {"sharpness": values, **metrics}

    def _random(self, point: Point, step: int) -> Tensor:
        rows = []
        for seed, gradient_P in zip(self.seeds, point.grads_RxP):
            generator = torch.Generator().manual_seed(1_000_003 * seed + step)
            rows.append(torch.randn(len(gradient_P), generator=generator, dtype=torch.float64).to(gradient_P))
        return torch.stack(rows)

    def state_dict(self) -> dict:
        return {"readings": self._readings, "warm": self._warm_RxPxK}

    def load_state_dict(self, state: dict) -> None:
        self._readings, self._warm_RxPxK = state["readings"], state["warm"]
