"""The catapult: its curvature and its recursion against the network, its criteria, and its controls."""

from functools import cache, partial

import numpy as np
import pytest
import torch

from benchmarks.lab.architectures import deep_linear, two_layer
from benchmarks.studies.progressive_sharpening import catapult
from benchmarks.studies.progressive_sharpening.study import STUDY, Catapult
from benchmarks.theory import catapult as theory

SEEDS = [11, 12]
WIDTH = 256
SETTINGS = Catapult(seeds=2, width=WIDTH, steps=150, resolution=0.02)


def network(activation="identity", seeds=SEEDS, width=WIDTH, target=0.0):
    return catapult.Network(partial(two_layer.build, width=width, activation=activation), width, seeds, target)


def weights(system, run):
    """u and v of one run, numpy, each of the network's width."""
    return [view.numpy().ravel() for view in system.problem.views(system.params_SxP, run)]


@cache
def table():
    return catapult.run(SETTINGS, SEEDS)


@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_the_curvature_is_its_closed_form(activation):
    system = network(activation)
    for run, curvature in enumerate(system.initial_curvature_S):
        u, v = weights(system, run)
        active = u > 0 if activation == "relu" else np.ones_like(u, dtype=bool)
        assert curvature == pytest.approx(((u**2 + v**2) @ active) / WIDTH, rel=1e-12)


def test_the_network_is_in_ntk_parametrization():
    torch.manual_seed(0)
    module = two_layer.build((2, 3), 5, width=7, activation="tanh").double()
    inputs = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = torch.tanh(inputs.reshape(4, 6) @ module.u.T / 6**0.5) @ module.v.T / 7**0.5
    torch.testing.assert_close(module(inputs), expected)
    with pytest.raises(ValueError, match="unknown activation 'sine'"):
        two_layer.build((1,), 1, width=7, activation="sine")


@pytest.mark.parametrize("target", [0.0, 2.0])
@pytest.mark.parametrize("multiple", [1.0, 3.0])
def test_the_recursion_is_the_networks_trajectory(target, multiple):
    system = network(target=target)
    runs = system.run(np.full((2, 1), multiple), 50)
    for run, curvature in enumerate(system.initial_curvature_S):
        u, v = weights(system, run)
        residuals, curvatures = theory.trajectory(
            u @ v / WIDTH**0.5 - target, curvature, multiple / curvature, width=WIDTH, steps=50, target=target
        )
        np.testing.assert_allclose(np.sqrt(2 * runs.losses[:, run, 0]), np.abs(residuals), rtol=1e-9, atol=1e-9)
        assert runs.curvature_SxK[run, 0] == pytest.approx(curvatures[-1], rel=1e-9)


def test_each_run_of_a_stack_has_its_own_learning_rate():
    together = network().run(np.array([[1.0, 3.0], [1.5, 5.0]]), 20)
    alone = network(seeds=[12]).run(np.array([[1.5]]), 20)
    np.testing.assert_allclose(together.losses[:, 1, :1], alone.losses[:, 0], rtol=1e-6, atol=1e-20)
    assert np.isnan(together.curvature_SxK).tolist() == [[False, False], [False, True]]
    assert np.isinf(together.losses[-1]).tolist() == [[False, False], [False, True]]


def test_the_criteria():
    fell, rose, caught, rounding, dead = [4, 1, 1e-3], [4, 5, 6], [4, 50, 1e-2], [4, 1e-30, 1e-28], [4, 50, 0]
    losses = np.array([fell, rose, caught, rounding, dead]).T[:, None]
    runs = catapult.Runs(losses, np.array([[1.0, 1.0, 1.0, 1.0, 0.0]]))
    assert runs.monotone().tolist() == [[True, False, False, True, False]]
    assert runs.converged().tolist() == [[True, False, True, True, False]]
    assert not catapult.Runs(losses, np.full((1, 5), np.nan)).converged().any()


def test_a_relu_network_whose_units_died_has_not_converged():
    runs = network("relu").run(np.full((2, 1), 40.0), 50)
    assert (runs.losses[-1] == 0).all() and not runs.converged().any()


def test_a_boundary_off_the_ladder_is_an_error():
    with pytest.raises(ValueError, match="no boundary between c"):
        catapult.boundaries(catapult.Network(deep_linear.build, 1, SEEDS), steps=1, resolution=0.1)


def test_the_table_has_a_row_a_system_and_seed():
    (card,) = (experiment.card for experiment in STUDY.experiments if experiment.name == "catapult")
    assert list(table()) == list(card.columns)
    rows = [(name, seed) for name in ("linear", "relu", "recursion", "one-layer") for seed in SEEDS]
    assert list(zip(table().system, table().seed)) == rows
    assert table().groupby("system").width.first().to_dict() == {
        "linear": WIDTH,
        "relu": WIDTH,
        "recursion": 10**6,
        "one-layer": 1,
    }


@pytest.mark.parametrize(("system", "convergence"), [("linear", 4.0), ("recursion", 4.0), ("one-layer", 2.0)], ids=str)
def test_the_boundaries_are_those_of_theory(system, convergence):
    rows = table()[table().system == system]
    np.testing.assert_allclose(rows.monotone_boundary, 2.0, rtol=0.05)
    np.testing.assert_allclose(rows.convergence_boundary, convergence, rtol=0.05)


def test_between_the_boundaries_the_loss_rises_and_the_curvature_ends_below_two_over_lr():
    catapulted = table()[table().system.isin(["linear", "relu", "recursion"])]
    assert (catapulted.rise_at_3 > 1).all()
    assert ((catapulted.final_curvature_times_lr_at_3 > 0) & (catapulted.final_curvature_times_lr_at_3 < 2)).all()
    diverged = table()[table().system == "one-layer"]
    assert np.isinf(diverged.rise_at_3).all() and diverged.final_curvature_times_lr_at_3.isna().all()
