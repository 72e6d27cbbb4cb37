"""From lazy to rich: output multipliers and learning rates that move together, muP, and what is read of them."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.problem import Problem
from benchmarks.studies.carry_over.networks import Linearized
from benchmarks.studies.phase_diagram import mup, richness, richness_images
from benchmarks.studies.phase_diagram.study import Ladder, RichnessImages, Textbook, Transfer
from benchmarks.studies.schema import Compute

DATA = dict(
    name="images",
    source="images",
    images=200,
    pool=1,
    read=200,
    components=10,
    augment=False,
    draw=False,
    labels="real",
    inputs="real",
)
LADDER = dict(
    seeds=2,
    data=DATA,
    architecture=dict(name="mlp", hidden=[20, 20], activation="relu"),
    optimizer=dict(name="adamw", lr=2e-3, weight_decay=0.0),
    clip=None,
    warmup=0,
    cosine=False,
    batch_size=20,
    steps=100,
    readings=12,
    modes=3,
    target=1.1,
    gammas=[0.25, 1.0, 4.0],
    lazy=True,
    rate=True,
    mup=5,
)
TEXTBOOK = dict(spectrum=[5.0, 3.0, 2.0, 1.0], width=100, lr=2e-3, steps=800, gammas=[1.0, 4.0, 16.0])
TRANSFER = dict(
    images=100,
    pool=1,
    depth=2,
    widths=[8, 16, 32],
    base=8,
    optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.0),
    lrs=[1e-3, 1e-2, 1e-1],
    batch_size=20,
    steps=20,
)
COMPUTE = Compute(device="cpu", dtype="float64", threads=1, chunk_size=1000)


def data(count=400, classes=4):
    """Classes whose means differ, on 3 x 4 x 4 pixels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    means = 2 * torch.randn(classes, 48, generator=generator, dtype=torch.float64)
    means = means * torch.tensor([1.0, 0.8, 0.6, 0.4])[:classes, None]
    inputs = (means[labels] + torch.randn(count, 48, generator=generator, dtype=torch.float64)).view(-1, 3, 4, 4)
    half = count // 2
    return Images(inputs[:half], labels[:half], inputs[half:], labels[half:], classes)


def perceptron(width=20, inputs=6, outputs=3):
    torch.manual_seed(0)
    return architectures.build("mlp", (inputs,), outputs, hidden=[width, width], activation="tanh").double()


