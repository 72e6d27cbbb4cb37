"""Observables of mode-by-mode learning, for a map A_t (C x D) on its way to a target T, as functions of arrays only.

The modes are T's singular triples, s_k u_k v_k', and a_k = u_k' A v_k is the amplitude of mode k. Progress serves as
the clock: phi = 1 - |A_t - T|^2 / |A_0 - T|^2. All scores use phi up to `CLOCK_END` for every system, so that a
different floor of the loss cannot be mistaken for a different path.

All scores are zero for a straight line from A_0 to T, and one for a path that passes through every best rank-k
approximation.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.stats import kendalltau

CLOCK_END = 0.95


@dataclass(frozen=True)
class Modes:
    """The singular triples of a target above the noise; neighbours whose learning times are too close are merged.

    Attributes:
        target_CxD: T.
        s_K: the root mean square of each mode's singular values; its singular value where nothing was merged.
        sizes_K: how many singular triples each mode holds.
        parts_KxCxD: their contribution to T.
    """

    target_CxD: np.ndarray
    s_K: np.ndarray
    sizes_K: np.ndarray
    parts_KxCxD: np.ndarray

    @classmethod
    def of(cls, target_CxD: np.ndarray, count: int, *, merge_from: float | None = None) -> "Modes":
        """The ``count`` leading modes of a target.

        Args:
            merge_from: an amplitude u0. Neighbours whose growth times from it are too close, (s_k / s_k+1 - 1)
                ln(s_k / u0) < 2, become one mode. None merges nothing.

        Raises:
            ValueError: if it has fewer.
        """
        left, s, right = np.linalg.svd(target_CxD, full_matrices=False)
        rank = int((s > 1e-10 * s[0]).sum())
        if not 1 <= count <= rank:
            raise ValueError(f"{count} modes asked for, the target has {rank}")
        groups = [[0]]
        for k in range(count - 1):
            apart = merge_from is None or (s[k] / s[k + 1] - 1) * np.log(s[k] / merge_from) >= 2
            if apart:
                groups.append([])
            groups[-1].append(k + 1)
        return cls(
            target_CxD,
            np.array([np.sqrt(np.square(s[group]).mean()) for group in groups]),
            np.array([len(group) for group in groups]),
            np.stack([(left[:, group] * s[group]) @ right[group] for group in groups]),
        )

    def amplitudes(self, maps_TxCxD: np.ndarray) -> np.ndarray:
        """a_k along a path, T x K: u_k' A v_k, or for merged modes <A, T_k> / (m s_k), which is s_k too at A = T."""
        return np.einsum("kcd,tcd->tk", self.parts_KxCxD, maps_TxCxD) / (self.sizes_K * self.s_K)

    def truncation(self, count: int) -> np.ndarray:
        """T_k, the sum of the ``count`` leading modes (at most K): C x D."""
        return self.parts_KxCxD[:count].sum(0)


def progress(maps_TxCxD: np.ndarray, target_CxD: np.ndarray) -> np.ndarray:
    """phi along a path."""
    squares_T = np.square(maps_TxCxD - target_CxD).sum((1, 2))
    return 1 - squares_T / squares_T[0]


def clocked(progress_T: np.ndarray) -> np.ndarray:
    """Which readings count: those until phi first exceeds `CLOCK_END`, as a mask."""
    return np.maximum.accumulate(progress_T) <= CLOCK_END


def waypoint_score(maps_TxCxD: np.ndarray, modes: Modes) -> float:
    """P1: C = 1 - (sum of delta_k) / (the same of a straight line from A_0 to T).

    delta_k is the distance of closest approach to T_k; between two readings the path is taken to be straight. The
    waypoints are those k for which T_k lies within the clock, that is, contains at most 95 % of |T|^2.
    1: through every waypoint; 0: a straight line; below 0: away from the waypoints.

    Returns nan without a waypoint, or if the path is no longer than its start.
    """
    target, start = modes.target_CxD, maps_TxCxD[0]
    size = np.linalg.norm(target)
    counted = within_clock(maps_TxCxD, target)
    shares_K = np.square(np.linalg.norm(modes.parts_KxCxD, axis=(1, 2)))
    counts = np.flatnonzero(np.cumsum(shares_K) <= CLOCK_END * size**2) + 1
    straight = np.stack([start, start + (1 - np.sqrt(1 - CLOCK_END)) * (target - start)])
    waypoints = [modes.truncation(count) for count in counts]
    path, line = (sum(_distance_to(way, waypoint) for waypoint in waypoints) for way in (counted, straight))
    return float(1 - path / line) if line > 0 else np.nan


