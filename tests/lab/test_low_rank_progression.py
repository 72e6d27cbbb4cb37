"""The open question's instrument: settings, twins, weights and rungs, where the answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks.lab import architectures, datasets
from benchmarks.lab.functional import trainable
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.low_rank_progression import bases, networks, output_scale, rung, setting, weights
from benchmarks.studies.low_rank_progression.path import follow
from benchmarks.studies.low_rank_progression.study import ImagesData, OutputScale, PlantedData, Rung
from benchmarks.studies.schema import Compute, resolve
from benchmarks.theory import modes as observables
from benchmarks.theory.ranks import stable_rank

DATA = {
    "name": "images",
    "source": "prepared",
    "images": 300,
    "draw": False,
    "pool": 1,
    "components": 12,
    "inputs": "whitened",
    "rotate": False,
    "labels": "linear",
    "spectrum": "natural",
    "swap": None,
    "modes": None,
    "merge": 1e-6,
}
PLANTED = {"name": "planted", "examples": 400, "components": 5, "spectrum": [1.0, 0.5], "functions": ["he1", "he2"]}
BASE = {
    "seeds": 2,
    "data": DATA,
    "architecture": {"name": "bias_free_mlp", "hidden": [20], "activation": "relu"},
    "linearized": False,
    "centred": True,
    "loss": "mse",
    "init": 1e-4,
    "optimizer": {"name": "sgd"},
    "edge": 0.1,
    "follows_scale": False,
    "batch_size": None,
    "steps": 1500,
    "basis": "data",
    "twin": True,
    "depth": None,
}
COMPUTE = Compute(device="cpu", dtype="float32", threads=1, chunk_size=5000)
LINEAR = {"architecture": {"activation": "identity"}, "twin": False, "depth": 2}


@pytest.fixture(scope="module")
def images():
    """Three classes of 6 x 6 images, one easily told from the others, one less so."""
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 3
    means = np.array([120, 40, 0])[:, None] * np.linalg.qr(generator.standard_normal((36, 3)))[0].T
    pixels = 128 + means.reshape(3, 1, 6, 6)[labels] + 30 * generator.standard_normal((600, 1, 6, 6))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return datasets.images(pixels[:500], labels[:500], pixels[500:], labels[500:], dtype=torch.float32)


def made(given, seed=1, loss="mse", **changes):
    return setting.from_images(ImagesData.model_validate({**DATA, **changes}), given, seed, loss, torch.float64)


def scores(images, seeds=(1, 2), **overrides):
    runs = rung.run(Rung.model_validate(resolve(BASE, overrides)), list(seeds), images, COMPUTE)
    return runs.rows.pivot_table(index=["system", "quantity"], columns="seed", values="value")


# Settings


def test_features_are_white_and_linear_labels_have_the_map_of_the_real_ones(images):
    linear, real, rest = (made(images, labels=labels) for labels in ("linear", "real", "residual"))
    features = linear.features_NxD.numpy()
    assert features.T @ features / len(features) == pytest.approx(np.eye(12), abs=1e-10)
    for one in (linear, real):
        assert setting.target_map(one.targets.numpy(), features) == pytest.approx(one.modes.target_CxD, abs=1e-10)
    assert setting.target_map(rest.targets.numpy(), features) == pytest.approx(np.zeros((3, 12)), abs=1e-10)
    assert (linear.targets + rest.targets).numpy() == pytest.approx(real.targets.numpy())


def test_the_map_of_linear_outputs_is_their_matrix(images):
    one = made(images)
    matrix = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 12)))
    outputs = one.inputs @ matrix.T + 5.0  # a constant is no part of it
    assert one.maps(outputs[None])[0].numpy() == pytest.approx(matrix.numpy(), abs=1e-10)


def test_under_cross_entropy_the_map_is_that_of_probabilities(images):
    one = made(images, loss="cross_entropy", labels="real")
    outputs = torch.from_numpy(np.random.default_rng(1).standard_normal((300, 3)))
    expected = setting.target_map(outputs.softmax(1).numpy(), one.features_NxD.numpy())
    assert one.maps(outputs[None])[0].numpy() == pytest.approx(expected)
    with pytest.raises(ValueError, match="needs classes"):
        made(images, loss="cross_entropy", labels="linear")


def test_swapped_strengths_leave_the_directions(images):
    # From so little, no two are merged.
    before, after = made(images, merge=1e-99), made(images, swap=[1, 2], merge=1e-99)
    s = np.linalg.svd(before.modes.target_CxD, compute_uv=False)
    assert after.modes.s_K == pytest.approx(s[:2])
    crossed = np.sum(before.modes.parts_KxCxD[0] * after.modes.parts_KxCxD[1]) / (s[0] * s[1])
    assert crossed == pytest.approx(1)


def test_a_flat_spectrum_is_flat(images):
    flat = np.linalg.svd(made(images, spectrum="flat").modes.target_CxD, compute_uv=False)
    assert flat[:2] == pytest.approx(flat[0])
    assert flat[2] == pytest.approx(0, abs=1e-10)


def test_a_rotation_changes_inputs_and_neither_features_nor_modes(images):
    plain, turned, other = made(images), made(images, rotate=True), made(images, seed=2, rotate=True)
    assert not torch.allclose(turned.inputs, plain.inputs) and not torch.allclose(turned.inputs, other.inputs)
    assert turned.inputs.norm(dim=1).numpy() == pytest.approx(plain.inputs.norm(dim=1).numpy())
    assert turned.modes.s_K == pytest.approx(plain.modes.s_K)


def test_too_many_modes_and_too_many_components_are_refused(images):
    with pytest.raises(ValueError, match=r"3 modes asked for, \d stand above the noise floor"):
        made(images, modes=3)
    with pytest.raises(ValueError, match="40 components asked for, the data have 36"):
        made(images, components=40)
    with pytest.raises(ValueError, match="there is no order to see"):
        setting.modes_above(np.eye(3), 2.0, None, 1e-6)


def test_random_labels_have_modes_at_the_noise_floor(images):
    one = made(images, labels="random")
    top = np.linalg.norm(one.modes.target_CxD, 2)
    assert 0.3 * one.noise_floor < top < 1.5 * one.noise_floor


def test_labels_that_are_not_classes_are_refused():
    with pytest.raises(ValueError, match="class indices"):
        setting.one_hot(torch.rand(5, 3), 3)


def test_planted_features_are_orthonormal_and_the_second_polynomial_is_not_linear():
    one = setting.planted(PlantedData.model_validate(PLANTED), 1, torch.float64)
    features = one.features_NxD.numpy()
    assert features.T @ features / 400 == pytest.approx(np.eye(2), abs=1e-10)
    assert one.modes.s_K == pytest.approx([1.0, 0.5])
    correlation = features.T @ one.inputs.numpy() / 400
    assert np.linalg.norm(correlation[0]) == pytest.approx(1, abs=0.02)
    assert np.linalg.norm(correlation[1]) < 0.3


def test_draws_are_disjoint_and_spread_over_the_file(images):
    draws = [setting.drawn(images, 200, place) for place in (1, 2)]
    rows = torch.cat([draw.train_inputs for draw in draws])
    assert [len(draw.train_labels) for draw in draws] == [200, 200] and len(torch.unique(rows, dim=0)) == 400
    assert torch.equal(draws[1].train_inputs[:3], images.train_inputs[[1, 3, 5]])
    assert torch.equal(draws[1].train_labels[:3], images.train_labels[[1, 3, 5]])
    with pytest.raises(ValueError, match="2 disjoint draws of 200 images can be had, and seed 3 asks for another"):
        setting.drawn(images, 200, 3)
    one, two = (made(images, images=200, draw=True, seed=seed) for seed in (1, 2))
    assert one.modes.s_K[0] != pytest.approx(two.modes.s_K[0], rel=1e-6)


def test_the_digits_are_a_second_data_set(images):
    one = made(images, source="digits", images=1000, components=10)
    assert one.targets.shape == (1000, 10) and len(one.modes.s_K) >= 3
    assert one.modes.s_K.min() > one.noise_floor


def test_a_rung_of_draws_gives_each_seed_its_own_modes(images):
    table = scores(images, data={"images": 200, "draw": True})
    assert table.loc["net", "strength_1"].nunique() == 2
    assert ("net", "tracking") in table.index and ("net", "tracking_other") not in table.index


# Networks


def test_a_twin_has_the_same_layers_and_is_linear():
    net = architectures.build("bias_free_mlp", (4,), 2, hidden=[5, 5], activation="relu", normalise=True)
    twin = networks.linear_twin(net, (4,))
    first, second, third = (p.detach() for p in net.parameters())
    x = torch.randn(7, 4)
    assert torch.allclose(twin(x), x @ first.T @ second.T @ third.T, atol=1e-6)


def test_convolutional_and_residual_networks_have_twins():
    for name, shape, options in (
        ("cnn", (1, 8, 8), {"channels": [3, 3], "activation": "relu"}),
        ("residual_mlp", (6,), {"width": 5, "blocks": 2, "activation": "tanh"}),
    ):
        twin = networks.linear_twin(architectures.build(name, shape, 2, **options), shape)
        x = torch.randn(3, *shape)
        assert torch.allclose(twin(2 * x) + twin(0 * x), 2 * twin(x), atol=1e-5)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return torch.relu(self.layer(x))


def test_a_network_without_a_twin_says_why():
    with pytest.raises(ValueError, match="no linear twin"):
        networks.linear_twin(Functional(), (4,))
    with pytest.raises(ValueError, match="pool by averages"):
        networks.linear_twin(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten()), (1, 6, 6))


def test_weights_are_scaled_to_an_output():
    net = architectures.build("bias_free_mlp", (4,), 2, hidden=[5, 5], activation="relu")
    x = torch.randn(20, 4, dtype=torch.float64)

    def size(module):
        with torch.no_grad():
            return float(module.double()(x).norm())

    factor = networks.scale_to(net, size, 1e-3)
    assert size(networks.scaled(net, factor)) == pytest.approx(1e-3, rel=1e-4)
    assert size(networks.scaled(net, factor)) == pytest.approx(factor**3 * size(net), rel=1e-4)
    silent = nn.Sequential(nn.Linear(4, 2, bias=False))
    nn.init.zeros_(silent[0].weight)
    with pytest.raises(ValueError, match="no scale of the weights"):
        networks.scale_to(silent, size, 1.0)


def test_a_linearized_network_is_its_first_order_expansion():
    torch.manual_seed(0)
    net = architectures.build("bias_free_mlp", (4,), 2, hidden=[6], activation="tanh").double()
    x, moves = torch.randn(5, 4, dtype=torch.float64), [torch.randn_like(p) for p in net.parameters()]
    linear = networks.Linearized(net)
    assert torch.allclose(linear(x), net(x))
    h = 1e-5
    ends = []
    for sign in (1, -1):
        moved = networks.scaled(net, 1.0)
        with torch.no_grad():
            for p, move in zip(moved.parameters(), moves):
                p.add_(sign * h * move)
        ends.append(moved(x))
    with torch.no_grad():
        for p, move in zip(trainable(linear).values(), moves):
            p.copy_(3 * move)
    assert torch.allclose(linear(x), net(x) + 3 * (ends[0] - ends[1]) / (2 * h), atol=1e-6)


# Weights


def test_alignment_of_known_layers():
    generator = np.random.default_rng(0)
    u, _ = np.linalg.qr(generator.standard_normal((10, 10)))
    before = u[:, :2] @ np.diag([2.0, 1.0]) @ generator.standard_normal((2, 6))
    after = generator.standard_normal((4, 2)) @ u[:, :2].T
    assert weights.alignment([before, after], 2) == (pytest.approx(1), pytest.approx(0.2))
    apart = generator.standard_normal((4, 2)) @ u[:, 5:7].T
    assert weights.alignment([before, apart], 2)[0] == pytest.approx(0, abs=1e-12)


def test_a_readout_faces_the_channels_of_a_convolution():
    convolution, readout = np.zeros((3, 2, 3, 3)), np.arange(2 * 3 * 4.0).reshape(2, 12)
    ((before, after),) = weights.pairs([convolution, readout])
    assert before.shape == (3, 18) and after.shape == (8, 3)
    assert after[:, 1].reshape(2, 4) == pytest.approx(readout.reshape(2, 3, 4)[:, 1])


def test_stable_rank_gap_and_imbalance_of_known_matrices():
    assert stable_rank(np.diag([2.0, 1.0, 1.0])) == pytest.approx(1.5)
    assert weights.gap([np.eye(3), np.diag([3.0, 1.0]), np.diag([8.0, 2.0])]) == pytest.approx(3 / 2**0.25)
    start = [np.eye(2), np.eye(2)]
    assert weights.imbalance(start, start) == (0, 0)
    diagonal, rest = weights.imbalance(start, [np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]])])
    assert (diagonal, rest) == (pytest.approx(1 / 2**0.5), pytest.approx(2**0.5 / 2**0.5))


def test_updates_within_the_subspace_have_all_the_energy_there():
    generator = np.random.default_rng(0)
    start = [np.linalg.qr(generator.standard_normal((20, 20)))[0], np.eye(2, 20)]
    left, right = generator.standard_normal((20, 2)), generator.standard_normal((20, 2))
    gradients = [left @ right.T, np.zeros((2, 20))]
    inside = [start[0] + left @ right.T + start[0] @ right @ (start[0].T @ left).T, start[1]]
    assert weights.subspace_energy(start, gradients, inside, 2)[0] == pytest.approx(1)
    outside = [start[0] + generator.standard_normal((20, 20)), start[1]]
    energy, chance = weights.subspace_energy(start, gradients, outside, 2)
    assert chance == pytest.approx(0.04) and energy < 0.15


def test_frozen_updates_and_kernels_agree_with_jacobians():
    torch.manual_seed(0)
    net = architectures.build("bias_free_mlp", (3,), 2, hidden=[4], activation="tanh").double()
    x = torch.randn(6, 3, dtype=torch.float64)
    first, second = (p.detach() for p in net.parameters())
    hidden = torch.tanh(x @ first.T)
    r = torch.randn(6, 2, dtype=torch.float64)
    flat = torch.cat([first.reshape(-1), second.reshape(-1)])
    updates = weights.frozen_update(net, flat, x, r)
    back = (r @ second) * (1 - hidden**2)
    assert updates[0] == pytest.approx((back.T @ x / 6).numpy())
    assert updates[1] == pytest.approx((r.T @ hidden / 6).numpy())
    gates = 1 - hidden**2
    expected = 2 * hidden @ hidden.T + (x @ x.T) * sum((gates * row) @ (gates * row).T for row in second)
    assert weights.kernel(net, flat, x) == pytest.approx(expected.numpy())


def test_kernel_modes_are_the_kernels_eigenfunctions(images):
    # All inputs, so that the two modes are within the first six eigenfunctions.
    one = made(images, labels="real", inputs="raw")
    torch.manual_seed(0)
    net = architectures.build("bias_free_mlp", (12,), 3, hidden=[20], activation="relu").double()
    read = bases.kernel(one, net, 6, 1e-6)
    assert read.noise_floor < read.modes.s_K.min()
    f = read.features_NxD.numpy()
    assert f.T @ f / 300 == pytest.approx(np.eye(6), abs=1e-8)
    first, second = (p.detach() for p in net.parameters())
    gates = (one.inputs @ first.T > 0).double()
    hidden = gates * (one.inputs @ first.T)
    k = 3 * hidden @ hidden.T + (one.inputs @ one.inputs.T) * sum((gates * row) @ (gates * row).T for row in second)
    centre = np.eye(300) - 1 / 300
    values, vectors = np.linalg.eigh(centre @ k.numpy() @ centre)
    leading = vectors[:, ::-1][:, :3]
    assert np.linalg.norm(leading.T @ f) == pytest.approx(np.sqrt(3 * 300), rel=1e-2)
    assert read.modes.target_CxD == pytest.approx(setting.target_map(one.targets.numpy(), f))


def test_the_quadratic_basis_has_nothing_linear():
    generator = np.random.default_rng(0)
    inputs, _, _ = setting.whiten(generator.standard_normal((500, 8)), 8)
    targets = torch.from_numpy(np.stack([inputs[:, 0] * inputs[:, 1], 0.4 * inputs[:, 2] ** 2 + inputs[:, 3]], axis=1))
    tensor = torch.from_numpy(inputs)
    one = setting.Setting(tensor, targets, tensor, observables.Modes.of(np.eye(2, 8), 2), 0.0, "mse")
    read = bases.quadratic(one, 1e-6)
    f = read.features_NxD.numpy()
    assert f.T @ f / 500 == pytest.approx(np.eye(32), abs=1e-8)
    assert inputs.T @ f / 500 == pytest.approx(np.zeros((8, 32)), abs=1e-8)
    assert len(read.modes.s_K) == 2


# Rungs


def test_a_single_layer_scores_zero_and_a_deep_linear_network_what_its_equation_says(images):
    one = scores(images, architecture={"name": "deep_linear", "hidden": []}, twin=False, depth=1)
    assert one.loc["net", "waypoint_score"].to_numpy() == pytest.approx(0, abs=0.02)
    assert one.loc["net", "sequentiality"].to_numpy() == pytest.approx(0, abs=0.02)
    assert one.loc["net", "predicted_waypoint_score"].to_numpy() == pytest.approx(0, abs=0.02)
    deep = scores(images, **LINEAR, init=1e-6)
    gap = deep.loc["net", "waypoint_score"] - deep.loc["net", "predicted_waypoint_score"]
    assert gap.abs().max() < 0.05
    assert deep.loc["net", "waypoint_score"].min() > 0.5
    assert deep.loc["net", "visible_share"].to_numpy() == pytest.approx(1, abs=1e-3)
    assert deep.loc["net", "growth_exponent"].to_numpy() == pytest.approx(1, abs=0.1)


def test_a_network_is_trained_beside_its_twin_at_one_learning_rate(images):
    table = scores(images)
    assert (table.loc["net", "learning_rate"] == table.loc["twin", "learning_rate"]).all()
    assert table.loc["net", "init"].to_numpy() == pytest.approx(1e-4, rel=1e-3)
    assert table.loc["twin", "init"].to_numpy() == pytest.approx(1e-4, rel=1e-3)
    assert table.loc["net", "time_factor"].between(1.4, 3.0).all()
    assert table.loc["net", "tracking"].min() > 0.5
    assert (table.loc["net", "edge_share"] < 0.3).all()


def test_a_linear_network_is_its_own_twin(images):
    table = scores(images, architecture={"activation": "identity"})
    assert table.loc["net", "tracking"].to_numpy() == pytest.approx(1, abs=1e-3)
    assert table.loc["net", "time_factor"].to_numpy() == pytest.approx(1, abs=1e-3)


def test_seeds_do_not_depend_on_their_stack(images):
    assert scores(images, seeds=[2])[2].loc["net", "waypoint_score"] == pytest.approx(
        scores(images, seeds=[1, 2])[2].loc["net", "waypoint_score"], abs=1e-4
    )


def test_a_run_that_does_not_get_there_is_censored(images):
    table = scores(images, steps=20)
    assert (table.loc["net", "censored"] == 1).all() and (table.loc["net", "largest_phi"] < 0.95).all()
    assert ("net", "tracking") not in table.index


def test_a_twin_that_diverges_says_so(images):
    with pytest.raises(ValueError, match="the twin diverges at lr"):
        scores(images, architecture={"normalise": True}, init=None, optimizer={"lr": 20.0}, edge=None)


def test_momentum_has_its_share_of_the_edge_and_adaptive_twins_their_scale(images):
    plain, heavy = (scores(images, seeds=[1, 2], optimizer=o) for o in ({}, {"momentum": 0.9}))
    ratio = heavy.loc["net", "learning_rate"] / plain.loc["net", "learning_rate"]
    assert ratio.to_numpy() == pytest.approx(0.1)
    adam = scores(images, optimizer={"name": "adam", "lr": 1e-3}, edge=None, follows_scale=True)
    assert (adam.loc["twin", "learning_rate"] < adam.loc["net", "learning_rate"]).all()


def test_kinds_of_rung_that_train_seed_by_seed(images):
    for overrides in (
        {"data": {"rotate": True}},
        {"basis": "kernel", "twin": False, "init": None, "data": {"labels": "real", "components": 8}},
        {"linearized": True, "twin": False, "init": None, "data": {"labels": "real"}},
        {"data": PLANTED, "twin": False},
    ):
        table = scores(images, **overrides)
        assert table.loc["net", "steps"].notna().all()
        assert (table.loc["net", "largest_phi"] > 0).all()


def test_curves_start_at_nothing_and_keep_to_their_size(images):
    curves = rung.run(Rung.model_validate(BASE), [1, 2], images, COMPUTE).curves
    for _, curve in curves.groupby(["system", "seed"]):
        assert curve["phi"].iloc[0] == 0 and curve["phi"].is_monotonic_increasing
        assert len(curve) <= rung.CURVE_POINTS
        assert (curve["null_rank"] >= 1 - 1e-6).all()


def test_minibatches_of_all_the_data_are_the_data(images):
    one = made(images)
    one = setting.Setting(one.inputs.float(), one.targets.float(), one.features_NxD.float(), one.modes, 0.0, "mse")
    nets = architectures.build_stack("bias_free_mlp", (12,), 3, [1, 2], hidden=[8], activation="tanh")
    options = {"steps": 5, "seeds": [1, 2], "curvature": False}
    whole, batches = (follow(nets, one, sgd(lr=0.1), batch_size=size, **options) for size in (None, 300))
    assert batches.maps_RxTxCxD == pytest.approx(whole.maps_RxTxCxD, abs=1e-5)


def test_the_largest_learning_rate_of_a_quadratic_is_that_of_its_curvature():
    x = torch.tensor([[1.0], [2.0]])
    problem = Problem(nn.Linear(1, 1, bias=False), x, torch.zeros(2, 1), "mse")
    # The Hessian is the mean of x^2, 2.5.
    assert output_scale.largest_lr(problem, 1.0, 200, 1e-3) == pytest.approx(2 / 2.5, rel=2e-3)


def test_a_lazy_network_bears_a_learning_rate_that_goes_as_the_square_of_its_scale(images):
    settings = {
        "seeds": 2,
        "images": 60,
        "pool": 1,
        "components": 8,
        "width": 10,
        "depths": [2],
        "scales": [1e-3, 1e-2, 1e2, 1e3],
        "steps": 60,
        "resolution": 0.1,
    }
    table = output_scale.run(OutputScale.model_validate(settings), [1], images)
    slopes = table[table["quantity"] == "lazy_slope"]["value"]
    assert slopes.to_numpy() == pytest.approx(2.0, abs=0.2)
    assert isinstance(table, pd.DataFrame) and set(table["quantity"]) >= {"scale", "largest_lr", "rich_slope"}


def test_participation_and_shifts():
    assert observables.participation(np.diag([1.0, 1.0, 0.0])[None]) == pytest.approx([2.0])
    together = np.linspace(0, 1, 200)[:, None] * np.ones((1, 3))
    # Constant rates do not feel a shift.
    assert observables.shifted_concurrency(together) == pytest.approx(3.0, abs=1e-6)
    one_by_one = np.stack([np.clip(np.arange(300) / 100 - k, 0, 1) for k in range(3)], axis=1)
    assert 1.0 < observables.shifted_concurrency(one_by_one) < 2.0


# Centring


@pytest.mark.parametrize("centred", [False, True])
def test_a_step_is_that_of_the_outputs_less_those_at_the_start(images, centred):
    one = made(images)
    nets = [net.double() for net in architectures.build_stack("deep_linear", (12,), 3, [1, 2], hidden=[5])]
    path = follow(nets, one, sgd(lr=0.1), steps=1, seeds=[1, 2], centred=centred, curvature=False)
    x, y = one.inputs.numpy(), one.targets.numpy()
    for r, net in enumerate(nets):
        first, second = (p.detach().numpy() for p in net.parameters())
        start = first.T @ second.T
        residual = (y - (0 if centred else x @ start)) / len(x)
        after = (first + 0.1 * second.T @ residual.T @ x).T @ (second + 0.1 * residual.T @ x @ first.T).T
        for reading, product in zip(path.maps_RxTxCxD[r], (start, after)):
            assert reading == pytest.approx((product - (start if centred else 0)).T, abs=1e-10)


def test_a_centred_rung_starts_from_nothing_and_keeps_its_networks_scale(images):
    default = {"init": None, "steps": 400}
    settings = Rung.model_validate(resolve(BASE, default))
    runs = rung.run(settings, [1, 2], images, COMPUTE)
    first = runs.curves[runs.curves["step"] == 0]
    assert first.filter(like="amplitude").abs().to_numpy().max() < 1e-5
    assert (first["null_rank"].to_numpy() >= 1).all() and (first["rank"].to_numpy() >= 1).all()
    table = runs.rows.pivot_table(index=["system", "quantity"], columns="seed", values="value")
    plain = scores(images, **default, centred=False)
    assert table.loc["net", "init"].to_numpy() == pytest.approx(plain.loc["net", "init"].to_numpy())
    assert table.loc["net", "init"].min() > 0.01


def test_the_second_null_is_the_twin_of_another_seed(images):
    linear = {"architecture": {"activation": "identity"}, "init": 1e-2}
    both, alone = scores(images, **linear), scores(images, seeds=[1], **linear)
    assert both.loc["net", "tracking"].to_numpy() == pytest.approx(1, abs=1e-3)
    other = both.loc["net", "tracking_other"].to_numpy()
    assert ((other > 0.5) & (other < 1 - 1e-4)).all()
    assert ("net", "tracking_other") not in alone.index
    planted = scores(images, data=PLANTED | {"functions": ["he1", "he1"]}, **linear)
    assert ("net", "tracking") in planted.index and ("net", "tracking_other") not in planted.index


def test_the_closed_form_counts_a_large_start_that_is_taken_away(images):
    """A linear network in which each mode has its own weights: du/dt = 2 u (s - u) holds exactly, from any start."""
    one = made(images)
    left, s, right = np.linalg.svd(one.modes.target_CxD, full_matrices=False)
    net = architectures.build("deep_linear", (12,), 3, hidden=[3]).double()
    root = np.sqrt(0.4 * s)
    with torch.no_grad():
        for parameter, matrix in zip(net.parameters(), (root[:, None] * right, left * root)):
            parameter.copy_(torch.from_numpy(matrix))
    lr = 0.02 / s[0]
    path = follow([net], one, sgd(lr=lr), steps=1500, seeds=[1], centred=True, curvature=False)
    settings = Rung.model_validate(resolve(BASE, LINEAR))
    found = rung._closed_form_scores(one, net, path, 0, settings, lr)
    maps = path.maps_RxTxCxD[0]
    assert observables.progress(maps, one.modes.target_CxD)[-1] >= observables.CLOCK_END
    assert found["predicted_waypoint_score"] == pytest.approx(observables.waypoint_score(maps, one.modes), abs=0.01)
    assert found["predicted_concurrency"] == pytest.approx(observables.concurrency(maps, one.modes), abs=0.02)
