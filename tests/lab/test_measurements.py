"""What is read off a run, each against dense Hessians, finite differences or a closed form, in float64."""

import numpy as np
import pytest
import torch

from benchmarks.lab import architectures, measurements, optimizers
from benchmarks.lab.measurements import Reading, Setup, Stateless
from benchmarks.lab.measurements.batch_sharpness import BatchSharpness
from benchmarks.lab.measurements.eigensolvers import dense_matrix
from benchmarks.lab.measurements.path import PROBE, Path
from benchmarks.lab.measurements.segment import Segment
from benchmarks.lab.measurements.self_stabilization import SelfStabilization
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.lab.training import train

N, D = 20, 4
SHARPNESS = dict(every=1, tolerance=1e-10, cold_every=1, max_hvps=200)


def problem(seeds, name="mlp", **options):
    """A regression on random data and the initial parameters of these seeds: curved with `mlp`, quadratic without."""
    options = options or ({"hidden": [5], "activation": "tanh"} if name == "mlp" else {})
    modules = [m.double() for m in architectures.build_stack(name, (D,), 2, seeds, **options)]
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(2, N, D, dtype=torch.float64, generator=generator).unbind()
    return Problem(modules[0], inputs, 2 * targets[:, :2], "mse"), stack_parameters(modules)


def toy(x, y, drift):
    """y x^2 / 2 - drift y, and a stack of its parameters."""
    module = architectures.build("self_stabilization", (1,), 1, sharpness=1.0, drift=drift, amplitude=1.0).double()
    params_RxP = torch.tensor([x, y], dtype=torch.float64).T.contiguous()
    return Problem(module, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1), "objective"), params_RxP


def read(problem, params_RxP, step=0):
    return Reading(step, problem.at(params_RxP, curvature=True), lambda: None)


def hessians(problem, params_RxP):
    return dense_matrix(problem.at(params_RxP, curvature=True).hvp, len(params_RxP), problem.parameters)


def tops(problem, params_RxP):
    return torch.linalg.eigvalsh(hessians(problem, params_RxP))[:, -1]


def tracked(problem, params_RxP, **options):
    """A sharpness that has been read at these parameters."""
    sharpness = Sharpness(range(len(params_RxP)), **{**SHARPNESS, **options})
    sharpness.measure(read(problem, params_RxP))
    return sharpness


def dots(a_RxP, b_RxP):
    return (a_RxP * b_RxP).sum(1)


class Spy(Stateless):
    every, curvature = 1, True

    def __init__(self):
        self.seen = []

    def measure(self, reading):
        P = reading.preconditioner()
        hessians_RxPxP = dense_matrix(
            reading.point.hvp, len(reading.point.params_RxP), reading.point.problem.parameters
        )
        self.seen.append((hessians_RxPxP.numpy(), None if P is None else P.numpy()))
        return {}


@pytest.mark.parametrize(
    "spec", [dict(name="adam", lr=0.01, beta1=0.9, eps=1e-3), dict(name="scalar_rmsprop", lr=0.05)], ids=str
)
def test_the_preconditioned_sharpness_is_the_top_eigenvalue_of_the_preconditioned_hessian(spec):
    curved, params_RxP = problem([1, 2])
    setup = Setup([1, 2], curved, None, spec, None)
    spy = Spy()
    outcome = train(
        curved,
        params_RxP,
        optimizers.named(**spec),
        seeds=[1, 2],
        steps=6,
        divergence=1e6,
        measurements=[*measurements.build({"preconditioned_sharpness": SHARPNESS}, setup), spy],
    )
    frame = outcome.history.frame()
    for r, seed in enumerate([1, 2]):
        mine = frame[(frame.seed == seed) & (frame.metric == "preconditioned_sharpness")]
        assert mine.step.tolist() == list(range(1, 7))
        for step, value in zip(mine.step, mine.value):
            hessians_RxPxP, P = spy.seen[step]
            expected = np.linalg.eigvals(hessians_RxPxP[r] / P[r][:, None]).real.max()
            assert value == pytest.approx(expected, rel=1e-7)
            assert abs(value / np.linalg.eigvalsh(hessians_RxPxP[r])[-1] - 1) > 0.01
    assert "sharpness" not in set(frame.metric)