def within_clock(maps_TxCxD: np.ndarray, target_CxD: np.ndarray) -> np.ndarray:
    """The readings that count, and the point where the straight line to the next one crosses the end of the clock."""
    phi_T = progress(maps_TxCxD, target_CxD)
    last = int(clocked(phi_T).sum())
    counted = maps_TxCxD[:last]
    if 0 < last < len(maps_TxCxD):
        before, step = maps_TxCxD[last - 1] - target_CxD, maps_TxCxD[last] - maps_TxCxD[last - 1]
        # |before + c step|^2 = (1 - CLOCK_END) |A_0 - T|^2
        a, b = np.square(step).sum(), (before * step).sum()
        excess = np.square(before).sum() - (1 - CLOCK_END) * np.square(maps_TxCxD[0] - target_CxD).sum()
        c = (-b - np.sqrt(max(b**2 - a * excess, 0.0))) / a
        counted = np.concatenate([counted, maps_TxCxD[last - 1 : last] + c * step])
    return counted


def _distance_to(path_TxCxD: np.ndarray, point_CxD: np.ndarray) -> float:
    """The distance from a point to a path that is straight between its readings."""
    offsets = (path_TxCxD - point_CxD).reshape(len(path_TxCxD), -1)
    if len(offsets) == 1:
        return float(np.linalg.norm(offsets[0]))
    steps = np.diff(offsets, axis=0)
    lengths = np.square(steps).sum(1)
    along = np.clip(-(offsets[:-1] * steps).sum(1) / np.where(lengths > 0, lengths, 1), 0, 1)
    return float(np.linalg.norm(offsets[:-1] + along[:, None] * steps, axis=1).min())


def half_times(times_T: np.ndarray, amplitudes_TxK: np.ndarray, s_K: np.ndarray) -> np.ndarray:
    """P2: when each amplitude has gone half of its way, (a_k(0) + s_k) / 2, interpolated linearly; nan if never: K."""
    times_K = np.full(len(s_K), np.nan)
    for k, (a_T, s) in enumerate(zip(amplitudes_TxK.T, s_K)):
        share_T = (a_T - a_T[0]) / (s - a_T[0])
        passed = np.flatnonzero(share_T >= 0.5)
        if len(passed) and passed[0] > 0:
            i = passed[0]
            weight = (0.5 - share_T[i - 1]) / (share_T[i] - share_T[i - 1])
            times_K[k] = times_T[i - 1] + weight * (times_T[i] - times_T[i - 1])
    return times_K


def timing_slope(half_times_K: np.ndarray, s_K: np.ndarray) -> float:
    """P2: the slope of ln t_k on ln s_k over the modes that passed half; nan from fewer than two, or equal s_k."""
    passed = np.isfinite(half_times_K)
    if passed.sum() < 2 or np.ptp(np.log(s_K[passed])) < 1e-6:
        return np.nan
    return float(np.polyfit(np.log(s_K[passed]), np.log(half_times_K[passed]), 1)[0])


def timing_order(half_times_K: np.ndarray, s_K: np.ndarray) -> tuple[float, float]:
    """P2: Kendall's tau_b of -t_k with s_k (1: strongest first) and its exact two-sided p; nan from fewer than two."""
    passed = np.isfinite(half_times_K)
    if passed.sum() < 2:
        return np.nan, np.nan
    result = kendalltau(-half_times_K[passed], s_K[passed], method="auto")
    return float(result.statistic), float(result.pvalue)


