"""Experiments on deep linear networks, small: against closed forms, and where a claim must fail."""

import numpy as np
import pytest
import torch

from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.studies.deep_linear import completion, conservation, kernels, simulation, solutions, waypoints
from benchmarks.studies.deep_linear.study import Completion, Conservation, Kernels, Solutions, Waypoints
from benchmarks.studies.table import COLUMNS
from benchmarks.theory.modes import Modes

SEEDS = [1, 2, 3]


def measured(table, system, quantity):
    assert list(table) == COLUMNS
    return table[(table.system == system) & (table.quantity == quantity)].value.to_numpy(float)


def test_designs_have_covariance_the_identity():
    for inputs in (simulation.identity_design(5), simulation.whitened_design(0, 40, 5)):
        torch.testing.assert_close(inputs.T @ inputs / len(inputs), torch.eye(5, dtype=torch.float64))
    assert simulation.whitened_design(0, 40, 5).mean(0).abs().max() < 1e-12


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_aligned_factors_are_balanced_and_hold_u0_on_each_mode(depth):
    goal = simulation.target(0, (3.0, 2.0), 6)
    factors = simulation.aligned_factors(1, goal, 2, 0.1, depth)
    product = np.linalg.multi_dot(factors[::-1]) if depth > 1 else factors[0]
    assert Modes.of(goal, 2).amplitudes(product[None])[0] == pytest.approx([0.1, 0.1])
    assert np.linalg.matrix_rank(product) == 2
    for before, after in zip(factors, factors[1:]):
        np.testing.assert_allclose(after.T @ after, before @ before.T, atol=1e-12)


def test_a_single_layer_follows_its_exponential():
    goal = simulation.target(0, (3.0, 1.0), 4)
    problem = simulation.problem(goal, [])
    path = simulation.simulate(problem, torch.zeros(1, 16, dtype=torch.float64), sgd(lr=0.1), steps=20)
    np.testing.assert_allclose(path.maps_RxTxCxD[0], (1 - 0.9 ** path.steps_T[:, None, None]) * goal, atol=1e-12)


def test_closed_forms_hold_where_they_should():
    settings = Solutions(
        seeds=1, lr=2e-3, time=6.0, u0=1e-2, scale=0.03, growth_lr=2e-3, escape_u0=[1e-4, 1e-3], escape_lr=0.05
    )
    table = solutions.run(settings, SEEDS[:1])
    assert measured(table, "aligned", "sigmoid_error")[0] < 0.02
    assert measured(table, "random", "half_time_ratio")[0] == pytest.approx(1, abs=0.05)
    assert measured(table, "one-layer", "sigmoid_error")[0] > 0.3
    for depth, power in ((1, 0), (2, 1), (3, 4 / 3), (4, 3 / 2)):
        assert measured(table, f"depth-{depth}", "growth_exponent")[0] == pytest.approx(power, abs=0.01)
    assert measured(table, "depth-3", "escape_slope") == pytest.approx(
        measured(table, "quadrature-3", "escape_slope"), abs=0.01
    )
    assert table[table.system.isin(["aligned", "depth-2"])].seed.isna().all()


def test_what_is_conserved_and_what_is_not():
    settings = Conservation(seeds=3, lrs=[0.016, 0.008], time=1.0, scale=0.5, parsimony_lr=0.02, parsimony_steps=30)
    table = conservation.run(settings, SEEDS)
    assert measured(table, "linear", "drift_exponent") == pytest.approx(1, abs=0.05)
    assert measured(table, "relu-diagonal", "drift_exponent") == pytest.approx(1, abs=0.05)
    assert np.abs(measured(table, "relu", "drift_exponent")).max() < 0.2
    for system, count in (("orthogonal", 6), ("orthogonal-small", 6), ("constructed", 6), ("gaussian", 30)):
        assert (measured(table, system, "moved") == count).all()