@pytest.mark.parametrize("eigenvalues", [1, 3])
def test_the_eigenvalues_below_the_sharpness_have_their_rank_as_a_name(eigenvalues):
    curved, params_RxP = problem([1, 2])
    metrics = Sharpness([1, 2], **SHARPNESS, eigenvalues=eigenvalues).measure(read(curved, params_RxP))
    exact = torch.linalg.eigvalsh(hessians(curved, params_RxP)).flip(-1)
    for k in range(eigenvalues):
        name = f"sharpness_{k + 1}" if k else "sharpness"
        torch.testing.assert_close(metrics[name], exact[:, k], rtol=1e-8, atol=0)
    assert f"sharpness_{eigenvalues + 1}" not in metrics


def test_the_tracked_vector_keeps_its_sign_so_that_an_oscillation_alternates():
    quadratic, params_RxP = problem([1, 2, 3], "deep_linear")
    lr = 1.99 / float(tops(quadratic, params_RxP)[0])
    curved, curved_RxP = problem([1, 2, 3])
    sharpness, other = (Sharpness([1, 2, 3], **{**SHARPNESS, "tolerance": 1e-6}) for _ in range(2))
    path = Path(sharpness)
    oscillations, vectors = [], []
    for step in range(12):
        reading, elsewhere = read(quadratic, params_RxP, step), read(curved, curved_RxP, step)
        sharpness.measure(reading)
        oscillations.append(path.measure(reading).get("oscillation"))
        other.measure(elsewhere)
        vectors.append(other.vector_RxP.clone())
        params_RxP = params_RxP - lr * reading.point.grads_RxP
        curved_RxP = curved_RxP - 0.2 * elsewhere.point.grads_RxP
    for before, after in zip(oscillations[1:], oscillations[2:]):
        assert bool((before * after < 0).all())
    for before, after in zip(vectors, vectors[1:]):
        assert bool((dots(before, after) > 0.5).all())


