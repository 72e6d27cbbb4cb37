"""Scale-invariance: closed forms against what does not use them, identities to rounding, and what must fail."""

import numpy as np
import pytest
import torch

from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import (
    conservation,
    equilibrium,
    exponential_rate,
    homogeneity,
    intrinsic_rate,
    networks,
    norm_growth,
    rescaling,
)
from benchmarks.studies.scale_invariance.descent import Rule, descend
from benchmarks.studies.scale_invariance.study import (
    Equilibrium,
    ExponentialRate,
    Homogeneity,
    IntrinsicRate,
    NeuronConservation,
    NormGrowth,
    Rescaling,
)
from benchmarks.theory import scale_invariance as theory

SEEDS = [1, 2]
SMALL = {"seeds": 2, "inputs": 5, "outputs": 2, "hidden": [6, 6], "examples": 12, "eps": 0.0}
ON_IMAGES = {"seeds": 2, "images": 40, "pool": 1, "hidden": [8, 8], "eps": 0.0, "batch_size": 8}
HOMOGENEITY = Homogeneity(**SMALL, ratios=[1e-5, 1e-4])
NORM_GROWTH = NormGrowth(**SMALL, batch_size=4, lr=0.1, momentum=0.9, steps=30)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.standard_normal((60, 3, 2, 2))).float()
    labels = torch.from_numpy(rng.integers(0, 3, 60))
    return Images(inputs, labels, inputs, labels, 3)


def values(table):
    return table.groupby(["system", "quantity"])["value"].mean()


def test_the_normaliser_is_layer_norm_without_eps():
    z = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.layer_norm(z, (7,), eps=1e-3)
    assert torch.allclose(networks.Normaliser(1e-3)(z), expected, atol=1e-14)
    y = networks.Normaliser()(z)
    assert torch.allclose(y.mean(-1), torch.zeros(4, dtype=y.dtype), atol=1e-15)
    assert torch.allclose(y.square().mean(-1), torch.ones(4, dtype=y.dtype), atol=1e-14)


def test_every_weight_of_a_normalised_network_is_scale_invariant():
    networks.require_invariant(networks.build(5, 2, [6, 6]), torch.ones(3, 5).double().cumsum(0).cumsum(1).sin())


@pytest.mark.parametrize("options", [{"normalise": False}, {"eps": 1e-5}])
def test_a_network_that_is_not_scale_invariant_is_an_error_that_names_the_layer(options):
    inputs, _ = networks.gaussian_data(0, 10, 5, 2)
    with pytest.raises(ValueError, match=r"'0\.weight' is not scale-invariant: 2\.7 times it changes"):
        networks.require_invariant(networks.build(5, 2, [6, 6], **options), inputs)


def test_only_the_layer_without_a_normaliser_is_named():
    inputs, _ = networks.gaussian_data(0, 10, 5, 2)
    module = networks.build(5, 2, [6, 6])
    module[4] = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"'3\.weight' is not"):
        networks.require_invariant(module, inputs)


def test_a_readout_wider_than_its_layer_is_an_error():
    with pytest.raises(ValueError, match="2 features, fewer than 3 outputs"):
        networks.build(5, 3, [6, 2])


def test_the_closed_form_under_eps_is_a_finite_difference():
    inputs, targets = networks.gaussian_data(1, 12, 5, 4)
    weights = networks.start(networks.build(5, 4, [4]), [1])[0].view(4, 5)
    norm = networks.Normaliser(eps=0.1)

    def loss(c):
        return 0.5 * (norm(c * inputs @ weights.T) - targets).square().sum(1).mean()

    h = 1e-5
    outputs = norm(inputs @ weights.T)
    in_outputs = (outputs - targets) / len(inputs)
    variances = (inputs @ weights.T).var(1, unbiased=False)
    radial = theory.radial_gradient(in_outputs.numpy(), outputs.numpy(), variances.numpy(), 0.1)
    assert radial == pytest.approx(float(loss(1 + h) - loss(1 - h)) / (2 * h), rel=1e-8)