def trained(module, optimizer, steps=5):
    """Outputs along full-batch descent, steps x examples x outputs."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    problem = Problem(module, inputs, targets, "mse")
    steps = descend(problem, problem.initial_RxP(), optimizer, steps=steps)
    return torch.stack([step.point.outputs_RxNxC[0].detach().clone() for step in steps])


# Multipliers


def test_a_multiplied_network_starts_at_zero_and_has_the_weights_of_its_network():
    net = perceptron()
    multiplied = richness.Multiplied(net, 0.25)
    inputs = torch.randn(5, 6, dtype=torch.float64)
    assert torch.equal(multiplied(inputs), torch.zeros(5, 3, dtype=torch.float64))
    assert sum(p.numel() for p in multiplied.parameters()) == sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        before = net(inputs)
        for own, other in zip(multiplied.parameters(), net.parameters()):
            own.add_(0.01)
            other.add_(0.01)
        torch.testing.assert_close(multiplied(inputs), 4 * (net(inputs) - before))


def test_what_is_subtracted_moves_with_the_module():
    multiplied = richness.Multiplied(perceptron(), 2.0).float()
    assert multiplied(torch.randn(2, 6)).dtype == torch.float32


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_to_first_order_the_path_is_the_same_at_every_gamma(name):
    options = {"momentum": 0.9} if name == "sgd" else {"weight_decay": 0.0}
    paths = [
        trained(
            Linearized(richness.Multiplied(perceptron(), gamma)),
            optimizers.named(name, lr=1e-3 * gamma ** richness.RATE_POWERS[name], **options),
        )
        for gamma in (0.1, 1.0, 10.0)
    ]
    scale = float(paths[1].abs().max())
    for path in paths:
        torch.testing.assert_close(path, paths[1], rtol=0, atol=1e-4 * scale)


def test_a_network_is_lazy_at_a_small_gamma_and_not_at_a_large_one():
    def apart(gamma):
        net, rate = perceptron(), 0.01 * gamma**2
        paths = [
            trained(module(richness.Multiplied(net, gamma)), optimizers.named("sgd", lr=rate), 50)
            for module in (lambda m: m, Linearized)
        ]
        return float((paths[0] - paths[1])[-1].norm() / paths[1][-1].norm())

    assert apart(1e-3) < 1e-3 < 0.05 < apart(3.0)
    assert apart(1e-2) / apart(1e-3) == pytest.approx(10, rel=0.1), "the first correction is linear in gamma"


def test_the_recorded_change_of_the_weights_is_that_of_the_run():
    ladder = Ladder(**{**LADDER, "steps": 3, "readings": 3})
    task = richness_images.task(ladder, data(), 1, torch.float64)
    torch.manual_seed(0)
    net = architectures.build("mlp", task.shape, task.outputs, hidden=[20, 20], activation="relu").double()
    run = next(richness.runs("mlp", ladder, net))
    path, change = richness.trained(run, ladder, task, COMPUTE, lambda step: None)
    assert change[0] == 0 and len(change) == len(path.steps_T)
    problem = Problem(run.module, task.inputs, task.targets, "cross_entropy")
    (*_, last) = descend(problem, problem.initial_RxP(), run.optimizer, steps=3, minibatches=task.batches)
    pairs = [(now, start) for now, start in zip(last.parameters[0], net.parameters()) if start.ndim > 1]
    expected = np.mean([float((now - start).detach().norm() / start.detach().norm()) for now, start in pairs])
    assert change[-1] == pytest.approx(expected, rel=1e-9)


# Scores


def test_readings_end_where_the_loss_is_the_targets():
    losses = np.array([3.0, 2.0, 1.0, 0.5])
    np.testing.assert_allclose(richness.until(np.array([0.0, 10.0, 20.0, 30.0]), losses, 1.25), [0, 10, 17.5])
    np.testing.assert_allclose(richness.until(np.array([np.nan, 10.0, 20.0, 30.0]), losses, 2.0), [np.nan, 10])
    assert len(richness.until(losses, losses, 3.5)) == 1
    with pytest.raises(ValueError, match=r"never is 0\.1: the least is 0\.5"):
        richness.until(losses, losses, 0.1)


def test_a_ladder_that_rises_has_a_tau_of_one_and_one_that_misses_its_target_none():
    steps = [{"reached": 1.0, "timing_slope": -s, "rank_growth": r} for s, r in ((0.1, 3), (0.2, 2), (0.4, 1))]
    found = richness.across(steps)
    assert found["order_rises"] == pytest.approx(1) and found["rank_rises"] == pytest.approx(-1)
    assert found["order_change"] == pytest.approx(0.3) and found["rank_change"] == -2
    assert np.isnan(found["movement_rises"])
    assert richness.across([{**steps[0], "reached": 0.0}, *steps[1:]]) == {"reached": pytest.approx(2 / 3)}
    assert "order_rises" not in richness.across(steps[:2]), "two steps have a difference, and no order"


def test_in_two_linear_layers_rich_is_greedy_and_lazy_is_not():
    rows = {system: quantities for system, _, quantities in richness_images.textbook(Textbook(**TEXTBOOK), 1)}
    assert rows["deep-linear"]["order_rises"] == pytest.approx(1)
    assert abs(rows["deep-linear@1"]["timing_slope"]) < 0.2 and rows["deep-linear"]["order_change"] > 0.05


def test_a_run_yields_every_system_and_each_reaches_the_target():
    settings = RichnessImages(seeds=2, networks={"mlp": LADDER}, textbook=TEXTBOOK, transfer=TRANSFER)
    ticks = []
    table = richness_images.run(settings, [1, 2], data(), COMPUTE, lambda *pair: ticks.append(pair))
    systems = set(table["system"])
    assert {"mlp@0.25", "mlp@4", "mlp/lazy@4", "mlp/rate", "mlp/mup", "mlp", "mlp/lazy", "deep-linear"} < systems
    wide = table[table["seed"] == 1].pivot(index="system", columns="quantity", values="value")
    assert wide.loc["mlp", "reached"] == 1 and wide.loc["mlp", "movement_rises"] == 1
    assert abs(wide.loc["mlp/lazy", "order_change"]) < 0.05
    assert wide.loc["mlp/mup", "gamma"] == pytest.approx(2)
    assert ticks[-1][0] == ticks[-1][1] and [done for done, _ in ticks] == sorted(done for done, _ in ticks)


def test_data_without_three_modes_are_refused():
    ladder = Ladder(**LADDER)
    task = richness_images.task(ladder, data(classes=2), 1, torch.float64)
    with pytest.raises(ValueError, match="mlp: an order needs three modes above the noise, the data have"):
        next(richness.ladder("mlp", ladder, task, 1, COMPUTE, lambda step: None))


def test_a_run_that_misses_the_target_says_so():
    ladder = Ladder(**{**LADDER, "steps": 2, "readings": 3, "target": 1e-3, "lazy": False, "rate": False, "mup": None})
    task = richness_images.task(ladder, data(), 1, torch.float64)
    rows = {system: q for system, _, q in richness.ladder("mlp", ladder, task, 1, COMPUTE, lambda step: None)}
    assert rows["mlp@1"]["reached"] == 0 and "rank_growth" not in rows["mlp@1"]
    assert rows["mlp"] == {"reached": 0.0}


# muP


def test_at_its_base_width_mup_is_the_standard_parametrization():
    net = perceptron()
    same = mup.maximal(net, 20)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), same.parameters()))


def test_mup_scales_the_readout_and_the_rates_of_all_matrices_but_the_first():
    net = perceptron(width=80)
    made = dict(mup.maximal(net, 20).named_parameters())
    for name, parameter in net.named_parameters():
        factor = 0.5 if name == "5.weight" else 1.0
        torch.testing.assert_close(made[name], factor * parameter)
    recipe = mup.layered(optimizers.named("adamw", lr=0.1, weight_decay=0.0), 4.0)
    parameters = list(net.parameters())
    (built,) = recipe.build(parameters)
    rates = {id(p): group["lr"] for group in built.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in parameters] == [0.1, 0.1, 0.025, 0.1, 0.025, 0.1]


def test_the_first_steps_of_mup_change_outputs_alike_at_every_width():
    """By the closed form of one step of sign descent on a linear chain of ones: sum of rates times fan-in."""

    def change(width, maximal):
        net = nn.Sequential(nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)).double()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_() if parameter.ndim == 1 else parameter.fill_(1 / parameter.shape[1])
        recipe = optimizers.named("adamw", lr=1e-6, weight_decay=0.0)
        problem = Problem(net, torch.ones(1, 1).double(), -torch.ones(1, 1).double(), "mse")
        steps = descend(problem, problem.initial_RxP(), mup.layered(recipe, width / 4) if maximal else recipe, steps=1)
        first, second = [step.point.outputs_RxNxC.detach().clone() for step in steps]
        return float((first - second).sum())

    # Per unit of the rate: 1 and 1 by the first layer and its bias, n by each other matrix, or 4 in muP; 1 by a bias.
    for width in (4, 16, 64):
        assert change(width, True) == pytest.approx(1e-6 * (1 + 1 + 4 + 1 + 4 + 1), rel=1e-3)
        assert change(width, False) == pytest.approx(1e-6 * (1 + 1 + width + 1 + width + 1), rel=1e-3)


def test_the_best_rate_is_the_bottom_of_the_parabola():
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    losses = [(np.log(rate) - np.log(3e-3)) ** 2 + 1 for rate in rates]
    assert mup.least(rates, losses) == pytest.approx(3e-3)
    assert mup.least(rates, [1.0, 2.0, 3.0, 4.0]) == 1e-3, "at the end of the grid"
    assert mup.least(rates, [2.0, 1.0, np.inf, np.inf]) == 2e-3, "beside a run that diverged"
    assert np.isnan(mup.least(rates, [np.inf] * 4))


def test_a_transfer_has_a_row_per_parametrization_and_the_same_losses_at_the_base_width():
    rows = {
        system: quantities
        for system, _, quantities in mup.transfer(Transfer(**TRANSFER), [1], data(), torch.float64, lambda done: None)
    }
    assert set(rows) == {"transfer/mup", "transfer/standard"}
    for lr in TRANSFER["lrs"]:
        assert rows["transfer/mup"][f"loss-8-{lr:g}"] == pytest.approx(rows["transfer/standard"][f"loss-8-{lr:g}"])
    assert rows["transfer/standard"]["change_slope"] > rows["transfer/mup"]["change_slope"] + 0.2


# Settings


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        (Ladder, {**LADDER, "gammas": [1.0, 0.5, 2.0]}, "gammas must rise, got 1, 0.5, 2"),
        (Ladder, {**LADDER, "gammas": [0.5, 2.0, 4.0]}, "gammas must have 1, the default recipe"),
        (Ladder, {**LADDER, "optimizer": {"name": "muon", "lr": 0.1}}, "no rule for how the learning rate of muon"),
        (Ladder, {**LADDER, "warmup": 10}, "set cosine too"),
        (Ladder, {**LADDER, "warmup": 100, "cosine": True}, "a warmup of 100 leaves nothing of 100 steps"),
        (Ladder, {**LADDER, "architecture": {"name": "resnet"}}, "muP is written for an mlp"),
        (Textbook, {**TEXTBOOK, "spectrum": [2.0, 1.0, 1.0]}, "modes of equal strength have no order"),
        (Transfer, {**TRANSFER, "widths": [16, 8, 32]}, "widths must rise, got 16, 8, 32"),
        (Transfer, {**TRANSFER, "optimizer": {"name": "sgd", "lr": 0.1}}, "not of sgd"),
        (
            RichnessImages,
            dict(seeds=1, networks={"mlp": LADDER}, textbook=TEXTBOOK, transfer=TRANSFER),
            "networks.mlp.seeds: 2 are more than the 1 of the experiment",
        ),
    ],
)
def test_bad_settings_are_one_sentence(model, settings, says):
    with pytest.raises(ValidationError, match=says):
        model.model_validate(settings)


def test_a_network_takes_the_data_of_its_experiment():
    text = dict(name="text", context=8, read=10, order="natural", draw=False)
    networks = {"gpt": {**LADDER, "data": text}}
    with pytest.raises(ValidationError, match=r"networks\.gpt\.data: this experiment takes images, not text"):
        RichnessImages.model_validate(dict(seeds=2, networks=networks, textbook=TEXTBOOK, transfer=TRANSFER))
