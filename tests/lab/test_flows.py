"""The flows against closed forms, and the complementarity problem against its conditions and brute force."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from benchmarks.lab import architectures
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.central_flow import CentralFlow, complementary
from benchmarks.lab.measurements.gradient_flow import GradientFlow
from benchmarks.lab.problem import Problem, stack_parameters

N, D, LR = 20, 4, 0.1


def regression(runs=2):
    """Linear regression: the problem, initial parameters, and the flow at a time, params_RxP and losses_R."""
    modules = [m.double() for m in architectures.build_stack("deep_linear", (D,), 1, range(runs))]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, D, dtype=torch.float64, generator=generator)
    targets = torch.randn(N, 1, dtype=torch.float64, generator=generator)
    params_RxP = stack_parameters(modules)
    hessian = inputs.T @ inputs / N
    minimum = torch.linalg.solve(hessian, inputs.T @ targets / N)[:, 0]

    def flow(time):
        away_RxP = (params_RxP - minimum) @ torch.matrix_exp(-hessian * time)
        rest = 0.5 * (inputs @ minimum - targets[:, 0]).square().mean()
        return minimum + away_RxP, rest + 0.5 * (away_RxP * (away_RxP @ hessian)).sum(1)

    return Problem(modules[0], inputs, targets, "mse"), params_RxP, flow, torch.linalg.eigvalsh(hessian)[-1]


def tanh_problem(runs=2):
    modules = [
        m.double() for m in architectures.build_stack("mlp", (D,), 1, range(runs), hidden=[6], activation="tanh")
    ]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, D, dtype=torch.float64, generator=generator)
    targets = torch.randn(N, 1, dtype=torch.float64, generator=generator)
    return Problem(modules[0], inputs, targets, "mse"), stack_parameters(modules)


def toy(x, y, drift):
    """y x^2 / 2 - drift y, and its parameters as a stack of one."""
    module = architectures.build("self_stabilization", (1,), 1, sharpness=1.0, drift=drift, amplitude=1.0).double()
    params_RxP = torch.tensor([[x, y]], dtype=torch.float64)
    return Problem(module, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1), "objective"), params_RxP


class Twins(nn.Module):
    """Two of these models side by side, with drifts of their own."""

    def __init__(self, drifts):
        super().__init__()
        self.x, self.y = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.drifts = torch.tensor(drifts, dtype=torch.float64)

    def forward(self, inputs_NxD):
        return (0.5 * self.y * self.x**2 - self.drifts * self.y).sum().expand(len(inputs_NxD), 1)


class Valley(nn.Module):
    """x'Yx / 2 - tr(DY) for a symmetric 2 x 2 matrix Y: both of its eigenvalues rise, while its eigenvectors turn."""

    DRIFT = ((0.4, 0.25), (0.25, 0.3))

    def __init__(self):
        super().__init__()
        self.x, self.y = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))

    def forward(self, inputs_NxD):
        matrix = self.y[torch.tensor([[0, 1], [1, 2]])]
        loss = 0.5 * self.x @ matrix @ self.x - (torch.tensor(self.DRIFT).to(matrix) * matrix).sum()
        return loss.expand(len(inputs_NxD), 1)


def reading(problem, params_RxP, step, running_R=None):
    return Reading(step, problem.at(params_RxP), lambda: None, running_R)


def follow(flow, problem, params_RxP, steps):
    """A flow's metrics at the last of these steps, beside a run that stays where it started."""
    for step in steps:
        metrics = flow.measure(reading(problem, params_RxP, step))
    return metrics


def gradient_flow(tolerance=1e-6, steps=1000, lr=LR):
    return GradientFlow(lr=lr, every=1, tolerance=tolerance, steps=steps, eigen_tolerance=1e-10)


def central_flow(lr, substeps=4, eigenvalues=1):
    return CentralFlow(lr=lr, every=1, substeps=substeps, eigenvalues=eigenvalues, eigen_tolerance=1e-10)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
