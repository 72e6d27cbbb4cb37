"""Lazy training: linearized descent against an explicitly linearized network, flows against closed forms, and what the
experiments say of systems whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.lab.architectures import deep_linear, ntk_mlp
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.ntk import call, jacobian, tangent_kernel
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.lazy_training import alignment, critical_rate, max_margin, minimum_norm, output_scale, widths
from benchmarks.studies.lazy_training.setup import marks, network, two_classes
from benchmarks.studies.lazy_training.study import (
    CriticalRate,
    KernelAlignment,
    LazyOutputScale,
    LazyWidths,
    MaxMargin,
    MinimumNorm,
)
from benchmarks.studies.low_rank_progression.networks import Linearized
from benchmarks.theory import logistic_flow
from benchmarks.theory.linearized import Descent


def images(count=60, side=4, gap=0.3):
    """Two classes of noise, pushed apart: count for training and count for tests."""
    rng = np.random.default_rng(0)
    labels = np.arange(2 * count) % 2
    pixels = rng.standard_normal((2 * count, 1, side, side)) + gap * (2 * labels - 1)[:, None, None, None]
    inputs, labels = torch.from_numpy(pixels).float(), torch.from_numpy(labels)
    return Images(inputs[:count], labels[:count], inputs[count:], labels[count:], 2)


def indexed(table):
    return table.set_index(["system", "quantity", "seed"])["value"]


def test_linearized_descent_is_that_of_an_explicitly_linearized_network():
    data = two_classes(images(), 8, 5, 1, torch.float64)
    module = network(ntk_mlp.build, data.inputs_NxD, 11, hidden=[6], activation="tanh")
    everything = torch.cat([data.inputs_NxD, data.tests_MxD])
    kernel = tangent_kernel(module, everything, data.inputs_NxD).numpy()
    rows = jacobian(module, data.inputs_NxD, flatten_parameters(module))[:, 0]
    first = module(everything).detach().numpy()[:, 0]
    explicit = Linearized(module)
    start, lr = flatten_parameters(explicit), 8 / np.linalg.eigvalsh(kernel[:8])[-1]
    closed = Descent(kernel[:8], first[:8] - data.targets_Nx1[:, 0].numpy(), lr)
    problem = Problem(explicit, data.inputs_NxD, data.targets_Nx1, "mse")
    for step in descend(problem, start[None], sgd(lr=float(lr)), steps=20):
        residuals = (step.point.outputs_RxNxC[0] - data.targets_Nx1)[:, 0].numpy()
        np.testing.assert_allclose(closed.residuals(step.number), residuals, atol=1e-12)
        moved = (step.params_RxP[0] - start).numpy()
        np.testing.assert_allclose(-rows.T.numpy() @ closed.gathered(step.number), moved, atol=1e-12)
        tests = problem.outputs(step.params_RxP, data.tests_MxD)[0, :, 0].numpy()
        np.testing.assert_allclose(first[8:] - kernel[8:] @ closed.gathered(step.number), tests, atol=1e-12)
    assert np.linalg.norm(moved) > 0.1


def test_linearized_descent_of_a_singular_kernel_keeps_what_it_cannot_reach():
    closed = Descent(np.diag([2.0, 0.0]), np.array([1.0, 3.0]), 0.5)
    np.testing.assert_allclose(closed.residuals(3), [0.5**3, 3.0])
    np.testing.assert_allclose(closed.gathered(3), [0.25 * (1 + 0.5 + 0.25), 0.25 * 3 * 3.0])


def test_marks_begin_and_end_with_the_run():
    assert marks(100, 5).tolist() == [0, 1, 3, 10, 32, 100]


WIDTHS = LazyWidths.model_validate(
    {
        "seeds": 1,
        "images": 16,
        "tests": 10,
        "pool": 1,
        "rate": 0.8,
        "steps": 250,
        "memory": 64,
        "systems": {
            "tanh": {"activation": "tanh", "readout": "ntk", "widths": [64, 1024]},
            "mean-field": {"activation": "tanh", "readout": "mean-field", "widths": [32, 256]},
        },
    }
)


@pytest.fixture(scope="module")
def by_width():
    return indexed(widths.run(WIDTHS, [11, 12], images()))


def test_wide_networks_train_as_their_linearization_and_mean_field_ones_do_not(by_width):
    for seed in (11, 12):
        assert -1.3 < by_width["tanh", "kernel_exponent", seed] < -0.6
        assert by_width["tanh", "discrepancy_exponent", seed] < -0.4
        assert by_width["tanh-1024", "relative_error", seed] < 0.15
        assert abs(by_width["tanh-1024", "rate_slope", seed] - 1) < 0.1
        assert abs(by_width["mean-field", "kernel_exponent", seed]) < 0.3
        assert by_width["mean-field-32", "rate_slope", seed] > 1.15


def test_a_linear_model_is_its_own_linearization(by_width):
    assert by_width["linear", "kernel_change", 11] == 0
    assert by_width["linear", "relative_error", 11] < 1e-4
    assert by_width["linear", "rate_slope", 11] == pytest.approx(1, abs=1e-4)
    assert by_width["linear", "rate_r2", 11] == pytest.approx(1, abs=1e-6)


def test_one_example_moves_the_kernel_as_the_conserved_quantity_says():
    for width in (64, 1024):
        one = torch.ones(1, 1, dtype=torch.float64)
        module = network(ntk_mlp.build, one, 11, hidden=[width], activation="identity")
        first, kernel = float(module(one).detach()), float(tangent_kernel(module, one))
        wanted = (kernel**2 + 4 * (widths.TARGET**2 - first**2) / width) ** 0.5 / kernel - 1
        assert widths._one_example(width, 11, WIDTHS).quantities["kernel_change"] == pytest.approx(wanted, rel=0.05)


def test_exponents_of_runs_that_did_not_train_are_no_numbers():
    table = indexed(widths.run(WIDTHS.model_copy(update={"steps": 2}), [11], images()))
    assert np.isnan(table["tanh", "kernel_exponent", 11])
    assert not np.isnan(table["tanh-64", "kernel_change", 11])


def test_rates_are_those_of_the_modes_that_have_one():
    kernel = np.diag([4.0, 2.0, 1.0, 1e-9])
    closed = Descent(kernel, np.array([1.0, 1.0, 1e-3, 1.0]), 0.8)
    path = np.stack([closed.residuals(t) for t in range(30)])
    np.testing.assert_allclose(widths.rates(closed, path), -np.log([[0.2, 0.2], [0.6, 0.6]]), rtol=1e-12)
    assert widths.r2(np.array([0.1, -0.1]), np.array([0.1, 0.2])) == 0
    assert widths.r2(np.array([0.2, 0.4]), np.array([0.1, 0.2])) < 0, "twice too fast is no agreement"


CRITICAL = CriticalRate.model_validate(
    {
        "seeds": 1,
        "images": 16,
        "pool": 1,
        "widths": [512],
        "mean_field_widths": [16],
        "steps": 60,
        "resolution": 0.02,
        "memory": 64,
    }
)

ALIGNMENT = KernelAlignment.model_validate(
    {
        "seeds": 1,
        "images": 24,
        "pool": 1,
        "hidden": [24],
        "activation": "relu",
        "rate": 1.0,
        "steps": 400,
        "marks": 8,
        "scale": 256.0,
        "memory": 64,
    }
)


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        (widths, WIDTHS),
        (critical_rate, CRITICAL),
        (alignment, ALIGNMENT),
    ],
)
def test_a_kernel_that_does_not_fit_is_refused_before_any_training(experiment, settings, monkeypatch):
    monkeypatch.setattr(experiment, "descend", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(ValueError, match="needs at least"):
        experiment.run(settings.model_copy(update={"images": 40, "memory": 0}), [11], images())


def test_more_tests_than_there_are_are_refused():
    with pytest.raises(ValueError, match="70 test images of two classes asked for, 60 prepared"):
        two_classes(images(), 10, 70, 1)


def test_the_critical_rate_is_twice_the_inverse_sharpness_where_the_kernel_stays():
    table = indexed(critical_rate.run(CRITICAL, [11], images()))
    assert table["linear", "threshold_ratio", 11] == pytest.approx(1, abs=0.04)
    assert table["ntk-512", "threshold_ratio", 11] == pytest.approx(1, abs=0.1)
    assert table["mean-field-16", "threshold_ratio", 11] < 0.8


def test_a_critical_rate_beyond_the_search_is_an_error(monkeypatch):
    monkeypatch.setattr(critical_rate, "HIGH", 1.0)
    with pytest.raises(ValueError, match="no critical learning rate between"):
        critical_rate.run(CRITICAL, [11], images())


SCALES = LazyOutputScale.model_validate(
    {
        "seeds": 1,
        "images": 12,
        "tests": 10,
        "pool": 1,
        "width": 16,
        "scales": [16, 32, 64, 128, 256],
        "rich_scales": [0.125, 0.25, 0.5, 1],
        "rate": 0.2,
        "steps": 150,
    }
)


def test_output_scale_has_the_exponents_of_lazy_training():
    table = indexed(output_scale.run(SCALES, [11], images()))
    assert table["tanh", "lazy_distance", 11] == pytest.approx(-1, abs=0.05)
    assert table["tanh", "lazy_weight_discrepancy", 11] == pytest.approx(-2, abs=0.1)
    assert table["tanh", "lazy_output_discrepancy", 11] == pytest.approx(-1, abs=0.1)
    assert table["tanh", "rich_weight_discrepancy", 11] > -1.8
    assert table["linear", "lazy_distance", 11] == pytest.approx(-1, abs=1e-10)
    assert table["linear", "relative_discrepancy", 11] < 1e-11


def test_too_few_scales_for_four_octaves_are_refused():
    with pytest.raises(ValueError, match="need five scales, got 2"):
        output_scale.run(SCALES.model_copy(update={"scales": [1, 2]}), [11], images())


def test_alignment_of_kernels_that_are_known():
    y = np.array([1.0, -1.0, 1.0])
    assert alignment.aligned(np.outer(y, y), y) == pytest.approx(1)
    assert alignment.aligned(np.eye(3), y) == pytest.approx(3**-0.5)
    centred = y - y.mean()
    np.testing.assert_allclose(alignment._centred(np.outer(y, y)), np.outer(centred, centred), atol=1e-15)


def test_the_kernel_turns_to_the_targets_unless_it_is_lazy():
    table = indexed(alignment.run(ALIGNMENT, [11], images()))
    assert table["standard", "rise", 11] > 1.2
    assert table["lazy", "rise", 11] == pytest.approx(1, abs=0.02)
    assert table["small", "alignment", 11] == pytest.approx(2 / (64 + 3) ** 0.5, rel=1e-3)
    assert table["small", "early_log_share", 11] < 1e-3
    assert table["at-once", "early_log_share", 11] > 0.9
    assert 0 < table["standard", "early_log_share", 11] < table["standard", "early_share", 11] < 1


NORM = MinimumNorm.model_validate(
    {
        "seeds": 1,
        "examples": 10,
        "inputs": 30,
        "hidden": 8,
        "images": 8,
        "pool": 1,
        "steps": 1500,
        "image_steps": 3000,
        "rate": 0.5,
    }
)


def test_gradient_descent_finds_the_least_norm_in_linear_models_from_zero_alone():
    table = indexed(minimum_norm.run(NORM, [11], images()))
    for system in ("gaussian", "images", "closed-form"):
        assert table[system, "error", 11] < 1e-9
    assert table["away", "error", 11] > 0.1
    for system in ("deep-linear", "relu"):
        assert table[system, "loss_left", 11] < 1e-15
        assert table[system, "error", 11] > 1e-3
        assert table[system, "distance_ratio", 11] > 1
    assert table["deep-linear-small-map", "error", 11] < 0.1 * table["deep-linear-map", "error", 11]


def test_the_nearest_interpolation_of_a_linear_model_is_its_projection():
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(4, 9, dtype=torch.float64, generator=generator)
    targets = torch.randn(4, 1, dtype=torch.float64, generator=generator)
    module = network(deep_linear.build, inputs, 11)
    start = flatten_parameters(module)
    projected = start + torch.linalg.pinv(inputs) @ (targets[:, 0] - inputs @ start)
    away = projected + (torch.eye(9).double() - torch.linalg.pinv(inputs) @ inputs) @ torch.ones(9).double()
    found = minimum_norm.nearest_interpolation(module, away, start, inputs, targets)
    torch.testing.assert_close(found, projected, rtol=1e-8, atol=1e-8)


def test_the_nearest_interpolation_of_a_deep_network_is_stationary_and_fits():
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    targets = torch.randn(3, 1, dtype=torch.float64, generator=generator)
    module = network(deep_linear.build, inputs, 11, hidden=[4])
    start = flatten_parameters(module)
    *_, last = descend(Problem(module, inputs, targets, "mse"), start[None], sgd(lr=0.1), steps=2000)
    trained = last.params_RxP[0]
    found = minimum_norm.nearest_interpolation(module, trained, start, inputs, targets)
    rows = jacobian(module, inputs, found)[:, 0]
    along = (found - start) - rows.T @ torch.linalg.lstsq(rows.T, (found - start)[:, None]).solution[:, 0]
    assert along.norm() < 1e-5 * (found - start).norm()
    torch.testing.assert_close(call(module, found, inputs), targets, rtol=1e-9, atol=1e-9)
    assert (found - start).norm() <= (trained - start).norm()


@pytest.mark.parametrize(("name", "message"), [("examples", "30 examples of 30"), ("images", "16 images of 16")])
def test_as_many_examples_as_inputs_leave_no_choice(name, message):
    count = 30 if name == "examples" else 16
    with pytest.raises(ValueError, match=f"{message} inputs leave no choice of minimizers"):
        minimum_norm.run(NORM.model_copy(update={name: count}), [11], images())


MARGIN = MaxMargin.model_validate(
    {"seeds": 1, "points": 8, "inputs": 3, "gap": 0.3, "images": 12, "pool": 1, "log_time": 55.0, "far": 10000.0}
)


def test_logistic_flow_meets_its_closed_form_and_gradient_descent_by_the_library():
    lengths, times = np.array([1.0, 0.5]), np.array([-3.0, 0.0, 2.0, 5.0, 55.0, 9000.0])
    weights = logistic_flow.coefficients(np.diag(lengths**2), times) * lengths
    closed = np.stack([logistic_flow.along_an_axis(a, 2, times) for a in lengths], axis=1)
    np.testing.assert_allclose(weights, closed, rtol=1e-7, atol=1e-9)
    # e^(a w) + a w = 1 + a^2 t / N, where it does not overflow.
    x = lengths * closed[:5]
    np.testing.assert_allclose(np.exp(x) + x, 1 + lengths**2 * np.exp(times[:5, None]) / 2, rtol=1e-9)

    facing = torch.tensor([[1.0, 0.3], [0.2, 0.8], [0.9, -0.4]], dtype=torch.float64)
    module = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(module.weight)
    problem = Problem(module, facing, torch.zeros(3), lambda outputs, _: nn.functional.softplus(-outputs)[:, 0])
    *_, last = descend(problem, flatten_parameters(module)[None], sgd(lr=1e-2), steps=2000)
    flow = logistic_flow.coefficients((facing @ facing.T).numpy(), np.log([1.0, 20.0]))[-1] @ facing.numpy()
    np.testing.assert_allclose(flow, last.params_RxP[0].numpy(), rtol=2e-3)


def test_separable_logistic_regression_goes_to_the_widest_margin_and_least_squares_does_not():
    table = indexed(max_margin.run(MARGIN, [11, 12], images(gap=2.0)))
    for system in ("gaussian", "images"):
        for seed in (11, 12):
            assert table[system, "slope_ratio", seed] == pytest.approx(1, abs=0.05)
            assert table[system, "far_slope_ratio", seed] == pytest.approx(1, abs=1e-3)
            assert table[system, "direction_exponent", seed] == pytest.approx(-1, abs=0.05)
            assert table[system, "far_direction_error", seed] < 0.05 * table[system, "direction_error", seed]
    assert table["least-squares", "slope_ratio", 11] == 0
    assert table["least-squares", "far_direction_error", 11] > 1e-3
    exact = table["two-points"]
    assert exact["margin"].iloc[0] == pytest.approx(5**-0.5)
    assert exact["slope_ratio"].iloc[0] == pytest.approx(1, abs=1e-3)


def test_inseparable_images_are_refused_before_any_flow(monkeypatch):
    monkeypatch.setattr(logistic_flow, "coefficients", lambda *_: pytest.fail("it integrated"))
    with pytest.raises(ValueError, match="the two classes are not linearly separable"):
        max_margin.run(MARGIN.model_copy(update={"images": 60}), [11], images(gap=0.0))
    with pytest.raises(ValueError, match="61 images of two classes asked for, 60 prepared"):
        max_margin.run(MARGIN.model_copy(update={"images": 61}), [11], images())
