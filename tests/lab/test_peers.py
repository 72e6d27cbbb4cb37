"""The peers and our solver against a dense Hessian, and the study that times them."""

import numpy as np
import pytest
import torch

from benchmarks.lab import datasets
from benchmarks.lab.measurements.eigensolvers import dense_matrix
from benchmarks.lab.measurements.peers import PEERS, Peer
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.problem import Problem
from benchmarks.studies.progressive_sharpening.training import build_problem
from benchmarks.studies.schema import Compute
from benchmarks.studies.timings import eigensolvers as study
from benchmarks.studies.timings import training_step
from benchmarks.studies.timings.study import EIGENSOLVERS, TimedTraining
from benchmarks.studies.timings.training_step import plain_network, set_parameters

TIMINGS = TimedTraining.model_validate(
    {
        "threads": 1,
        "configuration": "tiny",
        "seed": 4,
        "warmup": 3,
        "refreshes": 2,
        "repeats": 1,
        "target": 1e-3,
        "training": {
            "architecture": {"name": "mlp", "hidden": [6], "activation": "tanh"},
            "loss": "mse",
            "images": 40,
            "classes": None,
            "pool": 1,
            "batch_size": None,
            "optimizer": {"name": "sgd", "lr": 0.05},
            "steps": 10,
            "divergence": 1e3,
            "measure": {"sharpness": {"every": 2, "tolerance": 3e-4, "max_hvps": 60, "cold_every": 100}},
        },
    }
)
COMPUTE = Compute(device="cpu", dtype="float32", threads=1, chunk_size=1000)


