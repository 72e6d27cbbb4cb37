"""A text that needs no network: a second-order Markov chain over the space and 26 letters, the same bytes everywhere.

All probabilities are fractions and all random numbers raw 64-bit integers of PCG64, so that no rounding and no version
of numpy enters. The statistics of its pairs are known exactly (V characters; a, then b, then c; s(a) is the successor
of a in the alphabet, the last one's is the first):

    p_V           frequencies: Zipf's law, p_a proportional to 1 / rank
    J_VxV         probability of a pair, J[a, b] = u_a v_b / sum(u) + d_a [b = s(a)], with d_a = min(p_a, p_s(a)) / 2,
                  u_a = p_a - d_a and v_s(a) = p_s(a) - d_a; its rows and its columns sum to p
    P(c | a, b)   t(c) + e (1[c = s(b)] - t(c)), with t(c) = J[b, c] / p_b, the probability of c after b, and
                  e = STRENGTH (1[b = s(a)] - J[a', b] / p_b), where a' is the character that b is the successor of

The mean of e over a, given b, is zero: looking two characters back tells more than one, and leaves the pairs as they
are. The singular values of J - p p^T fall like 1 / k, and each of the first eight is at least a tenth above the next.
"""

import functools
from bisect import bisect_right
from fractions import Fraction
from itertools import accumulate

import numpy as np

ALPHABET = " etaoinshrdlcumwfgypbvkjxqz"
LENGTH = 200_000
STRENGTH = Fraction(3, 4)
SEED = 0
_BITS = 64
_SIZE = len(ALPHABET)
_HARMONIC = sum(Fraction(1, rank) for rank in range(1, _SIZE + 1))
_FREQUENCIES = [Fraction(1, rank) / _HARMONIC for rank in range(1, _SIZE + 1)]


def text(length: int = LENGTH) -> str:
    """So many characters of the chain, from its fixed seed; a longer text starts with the shorter one."""
    cumulated = {(followed, b): _cumulated(_next(followed, b)) for followed in (False, True) for b in range(_SIZE)}
    followed, b, written = False, 0, []
    for drawn in np.random.PCG64(SEED).random_raw(length).tolist():
        c = bisect_right(cumulated[followed, b], drawn)
        followed, b = c == _successor(b), c
        written.append(ALPHABET[c])
    return "".join(written)


@functools.cache
def pairs() -> list[list[Fraction]]:
    """J_VxV: the exact probability of each character, by its place in the alphabet, and the next."""
    excess = [min(_FREQUENCIES[a], _FREQUENCIES[_successor(a)]) / 2 for a in range(_SIZE)]
    firsts = [_FREQUENCIES[a] - excess[a] for a in range(_SIZE)]
    seconds = [_FREQUENCIES[b] - excess[b - 1] for b in range(_SIZE)]  # -1 is the last, whose successor is the first
    total = sum(firsts)
    return [
        [firsts[a] * seconds[b] / total + (excess[a] if b == _successor(a) else 0) for b in range(_SIZE)]
        for a in range(_SIZE)
    ]


def _successor(a: int) -> int:
    return (a + 1) % _SIZE


def _next(followed: bool, b: int) -> list[Fraction]:
    """P(c | a, b) for each c, where ``followed`` says whether b is the successor of a."""
    alone = [probability / _FREQUENCIES[b] for probability in pairs()[b]]
    tilt = STRENGTH * (followed - pairs()[b - 1][b] / _FREQUENCIES[b])
    return [before + tilt * ((c == _successor(b)) - before) for c, before in enumerate(alone)]


def _cumulated(probabilities: list[Fraction]) -> list[int]:
    """Where each outcome ends among the integers below 2^64."""
    return [int(total * 2**_BITS) for total in accumulate(probabilities)]