def test_gradient_flow_of_linear_regression_is_the_matrix_exponential(tolerance):
    problem, params_RxP, exact, sharpness = regression()
    flow = gradient_flow(tolerance)
    for step in (0, 1, 5, 30):
        metrics = flow.measure(reading(problem, params_RxP, step))
        flowed_RxP, losses_R = exact(LR * step)
        # The local error per step is the tolerance; the flow contracts, so that the sum stays of its order.
        torch.testing.assert_close(metrics["flow_loss"], losses_R, rtol=10 * tolerance, atol=10 * tolerance)
        distances_R = (params_RxP - flowed_RxP).norm(dim=1)
        torch.testing.assert_close(metrics["flow_distance"], distances_R, rtol=10 * tolerance, atol=10 * tolerance)
        torch.testing.assert_close(metrics["flow_sharpness"], sharpness.expand(2), rtol=1e-8, atol=0)


def test_the_error_of_gradient_flow_shrinks_with_its_tolerance():
    problem, params_RxP, exact, _ = regression()
    errors, gradients = [], []
    for tolerance in (1e-3, 1e-5, 1e-7):
        flow = gradient_flow(tolerance)
        flow.measure(reading(problem, params_RxP, 0))
        metrics = flow.measure(reading(problem, exact(LR * 20)[0], 20))
        errors.append(metrics["flow_distance"])
        gradients.append(metrics["flow_gradients"])
    assert bool((errors[1] < 0.2 * errors[0]).all() and (errors[2] < 0.2 * errors[1]).all())
    assert bool((gradients[0] < gradients[1]).all() and (gradients[1] < gradients[2]).all())


def test_the_flow_distance_is_from_the_run_where_it_is_by_then():
    problem, params_RxP, exact, _ = regression()
    flow = gradient_flow(1e-9)
    torch.testing.assert_close(
        flow.measure(reading(problem, params_RxP, 0))["flow_distance"], torch.zeros(2, dtype=torch.float64)
    )
    elsewhere_RxP = exact(LR * 7)[0] + torch.tensor([[3.0, 0, 4, 0], [0, 0, 0, 2]], dtype=torch.float64)
    metrics = flow.measure(reading(problem, elsewhere_RxP, 7))
    torch.testing.assert_close(metrics["flow_distance"], torch.tensor([5.0, 2.0], dtype=torch.float64))


def test_the_flows_ignore_how_often_they_are_read():
    problem, params_RxP = tanh_problem()
    rare, often = (
        follow(gradient_flow(1e-8), problem, params_RxP, steps) for steps in ((0, 12), (0, 1, 2, 3, 5, 8, 12))
    )
    for name in ("flow_loss", "flow_distance", "flow_sharpness"):
        torch.testing.assert_close(rare[name], often[name], rtol=1e-6, atol=0)
    rare, often = (follow(central_flow(LR), problem, params_RxP, steps) for steps in ((0, 6), range(7)))
    torch.testing.assert_close(rare, often)


@pytest.mark.parametrize("make", [gradient_flow, lambda: central_flow(1.2, eigenvalues=2)], ids=["gradient", "central"])
def test_a_flow_resumed_in_the_middle_goes_on_as_it_would_have(make, tmp_path):
    problem, params_RxP = tanh_problem()
    flow = make()
    follow(flow, problem, params_RxP, (0, 3))
    torch.save(flow.state_dict(), tmp_path / "state.pt")
    whole = follow(flow, problem, params_RxP, (6, 7))
    resumed = make()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(follow(resumed, problem, params_RxP, (6, 7)), whole, rtol=0, atol=0)


def test_a_gradient_flow_stops_after_its_last_step():
    problem, params_RxP, _, _ = regression()
    flow = gradient_flow(steps=5)
    assert follow(flow, problem, params_RxP, (0, 5))
    assert flow.measure(reading(problem, params_RxP, 6)) == {}


@pytest.mark.parametrize("make", [gradient_flow, lambda: central_flow(LR)], ids=["gradient", "central"])
def test_the_flow_of_a_run_that_diverged_stops_and_the_others_go_on(make):
    problem, params_RxP = tanh_problem()
    flow = make()
    flow.measure(reading(problem, params_RxP, 0))
    stopped = flow.measure(reading(problem, params_RxP, 4, running_R=torch.tensor([False, True])))
    alone = follow(make(), problem, params_RxP[1:], (0, 4))
    for name, values_R in stopped.items():
        assert bool(values_R[0].isnan()) and values_R[1] == alone[name][0]


