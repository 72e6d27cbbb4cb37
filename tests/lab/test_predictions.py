"""The predictions of deep linear theory, on synthetic trajectories whose value is known."""

import numpy as np
import pytest

from benchmarks.theory import modes as observables
from benchmarks.theory import predictions
from benchmarks.theory.deep_linear import half_time, sigmoid
from benchmarks.theory.modes import Modes

S = np.array([1.0, 0.6, 0.35, 0.2])
U0 = 1e-8
STEPS = np.unique(np.round(np.geomspace(1, 80_000, 900))).astype(int)
LR = 1e-2


@pytest.fixture(scope="module")
def modes():
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.standard_normal((n, len(S))))[0] for n in (5, 7))
    return Modes.of((left * S) @ right.T, len(S))


def greedy(modes):
    """Saxe's solution: a two-layer linear network, aligned, from small weights."""
    grown = np.stack([sigmoid(LR * STEPS, s, U0) for s in S], axis=1)
    return np.einsum("tk,kcd->tcd", grown / S, modes.parts_KxCxD)


def straight(modes, start=0.0):
    share = np.linspace(0, 1, len(STEPS))[:, None, None]
    return start + share * (modes.target_CxD - start)


def test_times_of_the_closed_form(modes):
    times = predictions.half_times(STEPS, modes.amplitudes(greedy(modes)), S)
    expected = [half_time(s, U0) / LR for s in S]
    np.testing.assert_allclose(times, expected, rtol=5e-3)
    assert observables.timing_order(times, S)[0] == pytest.approx(1)


def test_one_at_a_time_in_a_deep_linear_network_and_all_at_once_on_a_line(modes):
    amplitudes = modes.amplitudes(greedy(modes))
    assert predictions.active_modes(amplitudes) < 1.15
    line = modes.amplitudes(straight(modes))
    expected = S.sum() ** 2 / np.square(S).sum()
    assert predictions.active_modes(line) == pytest.approx(expected)
    assert predictions.straight_active_modes(line[0], S) == pytest.approx(expected)


def test_nothing_moves():
    assert np.isnan(predictions.active_modes(np.ones((4, 2))))


def test_effective_rank_of_equal_singular_values_and_of_one():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((20, 6)))[0]
    assert predictions.effective_rank(basis @ basis.T) == pytest.approx(6)
    assert predictions.effective_rank(np.outer(basis[:, 0], basis[:, 1])) == pytest.approx(1)
    assert np.isnan(predictions.effective_rank(np.zeros((3, 3))))


def test_effective_rank_is_that_of_the_spectrum():
    s = np.array([3.0, 1.0])
    p = s / s.sum()
    assert predictions.effective_rank(np.diag(s)) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_the_rank_of_a_deep_linear_networks_change_grows_from_one_and_noises_does_not(modes):
    path = greedy(modes)
    ranks = np.array([predictions.effective_rank(a) for a in path[observables.progress(path, modes.target_CxD) > 0.02]])
    assert ranks[0] < 1.05
    final = predictions.effective_rank(modes.target_CxD)
    assert predictions.growth(ranks) == pytest.approx(1 - ranks.min() / final, abs=1e-3)
    assert predictions.growth(ranks) > 0.6
    noise = np.random.default_rng(1).standard_normal((5, 7))
    assert predictions.growth(np.array([predictions.effective_rank(c * noise) for c in (0, 1, 2, 3)])) == pytest.approx(
        0
    )


def test_when_singular_values_leave_the_bulk():
    steps, edge = np.array([1, 10, 100]), np.array([1.0, 1.0, 2.0])
    values = np.array([[0.5, 0.1, 0.1], [1.5, 0.5, 0.2], [3.0, 2.5, 0.3]])
    np.testing.assert_array_equal(predictions.leaving_times(steps, values, edge), [10, 100, np.nan])


def test_overlap_of_aligned_and_of_random_layers():
    generator = np.random.default_rng(0)
    u, v, w = (np.linalg.qr(generator.standard_normal((30, 3)))[0] for _ in range(3))
    aligned = predictions.subspace_overlap(u @ np.diag([3, 2, 1]) @ v.T, w @ np.diag([3, 2, 1]) @ u.T, 3)
    assert aligned.value == pytest.approx(1)
    assert aligned.share == pytest.approx(1)
    random = [
        predictions.subspace_overlap(generator.standard_normal((30, 30)), generator.standard_normal((30, 30)), 3).share
        for _ in range(200)
    ]
    assert abs(np.mean(random)) < 3 * np.std(random) / 200**0.5


