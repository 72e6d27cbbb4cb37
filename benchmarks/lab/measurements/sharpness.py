"""Sharpness: the largest eigenvalues of the Hessian of the training loss (units: loss / parameter^2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup, eigensolvers
from benchmarks.lab.problem import Point


class Sharpness:
    """The top Hessian eigenvalues along a run, tracked warm and checked cold.

    Metrics: ``sharpness``, and ``sharpness_2`` to ``sharpness_K`` below it; ``sharpness_residual`` and
    ``sharpness_error`` (both relative, the worst of the K, see `EigenResult`); ``sharpness_hvps`` (Hessian-vector
    products spent on this run, without cold checks); and at each ``cold_every``-th reading ``sharpness_cold``, the top
    one by Lanczos from a random vector, along with ``sharpness_warm``. Both are lower bounds, so the larger is the
    reading. If the cold one is larger by more than both tolerances, the warm solver has lost the top eigenvector
    and continues from the cold one.

    With ``preconditioned`` the operator is P^(-1/2) H P^(-1/2), which has the eigenvalues of P^(-1) H (Cohen et al.
    2022), and the metrics are named ``preconditioned_sharpness``; there is no reading before the first update.

    Args:
        seeds: one per run; they and the step determine every random vector.
        every: steps between readings.
        tolerance: estimated relative eigenvalue error at which a solve stops.
        cold_every: readings between cold checks.
        max_hvps: at most this many products per solve; such a reading has a ``sharpness_error`` above the tolerance.
        eigenvalues: K.
    """

    curvature = True
    # A cold solve that stops early may sit on the second of two close eigenvalues: at the edge of stability one of 27
    # did, by 2.4 %, at the warm solver's own tolerance.
    COLD_TOLERANCE = 1e-2

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        every: int,
        tolerance: float,
        cold_every: int = 20,
        max_hvps: int = 200,
        eigenvalues: int = 1,
        preconditioned: bool = False,
    ):
        self.seeds = list(seeds)
        self.every = every
        self.tolerance = tolerance
        self.cold_every = cold_every
        self.max_hvps = max_hvps
        self.eigenvalues = eigenvalues
        self.preconditioned = preconditioned
        self.name = "preconditioned_sharpness" if preconditioned else "sharpness"
        self._readings = 0
        self._warm_RxPxB: Tensor | None = None
        self._spectrum_RxB: Tensor | None = None

    @property
    def vector_RxP(self) -> Tensor:
        """The unit top eigenvectors of the last reading."""
        return self._warm_RxPxB[:, :, 0]

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        apply = reading.point.hvp
        if self.preconditioned:
            preconditioner_RxP = reading.preconditioner()
            if preconditioner_RxP is None:
                return {}
            root_RxP = preconditioner_RxP.rsqrt()
            apply = lambda vecs_RxP: root_RxP * reading.point.hvp(root_RxP * vecs_RxP)  # noqa: E731
        start = self._random(reading)[:, :, None] if self._warm_RxPxB is None else self._warm_RxPxB
        warm = self._solve(apply, start, self._spectrum_RxB, self.eigenvalues)
        vectors, top = warm.vectors_RxPxB, warm.eigenvalues_RxK[:, 0]
        metrics = {
            f"{self.name}_residual": warm.residuals_RxK.amax(-1),
            f"{self.name}_error": warm.errors_RxK.amax(-1),
            f"{self.name}_hvps": torch.full_like(top, warm.products),
        }
        metrics |= {f"{self.name}_{k + 1}": warm.eigenvalues_RxK[:, k] for k in range(1, warm.eigenvalues_RxK.shape[1])}
        if self._readings % self.cold_every == self.cold_every - 1:
            cold = eigensolvers.lanczos(
                apply,
                self._random(reading),
                1,
                tolerance=self.COLD_TOLERANCE * self.tolerance,
                max_products=self.max_hvps,
            )
            cold_R = cold.eigenvalues_RxK[:, 0]
            lost_R = cold_R > top + 2 * self.tolerance * top.abs()
            vectors = vectors.clone()
            vectors[lost_R, :, 0] = cold.vectors_RxPxB[lost_R, :, 0]
            metrics |= {f"{self.name}_cold": cold_R, f"{self.name}_warm": top}
            top = torch.maximum(top, cold_R)
        self._readings += 1
        # Keep its sign, so that projections on it can be followed, and are those of the run alone.
        flips_R = torch.where((start[:, :, 0] * vectors[:, :, 0]).sum(1) < 0, -1.0, 1.0).to(vectors)
        vectors = torch.cat([(flips_R[:, None] * vectors[:, :, 0])[:, :, None], vectors[:, :, 1:]], dim=-1)
        self._warm_RxPxB, self._spectrum_RxB = vectors, warm.spectrum_RxB
        return {self.name: top, **metrics}

    def solve(self, apply: eigensolvers.Apply, eigenvalues: int = 1) -> eigensolvers.EigenResult:
        """The top eigenpairs of an operator close to the last reading's, from its vectors, which are not changed."""
        return self._solve(apply, self._warm_RxPxB, self._spectrum_RxB, eigenvalues)

    def _solve(
        self, apply: eigensolvers.Apply, start_RxPxB: Tensor, spectrum_RxB: Tensor | None, eigenvalues: int
    ) -> eigensolvers.EigenResult:
        return eigensolvers.block_rayleigh_ritz(
            apply,
            start_RxPxB,
            eigenvalues,
            tolerance=self.tolerance,
            spectrum_RxB=spectrum_RxB,
            max_products=self.max_hvps,
        )

    def _random(self, reading: Reading) -> Tensor:
        rows = []
        for seed, gradient_P in zip(self.seeds, reading.point.grads_RxP):
            generator = torch.Generator().manual_seed(1_000_003 * seed + reading.step)
            rows.append(torch.randn(len(gradient_P), generator=generator, dtype=torch.float64).to(gradient_P))
        return torch.stack(rows)

    def state_dict(self) -> dict:
        return {"readings": self._readings, "warm": self._warm_RxPxB, "spectrum": self._spectrum_RxB}

    def load_state_dict(self, state: dict) -> None:
        self._readings, self._warm_RxPxB = state["readings"], state["warm"]
        self._spectrum_RxB = state["spectrum"]


def top_eigenpairs(
    point: Point, before: tuple[Tensor, Tensor] | None, eigenvalues: int, tolerance: float
) -> tuple[eigensolvers.EigenResult, tuple[Tensor, Tensor]]:
    """The top eigenpairs of a point's Hessian, from the state of the last call or else from a random vector."""
    if before is None:
        generator = torch.Generator().manual_seed(0)
        start_RxP = torch.randn(point.params_RxP.shape, generator=generator, dtype=torch.float64)
        start, spectrum = start_RxP.to(point.params_RxP)[:, :, None], None
    else:
        start, spectrum = before
    top = eigensolvers.block_rayleigh_ritz(point.hvp, start, eigenvalues, tolerance=tolerance, spectrum_RxB=spectrum)
    return top, (top.vectors_RxPxB, top.spectrum_RxB)


def build(
    setup: Setup,
    *,
    every: int,
    tolerance: float,
    cold_every: int,
    max_hvps: int,
    eigenvalues: int = 1,
) -> Sharpness:
    return Sharpness(
        setup.seeds,
        every=every,
        tolerance=tolerance,
        cold_every=cold_every,
        max_hvps=max_hvps,
        eigenvalues=eigenvalues,
    )
