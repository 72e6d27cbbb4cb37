"""Models that theory solves: the theory against closed forms, and the losses against sampled data."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmarks.studies.saddle_to_saddle import modular_addition, saddles
from benchmarks.studies.saddle_to_saddle.modular_addition import drawn, grouped
from benchmarks.studies.saddle_to_saddle.saddles import Attention, Convolution
from benchmarks.studies.saddle_to_saddle.study import ModularAddition as AdditionSettings
from benchmarks.studies.saddle_to_saddle.study import Saddles
from benchmarks.theory import alternating_gradient_flow as flows
from benchmarks.theory.alternating_gradient_flow import DiagonalNetwork, ModularAddition, alternate

ADDITION = {
    "seeds": 1,
    "modulus": 7,
    "magnitudes": [1.0, 0.6],
    "groups": 4,
    "scale": 0.05,
    "time": 60.0,
    "steps": 4000,
}
ATTENTION = {"eigenvalues": [0.4, 0.2], "examples": 20, "heads": 3, "scale": 5e-3, "time": 5e5}
CONVOLUTION = {"strengths": [1.0, -0.5], "size": 3, "kernels": 8, "scale": 5e-3, "time": 1e5}


def addition(**changes):
    return AdditionSettings.model_validate(ADDITION | changes)


def measured(table, system, quantity):
    return table[(table.system == system) & (table.quantity == quantity)].value.to_numpy(float)


def test_a_diagonal_network_learns_the_strongest_coordinate_first_at_its_closed_time():
    b_D, start = np.array([0.5, -2.0, 1.0]), 1e-4
    units = DiagonalNetwork(np.eye(3), b_D)
    weights = start / 2**0.5 * np.stack([np.ones(3), np.sign(b_D)], axis=1)
    course = alternate(units, weights, until=100.0, left=1e-9)
    assert course.times_E[1:] == pytest.approx(np.log(1 / start) / np.array([2.0, 1.0, 0.5]), rel=2e-3)
    assert course.losses_E == pytest.approx([2.625, 0.625, 0.125, 0], abs=1e-12)


def test_what_is_learned_changes_the_pace_of_what_is_not():
    covariance = np.array([[1.0, 0.6], [0.6, 1.0]])
    units, start = DiagonalNetwork(covariance, np.array([2.0, 0.5])), 1e-4
    course = alternate(units, np.full((2, 2), start / 2**0.5), until=100.0, left=1e-9)
    # d ln n / dt is the correlation of the residual with the coordinate: 2.3 and 1.7 at first; then 1.7 - 0.6 x 2.3.
    first = np.log(1 / start) / 2.3
    assert course.times_E[1:] == pytest.approx([first, first + (np.log(1 / start) - 1.7 * first) / 0.32], rel=2e-3)


def test_units_that_start_large_are_refused_and_a_run_may_end_before_anything_happens():
    units = DiagonalNetwork(np.eye(2), np.ones(2))
    with pytest.raises(ValueError, match=r"a unit starts with norm 1\.41"):
        alternate(units, np.ones((2, 2)), until=1.0)
    course = alternate(units, np.full((2, 2), 1e-3), until=1e-2)
    assert list(course.times_E) == [0.0]


def test_the_pull_is_the_gradient_of_the_utility():
    generator = np.random.default_rng(0)
    units = ModularAddition(drawn(generator, 7, [1.0, 0.6])[0])
    weights, residual = generator.standard_normal((2, 21)), generator.standard_normal(7**3)
    step = 1e-6 * generator.standard_normal((2, 21))
    change = residual @ (units.output(weights + step) - units.output(weights - step)) / 2
    assert (units.pull(weights, residual) * step).sum() == pytest.approx(change, rel=1e-6)


def test_modular_addition_is_what_it_says():
    template, _ = drawn(np.random.default_rng(1), 7, [1.0, 0.6])
    units, (a, b) = ModularAddition(template), (3, 5)
    assert units.target_F.reshape(7, 7, 7)[a, b] * 7 == pytest.approx(np.roll(template, -(a + b) % 7))
    u, v, w = np.random.default_rng(2).standard_normal((3, 7))
    by_hand = (u @ np.roll(template, -a) + v @ np.roll(template, -b)) ** 2 * w
    assert units.output(np.concatenate([u, v, w])[None]).reshape(7, 7, 7)[a, b] * 7 == pytest.approx(by_hand)
    assert flows.loss(units, np.zeros(343)) == pytest.approx(1.0 + 0.36)  # the drops, magnitude squared


def test_no_unit_has_more_utility_than_the_closed_form_and_the_aligned_one_has_it():
    template, _ = drawn(np.random.default_rng(3), 11, [1.0, 0.7, 0.5])
    units = ModularAddition(template)
    bound = np.sqrt(2 / 27)
    weights = np.random.default_rng(4).standard_normal((60, 33))
    for _ in range(600):
        weights = weights + units.pull(weights, units.target_F)
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    utilities = (weights * units.pull(weights, units.target_F)).sum(1) / 3
    assert max(utilities) / bound == pytest.approx(1)
    assert max(utilities) <= bound * (1 + 1e-9)


def test_a_group_has_one_utility_and_computes_products_alone():
    generator = np.random.default_rng(5)
    template, frequencies = drawn(generator, 11, [1.0, 0.7])
    units, group = ModularAddition(template), grouped(generator.standard_normal((1, 33)))
    utilities = (group * units.pull(group, units.target_F)).sum(1)
    assert utilities == pytest.approx(np.full(8, utilities[0]))
    spectrum = np.abs(np.fft.fft2(units.output(group).reshape(11, 11, 11), axes=(0, 1))).sum(2)
    assert spectrum[0].max() < 1e-9 * spectrum.max()  # no square of one input: that would depend on it alone
    # A single frequency: a function of a + b and nothing else.
    units = ModularAddition(drawn(generator, 11, [1.0])[0])
    output = units.output(group).reshape(11, 11, 11)
    assert output[2, 3] == pytest.approx(output[4, 1])


def test_small_weights_go_as_foretold_and_default_ones_do_not():
    table = modular_addition.run(addition(), [11])
    assert measured(table, "small", "learned") == [2]
    assert measured(table, "small", "order") == [1]
    assert measured(table, "small", "time_error") < 0.05
    assert measured(table, "small", "drop_error") < 0.1
    assert measured(table, "default", "drop_error") > 0.3
    assert measured(table, "aligned", "closed_form_error") < 0.01
    assert table[table.system == "aligned"].seed.isna().all()


def test_a_run_that_ends_too_early_says_so_and_no_times():
    table = modular_addition.run(addition(steps=5), [11])
    assert set(table[table.system == "small"].quantity) == {"learned", "foretold"}
    assert measured(table, "small", "learned") == [0]
    assert measured(table, "small", "foretold") == [2]


def test_the_loss_of_attention_is_that_of_sampled_prompts():
    generator = np.random.default_rng(6)
    model = Attention([0.4, 0.2], 5, heads=2)
    params, prompts = model.start(generator, 1.5), 400_000
    inputs = generator.standard_normal((prompts, 6, 2)) * np.sqrt(model.eigen_D)
    answers = np.einsum("pnd,pd->pn", inputs, generator.standard_normal((prompts, 2)))
    beta = np.einsum("pn,pnd->pd", answers[:, :5], inputs[:, :5]) / 5
    values, products = model.parts(params)
    errors = answers[:, 5] - np.einsum("pd,de,pe->p", beta, np.tensordot(values, products, 1), inputs[:, 5])
    assert model.loss(params) == pytest.approx(np.square(errors).mean(), rel=0.03)


def test_the_loss_of_the_convolution_is_that_of_sampled_inputs():
    generator = np.random.default_rng(7)
    teacher = np.linalg.qr(generator.standard_normal((3, 2)))[0]
    model, patches = Convolution([1.0, -0.5], teacher, kernels=4), 5
    params = model.start(generator, 1.0)
    values, kernels, _ = model.error(params)
    inputs = torch.from_numpy(generator.standard_normal((200_000, 1, 3 * patches)))

    def network(kernels_HxC, values_H):
        found = torch.nn.functional.conv1d(inputs, torch.from_numpy(kernels_HxC.copy())[:, None], stride=3)
        output = (found.square().sum(2) * torch.from_numpy(np.array(values_H))).sum(1).numpy()
        return output - output.mean()

    error = network(teacher.T, [1.0, -0.5]) - network(kernels, values)
    assert model.loss(params) == pytest.approx(0.5 * np.square(error).mean() / (2 * patches), rel=0.03)


@pytest.mark.parametrize(
    "model",
    [
        Attention([0.4, 0.2], 5, heads=3),
        Attention([0.4, 0.2], 5, heads=3, merged=True),
        Convolution([1.0, -0.5], np.eye(3)[:, :2], kernels=4),
    ],
)
def test_slopes_are_minus_the_gradient_and_saddles_have_none(model):
    generator = np.random.default_rng(8)
    params = model.start(generator, 1.0)
    step = 1e-6 * generator.standard_normal(len(params))
    change = (model.loss(params + step) - model.loss(params - step)) / 2
    assert -model.slope(params) @ step == pytest.approx(change, rel=1e-5)
    assert model.loss(np.zeros_like(params)) == pytest.approx(model.first_loss)


def test_one_unit_on_one_mode_is_a_saddle_whose_loss_is_the_closed_form():
    model = Attention([0.4, 0.2], 5, heads=3)
    params = np.zeros((3, 5))
    params[1] = [1, 0, model.strengths_K[1], 0, 1]  # value, key and query of the second eigenvector
    assert np.abs(model.slope(params.ravel())).max() < 1e-12
    assert model.loss(params.ravel()) == pytest.approx(0.6 - 0.2 / (1 + (1 + 3) / 5))
    assert model.amplitudes(params.ravel()) == pytest.approx([0, model.strengths_K[1]])
    model = Convolution([1.0, -0.5], np.eye(3)[:, :2], kernels=4)
    params = np.zeros((4, 4))
    params[0] = [-0.5, 0, 1, 0]
    assert np.abs(model.slope(params.ravel())).max() < 1e-12
    assert model.loss(params.ravel()) == pytest.approx(0.5)


def test_heads_and_kernels_come_one_at_a_time_from_small_weights():
    settings = Saddles.model_validate({"seeds": 1, "attention": ATTENTION, "convolution": CONVOLUTION})
    table = saddles.run(settings, [11])
    for system in ("attention", "convolution"):
        assert measured(table, system, "learned") == [2]
        assert measured(table, system, "active_modes") < 1.1
        assert measured(table, system, "plateau_error") < 0.01
        assert measured(table, f"{system}-default", "active_modes") > 1.3
    assert measured(table, "attention-merged", "sequentiality") == pytest.approx([0], abs=0.01)
    assert not len(measured(table, "convolution-equal", "timing_order"))


def test_a_flow_that_ends_too_early_says_so_and_no_plateaus():
    short = {"attention": ATTENTION | {"time": 1.0}, "convolution": CONVOLUTION | {"time": 1.0}}
    table = saddles.run(Saddles.model_validate({"seeds": 1, **short}), [11])
    assert measured(table, "attention", "learned") == [0]
    assert not len(measured(table, "attention", "plateau_error"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"magnitudes": [1.0, 1.0]}, "magnitudes must fall in size"),
        ({"modulus": 8}, "modulus must be odd"),
        ({"modulus": 3}, "at least 2 frequencies"),
        ({"groups": 1}, "1 groups of units cannot learn 2 frequencies"),
        ({"scale": 2.0}, "less than 1"),
    ],
)
def test_settings_without_a_prediction_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        addition(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention": ATTENTION | {"heads": 1}}, "1 heads of rank one cannot learn 2 eigenvectors"),
        ({"attention": ATTENTION | {"eigenvalues": [0.2, 0.4]}}, "eigenvalues must fall in size"),
        ({"convolution": CONVOLUTION | {"strengths": [1.0, 0.0]}}, "not reach zero"),
        ({"convolution": CONVOLUTION | {"size": 1}}, "2 kernels of size 1 cannot be orthogonal"),
        ({"convolution": CONVOLUTION | {"kernels": 1}}, "1 kernels cannot learn 2"),
    ],
)
def test_saddles_without_room_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        Saddles.model_validate({"seeds": 1, "attention": ATTENTION, "convolution": CONVOLUTION} | changes)