def test_below_the_edge_the_central_flow_is_gradient_flow_up_to_its_substeps():
    problem, params_RxP = toy(1.0, 10.0, drift=3.0)
    lr, steps = 0.03, (0, 6)
    flow = follow(gradient_flow(1e-10, lr=lr), problem, params_RxP, steps)
    errors = []
    for substeps in (4, 8, 16):
        central = follow(central_flow(lr, substeps), problem, params_RxP, steps)
        errors.append(float((central["central_loss"] - flow["flow_loss"]).abs()))
        assert float(central["central_variance"]) == float(central["central_modes"]) == 0
        assert float(central["central_predicted_loss"]) == float(central["central_loss"])
    assert errors[0] < 0.05 * abs(float(flow["flow_loss"]))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2) and errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_central_flow_without_curvature_to_hold_is_the_euler_method():
    problem, params_RxP = toy(1.0, 10.0, drift=3.0)
    lr, substeps = 0.03, 2
    x, y = 1.0, 10.0
    for _ in range(5 * substeps):
        x, y = x - lr / substeps * x * y, y - lr / substeps * (x * x / 2 - 3.0)
    metrics = follow(central_flow(lr, substeps), problem, params_RxP, (0, 2, 5))
    assert float(metrics["central_loss"]) == pytest.approx(y * x * x / 2 - 3.0 * y, rel=1e-12)
    assert float(metrics["central_sharpness"]) == pytest.approx((y + (y * y + 4 * x * x) ** 0.5) / 2, rel=1e-9)
    assert float(metrics["central_distance"]) == pytest.approx(((x - 1) ** 2 + (y - 10) ** 2) ** 0.5, rel=1e-12)


def test_at_the_edge_the_central_flow_holds_the_sharpness_by_twice_the_drift():
    lr, drift = 0.03, 0.2
    problem, params_RxP = toy(1e-6, 1.99 / lr, drift)
    flow = central_flow(lr)
    # The edge is 0.01 / lr away, at lr * drift a step.
    below = follow(flow, problem, params_RxP, (0, 50))
    assert float(below["central_sharpness"]) == pytest.approx(1.99 / lr + 50 * lr * drift, rel=1e-9)
    assert float(below["central_modes"]) == 0
    held = follow(flow, problem, params_RxP, (60, 90))
    assert float(held["central_sharpness"]) == pytest.approx(2 / lr, rel=1e-9)
    assert float(held["central_variance"]) == pytest.approx(2 * drift, rel=1e-6)
    assert float(held["central_modes"]) == 1
    assert float(held["central_loss"]) == pytest.approx(-drift * 2 / lr, rel=1e-9)
    assert float(held["central_predicted_loss"]) == pytest.approx(-drift * 2 / lr + 2 * drift / lr, rel=1e-6)


@pytest.mark.parametrize("drifts", [(0.2, 0.2), (0.2, 0.5)])
def test_two_eigenvalues_at_the_edge_are_held_each_by_its_own_variance(drifts):
    lr = 0.03
    module = Twins(drifts)
    problem = Problem(module, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1), "objective")
    params_RxP = torch.tensor([[1e-6, 1e-6, 1.999 / lr, 1.998 / lr]], dtype=torch.float64)
    held = follow(central_flow(lr, eigenvalues=3), problem, params_RxP, (0, 60))
    assert float(held["central_sharpness"]) == pytest.approx(2 / lr, rel=1e-5)
    assert float(held["central_variance"]) == pytest.approx(2 * sum(drifts), rel=1e-3)
    assert float(held["central_modes"]) == 2
    assert float(held["central_loss"]) == pytest.approx(-sum(drifts) * 2 / lr, rel=1e-5)


