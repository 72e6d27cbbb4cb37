"""Overparameterized networks: what is known exactly of the linear cases, and what must not pass for it."""

import numpy as np
import pytest
import torch

from benchmarks.evidence.drawing import NothingToDraw
from benchmarks.lab import architectures
from benchmarks.lab.datasets import Images
from benchmarks.lab.measurements.eigensolvers import dense_matrix
from benchmarks.lab.problem import Problem, flatten_parameters, stack_parameters
from benchmarks.studies.overparameterization import (
    bad_minima,
    distance,
    initialization,
    non_convexity,
    polyak_lojasiewicz,
    random_labels,
)
from benchmarks.studies.overparameterization.figures import EXPERIMENTS, overparameterization
from benchmarks.studies.overparameterization.fitting import Fit, fit
from benchmarks.studies.overparameterization.study import (
    STUDY,
    BadMinima,
    Distance,
    Initialization,
    NonConvexity,
    PolyakLojasiewicz,
    RandomLabels,
)
from benchmarks.studies.schema import Architecture, Optimizer
from benchmarks.studies.table import COLUMNS
from benchmarks.theory.exponents import log_slope

MLP = {"name": "mlp", "hidden": [32], "activation": "relu"}
TANH = {"name": "mlp", "hidden": [6], "activation": "tanh"}
LINEAR = {"name": "mlp", "hidden": [], "activation": "identity"}