def test_muon_learns_weak_modes_first_and_gradient_descent_strong_ones():
    gd = {"name": "sgd", "lr": 0.02}
    settings = Waypoints.model_validate(
        {
            "seeds": 1,
            "systems": {
                "one-layer": {"activation": "none", "scale": 1e-3, "optimizer": gd, "steps": 300},
                "linear": {"activation": None, "scale": 1e-3, "optimizer": gd, "steps": 800},
                "relu": {"activation": "relu", "scale": 1e-3, "optimizer": gd, "steps": 1600},
                "lost": {"activation": None, "scale": 1.0, "optimizer": {"name": "sgd", "lr": 9.0}, "steps": 30},
            },
            "rising": ["one-layer", "linear"],
            "muon": {"lr": 1e-2, "scale": 1e-3, "steps": 300},
        }
    )
    table = waypoints.run(settings, SEEDS[:1])
    assert measured(table, "linear", "waypoint_score")[0] > 0.9
    assert measured(table, "relu", "waypoint_score")[0] > 0.7
    assert measured(table, "one-layer", "waypoint_score")[0] == pytest.approx(0, abs=1e-3)
    assert measured(table, "linear", "waypoint_gain")[0] > 0.9
    assert measured(table, "linear", "timing_slope")[0] < -0.8
    assert np.isnan(measured(table, "lost", "waypoint_score")[0])
    for depth in (2, 3, 4):
        assert measured(table, f"muon-depth-{depth}", "timing_slope")[0] == pytest.approx(1 / depth, abs=0.01)


def test_the_nuclear_norm_minimizer_meets_its_optimality_conditions():
    generator = np.random.default_rng(0)
    whole = np.outer(generator.standard_normal(12), generator.standard_normal(12))
    seen = generator.random((12, 12)) < 0.6
    found = completion.nuclear_norm_minimizer(whole, seen)
    np.testing.assert_array_equal(found[seen], whole[seen])
    # No feasible direction lowers the norm.
    least = np.linalg.norm(found, "nuc")
    for _ in range(50):
        step = np.where(seen, 0, generator.standard_normal(whole.shape))
        assert np.linalg.norm(found + 0.05 * step, "nuc") > least - 1e-6
    # A matrix of rank one with so many entries seen is recovered (Candes and Recht 2009).
    np.testing.assert_allclose(found, whole, atol=1e-3)


def test_depth_completes_a_low_rank_matrix():
    settings = Completion(seeds=1, size=30, rank=1, observed=300, init=1e-3, lr=[1.0, 0.5, 0.3], steps=1500)
    table = completion.run(settings, SEEDS[:1])
    assert measured(table, "depth-2", "error")[0] < 0.05
    assert measured(table, "depth-1", "error")[0] > 0.5
    assert measured(table, "depth-3", "effective_rank")[0] == pytest.approx(1, abs=0.1)
    assert measured(table, "depth-2", "misfit")[0] < 0.02


def test_kernels_move_less_the_larger_the_imbalance_and_align_silently():
    settings = Kernels(
        seeds=1, lr=4e-3, time=2.0, product=0.1,
        alignment_lr=0.05, alignment_steps=400, scale=0.01, large_scale=1.0, colour=2.0,
    )  # fmt: skip
    table = kernels.run(settings, SEEDS[:1])
    for imbalance in kernels.IMBALANCES:
        assert measured(table, f"imbalance{imbalance:+g}", "riccati_error")[0] < 0.01
    assert measured(table, "integrated", "riccati_error")[0] < 1e-6
    assert measured(table, "imbalance+4", "wrong_error")[0] > 0.1
    assert (
        measured(table, "imbalance+4", "log_movement_ratio")[0]
        > measured(table, "imbalance+1", "log_movement_ratio")[0]
        > 0.5
    )
    assert measured(table, "small", "early_cosine")[0] > 0.99
    assert measured(table, "small", "kernel_error")[0] < 0.05 < measured(table, "large", "kernel_error")[0]
    assert measured(table, "several", "early_cosine")[0] < 0.9
