"""Text as tokens: how a corpus is split, cut into tokens, read in windows, and counted. Free of torch.

Shape letters beside those of `benchmarks.lab.problem`, where T counts training steps:

    N  tokens of a text, or windows      L  positions of a window      V  tokens of the vocabulary

How a text is cut into tokens is a function from a `Corpus` to `Tokens`; `characters` is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


@dataclass(frozen=True)
class Corpus:
    """A text in the order in which it was written: the part to train on, and the rest, to validate."""

    train: str
    validation: str


@dataclass(frozen=True)
class Tokens:
    """A corpus as indices into a vocabulary.

    Attributes:
        train_N, validation_N: int64.
        vocabulary: each token by its index.
    """

    train_N: np.ndarray
    validation_N: np.ndarray
    vocabulary: tuple[str, ...]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The tokens of these indices, one after another.

        Raises:
            ValueError: for an index that no token has.
        """
        ids = np.asarray(ids, dtype=np.int64)
        _require_known(ids, len(self.vocabulary))
        return "".join(self.vocabulary[index] for index in ids.ravel())


@dataclass(frozen=True)
class Bigrams:
    """What follows what in a text.

    Attributes:
        counts_VxV: int64, how often token a (row) is followed by token b (column).
    """

    counts_VxV: np.ndarray

    @property
    def joint_VxV(self) -> np.ndarray:
        """The probability of a pair: they sum to one."""
        return self.counts_VxV / self.counts_VxV.sum()

    @property
    def unigram_V(self) -> np.ndarray:
        """The probability of the first token of a pair: the joint ones summed over the second."""
        return self.counts_VxV.sum(1) / self.counts_VxV.sum()

    @property
    def conditional_VxV(self) -> np.ndarray:
        """E[one-hot of the next token | token], a row for each token; zeros for a token that nothing follows."""
        return self.counts_VxV / np.maximum(self.counts_VxV.sum(1, keepdims=True), 1)


def split(text: str) -> Corpus:
    """The first nine tenths of the characters, rounded down, to train on, the rest to validate.

    Raises:
        ValueError: if there are too few characters for both.
    """
    train = 9 * len(text) // 10
    if train < 1:
        raise ValueError(f"a text of {len(text)} characters cannot be split")
    return Corpus(text[:train], text[train:])


def characters(corpus: Corpus) -> Tokens:
    """Each character a token; the vocabulary is that of both parts, in the order of code points."""
    codes = [np.frombuffer(part.encode("utf-32-le"), dtype="<u4") for part in (corpus.train, corpus.validation)]
    known_V = np.unique(np.concatenate(codes))
    train_N, validation_N = (np.searchsorted(known_V, part).astype(np.int64) for part in codes)
    return Tokens(train_N, validation_N, tuple(map(chr, known_V.tolist())))


def windows(ids_N: np.ndarray, starts_N: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of consecutive tokens and, for each position, the token after it.

    Args:
        starts_N: the index of each window's first token, 0 to ``len(ids_N) - length - 1``; may have more axes, R x N
            gives R x N x L.

    Returns:
        inputs_NxL, targets_NxL: views of one array of N x (L + 1), the only copy that is made.

    Raises:
        ValueError: for a length below 1, or a window that does not lie in the text with the token after it.
    """
    if length < 1:
        raise ValueError(f"a window needs at least 1 token, got {length}")
    starts_N = np.asarray(starts_N)
    outside = starts_N[(starts_N < 0) | (starts_N + length >= len(ids_N))]
    if outside.size:
        raise ValueError(
            f"a window of {length} tokens and the one after it cannot start at {outside.flat[0]} of {len(ids_N)}"
        )
    rows = sliding_window_view(ids_N, length + 1)[starts_N]
    return rows[..., :-1], rows[..., 1:]


def bigrams(ids_N: np.ndarray, vocabulary: int) -> Bigrams:
    """The pairs of neighbours of a text, in memory of 8 V^2 bytes.

    Args:
        vocabulary: V, the number of tokens that there are.

    Raises:
        ValueError: if there is no pair, or an index that no token has.
    """
    if len(ids_N) < 2:
        raise ValueError(f"a text of {len(ids_N)} tokens has no pair of neighbours")
    _require_known(ids_N, vocabulary)
    pairs = np.bincount(ids_N[:-1] * vocabulary + ids_N[1:], minlength=vocabulary**2)
    return Bigrams(pairs.reshape(vocabulary, vocabulary))


def _require_known(ids: np.ndarray, vocabulary: int) -> None:
    unknown = ids[(ids < 0) | (ids >= vocabulary)]
    if unknown.size:
        raise ValueError(f"no token has the index {unknown.flat[0]}: there are {vocabulary}")
