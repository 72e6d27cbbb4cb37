"""Classical rates: the library's optimizers against the two sequences of the papers, and bounds that must hold."""

import numpy as np
import pytest
import torch

from benchmarks.lab.datasets import Images
from benchmarks.studies.convex_rates import logistic_regression, worst_cases
from benchmarks.studies.convex_rates.descent import gradient_descent, objective, run
from benchmarks.studies.convex_rates.study import LogisticRegression, WorstCases
from benchmarks.theory import convex_rates, margins

SETTINGS = WorstCases(steps=[1, 2, 10], step_sizes=[0.5, 1.0], problems=20, mu=0.1, nesterov_steps=[1, 2, 5], widths=20)


@pytest.fixture(scope="module")
def table():
    return worst_cases.run(SETTINGS).set_index(["system", "quantity"])["value"]


def test_nesterovs_two_sequences_are_what_the_library_makes_whatever_the_momenta():
    rng = np.random.default_rng(3)
    spectrum, start = rng.uniform(0.1, 1.0, 4), rng.standard_normal(4)
    momenta = [0.0, 0.3, 0.9, 0.0, 0.5, 0.7]
    x = y = start
    wanted = [spectrum @ x**2 / 2]
    for momentum in momenta:
        ahead = y - 0.8 * spectrum * y
        x, y = ahead, ahead + momentum * (ahead - x)
        wanted.append(spectrum @ x**2 / 2)
    eigenvalues = torch.from_numpy(spectrum)
    first = torch.from_numpy(start)
    values = run(objective(lambda w: (eigenvalues * w**2).sum() / 2, first), first, 0.8, momenta)
    assert values == pytest.approx(wanted, rel=1e-13)


def test_gradient_descent_is_the_recursion():
    values = gradient_descent(lambda w: (w**2).sum(), torch.tensor([2.0], dtype=torch.float64), 0.1, 3)
    assert values == pytest.approx([4 * 0.8 ** (2 * n) for n in range(4)], rel=1e-14)


def test_the_tight_rates_are_attained_and_never_exceeded(table):
    assert table["huber", "largest_deviation"] < 1e-13
    assert table["by-hand", "largest_deviation"] < 1e-13
    assert table["random", "largest_ratio"] <= 1 + 1e-12
    assert table["quadratic", "slope_ratio"] == pytest.approx(1, abs=1e-12)
    assert table["quadratic", "looseness"] == pytest.approx(2, abs=1e-12)
    for n in SETTINGS.nesterov_steps:
        assert 1 - 1e-6 < table[f"nesterov-{n}", "ratio"] <= 1 + 1e-12
    assert table["nesterov-2", "gain"] == pytest.approx(1, abs=1e-6), "the two rates coincide up to two steps"
    assert table["nesterov-5", "gain"] > 1.2
    assert table["strongly-convex", "largest_ratio"] == pytest.approx(
        table["strongly-convex-by-hand", "largest_ratio"], rel=1e-12
    )


def test_where_no_theorem_holds_the_numbers_say_so(table):
    assert table["beyond-10", "ratio"] > 2
    assert table["huber-decay", "slope_ratio"] < 0.5
    assert table["plain-5", "ratio"] > 1.2
    assert table["strongly-convex-plain", "largest_ratio"] > 1


def images(separable):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pixels = rng.standard_normal((60, 1, 2, 2)) + (5.0 if separable else 0.5) * (2 * labels - 1)[:, None, None, None]
    inputs = torch.from_numpy(pixels).float()
    return Images(inputs, torch.from_numpy(labels), inputs, torch.from_numpy(labels), 2)


def settings(**changes):
    """The changes are not checked: a run has its own checks."""
    small = {"images": 50, "pool": 1, "ridge": 1e-2, "separable": False, "steps": 30, "marks": [1, 30]}
    return LogisticRegression(seeds=2, **small).model_copy(update=changes)


def test_logistic_regression_stays_below_every_bound_and_ends_at_the_minimum():
    table = logistic_regression.run(settings(), [1, 2], images(False))
    ratios = table[table["quantity"] == "largest_ratio"]
    assert set(ratios["system"]) == {"gradient-descent", "nesterov", "strongly-convex"}
    assert (ratios["value"] <= 1).all()
    problem = table[table["system"] == "problem"].set_index(["quantity", "seed"])["value"]
    assert problem["gradient", 1] < 1e-12
    assert 1e-2 <= problem["mu", 1] < problem["L", 1]


@pytest.mark.parametrize("claimed", [True, False])
def test_data_that_are_not_what_is_claimed_are_an_error_before_any_work(claimed):
    message = "are not linearly separable" if claimed else "a plane separates"
    with pytest.raises(ValueError, match=message):
        logistic_regression.run(settings(separable=claimed), [1], images(not claimed))


def test_separable_data_without_a_ridge_have_no_minimizer():
    with pytest.raises(ValueError, match="no minimizer"):
        logistic_regression.run(settings(separable=True, ridge=0.0), [1], images(True))


def test_the_widest_margin_of_points_whose_answer_is_known():
    # Facing inputs (2, 1), (1, 2), (3, 3): the widest margin is that of (1, 1) / sqrt(2), held by the first two.
    inputs, signs = np.array([[2.0, 1.0], [-1.0, -2.0], [3.0, 3.0]]), np.array([1, -1, 1])
    direction, margin = margins.widest(inputs, signs)
    assert direction == pytest.approx(np.array([1, 1]) / 2**0.5, abs=1e-6)
    assert margin == pytest.approx(3 / 2**0.5, rel=1e-6)
    assert margins.is_separable(inputs, signs)
    assert not margins.is_separable(np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([1, -1]))


def test_the_formulas_meet_where_they_must():
    assert convex_rates.accelerated(2.0, 3.0, 1) == convex_rates.gradient_descent(2.0, 3.0, 0.5, 1)
    assert convex_rates.quadratic_decay(1.0, 0.1) == pytest.approx(2 * convex_rates.textbook_decay(1.0, 0.1))
    width = convex_rates.huber_width(1.0, 1.0, 1.0, 4)
    x = 1.0
    for _ in range(4):
        x -= np.clip(x, -width, width)
    assert x == pytest.approx(width * 5), "it has walked along the straight part all the way"


def test_pepits_worst_cases_are_the_tight_rates():
    pytest.importorskip("PEPit")
    from benchmarks.studies.convex_rates.peers import pepit_ratios

    found = pepit_ratios(0.1)
    assert found["gradient-descent"] == pytest.approx(1, abs=1e-4)
    assert found["nesterov"] == pytest.approx(1, abs=1e-4)
    assert found["strongly-convex"] == pytest.approx(0.347586 / 0.467544, abs=1e-4)  # PEPit's own documentation
