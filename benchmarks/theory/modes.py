"""Observables of learning mode by mode, of a map A_t (C x D) on its way to a target T, as functions of arrays alone.

The modes are T's singular triples, s_k u_k v_k', and a_k = u_k' A v_k is the amplitude of mode k. Progress is the
clock: phi = 1 - |A_t - T|^2 / |A_0 - T|^2. All scores use phi up to `CLOCK_END` for every system alike, so that a
different floor of the loss cannot pass for a different path.

For a straight line from A_0 to T all of them give zero, and for a path that goes through every best approximation of
rank k one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

CLOCK_END = 0.95


@dataclass(frozen=True)
class Modes:
    """The singular triples of a target that stand above the noise.

    Attributes:
        target_CxD: T.
        s_K, left_CxK, right_DxK: the K leading ones.
    """

    target_CxD: np.ndarray
    s_K: np.ndarray
    left_CxK: np.ndarray
    right_DxK: np.ndarray

    @classmethod
    def of(cls, target_CxD: np.ndarray, count: int) -> "Modes":
        """The ``count`` leading modes of a target.

        Raises:
            ValueError: if it has not so many.
        """
        left, s, right = np.linalg.svd(target_CxD, full_matrices=False)
        rank = int((s > 1e-10 * s[0]).sum())
        if count > rank:
            raise ValueError(f"{count} modes asked for, the target has {rank}")
        return cls(target_CxD, s[:count], left[:, :count], right[:count].T)

    def amplitudes(self, maps_TxCxD: np.ndarray) -> np.ndarray:
        """a_k along a path: T x K."""
        return np.einsum("ck,tcd,dk->tk", self.left_CxK, maps_TxCxD, self.right_DxK)

    def truncation(self, rank: int) -> np.ndarray:
        """T_k, the best approximation of this rank (at most K): C x D."""
        return (self.left_CxK[:, :rank] * self.s_K[:rank]) @ self.right_DxK[:, :rank].T


def progress(maps_TxCxD: np.ndarray, target_CxD: np.ndarray) -> np.ndarray:
    """phi along a path."""
    squares_T = np.square(maps_TxCxD - target_CxD).sum((1, 2))
    return 1 - squares_T / squares_T[0]


def clocked(progress_T: np.ndarray) -> np.ndarray:
    """Which readings count: those until phi first exceeds `CLOCK_END`, as a mask."""
    return np.maximum.accumulate(progress_T) <= CLOCK_END


def waypoint_score(maps_TxCxD: np.ndarray, modes: Modes) -> float:
    """P1: C = 1 - (sum of delta_k) / (the same of a straight line from A_0 to T).

    delta_k is the distance of closest approach to T_k, over |T|. The waypoints are the ranks k, below T's own, whose
    T_k lies within the clock, that is, holds at most 95 % of |T|^2. 1: through every one; 0: straight; below 0: away
    from them.

    Returns nan without a waypoint, or if the path is no longer than its start.
    """
    target, start = modes.target_CxD, maps_TxCxD[0]
    size = np.linalg.norm(target)
    counted = maps_TxCxD[clocked(progress(maps_TxCxD, target))]
    ranks = np.flatnonzero(np.cumsum(modes.s_K**2) <= CLOCK_END * size**2) + 1
    chord = target - start
    furthest = 1 - np.sqrt(1 - CLOCK_END)
    path, line = 0.0, 0.0
    for rank in ranks:
        waypoint = modes.truncation(rank)
        path += np.sqrt(np.square(counted - waypoint).sum((1, 2)).min()) / size
        along = np.clip((chord * (waypoint - start)).sum() / np.square(chord).sum(), 0, furthest)
        line += np.linalg.norm(start + along * chord - waypoint) / size
    return float(1 - path / line) if line > 0 else np.nan


def half_times(times_T: np.ndarray, amplitudes_TxK: np.ndarray, s_K: np.ndarray) -> np.ndarray:
    """P2: when each amplitude has made half of its way, (a_k(0) + s_k) / 2, interpolated linearly; nan if never: K."""
    found = np.full(len(s_K), np.nan)
    for k, (a_T, s) in enumerate(zip(amplitudes_TxK.T, s_K)):
        share_T = (a_T - a_T[0]) / (s - a_T[0])
        passed = np.flatnonzero(share_T >= 0.5)
        if len(passed) and passed[0] > 0:
            i = passed[0]
            weight = (0.5 - share_T[i - 1]) / (share_T[i] - share_T[i - 1])
            found[k] = times_T[i - 1] + weight * (times_T[i] - times_T[i - 1])
    return found


def timing_slope(half_times_K: np.ndarray, s_K: np.ndarray) -> float:
    """P2: the slope of ln t_k on ln s_k over the modes that passed half; nan from fewer than two."""
    passed = np.isfinite(half_times_K)
    if passed.sum() < 2:
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
    """P3: N_act, the number of modes that move at once, (sum |da_k|)^2 / sum da_k^2, weighted by the fall of |A - T|^2.

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
    """N_act of the straight line: every mode moves in proportion to its way, (sum w)^2 / sum w^2 with w = s - a(0)."""
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
    found = np.full(len(s_K), np.nan)
    for k, (a_T, s) in enumerate(zip(amplitudes_TxK.T, s_K)):
        rates_T = np.gradient(a_T, times_T)
        within = (a_T >= 0.02 * s) & (a_T <= 0.2 * s) & (rates_T > 0)
        if within.sum() >= 4:
            found[k] = np.polyfit(np.log(a_T[within]), np.log(rates_T[within] / (s - a_T[within])), 1)[0]
    return found


def tracking(maps_TxCxD: np.ndarray, twin_TxCxD: np.ndarray, modes: Modes) -> float:
    """P5: 1 - int sum_k s_k^2 (a_k - a_k^twin)^2 dphi / int sum_k s_k^2 (a_k^null - a_k^twin)^2 dphi, a_k over s_k.

    Over phi in [0.02, 0.95], by the trapezoidal rule; the null is the straight line from zero, a = 1 - sqrt(1 - phi).
    1 follows the twin's path, greedy or not; 0 is no closer to it than the straight line is.

    Returns nan if either path ends before the clock does.
    """
    grid = np.linspace(0.02, CLOCK_END, 400)
    paths = []
    for maps in (maps_TxCxD, twin_TxCxD):
        phi_T = np.maximum.accumulate(progress(maps, modes.target_CxD))
        if phi_T[-1] < CLOCK_END:
            return np.nan
        # Where phi stands still or falls back, the first reading that had it counts.
        phi, first = np.unique(phi_T, return_index=True)
        shares = modes.amplitudes(maps) / modes.s_K
        paths.append(np.stack([np.interp(grid, phi, shares[first, k]) for k in range(len(modes.s_K))], axis=1))
    net, twin = paths
    null = (1 - np.sqrt(1 - grid))[:, None]
    weights_K = modes.s_K**2
    distances = [np.trapezoid((weights_K * np.square(path - twin)).sum(1), grid) for path in (net, null)]
    return float(1 - distances[0] / distances[1]) if distances[1] > 0 else np.nan