def test_homogeneity_holds_to_rounding_and_not_without_normalisers():
    found = values(homogeneity.run(HOMOGENEITY, SEEDS))
    for system in ("network", "rayleigh"):
        assert (found[system] < -13).all()
    assert (found["bare"] > -3).all()
    assert found["eps", "slope"] == pytest.approx(1, abs=1e-2)
    assert found["eps", "closed_form"] < -14


@pytest.mark.parametrize(("experiment", "settings"), [(homogeneity, HOMOGENEITY), (norm_growth, NORM_GROWTH)])
def test_an_eps_is_an_error_before_any_work(experiment, settings):
    with pytest.raises(ValueError, match="is not scale-invariant"):
        experiment.run(settings.model_copy(update={"eps": 1e-5}), SEEDS)


def test_norms_grow_by_pythagoras_without_momentum_only():
    found = values(norm_growth.run(NORM_GROWTH, SEEDS))
    assert found["network", "deviation"] < -11
    assert found["rayleigh", "deviation"] < -11
    assert min(found["momentum", "deviation"], found["bare", "deviation"]) > -1
    assert found["network", "growth"] > 1


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_a_rule_is_the_recursion_that_it_says(momentum, decoupled):
    problem = networks.rayleigh(4)
    start = networks.start(problem.module, [3])
    rule = Rule(0.3, 0.05, momentum, decoupled, growth=1.1, buffer=0.2)
    if not momentum:
        rule = Rule(0.3, 0.05, growth=1.1, decoupled=decoupled)
    *_, last = descend(problem, start, [rule], 4)
    w, b, matrix = start[0].numpy(), rule.buffer * start[0].numpy(), problem.module.matrix.numpy()
    for t in range(4):
        n = w / np.linalg.norm(w)
        g = (matrix @ n - (n @ matrix @ n) * n) / np.linalg.norm(w)
        if decoupled:
            w = (1 - 0.3 * 0.05) * w
        else:
            g = g + 0.05 * w
        b = momentum * b + g
        w = w - 0.3 * 1.1**t * b
    assert last.after_RxP[0].numpy() == pytest.approx(w, rel=1e-13)


def test_growth_is_a_root_and_the_equivalent_exists_only_for_weak_decay():
    alpha = theory.growth_root(0.1, 0.02, 0.9)
    assert alpha**2 - (1 + 0.9 - 0.002) * alpha + 0.9 == pytest.approx(0, abs=1e-15)
    assert theory.growth_root(0.1, 0.02, 1e-12) == pytest.approx(theory.growth_root(0.1, 0.02), rel=1e-9)
    with pytest.raises(ValueError, match="no exponential equivalent"):
        theory.growth_root(0.1, 0.1, 0.9)


def exponential(images, **changes):
    """The changes are not checked: a run has its own checks, and less decay is less rounding."""
    settings = ExponentialRate(**ON_IMAGES, lr=0.2, weight_decay=0.05, momentum=0.8, steps=80, every=20)
    return exponential_rate.run(settings.model_copy(update={"weight_decay": 0.02, **changes}), SEEDS, images)


def test_an_exponential_learning_rate_is_weight_decay(images):
    found = values(exponential(images))
    for system in ("plain", "coupled", "decoupled", "rayleigh"):
        assert found[system, "difference"] < -9
        assert found[system, "difference"] >= found[system, "difference-20"]
    for control in ("plain-constant", "coupled-constant", "decoupled-constant", "coupled-zero", "coupled-plain"):
        assert found[control, "difference"] > -2


