"""What deep linear networks do when they start from small weights, as observables of any network's training.

Each takes arrays that outputs and weights alone give. Readings T may lie on any increasing grid of steps; practice
reads on a logarithmic one. Modes are the singular triples s_k u_k v_k' of a target T, and a_k = u_k' A v_k is the
amplitude of mode k in a map A (`benchmarks.theory.modes`).

    order          strong modes first                          `half_times`, with modes.timing_slope and timing_order
    one at a time  few modes move at once                      `active_modes`, `straight_active_modes`
    rank           the change of the weights gains rank slowly `effective_rank`, `growth`, `leaving_times`
    alignment      neighbouring layers' changes meet           `subspace_overlap`
    linear first   what is learned first is linear             `explained_by_linear`
    path           the network follows its linear twin         `path_agreement`
    law            each mode's time is the linear twin's       `law`
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import mutual_info_score

from benchmarks.theory import modes as observables
from benchmarks.theory.modes import Modes

GRID = 400
# A path is compared from here on: before it, phi is noise.
PATH_START = 0.02


def half_times(steps_T: np.ndarray, amplitudes_TxK: np.ndarray, s_K: np.ndarray) -> np.ndarray:
    """When each amplitude has made half of its own way, (a_k(0) + s_k) / 2; nan if never: K, in steps.

    Interpolated in ln(1 + step), because readings are far apart late in training.
    """
    return np.expm1(observables.half_times(np.log1p(steps_T), amplitudes_TxK, s_K))


def active_modes(amplitudes_TxK: np.ndarray) -> float:
    """N_act: how many modes move at once, (sum_k |da_k|)^2 / sum_k da_k^2, weighted by how far all move together.

    1 where one moves at a time, K where all move alike; nan if none moves.
    """
    moves = np.abs(np.diff(amplitudes_TxK, axis=0))
    totals, squares = moves.sum(1), np.square(moves).sum(1)
    moving = squares > 0
    if not moving.any():
        return np.nan
    return float(np.average(totals[moving] ** 2 / squares[moving], weights=totals[moving]))


def straight_active_modes(start_K: np.ndarray, s_K: np.ndarray) -> float:
    """N_act on the straight line to the target, where every mode moves in proportion to its way."""
    return active_modes(np.stack([start_K, s_K]))


def effective_rank(matrix: np.ndarray) -> float:
    """exp of the entropy of the singular values over their sum (Roy and Vetterli 2007); nan for a zero matrix."""
    flat = matrix.reshape(len(matrix), -1)
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    s = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))
    if not s[-1] > 0:
        return np.nan
    p = s[s > 0] / s.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def growth(ranks_T: np.ndarray) -> float:
    """1 - r_least / r_last of a rank along training: 1 - 1 / K where it grows from one to K, 0 where it falls or stays.

    From the least, because the first steps of a random start are noise of many ranks. Readings without a change of the
    weights (nan) are left out; nan from fewer than two others.
    """
    ranks = ranks_T[np.isfinite(ranks_T)]
    return float(1 - ranks.min() / ranks[-1]) if len(ranks) > 1 else np.nan


def leaving_times(steps_T: np.ndarray, singular_values_TxK: np.ndarray, edge_T: np.ndarray) -> np.ndarray:
    """When each singular value of the weights' change first exceeds the edge of its bulk; nan if never: K, in steps.

    Args:
        edge_T: the largest singular value of the change that random labels make by the same step.
    """
    above_TxK = singular_values_TxK > edge_T[:, None]
    return np.where(above_TxK.any(0), steps_T[above_TxK.argmax(0)], np.nan)


@dataclass(frozen=True)
class Overlap:
    """``value`` lies between ``chance``, that of random subspaces, and one."""

    value: float
    chance: float

    @property
    def share(self) -> float:
        """0 at chance, 1 where one subspace holds the other."""
        return (self.value - self.chance) / (1 - self.chance) if self.chance < 1 else np.nan


def subspace_overlap(before_WxI: np.ndarray, after_OxW: np.ndarray, count: int) -> Overlap:
    """|V_j' U_j|^2 / j of the top right vectors of a layer's change and the left ones of the change before it.

    j is ``count``, or the ranks that the two shapes allow. Chance is j / W.
    """
    j = min(count, *before_WxI.shape, *after_OxW.shape)
    left = np.linalg.svd(before_WxI, full_matrices=False)[0][:, :j]
    right = np.linalg.svd(after_OxW, full_matrices=False)[2][:j]
    return Overlap(float(np.square(right @ left).sum() / j), j / len(before_WxI))


def explained_by_linear(
    predicted_N: np.ndarray, labels_N: np.ndarray, linear_N: np.ndarray, *, draws: int = 20
) -> float:
    """mu = [I(F;Y) - I(F;Y|L)] / I(F;Y): how much of what F says of Y the linear classifier L explains.

    1 where F says nothing that L does not, 0 where L explains nothing (Kalimeris et al. 2019). From counts; from both
    terms the mean over permutations of F is taken away, over all examples or among those of one L, because counts
    overstate what independent variables say of one another.

    Args:
        predicted_N, labels_N, linear_N: class indices: F, Y, L.

    Returns nan if F says nothing of Y beyond chance.
    """
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(linear_N == value) for value in np.unique(linear_N)]

    kinds = 1 + max(predicted_N.max(), labels_N.max())

    def information(predicted: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        counts = np.bincount(predicted[rows] * kinds + labels_N[rows], minlength=kinds**2).reshape(kinds, kinds)
        return mutual_info_score(None, None, contingency=counts)

    def conditional(predicted: np.ndarray) -> float:
        return sum(len(group) * information(predicted, group) for group in groups) / len(labels_N)

    def within(predicted: np.ndarray) -> np.ndarray:
        shuffled = predicted.copy()
        for group in groups:
            shuffled[group] = generator.permutation(predicted[group])
        return shuffled

    chance = np.mean([information(generator.permutation(predicted_N)) for _ in range(draws)])
    # Three times that of permutations: what is less is not told from nothing.
    if (whole := information(predicted_N)) <= 3 * chance:
        return np.nan
    chance_given = np.mean([conditional(within(predicted_N)) for _ in range(draws)])
    whole, rest = whole - chance, conditional(predicted_N) - chance_given
    return float((whole - rest) / whole)


def path_agreement(maps_TxCxD: np.ndarray, other_TxCxD: np.ndarray, modes: Modes, end: float) -> float:
    """P5 of two paths of maps; see `agreement`."""
    each = [
        (observables.progress(maps, modes.target_CxD), modes.amplitudes(maps)) for maps in (maps_TxCxD, other_TxCxD)
    ]
    return agreement(*each, modes.s_K, modes.sizes_K, end)


def agreement(
    path: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    s_K: np.ndarray,
    sizes_K: np.ndarray,
    end: float,
) -> float:
    """P5: 1 - int |a - b|^2 dphi / int |a_0 - b|^2 dphi, with a a network's amplitudes and b another's.

    phi is each one's own progress, from `PATH_START` to ``end``, so that neither its clock nor its start matters; a_0
    is the straight line from the network's own start, a_k(0) + (s_k - a_k(0)) (1 - sqrt(1 - phi)). 1 is the other's
    path, 0 no nearer to it than that line. Squares are weighted by how many singular values a mode holds.

    Args:
        path, other: phi_T and amplitudes_TxK.

    Returns nan if either path ends before ``end``, or the other is that line.
    """
    phi_G = np.linspace(PATH_START, end, GRID)
    a_GxK, b_GxK = (_at(*one, phi_G) for one in (path, other))
    room = _between(_straight(path[1][0], s_K, phi_G), b_GxK, sizes_K, phi_G)
    return float(1 - _between(a_GxK, b_GxK, sizes_K, phi_G) / room) if room > 0 else np.nan


def bend(maps_TxCxD: np.ndarray, modes: Modes, end: float) -> float:
    """How far a path is from the straight line from its own start: the root mean square of the amplitudes' distance
    over phi, over that of the target's own size; nan if it ends before ``end``."""
    phi_G = np.linspace(PATH_START, end, GRID)
    amplitudes = modes.amplitudes(maps_TxCxD)
    path = _at(observables.progress(maps_TxCxD, modes.target_CxD), amplitudes, phi_G)
    squares = _between(path, _straight(amplitudes[0], modes.s_K, phi_G), modes.sizes_K, phi_G)
    return float(np.sqrt(squares / ((phi_G[-1] - phi_G[0]) * (modes.sizes_K * modes.s_K**2).sum())))