def test_overlap_with_a_layer_narrower_than_the_count():
    full = predictions.subspace_overlap(np.eye(4), np.eye(4), 10)
    assert full.value == full.chance == 1
    assert np.isnan(full.share)


def labels(generator, n=4000):
    y = generator.integers(0, 4, n)
    linear = np.where(generator.random(n) < 0.6, y, generator.integers(0, 4, n))
    return y, linear


def test_a_copy_of_the_linear_classifier_is_explained_by_it():
    y, linear = labels(np.random.default_rng(0))
    assert predictions.explained_by_linear(linear, y, linear) == pytest.approx(1, abs=0.01)


def test_a_noisy_copy_is_explained_too():
    generator = np.random.default_rng(1)
    y, linear = labels(generator)
    noisy = np.where(generator.random(len(y)) < 0.7, linear, generator.integers(0, 4, len(y)))
    assert predictions.explained_by_linear(noisy, y, linear) == pytest.approx(1, abs=0.03)


def test_what_the_linear_classifier_cannot_say_is_not_explained():
    generator = np.random.default_rng(2)
    y = generator.integers(0, 4, 4000)
    useless = generator.integers(0, 4, 4000)
    knows = np.where(generator.random(4000) < 0.6, y, generator.integers(0, 4, 4000))
    assert predictions.explained_by_linear(knows, y, useless) == pytest.approx(0, abs=0.03)


def test_a_network_that_says_nothing_has_nothing_to_explain():
    generator = np.random.default_rng(3)
    y, linear = labels(generator)
    assert np.isnan(predictions.explained_by_linear(generator.integers(0, 4, len(y)), y, linear))


def test_mutual_information_of_a_known_table():
    """All that F says of Y, L says too, on half of the examples; on the other half F knows Y and L nothing."""
    generator = np.random.default_rng(4)
    n = 40_000
    y = generator.integers(0, 2, n)
    half = np.arange(n) < n // 2
    linear = np.where(half, y, 2)
    # I(F;Y) = ln 2; given L the second half alone leaves something: ln 2 / 2.
    assert predictions.explained_by_linear(y, y, linear) == pytest.approx(0.5, abs=0.01)


def test_the_same_path_at_another_speed_agrees(modes):
    path = greedy(modes)
    assert predictions.path_agreement(path[::2], path, modes, 0.9) == pytest.approx(1, abs=1e-3)


def test_the_straight_line_from_ones_own_start_agrees_with_nothing(modes):
    start = np.random.default_rng(5).standard_normal((5, 7))
    line = start + np.linspace(0, 1, 4000)[:, None, None] * (modes.target_CxD - start)
    assert predictions.path_agreement(line, greedy(modes), modes, 0.9) == pytest.approx(0, abs=5e-3)
    assert predictions.bend(line, modes, 0.9) == pytest.approx(0, abs=1e-3)
    assert predictions.bend(greedy(modes), modes, 0.9) > 0.1


def test_a_shared_start_is_no_agreement(modes):
    """Two straight lines from one start to different ends of the clock share nothing but the start."""
    start = 2 * np.random.default_rng(6).standard_normal((5, 7))
    line = start + np.linspace(0, 1, 4000)[:, None, None] * (modes.target_CxD - start)
    assert (
        np.isnan(predictions.path_agreement(line, line, modes, 0.9))
        or abs(predictions.path_agreement(line, line, modes, 0.9)) <= 1
    )


def test_a_path_that_ends_too_early_says_nothing(modes):
    assert np.isnan(predictions.path_agreement(greedy(modes)[:50], greedy(modes), modes, 0.9))


def test_the_law_with_one_factor_of_time():
    predicted = np.array([10.0, 20, 40, 80])
    exact = predictions.law(3 * predicted, predicted)
    assert (exact.r2, exact.ratio, exact.modes) == (pytest.approx(1), pytest.approx(3), 4)
    reversed_ = predictions.law(predicted[::-1], predicted)
    assert reversed_.r2 == pytest.approx(-3)
    same = predictions.law(predicted, np.full(4, 5.0))
    assert same.r2 == pytest.approx(0)
    missing = predictions.law(np.array([1, np.nan, 3, np.nan]), predicted)
    assert np.isnan(missing.r2)
    assert missing.modes == 2
