"""The central flow of gradient descent (Cohen et al. 2025, "Understanding optimization in deep learning with central
flows", section 3), integrated alongside a run from its initialization."""

import torch
from torch import Tensor

from benchmarks.lab.measurements import Setup
from benchmarks.lab.measurements.flow import Flow
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.problem import Point, Problem


class CentralFlow(Flow):
    """dw/dt = -[grad L(w) + grad tr(H(w) C) / 2], the average motion of the oscillating run.

    C is the covariance of the oscillation: the least one, C = U X U' with X positive semidefinite on the eigenvectors U
    at the edge, that keeps every eigenvalue of H at or below 2/lr, with X nonzero only where an eigenvalue is held
    there (a semidefinite complementarity problem, solved again at each Euler step).

    Metrics: ``central_sharpness``; ``central_loss``, L on the flow; ``central_variance``, tr C (parameter^2);
    ``central_predicted_loss``, L + tr C / lr, the predicted average loss of the run; ``central_distance`` (Euclidean)
    from the run; ``central_modes``, the number of eigenvalues held.

    Args:
        substeps: Euler steps per step of the run. Two eigenvalues at the edge need at least two of them to be stable.
        eigenvalues: the largest number that can be held at once.
        lr, eigen_tolerance: see `Flow`.
    """

    metrics = (
        "central_sharpness",
        "central_loss",
        "central_variance",
        "central_predicted_loss",
        "central_distance",
        "central_modes",
    )
    # Eigenvalues this close to 2/lr, relatively, enter the complementarity problem, which decides if they are held.
    MARGIN = 0.05
    # The flow is lost, and no longer recorded, once its loss exceeds this multiple of its first.
    DIVERGENCE = 1e6

    def __init__(self, *, lr: float, every: int, substeps: int, eigenvalues: int, eigen_tolerance: float):
        super().__init__(lr=lr, every=every, eigen_tolerance=eigen_tolerance)
        self.substeps = substeps
        self.eigenvalues = eigenvalues

    def start(self, params_P: Tensor) -> dict:
        state = {"variance": 0.0, "modes": 0, "bound": None, "lost": False}
        return {"step": 0, "params": params_P.clone(), "warm": None, **state}

    def follow(self, run: dict, problem: Problem, step: int, params_P: Tensor) -> tuple[float, ...] | None:
        for _ in range((step - run["step"]) * self.substeps):
            self._euler_step(run, problem)
        run["step"] = step
        if run["lost"]:
            return None
        point = problem.at(run["params"][None], curvature=True)
        top, _ = top_eigenpairs(point, run["warm"], 1, self.eigen_tolerance)
        loss = float(point.losses_R[0])
        return (
            float(top.eigenvalues_RxK[0, 0]),
            loss,
            run["variance"],
            loss + run["variance"] / self.lr,
            float((params_P - run["params"]).norm()),
            float(run["modes"]),
        )

    def _euler_step(self, run: dict, problem: Problem) -> None:
        if run["lost"]:
            return
        time = self.lr / self.substeps
        point = problem.at(run["params"][None], curvature=True)
        loss, direction_P = float(point.losses_R[0].abs()), point.grads_RxP[0]
        run["bound"] = run["bound"] or self.DIVERGENCE * max(loss, 1e-30)
        run["lost"] = not (loss <= run["bound"] and bool(torch.isfinite(direction_P).all()))
        if run["lost"]:
            return
        top, run["warm"] = top_eigenpairs(point, run["warm"], self.eigenvalues, self.eigen_tolerance)
        values_K = top.eigenvalues_RxK[0]
        near = values_K > (1 - self.MARGIN) * 2 / self.lr
        run["variance"], run["modes"] = 0.0, 0
        if bool(near.any()):
            vectors_PxM = top.vectors_RxPxB[0][:, : len(near)][:, near]
            covariance_MxM, pull_P = self._hold(point, values_K[near], vectors_PxM, time)
            if not bool(torch.isfinite(pull_P).all()):
                run["lost"] = True
                return
            direction_P = direction_P + 0.5 * pull_P
            variances_M = torch.linalg.eigvalsh(covariance_MxM)
            run["variance"] = float(variances_M.sum())
            run["modes"] = int((variances_M > 1e-6 * run["variance"]).sum())
        run["params"] = run["params"] - time * direction_P

    def _hold(self, point: Point, values_M: Tensor, vectors_PxM: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """The covariance on the eigenvectors at the edge, M x M and on the CPU, and grad tr(H C), P."""
        M = len(values_M)
        slopes: dict[tuple[int, int], Tensor] = {}
        for i in range(M):
            for j in range(i, M):
                slope_1xP = point.curvature_gradient(vectors_PxM[:, i][None], vectors_PxM[:, j][None])
                slopes[i, j] = slopes[j, i] = slope_1xP[0]
        slopes_MxMxP = torch.stack([torch.stack([slopes[i, j] for j in range(M)]) for i in range(M)])
        free_MxM = -(slopes_MxMxP @ point.grads_RxP[0]).cpu().double()
        room_MxM = torch.diag(2 / self.lr - values_M) / time - free_MxM
        flat = slopes_MxMxP.reshape(M * M, -1).cpu().double()
        covariance_MxM = complementary(room_MxM, 0.5 * flat @ flat.T)
        return covariance_MxM, (covariance_MxM.to(vectors_PxM)[:, :, None] * slopes_MxMxP).sum((0, 1))


def complementary(room_MxM: Tensor, response: Tensor, *, tolerance: float = 1e-9, iterations: int = 5000) -> Tensor:
    """The X with X and room + response[X] both positive semidefinite and orthogonal, M x M, float64.

    These are the optimality conditions of minimizing <room, X> + <X, response[X]> / 2 over positive semidefinite X,
    which accelerated projected gradient descent does (Beck and Teboulle 2009).

    Args:
        room_MxM: symmetric.
        response: M^2 x M^2, positive semidefinite, mapping symmetric matrices to such.
    """
    M = len(room_MxM)
    if M == 1:
        return (-room_MxM / response).clamp_min(0.0)
    rate = 1 / torch.linalg.eigvalsh(response)[-1]
    x = momentum = torch.zeros_like(room_MxM)
    t = 1.0
    for _ in range(iterations):
        slope = room_MxM + (response @ momentum.reshape(-1)).reshape(M, M)
        values, vectors = torch.linalg.eigh(momentum - rate * (slope + slope.mT) / 2)
        new = (vectors * values.clamp_min(0.0)) @ vectors.mT
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        momentum = new + (t - 1) / t_new * (new - x)
        moved = float((new - x).norm())
        x, t = new, t_new
        if moved <= tolerance * float(x.norm()):
            break
    return x


def build(setup: Setup, *, every: int, substeps: int, eigenvalues: int, eigen_tolerance: float) -> CentralFlow:
    lr = setup.gradient_descent_lr("central_flow")
    return CentralFlow(lr=lr, every=every, substeps=substeps, eigenvalues=eigenvalues, eigen_tolerance=eigen_tolerance)