def test_eigenvalues_that_turn_at_the_edge_are_held_by_a_covariance_of_twice_the_drift():
    lr = 0.03
    problem = Problem(Valley(), torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1), "objective")
    params_RxP = torch.tensor([[1e-6, 1e-6, 1.998 / lr, -0.001 / lr, 1.999 / lr]], dtype=torch.float64)
    flow = central_flow(lr, eigenvalues=3)
    for steps in ((0, 60), (70, 80)):
        held = follow(flow, problem, params_RxP, steps)
        assert float(held["central_sharpness"]) == pytest.approx(2 / lr, rel=1e-6)
        assert float(held["central_variance"]) == pytest.approx(2 * (0.4 + 0.3), rel=1e-4)
        assert float(held["central_loss"]) == pytest.approx(-(0.4 + 0.3) * 2 / lr, rel=1e-6)
        assert float(held["central_modes"]) == 2


def test_the_central_flow_of_a_network_keeps_its_sharpness_at_the_edge():
    problem, params_RxP = tanh_problem(runs=1)
    lr = 0.525  # 2 / lr is 0.85 of the sharpness that gradient flow attains
    flow = central_flow(lr, substeps=4, eigenvalues=2)
    metrics = [flow.measure(reading(problem, params_RxP, step)) for step in range(0, 51, 10)]
    sharpness = torch.cat([m["central_sharpness"] for m in metrics]) * lr
    assert float(sharpness[0]) < 1.9 and float(sharpness.max()) < 2.02
    held = torch.cat([m["central_modes"] for m in metrics]) > 0
    assert bool(held[-1])
    torch.testing.assert_close(sharpness[held], torch.full_like(sharpness[held], 2.0), rtol=0.01, atol=0)


def instance(M, seed):
    """A random room and a response of the form the flow makes: <slopes_ij, slopes_kl> / 2."""
    generator = torch.Generator().manual_seed(seed)
    room = torch.randn(M, M, dtype=torch.float64, generator=generator)
    slopes = torch.randn(M, M, 7, dtype=torch.float64, generator=generator)
    slopes = (slopes + slopes.transpose(0, 1)).reshape(M * M, 7)
    return (room + room.T) / 2, 0.5 * slopes @ slopes.T


@pytest.mark.parametrize("M", [1, 2, 3])
def test_a_complementary_solution_is_semidefinite_feasible_and_orthogonal(M):
    held = set()
    for seed in range(12):
        room, response = instance(M, seed)
        x = complementary(room, response)
        slack = room + (response @ x.reshape(-1)).reshape(M, M)
        scale = float(room.norm()) + 1e-12
        assert float(torch.linalg.eigvalsh(x)[0]) >= -1e-12
        assert float(torch.linalg.eigvalsh(slack)[0]) >= -1e-5 * scale
        assert abs(float((x * slack).sum())) <= 1e-5 * scale * max(float(x.norm()), 1.0)
        held.add(int((torch.linalg.eigvalsh(x) > 1e-6).sum()))
    assert len(held) > 1


@pytest.mark.parametrize("seed", range(6))
def test_one_complementary_variance_is_the_brute_force_minimum(seed):
    room, response = instance(1, seed)
    a, b = float(room), float(response)
    best = minimize_scalar(
        lambda x: a * x + 0.5 * b * x * x, bounds=(0, 100), method="bounded", options={"xatol": 1e-9}
    )
    assert float(complementary(room, response)) == pytest.approx(best.x, abs=1e-6)


@pytest.mark.parametrize("M", [2, 3])
def test_decoupled_complementary_variances_are_found_one_by_one(M):
    room = torch.diag(torch.tensor([-2.0, 1.0, -0.5], dtype=torch.float64)[:M])
    gains = np.array([4.0, 2.0, 0.1])[:M]
    response = np.eye(M * M)
    for i, gain in enumerate(gains):
        response[i * M + i, i * M + i] = gain
    expected = torch.diag(torch.tensor([0.5, 0.0, 5.0], dtype=torch.float64)[:M])
    torch.testing.assert_close(complementary(room, torch.from_numpy(response)), expected, rtol=1e-6, atol=1e-6)