def test_an_exponential_rate_needs_scale_invariance_and_real_roots(images):
    with pytest.raises(ValueError, match="is not scale-invariant"):
        exponential(images, eps=1e-5)
    with pytest.raises(ValueError, match="no exponential equivalent"):
        exponential(images, weight_decay=0.5)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_equilibrium_is_that_of_the_linear_recursion_of_second_moments(momentum, decoupled):
    lr, decay = 0.1, 0.2
    x, rho = lr * decay, 1 - lr * decay
    # Of E|w|^2, E<w, u> and E|u|^2, with w' = rho w + u' or w + u', and u' = beta u - lr g (- x w); g of unit length is
    # orthogonal to w and, without memory, to u.
    c = 1.0 if not decoupled else rho
    k = 0.0 if decoupled else x  # what decay adds to u'
    u_to_u = np.array([k**2, -2 * momentum * k, momentum**2])
    w_to_u = np.array([-k, momentum, 0.0])  # <w, u'>
    step = np.stack([np.array([c**2, 0, 0]) + 2 * c * w_to_u + u_to_u, c * w_to_u + u_to_u, u_to_u])
    w2, _, _ = np.linalg.solve(np.eye(3) - step, np.full(3, lr**2))
    along = (c * np.array([1.0, 0, 0]) + w_to_u) @ np.linalg.solve(np.eye(3) - step, np.full(3, lr**2))
    assert theory.equilibrium_norm(lr, decay, momentum, decoupled) == pytest.approx(w2, rel=1e-10)
    assert theory.equilibrium_cosine(lr, decay, momentum, decoupled) == pytest.approx(along / w2, rel=1e-12)
    limit = lr / (2 * 1e-4 * decay * (1 - momentum) ** (2 if decoupled else 1))
    assert theory.equilibrium_norm(lr, 1e-4 * decay, momentum, decoupled) == pytest.approx(limit, rel=1e-3)


def test_noise_settles_where_the_closed_forms_say(images):
    one = {"lr": 0.1, "weight_decay": 0.2}
    settings = Equilibrium.model_validate(
        {
            **ON_IMAGES,
            "steps": 600,
            "kicks": 2,
            "toy_size": 60,
            "toy_examples": 100,
            "systems": {
                "plain": {**one, "momentum": 0.0, "decoupled": False},
                "decoupled": {**one, "momentum": 0.5, "decoupled": True},
            },
        }
    )
    found = values(equilibrium.run(settings, SEEDS, images))
    for system in ("toy-plain", "toy-decoupled"):
        assert found[system, "angle_ratio"] == pytest.approx(1, abs=0.03)
        assert found[system, "norm_ratio"] == pytest.approx(1, abs=0.08)
    assert found["toy-plain", "relaxation"] == pytest.approx(1, abs=0.1)
    assert found["plain", "memory"] == 1
    assert found["as-coupled", "norm_ratio"] > 1.5
    with pytest.raises(ValueError, match="is not scale-invariant"):
        equilibrium.run(settings.model_copy(update={"eps": 1e-5}), SEEDS, images)


def test_a_run_that_has_not_settled_has_no_ratio():
    growing = np.ones((8, 5, 1))
    growing[:, 0, 0] = growing[:, 2, 0] = np.arange(1, 9)
    found = equilibrium._ratios(Rule(0.1, 0.1), growing, always=False)
    assert found["drift"] > equilibrium.STATIONARY
    assert np.isnan(found["angle_ratio"]) and np.isnan(found["norm_ratio"])
    assert np.isfinite(equilibrium._ratios(Rule(0.1, 0.1), growing, always=True)["angle_ratio"])


def test_neurons_conserve_what_homogeneity_says():
    settings = NeuronConservation(
        seeds=2, inputs=4, outputs=2, width=6, examples=15, lrs=[0.02, 0.01], time=1.0, weight_decay=0.05
    )
    found = values(conservation.run(settings, SEEDS))
    for system in ("relu", "linear"):
        assert found[system, "flow"] < -13
        assert max(found[system, "increment"], found[system, "decay-increment"]) < -8
        assert found[system, "drift_exponent"] == pytest.approx(1, abs=0.05)
        assert found[system, "decay_error"] < 0.02
    assert found["tanh", "flow"] > -3
    assert found["tanh", "increment"] > -1
    assert abs(found["tanh", "drift_exponent"]) < 0.2