@pytest.fixture(scope="module")
def images():
    """Three classes about three means, 16 pixels."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((3, 1, 4, 4))

    def draw(count):
        labels = rng.integers(3, size=count)
        pixels = means[labels] + rng.standard_normal((count, 1, 4, 4))
        return torch.from_numpy(pixels).float(), torch.from_numpy(labels)

    return Images(*draw(120), *draw(300), classes=3)


def values(table, system, quantity):
    rows = table[(table["system"] == system) & (table["quantity"] == quantity)]
    return rows["value"].to_numpy(float)


LABELS = RandomLabels.model_validate(
    {
        "seeds": 1,
        "images": 120,
        "few": 40,
        "pool": 1,
        "architecture": {"name": "mlp", "hidden": [100], "activation": "relu"},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
        "batch_size": 20,
        "steps": 3000,
        "every": 4,
        "linear_images": 12,
        "components": 4,
    }
)


def test_networks_fit_random_labels_and_few_components_do_not(images):
    table = random_labels.run(LABELS, [1], images)
    for system in ("true-labels", "random-labels", "least-squares"):
        assert values(table, system, "train_accuracy") == 1
    assert values(table, "components", "train_accuracy") < 0.7
    assert values(table, "components", "gradient") < 1e-5
    assert values(table, "true-labels", "test_accuracy") > 0.6
    assert values(table, "random-labels", "test_accuracy") < 0.5
    assert values(table, "random-labels", "log_steps_ratio") > 0.5
    ratio = values(table, "random-labels", "steps-99") / values(table, "true-labels", "steps-99")
    assert values(table, "random-labels", "log_steps_ratio") == pytest.approx(np.log(ratio))
    assert 0.3 < values(table, "half-rate", "log_steps_ratio") < 1.1, "half the rate takes about twice the steps"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"linear_images": 17}, "17 linear_images of 16 inputs"), ({"components": 7}, "120 images for 7 components")],
)
def test_linear_models_that_are_no_controls_are_an_error_before_any_work(images, changes, message):
    with pytest.raises(ValueError, match=message):
        random_labels.run(LABELS.model_copy(update=changes | {"steps": None}), [1], images)


def test_the_step_of_an_accuracy_lies_between_the_readings_around_it():
    run = Fit(torch.zeros(1, 1), steps=[0, 10, 20], accuracies=[0.2, 0.5, 1.0])
    assert run.first(0.75) == 15
    assert run.first(0.1) == 0
    assert np.isnan(Fit(torch.zeros(1, 1), steps=[0], accuracies=[0.2]).first(0.5))


def test_a_fit_stops_where_it_is_done_and_says_whether_it_was(images):
    (module,) = architectures.build_stack(input_shape=(1, 4, 4), outputs=3, seeds=[1], **MLP)
    problem = Problem(module, images.train_inputs, images.train_labels, "cross_entropy")
    settings = STARTS.model_copy(update={"optimizer": Optimizer(name="sgd", lr=0.1), "every": 7, "steps": 30})
    start = flatten_parameters(module)
    whole = fit(problem, start, settings, seed=1, done=lambda loss, accuracy: False)
    assert not whole.reached
    assert whole.steps == [0, 7, 14, 21, 28, 30]
    assert problem.losses(whole.params_1xP)[0] == pytest.approx(whole.losses[-1])
    wanted = whole.losses[2]
    early = fit(problem, start, settings, seed=1, done=lambda loss, accuracy: loss <= wanted)
    assert early.reached
    assert early.steps == [0, 7, 14]
    assert early.losses == whole.losses[:3]


CURVATURE = NonConvexity.model_validate(
    {
        "seeds": 1,
        "images": 60,
        "pool": 1,
        "max_products": 100,
        "dense": 60,
        "systems": {
            "tanh-mse": {
                "architecture": TANH,
                "loss": "mse",
                "optimizer": {"name": "sgd", "lr": 0.2, "momentum": 0.9},
                "steps": 400,
            },
            "linear": {
                "architecture": LINEAR,
                "loss": "cross_entropy",
                "optimizer": {"name": "sgd", "lr": 0.05},
                "steps": 50,
            },
        },
    }
)


def test_only_the_network_has_negative_curvature_and_a_barrier(images):
    table = non_convexity.run(CURVATURE, [1], images)
    assert values(table, "tanh-mse", "negativity-start") < -0.01
    assert values(table, "tanh-mse", "negativity-middle") < -1e-4
    assert values(table, "tanh-mse", "log_barrier") > 0.5
    assert values(table, "tanh-mse", "loss-middle") <= values(table, "tanh-mse", "loss-start") / 2
    assert values(table, "linear", "negativity-start") >= -1e-6
    assert values(table, "linear", "negativity-end") >= -1e-6
    assert values(table, "linear", "barrier") <= 1e-12
    assert values(table, "linear", "log_barrier") < 1e-9
    chord = [values(table, "tanh-mse", f"chord-{place}")[0] for place in (0, 50, 100)]
    assert chord[1] > max(chord[0], chord[2])


def test_both_ends_of_the_spectrum_are_those_of_the_dense_hessian(images):
    modules = [m.double() for m in architectures.build_stack(input_shape=(1, 4, 4), outputs=3, seeds=[3], **TANH)]
    targets = torch.nn.functional.one_hot(images.train_labels, 3).double()
    problem = Problem(modules[0], images.train_inputs.double(), targets, "mse")
    point = problem.at(stack_parameters(modules), curvature=True)
    dense = torch.linalg.eigvalsh(dense_matrix(point.hvp, 1, problem.parameters)[0])
    lanczos = CURVATURE.model_copy(update={"dense": 0, "max_products": problem.parameters})
    ratio, error = non_convexity.extremes(point, 0, lanczos)
    exact = float(dense[0] / dense[-1])
    assert exact < -0.01
    assert abs(ratio - exact) <= max(2 * error, 1e-9)
    assert error < 1e-3 * abs(exact)
    whole = CURVATURE.model_copy(update={"dense": problem.parameters})
    assert non_convexity.extremes(point, 0, whole) == (pytest.approx(exact, rel=1e-9), 0.0)


def test_a_network_with_kinks_has_no_hessian(images):
    kinked = CURVATURE.systems["tanh-mse"].model_copy(update={"architecture": Architecture(**MLP)})
    with pytest.raises(ValueError, match="'kinked': ReLU has a kink"):
        non_convexity.run(CURVATURE.model_copy(update={"systems": {"kinked": kinked}}), [1], images)


KERNEL = PolyakLojasiewicz.model_validate(
    {
        "seeds": 1,
        "images": 20,
        "pool": 1,
        "activation": "tanh",
        "widths": [8, 256],
        "lr": 0.9,
        "steps": 100,
        "readings": [10, 30],
        "memory": 64,
    }
)


def test_the_inequality_is_an_identity_and_the_rate_a_bound(images):
    table = polyak_lojasiewicz.run(KERNEL, [1, 2], images)
    for system in ("width-8", "width-256", "fixed-features"):
        assert (values(table, system, "log_pl") >= -1e-9).all()
    for system in ("width-256", "fixed-features"):
        assert (values(table, system, "excess") <= 0).all()
        assert (values(table, system, "mean_excess") > 0).all(), "no bound with the mean eigenvalue"
    assert values(table, "fixed-features", "log_retained") == pytest.approx(0, abs=1e-9)
    assert values(table, "width-256", "log_retained").min() > values(table, "width-8", "log_retained").max()
    assert values(table, "vanishing", "log_pl") == pytest.approx(0, abs=1e-12)
    # a <- a - lr a^3 / 2 from a = 1, and K = 2 a^2.
    a = 1.0
    for _ in range(KERNEL.steps):
        a -= KERNEL.lr / 2 * a**3
    assert values(table, "vanishing", "log_retained") == pytest.approx(np.log(a**2), rel=1e-9)
    assert table[table["system"] == "vanishing"]["seed"].isna().all()


def test_a_kernel_that_does_not_fit_is_an_error_before_any_work(images, monkeypatch):
    monkeypatch.setattr(polyak_lojasiewicz, "descend", None)
    with pytest.raises(ValueError, match=r"the tangent kernel needs at least .* MiB"):
        polyak_lojasiewicz.run(KERNEL.model_copy(update={"memory": 1, "widths": [8, 4096]}), [1], images)


def test_fewer_units_than_images_leave_no_fixed_features(images):
    with pytest.raises(ValueError, match="16 units at most for 20 images"):
        polyak_lojasiewicz.run(KERNEL.model_copy(update={"widths": [8, 16]}), [1], images)


STARTS = Initialization.model_validate(
    {
        "seeds": 1,
        "linear_images": 6,
        "pool": 1,
        "linear_steps": 2000,
        "ridge": 0.05,
        "images": 60,
        "architecture": MLP,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "batch_size": 20,
        "target": 1e-2,
        "steps": 2000,
        "every": 20,
    }
)


def test_gradient_descent_ends_at_the_projection_of_its_start(images):
    table = initialization.run(STARTS, [1], images)
    for system in ("gradient-descent", "momentum", "one-step"):
        assert (values(table, system, "projection_error") < 1e-6).all()
    assert (values(table, "minimum-norm", "projection_error") > 0.1).all()
    assert (values(table, "ridge", "disagreement") == 0).all()
    assert (values(table, "linear", "disagreement") > 0.1).all()
    assert (values(table, "network", "train_loss") < STARTS.target).all()
    ratio = values(table, "network", "disagreement") / values(table, "network", "error")
    assert values(table, "network", "ratio") == pytest.approx(ratio)


def test_the_projection_is_the_pseudo_inverses():
    rng = np.random.default_rng(0)
    start, inputs, targets = rng.standard_normal((3, 12)), rng.standard_normal((5, 12)), rng.standard_normal((5, 3))
    wanted = start + (np.linalg.pinv(inputs) @ (targets - inputs @ start.T)).T
    found = initialization.project(*map(torch.from_numpy, (start, inputs, targets)))
    assert found.numpy() == pytest.approx(wanted, abs=1e-12)


def test_networks_that_stay_above_the_loss_asked_for_have_no_value(images):
    table = initialization.run(STARTS.model_copy(update={"steps": 5, "linear_steps": 4}), [1], images)
    assert np.isnan(values(table, "network", "ratio")).all()


def test_a_linear_model_with_one_solution_is_an_error(images):
    with pytest.raises(ValueError, match=r"17 linear_images of 16 inputs: .* depends on its start"):
        initialization.run(STARTS.model_copy(update={"linear_images": 17}), [1], images)
    with pytest.raises(ValueError, match="17 linear_images of 16 inputs"):
        bad_minima.run(MINIMA.model_copy(update={"linear_images": 17}), [1], images)


TRAVEL = Distance.model_validate(
    {
        "seeds": 1,
        "images": 20,
        "pool": 1,
        "optimizer": {"name": "sgd", "lr": 0.3},
        "steps": 40,
        "widths": [32, 64, 128, 256],
        "mean_field_widths": [32, 64, 128, 256],
        "mean_field_lr": 0.1,
    }
)


def test_exponents_of_the_distance_tell_the_parametrizations_apart(images):
    table = distance.run(TRAVEL, [1, 2, 3], images)
    assert -1.25 < values(table, "ntk", "exponent-hidden").mean() < -0.75
    assert -0.75 < values(table, "ntk", "exponent-output").mean() < -0.25
    assert values(table, "mean-field", "exponent-output").mean() > -0.25
    assert values(table, "mean-field", "exponent-hidden").mean() > -0.75
    assert (values(table, "ntk", "plateau-hidden-256") < 1).all()


def test_repeated_features_travel_as_the_root_of_the_width_exactly(images):
    table = distance.run(TRAVEL, [5], images)
    assert values(table, "repeated-features", "exponent-output") == pytest.approx(-0.5, abs=1e-4)
    # What the smallest of them does, in float64: two steps on half of the features, twice with opposite signs.
    short = distance.run(TRAVEL.model_copy(update={"steps": 2}), [5], images)
    (module,) = architectures.build_stack(
        "ntk_mlp", input_shape=(1, 4, 4), outputs=3, seeds=[5], hidden=[32, 32, 32], activation="relu"
    )
    rows = torch.arange(20) * 120 // 20
    inputs, targets = images.train_inputs[rows], torch.nn.functional.one_hot(images.train_labels[rows], 3).double()
    with torch.no_grad():
        features = (2 / 32) ** 0.5 * torch.relu(module[:-2](inputs)).double()[:, :16].repeat(1, 2)
    half = module[-1].weight.detach().double()[:, :16]
    start = w = torch.cat([half, -half], dim=1)
    for _ in range(2):
        w = w - 0.3 * (features @ w.T - targets).T @ features / 20
    wanted = float((w - start).norm() / start.norm())
    assert values(short, "repeated-features", "distance-output-32") == pytest.approx(wanted, rel=1e-4)


def test_the_slope_of_a_power_is_its_exponent():
    assert log_slope([8, 16, 64], [3 * n**-0.7 for n in (8, 16, 64)]) == pytest.approx(-0.7)
    assert np.isnan(log_slope([8], [1.0])) and np.isnan(log_slope([8, 16], [1.0, 0.0]))


@pytest.mark.parametrize("widths", [[8, 12, 32, 64], [9, 18, 36, 72]])
def test_widths_that_repeat_nothing_are_an_error(images, widths):
    with pytest.raises(ValueError, match="multiples of an even least width"):
        distance.run(TRAVEL.model_copy(update={"widths": widths}), [1], images)


@pytest.mark.parametrize("name", ["widths", "mean_field_widths"])
def test_one_width_has_no_exponent(images, name):
    with pytest.raises(ValueError, match=rf"{name} \[8, 8\]: an exponent .* needs two different widths"):
        distance.run(TRAVEL.model_copy(update={name: [8, 8]}), [1], images)


MINIMA = BadMinima.model_validate(
    {
        "seeds": 1,
        "images": 60,
        "pool": 1,
        "architecture": MLP,
        "optimizer": {"name": "sgd", "lr": 0.2},
        "batch_size": 20,
        "target": 1e-2,
        "steps": 3000,
        "every": 20,
        "copies": 2,
        "erased": 0.2,
        "pretraining": {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "steps": 1500},
        "linear_images": 9,
        "far": 30.0,
    }
)


def test_a_confused_start_costs_test_accuracy_at_equal_training_loss(images):
    table = bad_minima.run(MINIMA, [1], images)
    for system in ("fresh", "confused", "instructed"):
        assert values(table, system, "train_loss") <= MINIMA.target
    assert values(table, "confused", "pretraining_accuracy") == 1
    assert values(table, "confused", "pretraining_steps") == values(table, "instructed", "pretraining_steps")
    assert values(table, "confused", "drop") > 0.02
    assert values(table, "confused", "drop") > values(table, "instructed", "drop")
    assert values(table, "least-squares-far", "train_loss") < 1e-20
    assert values(table, "least-squares-far", "drop") > 0.05


def test_a_loss_that_is_not_reached_leaves_no_accuracy(images):
    pretraining = MINIMA.pretraining.model_copy(update={"steps": 50})
    table = bad_minima.run(MINIMA.model_copy(update={"steps": 20, "pretraining": pretraining}), [1], images)
    assert np.isnan(values(table, "confused", "drop")).all()
    assert np.isnan(values(table, "fresh", "train_loss")).all()


def test_copies_differ_in_their_pixels_and_random_labels_say_nothing_of_them(images):
    inputs, random, true = bad_minima._copies(MINIMA.model_copy(update={"copies": 3}), images, 7)
    whole = images.train_inputs.repeat(3, 1, 1, 1)
    assert ((inputs == whole) | (inputs == 0)).all()
    assert (inputs == 0).double().mean() == pytest.approx(0.2, abs=0.02)
    assert not torch.equal(inputs[:120], inputs[120:240])
    assert (random == true).double().mean() == pytest.approx(1 / 3, abs=0.1)


def test_every_quantity_has_a_card_and_the_figure_draws_what_there_is(images):
    pretraining = MINIMA.pretraining.model_copy(update={"steps": 5})
    tables = {
        "random_labels": random_labels.run(LABELS.model_copy(update={"steps": 8}), [1], images),
        "non_convexity": non_convexity.run(CURVATURE, [1], images),
        "polyak_lojasiewicz": polyak_lojasiewicz.run(KERNEL.model_copy(update={"steps": 20}), [1], images),
        "initialization": initialization.run(STARTS.model_copy(update={"steps": 5, "linear_steps": 4}), [1], images),
        "distance": distance.run(TRAVEL.model_copy(update={"steps": 4}), [1], images),
        "bad_minima": bad_minima.run(MINIMA.model_copy(update={"steps": 5, "pretraining": pretraining}), [1], images),
    }
    cards = {experiment.name: experiment.card for experiment in STUDY.experiments}
    for name, table in tables.items():
        assert list(table.columns) == COLUMNS
        assert cards[name].undocumented(table.columns, table["quantity"].unique()) == []
    named = {f"overparameterization/{name}": tables[name] for name in EXPERIMENTS}
    assert len(overparameterization(named).axes) == 4
    narrow = named["overparameterization/distance"]
    fewer = named | {"overparameterization/distance": narrow[narrow["quantity"] != "distance-input-32"]}
    assert len(overparameterization(fewer).axes) == 4
    with pytest.raises(NothingToDraw):
        overparameterization(named | {"overparameterization/distance": narrow.iloc[:0]})