def test_the_path_of_a_quadratic_is_exact():
    quadratic, params_RxP = problem([1, 2], "deep_linear")
    sharpness = tracked(quadratic, params_RxP)
    path = Path(sharpness)
    (hessian_PxP, _), u_RxP = hessians(quadratic, params_RxP), sharpness.vector_RxP
    assert set(path.measure(read(quadratic, params_RxP))) == {"rayleigh_quotient"}
    for step, seed in enumerate((3, 4), start=1):
        moves_RxP = torch.randn(params_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        params_RxP = params_RxP + moves_RxP
        metrics = path.measure(read(quadratic, params_RxP, step))
        curvatures_R = dots(moves_RxP, moves_RxP @ hessian_PxP) / dots(moves_RxP, moves_RxP)
        torch.testing.assert_close(metrics["step_curvature"], curvatures_R, rtol=1e-10, atol=0)
        torch.testing.assert_close(metrics["oscillation"], 0.5 * dots(moves_RxP, u_RxP))
        # Rounding of a loss of order ten, 1e-15, over PROBE^2.
        exact_R = dots(u_RxP, u_RxP @ hessian_PxP)
        torch.testing.assert_close(metrics["rayleigh_quotient"], exact_R, rtol=0, atol=1e-8)


def test_the_rayleigh_quotient_misses_the_curvature_by_a_third_of_the_third_derivative():
    curved, params_RxP = problem([1, 2, 3])
    sharpness = tracked(curved, params_RxP)
    u_RxP = sharpness.vector_RxP
    moved_RxP = params_RxP + 0.05
    found = Path(sharpness).measure(read(curved, moved_RxP))["rayleigh_quotient"]

    def along(e):
        return torch.stack([u @ h @ u for u, h in zip(u_RxP, hessians(curved, moved_RxP + e * u_RxP))])

    third = (along(1e-4) - along(-1e-4)) / 2e-4
    assert float(third.abs().min()) > 0.1
    # The rest is the fourth derivative: PROBE^2 / 12 times order ten.
    torch.testing.assert_close(found, along(0.0) + PROBE / 3 * third, rtol=0, atol=1e-5)


def test_the_segment_of_a_quadratic_has_one_curvature():
    quadratic, params_RxP = problem([1, 2], "deep_linear")
    segment = Segment(tracked(quadratic, params_RxP), lr=0.7, every=1)
    reading = read(quadratic, params_RxP)
    metrics = segment.measure(reading)
    (hessian_PxP, _), g_RxP = hessians(quadratic, params_RxP), reading.point.grads_RxP
    curvature_R = dots(g_RxP, g_RxP @ hessian_PxP) / dots(g_RxP, g_RxP)
    torch.testing.assert_close(metrics["segment_sharpness"], tops(quadratic, params_RxP), rtol=1e-9, atol=0)
    torch.testing.assert_close(metrics["segment_curvature"], curvature_R, rtol=1e-10, atol=0)
    rise_R = dots(g_RxP, g_RxP) * (0.5 * 0.7**2 * curvature_R - 0.7)
    torch.testing.assert_close(metrics["segment_rise"], rise_R, rtol=1e-10, atol=0)
    assert bool((metrics["segment_curvature"] <= metrics["segment_sharpness"]).all())


class Pendulum(torch.nn.Module):
    """-cos w, whose curvature is cos w."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2))

    def forward(self, inputs_NxD):
        return -self.w.cos().sum().expand(len(inputs_NxD), 1)


@pytest.mark.parametrize(("lr", "largest"), [(0.5, "end"), (2.0, "middle"), (6.0, "start")])
def test_the_segment_of_a_curved_problem_is_read_at_its_start_its_middle_and_its_end(lr, largest):
    pendulum = Problem(Pendulum(), torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1), "objective")
    params_RxP = torch.tensor([[1.0, torch.pi], [-0.9, torch.pi]], dtype=torch.float64)
    metrics = Segment(tracked(pendulum, params_RxP), lr=lr, every=1).measure(read(pendulum, params_RxP))
    start = params_RxP.sin()
    cosines_3xR = torch.stack([(params_RxP - f * lr * start).cos().amax(1) for f in (0.0, 0.5, 1.0)])
    assert cosines_3xR.argmax(0).tolist() == [["start", "middle", "end"].index(largest)] * 2
    torch.testing.assert_close(metrics["segment_sharpness"], cosines_3xR.amax(0), rtol=1e-9, atol=0)


def test_the_segment_of_a_network_has_the_dense_top_eigenvalues():
    curved, params_RxP = problem([1, 2, 3])
    params_RxP = 0.3 * params_RxP
    reading = read(curved, params_RxP)
    metrics = Segment(tracked(curved, params_RxP), lr=1.0, every=1).measure(reading)
    points = [params_RxP - f * reading.point.grads_RxP for f in (0.0, 0.5, 1.0)]
    dense_3xR = torch.stack([tops(curved, point) for point in points])
    assert dense_3xR.argmax(0).tolist() == [2, 0, 2]
    torch.testing.assert_close(metrics["segment_sharpness"], dense_3xR.amax(0), rtol=1e-7, atol=0)
    rise_R = curved.at(points[2]).losses_R - reading.point.losses_R
    torch.testing.assert_close(metrics["segment_rise"], rise_R)


def test_the_segment_is_the_step_that_path_reads_one_step_later():
    curved, params_RxP = problem([1, 2])
    sharpness = tracked(curved, params_RxP)
    first = read(curved, params_RxP)
    path = Path(sharpness)
    path.measure(first)
    segment = Segment(sharpness, lr=0.3, every=1).measure(first)
    after = path.measure(read(curved, params_RxP - 0.3 * first.point.grads_RxP, step=1))
    torch.testing.assert_close(segment["segment_curvature"], after["step_curvature"])


@pytest.mark.parametrize("lr", [0.1, 0.5])
def test_self_stabilization_matches_differences_of_the_dense_top_eigenvalue(lr):
    curved, params_RxP = problem([1, 2])
    sharpness, reading = tracked(curved, params_RxP), read(curved, params_RxP)
    metrics = SelfStabilization(sharpness, lr=lr, every=1).measure(reading)
    middle_RxP = params_RxP - 0.5 * lr * reading.point.grads_RxP
    fall_RxP = -curved.at(middle_RxP).grads_RxP
    values = torch.linalg.eigvalsh(hessians(curved, middle_RxP))
    torch.testing.assert_close(metrics["midpoint_sharpness"], values[:, -1], rtol=1e-8, atol=0)
    torch.testing.assert_close(metrics["midpoint_sharpness_2"], values[:, -2], rtol=1e-8, atol=0)
    h = 1e-4
    pull_R = (tops(curved, middle_RxP + h * fall_RxP) - tops(curved, middle_RxP - h * fall_RxP)) / (2 * h)
    shifts_PxP = h * torch.eye(curved.parameters, dtype=torch.float64)
    gradients = [(tops(curved, row + shifts_PxP) - tops(curved, row - shifts_PxP)) / (2 * h) for row in middle_RxP]
    norms_R = torch.stack(gradients).norm(dim=1)
    torch.testing.assert_close(metrics["sharpness_pull"], pull_R, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(metrics["predicted_variance"], 2 * pull_R / norms_R**2, rtol=1e-5, atol=1e-6)
    cosine_R = pull_R / (norms_R * fall_RxP.norm(dim=1))
    torch.testing.assert_close(metrics["sharpness_alignment"], cosine_R, rtol=1e-5, atol=1e-6)


def test_self_stabilization_of_its_model_is_the_closed_form():
    lr, drift = 0.1, 0.3
    model, params_RxP = toy([0.0, 0.4, -0.7], [20.0, 19.0, 5.0], drift)
    metrics = SelfStabilization(tracked(model, params_RxP), lr=lr, every=1).measure(read(model, params_RxP))
    x, y = params_RxP.T
    x, y = x * (1 - lr * y / 2), y + lr * (drift - x**2 / 2) / 2
    root = (y**2 + 4 * x**2).sqrt()
    fall = torch.stack([-x * y, drift - x**2 / 2])
    rise = torch.stack([2 * x / root, (1 + y / root) / 2])
    pull, square = (fall * rise).sum(0), rise.square().sum(0)
    torch.testing.assert_close(metrics["midpoint_sharpness"], (y + root) / 2)
    torch.testing.assert_close(metrics["midpoint_sharpness_2"], (y - root) / 2)
    torch.testing.assert_close(metrics["sharpness_pull"], pull)
    torch.testing.assert_close(metrics["sharpness_alignment"], pull / (square.sqrt() * fall.norm(dim=0)))
    torch.testing.assert_close(metrics["predicted_variance"], 2 * pull / square)
    assert float(metrics["predicted_variance"][0]) == pytest.approx(2 * drift)


def test_the_batch_sharpness_of_the_whole_data_is_the_curvature_along_the_gradient():
    curved, params_RxP = problem([1, 2])
    reading = read(curved, params_RxP)
    metrics = BatchSharpness([1, 2], examples=N, batch_size=N, batches=1, every=1).measure(reading)
    g_RxP = reading.point.grads_RxP
    products_RxP = (hessians(curved, params_RxP) @ g_RxP[:, :, None])[:, :, 0]
    expected_R = dots(g_RxP, products_RxP) / dots(g_RxP, g_RxP)
    for name in ("batch_sharpness", "batch_sharpness_mean_ratio"):
        torch.testing.assert_close(metrics[name], expected_R)


def test_the_batch_sharpness_is_a_ratio_of_means_over_batches_of_its_own_stream():
    curved, params_RxP = problem([1, 2])
    step, batches, size = 3, 5, 4
    reading = read(curved, params_RxP, step)
    metrics = BatchSharpness([1, 2], examples=N, batch_size=size, batches=batches, every=1).measure(reading)
    draw = Minibatches([1, 2], examples=N, size=size, stream=1)
    for r in range(2):
        curvatures, squares = [], []
        for b in range(batches):
            rows_B = draw(step * batches + b)[r]
            alone = Problem(curved.module, curved._inputs[rows_B], curved._targets[rows_B], "mse")
            g_P = alone.at(params_RxP[r : r + 1]).grads_RxP[0]
            curvatures.append(float(g_P @ hessians(alone, params_RxP[r : r + 1])[0] @ g_P))
            squares.append(float(g_P @ g_P))
        curvatures, squares = np.array(curvatures), np.array(squares)
        assert float(metrics["batch_sharpness"][r]) == pytest.approx(curvatures.sum() / squares.sum(), rel=1e-9)
        mean = (curvatures / squares).mean()
        assert float(metrics["batch_sharpness_mean_ratio"][r]) == pytest.approx(mean, rel=1e-9)
        assert abs(mean / (curvatures.sum() / squares.sum()) - 1) > 1e-3


def test_the_batch_sharpness_draws_no_batch_that_the_run_trains_on():
    curved, _ = problem([1])
    batch = BatchSharpness([1], examples=1000, batch_size=8, batches=2, every=1)._draw
    trained = Minibatches([1], examples=1000, size=8)
    rows = {tuple(draw(step)[0].tolist()) for draw in (batch, trained) for step in range(50)}
    assert len(rows) == 100


PLAIN = dict(name="sgd", lr=0.1)
FLOW = dict(every=1, substeps=1, eigenvalues=1, eigen_tolerance=1e-3)


def built(measure, optimizer=PLAIN, batch_size=None):
    curved, _ = problem([1])
    return measurements.build(measure, Setup([1], curved, None, optimizer, batch_size))


@pytest.mark.parametrize("optimizer", [dict(PLAIN, momentum=0.9), dict(name="adam", lr=0.1)], ids=str)
@pytest.mark.parametrize("name", ["segment", "self_stabilization", "central_flow"])
def test_what_is_defined_for_gradient_descent_is_refused_for_another_optimizer(name, optimizer):
    options = FLOW if name == "central_flow" else dict(every=1)
    measure = {"sharpness": SHARPNESS, name: options}
    with pytest.raises(ValueError, match=f"measurement '{name}' is defined for full-batch gradient descent"):
        built(measure, optimizer)
    assert built(measure, dict(PLAIN, momentum=0.0))[1].lr == 0.1


@pytest.mark.parametrize("name", ["segment", "self_stabilization", "central_flow", "path"])
def test_what_follows_the_full_loss_is_refused_for_minibatches(name):
    options = {"central_flow": FLOW, "path": {}}.get(name, dict(every=1))
    with pytest.raises(ValueError, match=f"measurement '{name}'"):
        built({"sharpness": SHARPNESS, name: options}, batch_size=5)


@pytest.mark.parametrize("name", ["segment", "self_stabilization", "path"])
def test_what_reads_the_sharpness_must_come_after_it(name):
    options = {} if name == "path" else dict(every=1)
    for measure in ({name: options}, {name: options, "sharpness": SHARPNESS}, {"sharpness": None, name: options}):
        with pytest.raises(ValueError, match=f"measurement '{name}' reads 'sharpness'"):
            built(measure)
    sharpness, reader = built({"sharpness": SHARPNESS, name: options})
    assert reader.sharpness is sharpness


def test_an_entry_set_to_null_is_left_out():
    assert [type(m) for m in built({"fit": None, "sharpness": SHARPNESS})] == [Sharpness]
    with pytest.raises(ValueError, match="did you mean 'sharpness'"):
        built({"sharpnes": SHARPNESS})