def images():
    inputs = torch.randn(50, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    return datasets.Images(inputs[:40], labels[:40], inputs[40:], labels[40:], 4)


def dense_eigenvalues(problem, params_RxP):
    """Of the Hessian at a point, by double backward in float64, largest first."""
    module, inputs, targets = plain_network(problem)
    exact = Problem(module.double(), inputs.double(), targets.double(), "mse")
    hessian = dense_matrix(exact.at(params_RxP.double(), curvature=True).hvp, 1, problem.parameters)[0]
    return torch.linalg.eigvalsh((hessian + hessian.T) / 2).flip(0)


@pytest.fixture(scope="module")
def system():
    problem, params_RxP, _ = build_problem(TIMINGS.training, images(), [4], COMPUTE)
    module, inputs, targets = plain_network(problem)
    set_parameters(module, problem, params_RxP)
    top = dense_eigenvalues(problem, params_RxP)[:3].numpy()
    return problem, params_RxP, (module, lambda o, t: 0.5 * (o - t).square().sum(1).mean(), inputs, targets), top


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_at_its_best_agrees_with_the_dense_hessian(system, peer, k):
    _, _, arguments, top = system
    _, setting = peer.settings(k)[-1]
    values, products, start = peer.solve(*arguments, setting, 0, k)
    np.testing.assert_allclose(values, top[:k], rtol=1e-3 if peer.name == "PyHessian" else 1e-5)
    assert products > k
    assert (start is not None) == peer.warm
    assert all(p.grad is None for p in arguments[0].parameters())
    if peer.warm:
        again, fewer, _ = peer.solve(*arguments, setting, 0, k, start)
        np.testing.assert_allclose(again, top[:k], rtol=1e-5)
        assert fewer <= products


@pytest.mark.parametrize("k", [1, 3])
def test_our_solver_agrees_with_the_dense_hessian_cold_and_warm(system, k):
    problem, params_RxP, _, top = system
    cold, before = top_eigenpairs(problem.at(params_RxP, curvature=True), None, k, 1e-6)
    np.testing.assert_allclose(cold.eigenvalues_RxK[0], top[:k], rtol=1e-5)
    moved_RxP = params_RxP - 0.05 * problem.at(params_RxP).grads_RxP
    warm, _ = top_eigenpairs(problem.at(moved_RxP, curvature=True), before, k, 1e-5)
    np.testing.assert_allclose(warm.eigenvalues_RxK[0], dense_eigenvalues(problem, moved_RxP)[:k], rtol=1e-4)
    assert warm.products < cold.products


def test_the_reference_is_the_dense_hessian(system):
    problem, params_RxP, _, top = system
    (values,) = study.reference(problem, "mse", [params_RxP], 1e-8)
    np.testing.assert_allclose(values, top, rtol=1e-8)


def test_a_step_of_the_loop_is_timed_beside_a_bare_pass():
    table = training_step.run(TIMINGS, images(), COMPUTE).set_index("what")
    assert list(table.index) == ["bare forward and backward", "step of the training loop"]
    assert (table["seconds"] > 0).all() and (table["repeats"] == TIMINGS.repeats).all()
    assert table["ratio"].tolist() == pytest.approx([1.0, table["seconds"].iloc[1] / table["seconds"].iloc[0]])


def solver(errors, warm=False):
    """A solver whose settings are the errors it makes at each point; it records what is asked of it."""
    asked = []

    def solve(point, setting, state):
        asked.append((point, setting, state))
        return [1.0 + setting[point]], 1, point

    settings = [(f"setting {i}", error) for i, error in enumerate(errors)]
    return study.Solver("fake", "1", 1, warm, settings, solve), asked


@pytest.mark.parametrize(
    ("errors", "label"),
    [
        ([(9, 9, 9), (9, 9, 0), (9, 0, 0), (9, 0, 0)], "setting 2"),
        ([(9, 0, 9), (9, 0, 0), (9, 0, 0), (9, 0, 0)], "setting 1"),
        ([(9, 0, 0), (9, 0, 0)], "setting 0"),
        ([(9, 9, 9), (9, 0, 9), (9, 0, np.nan)], "none of 3 met the target"),
        ([(0, 9, 0)], "none of 1 met the target"),
    ],
)
def test_the_cheapest_setting_that_meets_the_target_everywhere_is_taken(errors, label):
    fake, asked = solver(errors)
    found, solves = study.cheapest(fake, [[], [1.0], [1.0]], 1e-3)
    assert (found, len(solves)) == (label, 0 if label.startswith("none") else 2)
    assert all(point > 0 and state is None for point, _, state in asked)


def test_a_warm_solver_starts_each_point_from_the_one_before():
    fake, asked = solver([(9, 0, 0)], warm=True)
    study.cheapest(fake, [[], [1.0], [1.0]], 1e-3)
    assert [(point, state) for point, _, state in asked] == [(0, None), (1, 0), (2, 1)]


def test_nobody_is_timed_on_a_wrong_answer(monkeypatch):
    def off_by(error):
        def solve(module, criterion, inputs, targets, setting, seed, k, start=None):
            values, products, state = exact.solve(module, criterion, inputs, targets, setting, seed, k, start)
            return [value * (1 + error) for value in values], products, state

        return solve

    exact = next(peer for peer in PEERS if peer.name == "eigsh, graph kept")
    wrong = Peer("wrong", "1", False, exact.settings, off_by(2e-3))
    monkeypatch.setattr(study, "PEERS", (exact, wrong))
    table = study.run(TIMINGS, images(), COMPUTE)
    assert list(table.columns) == list(EIGENSOLVERS.columns)
    assert list(table["k"]) == [1] * 4 + [3] * 4
    missed = table["solver"] == "wrong"
    assert (
        table.loc[missed, ["products", "seconds", "gradient_times", "worst_error", "times_slower"]]
        .isna()
        .all(axis=None)
    )
    assert table.loc[missed, "setting"].str.startswith("none of").all()
    assert (table.loc[~missed, "worst_error"] <= TIMINGS.target).all()
    assert (table.loc[~missed, "solves"] == TIMINGS.refreshes).all()
    ours = table[(table["version"] == "this project") & (table["start"] == "warm")]
    assert list(ours["times_slower"]) == [1.0, 1.0]