def straight_line(start_CxD: np.ndarray, modes: Modes, phi_G: np.ndarray) -> np.ndarray:
    """The amplitudes of the straight line from a start to the target, at given progress: G x K."""
    return _straight(modes.amplitudes(start_CxD[None])[0], modes.s_K, phi_G)


def _straight(start_K: np.ndarray, s_K: np.ndarray, phi_G: np.ndarray) -> np.ndarray:
    return start_K + (s_K - start_K) * (1 - np.sqrt(1 - phi_G))[:, None]


def _at(phi_T: np.ndarray, amplitudes_TxK: np.ndarray, phi_G: np.ndarray) -> np.ndarray:
    """The amplitudes when phi first has each value of the grid, G x K; nan if it does not get that far."""
    phi_T = np.maximum.accumulate(phi_T)
    if not phi_T[-1] >= phi_G[-1]:
        return np.full((len(phi_G), amplitudes_TxK.shape[1]), np.nan)
    phi, first = np.unique(phi_T, return_index=True)
    return np.stack([np.interp(phi_G, phi, column) for column in amplitudes_TxK[first].T], axis=1)


def _between(a_GxK: np.ndarray, b_GxK: np.ndarray, sizes_K: np.ndarray, phi_G: np.ndarray) -> float:
    return np.trapezoid((sizes_K * np.square(a_GxK - b_GxK)).sum(1), phi_G)


@dataclass(frozen=True)
class Law:
    """How well given times predict a network's.

    Attributes:
        r2: of ln t_k, with the prediction as it stands but for one factor of time; below 0 where the mean is better.
        ratio: that factor, the network's time over the predicted one.
        modes: how many both have a time for.
    """

    r2: float
    ratio: float
    modes: int


def law(times_K: np.ndarray, predicted_K: np.ndarray) -> Law:
    """Compare the half times of a network's modes with those of a closed form or of its linear twin.

    Returns nan for r2 from fewer than three modes.
    """
    both = np.isfinite(times_K) & np.isfinite(predicted_K)
    found, told = np.log(times_K[both]), np.log(predicted_K[both])
    if len(found) < 3:
        return Law(np.nan, np.nan, len(found))
    shift = (found - told).mean()
    r2 = 1 - np.square(found - told - shift).sum() / np.square(found - found.mean()).sum()
    return Law(float(r2), float(np.exp(shift)), len(found))