def concurrency(maps_TxCxD: np.ndarray, modes: Modes) -> float:
    """P3: N_act, the number of modes that move at once, (sum |da_k|)^2 / sum da_k^2, weighted by the drop in |A - T|^2.

    Between two readings, over those that count; steps on which the error rises have no weight.
    """
    phi_T = progress(maps_TxCxD, modes.target_CxD)
    counted = clocked(phi_T)
    moves = np.abs(np.diff(modes.amplitudes(maps_TxCxD[counted]), axis=0))
    weights = np.clip(np.diff(phi_T[counted]), 0, None)
    squares = np.square(moves).sum(1)
    moving = (squares > 0) & (weights > 0)
    if not moving.any():
        return np.nan
    active = np.square(moves[moving].sum(1)) / squares[moving]
    return float((weights[moving] * active).sum() / weights[moving].sum())


def null_concurrency(modes: Modes, start_CxD: np.ndarray) -> float:
    """N_act of the straight line: every mode moves in proportion to its distance, (sum w)^2 / sum w^2, w = s - a(0)."""
    ways_K = np.abs(modes.s_K - modes.amplitudes(start_CxD[None])[0])
    return float(ways_K.sum() ** 2 / np.square(ways_K).sum())


def sequentiality(maps_TxCxD: np.ndarray, modes: Modes) -> float:
    """P3: SEQ = 1 - (N_act - 1) / (N_null - 1): 1 where one mode moves at a time, 0 on the straight line."""
    null = null_concurrency(modes, maps_TxCxD[0])
    return 1 - (concurrency(maps_TxCxD, modes) - 1) / (null - 1) if null > 1 else np.nan


def growth_exponents(times_T: np.ndarray, amplitudes_TxK: np.ndarray, s_K: np.ndarray) -> np.ndarray:
    """P4: the slope of ln[(da/dt) / (s - a)] on ln a, for a in [2 %, 20 %] of s, of each mode: K.

    2 - 2 / L for a deep linear network of depth L, 0 for a single layer. nan from fewer than four readings there.
    """
    exponents_K = np.full(len(s_K), np.nan)
    for k, (a_T, s) in enumerate(zip(amplitudes_TxK.T, s_K)):
        rates_T = np.gradient(a_T, times_T)
        within = (a_T >= 0.02 * s) & (a_T <= 0.2 * s) & (rates_T > 0)
        if within.sum() >= 4:
            exponents_K[k] = np.polyfit(np.log(a_T[within]), np.log(rates_T[within] / (s - a_T[within])), 1)[0]
    return exponents_K


def shifted_concurrency(amplitudes_TxK: np.ndarray, draws: int = 50) -> float:
    """N_act, with equal weight for all steps, when each mode's changes are shifted circularly in time, independently.

    This is what independent timing would give for modes that take as long as these: a control for `concurrency`. Steps
    with less than a thousandth of the largest total change have no weight.
    """
    generator = np.random.default_rng(0)
    moves = np.abs(np.diff(amplitudes_TxK, axis=0))
    scores = []
    for _ in range(draws):
        shifted = np.stack([np.roll(move, generator.integers(len(moves))) for move in moves.T], axis=1)
        totals, squares = shifted.sum(1), np.square(shifted).sum(1)
        moving = totals > 1e-3 * totals.max()
        scores.append(np.average(totals[moving] ** 2 / squares[moving], weights=totals[moving]))
    return float(np.mean(scores))


def participation(matrices_TxCxD: np.ndarray) -> np.ndarray:
    """The participation ratio of the squared singular values, (sum s^2)^2 / sum s^4: an effective rank, T; nan for a
    zero matrix."""
    squares = np.square(np.linalg.svd(matrices_TxCxD, compute_uv=False))
    fourths = np.square(squares).sum(-1)
    return np.divide(squares.sum(-1) ** 2, fourths, out=np.full(fourths.shape, np.nan), where=fourths > 0)


def followed(depth: int, times_T: np.ndarray, starts_K: np.ndarray, s_K: np.ndarray) -> np.ndarray:
    """Amplitudes of independent modes under du/dt = L u^(2 - 2/L) (s - u) from these starts: T x K (D1, D3)."""
    if len(times_T) == 1:
        return starts_K[None]
    power = 2 - 2 / depth

    def slope(_: float, log_K: np.ndarray) -> np.ndarray:
        u = np.exp(log_K)
        return depth * u ** (power - 1) * (s_K - u)

    solved = solve_ivp(
        slope, (times_T[0], times_T[-1]), np.log(starts_K), t_eval=times_T, method="LSODA", rtol=1e-8, atol=1e-10
    )
    return np.exp(solved.y.T)
