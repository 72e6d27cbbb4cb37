"""Observables of learning mode by mode, on paths whose scores are known, and closed forms of deep linear networks."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from benchmarks.theory import deep_linear, modes
from benchmarks.theory.modes import Modes

SPECTRUM = np.array([5.0, 3.0, 2.0, 1.0])
GENERATOR = np.random.default_rng(0)
LEFT, RIGHT = (np.linalg.qr(GENERATOR.standard_normal((size, 4)))[0] for size in (6, 9))
TARGET = (LEFT * SPECTRUM) @ RIGHT.T
FOUR = Modes.of(TARGET, 4)


def path(amplitudes_TxK):
    return np.einsum("ck,tk,dk->tcd", LEFT, amplitudes_TxK, RIGHT)


def straight(start=None):
    start = np.zeros_like(TARGET) if start is None else start
    return start + np.linspace(0, 1, 2001)[:, None, None] * (TARGET - start)


def saddle_to_saddle(order=(0, 1, 2, 3)):
    """One mode after the other, each at constant speed."""
    amplitudes = np.zeros((2001, 4))
    for place, k in enumerate(order):
        amplitudes[:, k] = np.clip(np.arange(2001) / 500 - place, 0, 1) * SPECTRUM[k]
    return path(amplitudes)


def test_a_straight_line_scores_zero():
    assert modes.waypoint_score(straight(), FOUR) == pytest.approx(0, abs=1e-3)
    assert modes.sequentiality(straight(), FOUR) == pytest.approx(0, abs=1e-9)
    assert modes.concurrency(straight(), FOUR) == pytest.approx(121 / 39)
    times = modes.half_times(np.arange(2001.0), FOUR.amplitudes(straight()), SPECTRUM)
    assert times == pytest.approx(1000)
    assert modes.timing_slope(times, SPECTRUM) == pytest.approx(0, abs=1e-9)


def test_a_straight_line_scores_zero_from_wherever_it_starts():
    start = 0.2 * np.random.default_rng(1).standard_normal(TARGET.shape)
    assert modes.waypoint_score(straight(start), FOUR) == pytest.approx(0, abs=2e-3)
    assert modes.sequentiality(straight(start), FOUR) == pytest.approx(0, abs=1e-9)


def test_saddle_to_saddle_scores_one():
    maps = saddle_to_saddle()
    assert modes.waypoint_score(maps, FOUR) == pytest.approx(1)
    assert modes.sequentiality(maps, FOUR) == pytest.approx(1)
    times = modes.half_times(np.arange(2001.0), FOUR.amplitudes(maps), SPECTRUM)
    assert times == pytest.approx([250, 750, 1250, 1750])
    tau, p = modes.timing_order(times, SPECTRUM)
    assert (tau, p) == (pytest.approx(1), pytest.approx(2 / 24))


def test_the_weakest_first_scores_below_zero_and_in_the_other_order():
    maps = saddle_to_saddle((3, 2, 1, 0))
    assert modes.waypoint_score(maps, FOUR) < -0.1
    times = modes.half_times(np.arange(2001.0), FOUR.amplitudes(maps), SPECTRUM)
    assert modes.timing_order(times, SPECTRUM)[0] == pytest.approx(-1)


def test_what_happens_after_the_clocks_end_does_not_count():
    maps = straight()
    phi = modes.progress(maps, TARGET)
    late = phi > modes.CLOCK_END
    detour = np.where(late[:, None, None], maps + 3.0, maps)
    # All but the last of the way to it, on the segment that passes it.
    assert modes.waypoint_score(detour, FOUR) == pytest.approx(modes.waypoint_score(maps, FOUR), abs=2e-3)
    assert modes.concurrency(detour, FOUR) == pytest.approx(modes.concurrency(maps, FOUR))


def test_half_times_are_censored_and_interpolated():
    amplitudes = np.array([[0.0, 0.0], [1.0, 0.1], [4.0, 0.2]])
    found = modes.half_times(np.array([0.0, 1.0, 2.0]), amplitudes, np.array([5.0, 1.0]))
    assert found[0] == pytest.approx(1.5)
    assert np.isnan(found[1])
    assert np.isnan(modes.timing_slope(found, np.array([5.0, 1.0])))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_growth_exponents_of_the_equation_of_depth(depth):
    power = deep_linear.growth_exponent(depth)

    def rate(_, u):
        return depth * np.sign(u) * np.abs(u) ** power * (SPECTRUM - u)

    times = np.linspace(0, 3 * deep_linear.growth_time(depth, 1.0, 1e-3, 0.9), 40000)
    solved = solve_ivp(rate, (0, times[-1]), np.full(4, 1e-3), t_eval=times, rtol=1e-9, atol=1e-12)
    found = modes.growth_exponents(times, solved.y.T, SPECTRUM)
    # Read off a grid that is coarse for the fastest mode.
    assert found == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_growth_time_is_the_equations_own(depth):
    power = deep_linear.growth_exponent(depth)
    solved = solve_ivp(
        lambda _, u: depth * u**power * (2.0 - u),
        (0, deep_linear.growth_time(depth, 2.0, 1e-2, 1.5)),
        [1e-2],
        rtol=1e-10,
        atol=1e-13,
    )
    assert solved.y[0, -1] == pytest.approx(1.5, rel=1e-6)


def test_the_sigmoid_passes_half_at_its_half_time():
    time = deep_linear.half_time(3.0, 1e-3)
    assert deep_linear.sigmoid(time, 3.0, 1e-3) == pytest.approx(1.5)
    assert deep_linear.growth_time(2, 3.0, 1e-3, 1.5) == pytest.approx(time)


@pytest.mark.parametrize("imbalance", [-2.0, 0.0, 3.0])
def test_the_riccati_solution_is_gradient_flow(imbalance):
    generator = np.random.default_rng(2)
    a = 0.4
    b = np.sqrt(a**2 + abs(imbalance))
    small, large = (size * np.linalg.qr(generator.standard_normal((4, 4)))[0] for size in (a, b))
    first, second = (small, large) if imbalance >= 0 else (large, small)
    goal = generator.standard_normal((4, 4))

    def slope(_, weights):
        w1, w2 = weights.reshape(2, 4, 4)
        return np.concatenate([(w2.T @ (goal - w2 @ w1)).ravel(), ((goal - w2 @ w1) @ w1.T).ravel()])

    times = np.array([0.0, 0.3, 1.0, 2.0])
    start = np.concatenate([first.ravel(), second.ravel()])
    solved = solve_ivp(slope, (0, 2), start, t_eval=times, rtol=1e-10, atol=1e-12).y.T
    products = [w[16:].reshape(4, 4) @ w[:16].reshape(4, 4) for w in solved]
    found = deep_linear.balanced_product(first, second, goal, imbalance, times)
    np.testing.assert_allclose(found, products, atol=1e-6)


def test_unbalanced_weights_have_no_such_solution():
    with pytest.raises(ValueError, match="is not 0 times the identity"):
        deep_linear.balanced_product(np.eye(3), 2 * np.eye(3), np.eye(3), 0.0, np.array([1.0]))


def test_more_modes_than_the_target_has_are_refused():
    with pytest.raises(ValueError, match="5 modes asked for, the target has 4"):
        Modes.of(TARGET, 5)