RESCALED = {
    "seeds": 1,
    "inputs": 5,
    "outputs": 2,
    "hidden": [6, 6],
    "examples": 12,
    "steps": 12,
    "factor": 10.0,
    "binary_factor": 8.0,
    "rounding": ["muon"],
    "optimizers": {
        "sgd": {"name": "sgd", "lr": 0.1},
        "adam": {"name": "adam", "lr": 0.003, "eps": 0.0},
        "lion": {"name": "lion", "lr": 0.002},
        "muon": {"name": "muon", "lr": 0.01},
    },
}


def test_learning_rates_follow_their_units():
    found = values(rescaling.run(Rescaling.model_validate(RESCALED), [1]))
    for how, sgd, normalised in (("loss", -1, 0), ("parameter", -2, -1), ("start", 2, 1)):
        assert found[f"sgd-{how}", "exponent"] == pytest.approx(sgd, abs=1e-9)
        for name in ("adam", "lion", "muon"):
            assert found[f"{name}-{how}", "exponent"] == pytest.approx(normalised, abs=1e-9)
        assert found[f"all-{how}", "error"] < -9
    assert found["adam-eps-loss", "error"] > -3, "no learning rate makes up for eps"
    assert found["muon-decimal-loss", "error"] > -5, "bfloat16 rounds"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"binary_factor": 10.0}, "power of two, got 10"),
        ({"optimizers": {**RESCALED["optimizers"], "soap": {"name": "soap", "lr": 0.1}}}, "soap"),
    ],
)
def test_rescaling_refuses_what_it_cannot_predict(changes, message):
    settings = Rescaling.model_validate({**RESCALED, **changes})
    with pytest.raises(ValueError, match=message):
        rescaling.run(settings, [1])


def intrinsic(images, **changes):
    settings = IntrinsicRate.model_validate(
        {
            **ON_IMAGES,
            "lr": 0.5,
            "product": 0.05,
            "lr_factors": [0.5, 1],
            "product_factors": [0.5, 1],
            "steps": 80,
            "every": 20,
            "exact_steps": 40,
            **changes,
        }
    )
    return intrinsic_rate.run(settings, SEEDS, images)


def test_learning_rate_and_decay_act_through_their_product_if_the_start_follows(images):
    table = intrinsic(images)
    found = values(table)
    assert found["rescaled", "difference"] < -8
    assert found["same-start", "difference"] > -3
    pairs = ("network-0.25-0.2", "network-0.5-0.1", "network-0.5-0.05")
    one, other, weaker = (table[table["system"] == name].set_index(["quantity", "seed"])["value"] for name in pairs)
    ratio = abs(one["loss"] - other["loss"]) / abs(other["loss"] - weaker["loss"])
    stated = table[(table["system"] == "network") & (table["quantity"] == "loss_ratio")].set_index("seed")["value"]
    assert stated.to_numpy() == pytest.approx(ratio.to_numpy())


def test_an_intrinsic_rate_needs_scale_invariance(images):
    with pytest.raises(ValueError, match="is not scale-invariant"):
        intrinsic(images, eps=1e-5)


def test_rayleigh_is_what_it_says():
    problem = networks.rayleigh(3)
    assert isinstance(problem, Problem)
    w = networks.start(problem.module, [1])[0]
    expected = w @ problem.module.matrix @ w / (2 * w @ w)
    assert float(problem.losses(w[None])) == pytest.approx(float(expected), rel=1e-14)
    assert np.linalg.eigvalsh(problem.module.matrix.numpy()) == pytest.approx([1 / 3, 2 / 3, 1])
