"""Skip-gram with negative sampling beside the quadratic model of it whose learning is solved (T11).

Vectors are tied: a word has one, whether it is read or predicted, so that logits are W W' (Karkada et al. 2025). The
expected loss weighs each pair of words by G_ij = P_ij + P_i P_j, how often it is drawn as a pair of the text and as one
of chance; with weights of one for all pairs the quadratic model is factorization of M, without weights.

Systems:
    word2vec         minibatches of pairs, start of word2vec.c (uniform within 1 / 2 D)
    word2vec-large   the same, vectors of length one on average
    word2vec-small   weights of one, small start, full gradient
    aligned          the quadratic model, weights of one, aligned small start on the modes; full gradient
and beside them, by the roles of the study carry_over:
    /small    the quadratic model, otherwise as word2vec-small
    /twin     the quadratic model from the same start on the same batches
    /layer    a matrix of free logits, full gradient
    /random   the same on the text with its words permuted, read along the modes of the real text

Modes are the eigenvectors of M with the largest eigenvalues, which is what vectors can learn, as far as they exceed
those of permuted words, rank by rank. Times are in steps.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.text import Corpus
from benchmarks.studies.solved_embeddings.scores import Path, foretold, scores
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import embeddings, predictions
from benchmarks.theory.modes import Modes

WORD = re.compile(r"[a-z']+")
# Of the free logits: readings, the unit of time and its growth from one to the next.
LAYER_STEPS, LAYER_START, LAYER_GROWTH = 400, 0.02, 1.025
LEAST_MODES = 3


@dataclass(frozen=True)
class Text:
    """What the losses need of a text.

    Attributes:
        joint_VxV: float64, the probability of a pair, symmetric.
        target_VxV: M of `embeddings.quadratic_target`.
        likely_VxV: float64, the probability that a drawn pair is one of the text.
    """

    joint_VxV: np.ndarray
    target_VxV: np.ndarray

    @classmethod
    def of(cls, ids_N: np.ndarray, vocabulary: int, window: int, subsample: float) -> "Text":
        joint_VxV = pairs(ids_N, vocabulary, window, subsample)
        return cls(joint_VxV, embeddings.quadratic_target(joint_VxV))

    @property
    def likely_VxV(self) -> np.ndarray:
        return 0.5 + self.target_VxV / 4

    @property
    def unigram_V(self) -> np.ndarray:
        return self.joint_VxV.sum(1)


@tidy
def run(settings, seeds: Sequence[int], corpus: Corpus, tick: Callable[[int, int], None]) -> Iterator[Result]:
    """Train all systems and score them. Quantities: see the data card.

    Raises:
        ValueError: for a text with fewer words than the vocabulary, or without three modes above the noise.
    """
    ids_N = words(corpus.train, settings.vocabulary)
    text = _text(ids_N, settings)
    basis_VxK, modes, floor = modes_of(text, _text(_permuted(ids_N, 0), settings), settings.modes)
    known = {"noise_floor": floor}
    layers = {kind: scores(_layer(text, basis_VxK, of), modes) for kind, of in _weights(text).items()}

    def solved(path: Path, start: Tensor) -> dict[str, float]:
        first_K = embeddings.aligned_start(basis_VxK.T @ start.numpy())
        return foretold(path.half_times(modes), embeddings.word_half_times(modes.s_K, first_K) / settings.rate)

    start = _aligned(basis_VxK, settings)
    path = _full(text, basis_VxK, start, settings, logistic=False)
    yield "aligned", None, known | scores(path, modes) | solved(path, start)
    for done, seed in enumerate(seeds):
        tick(done, len(seeds))
        generator = torch.Generator().manual_seed(seed)
        unit_VxD = torch.randn(settings.vocabulary, settings.width, generator=generator, dtype=torch.float64)
        shuffled = _text(_permuted(ids_N, seed), settings)

        small = unit_VxD * settings.small
        model = _full(text, basis_VxK, small, settings, logistic=False)
        yield "word2vec/small", seed, known | scores(model, modes) | solved(model, small)
        net, random = (_full(of, basis_VxK, small, settings, logistic=True) for of in (text, shuffled))
        yield "word2vec-small", seed, known | scores(net, modes, model)
        yield "word2vec-small/random", seed, scores(random, modes)
        yield "word2vec-small/layer", seed, layers["one"]

        uniform = torch.rand(unit_VxD.shape, generator=generator, dtype=torch.float64) - 0.5
        for name, start in (
            ("word2vec", uniform / settings.width),
            ("word2vec-large", unit_VxD / settings.width**0.5),
        ):
            net, twin = (_sampled(text, basis_VxK, start, settings, seed, logistic) for logistic in (True, False))
            yield name, seed, known | scores(net, modes, twin)
            yield f"{name}/twin", seed, scores(twin, modes) | solved(twin, start)
            random = _sampled(shuffled, basis_VxK, start, settings, seed, True)
            yield f"{name}/random", seed, scores(random, modes)
            yield f"{name}/layer", seed, layers["drawn"]
    tick(len(seeds), len(seeds))


def words(text: str, vocabulary: int) -> np.ndarray:
    """The text's words in lower case, as ranks by frequency; those that are not among the most frequent are left out.

    Raises:
        ValueError: if the text has fewer words than the vocabulary.
    """
    found = WORD.findall(text.lower())
    counted = Counter(found)
    if len(counted) < vocabulary:
        raise ValueError(f"a vocabulary of {vocabulary} words from a text with {len(counted)} different ones")
    rank = {word: place for place, (word, _) in enumerate(counted.most_common(vocabulary))}
    return np.array([rank[word] for word in found if word in rank])


def pairs(ids_N: np.ndarray, vocabulary: int, window: int, subsample: float) -> np.ndarray:
    """The probability of two words within a window, V x V and symmetric.

    As in word2vec.c: words at distance o count window + 1 - o times, and a word with the share f of the text is kept
    with the probability (sqrt(f / s) + 1) s / f, s being ``subsample``. Here the words left out keep their places.
    """
    counts_V = np.bincount(ids_N, minlength=vocabulary)
    share_V = counts_V / counts_V.sum()
    keep_V = np.minimum(1, (np.sqrt(share_V / subsample) + 1) * subsample / share_V)
    joint = np.zeros(vocabulary**2)
    for apart in range(1, window + 1):
        flat = ids_N[:-apart] * vocabulary + ids_N[apart:]
        joint += (window + 1 - apart) * np.bincount(flat, minlength=vocabulary**2)
    joint = joint.reshape(vocabulary, vocabulary) * np.outer(keep_V, keep_V)
    return (joint + joint.T) / (2 * joint.sum())


def _weights(text: Text) -> dict[str, np.ndarray]:
    """What each pair of words weighs: one, or as often as it is drawn."""
    together = text.joint_VxV + np.outer(text.unigram_V, text.unigram_V)
    return {"one": np.ones_like(together), "drawn": together}


def modes_of(text: Text, permuted: Text, count: int) -> tuple[np.ndarray, Modes, float]:
    """The eigenvectors of the real target that exceed those of permuted words rank by rank, V x K; the modes of their
    eigenvalues; the largest eigenvalue of permuted words.

    Raises:
        ValueError: if fewer than three do.
    """
    s_V, basis = np.linalg.eigh(text.target_VxV)
    noise_V = np.linalg.eigvalsh(permuted.target_VxV)
    s_K, noise_K = s_V[::-1][:count], noise_V[::-1][:count]
    above = int(np.argmin(np.append(s_K > noise_K, False)))
    if above < LEAST_MODES:
        raise ValueError(f"{above} modes of the text exceed those of permuted words; at least {LEAST_MODES} are needed")
    return basis[:, ::-1][:, :above], Modes.of(np.diag(s_K[:above]), above), float(noise_K[0])


def _text(ids_N: np.ndarray, settings) -> Text:
    return Text.of(ids_N, settings.vocabulary, settings.window, settings.subsample)


def _permuted(ids_N: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(ids_N)


def _aligned(basis_VxK: np.ndarray, settings) -> Tensor:
    """Each mode with the size that small random vectors give it."""
    start = torch.zeros(settings.vocabulary, settings.width, dtype=torch.float64)
    start[:, : basis_VxK.shape[1]] = torch.from_numpy(basis_VxK.copy()) * settings.small * settings.width**0.5
    return start


def _full(text: Text, basis_VxK: np.ndarray, start: Tensor, settings, logistic: bool) -> Path:
    """Gradient descent on the loss of all pairs with weights of one; |W W' - M|^2 / 4, or four times the skip-gram's,
    whose quadratic part that is."""
    dtype = torch.float32 if logistic else torch.float64
    vectors = start.to(dtype)
    likely, target = (torch.from_numpy(of).to(dtype) for of in (text.likely_VxV, text.target_VxV))
    reader = _Reader(basis_VxK, vectors, text)
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            reader.read(step, vectors)
        if logistic:
            residual = torch.sigmoid(vectors @ vectors.T) - likely
            vectors = vectors - 4 * settings.rate * residual @ vectors
        else:
            vectors = vectors + settings.rate * (target @ vectors - vectors @ (vectors.T @ vectors))
    return reader.path


def _sampled(text: Text, basis_VxK: np.ndarray, start: Tensor, settings, seed: int, logistic: bool) -> Path:
    """Stochastic gradient descent: each step draws pairs of the text and as many of chance.

    The learning rate of a pair, rate V^2 / batch, makes the expected step that of the full gradient whose weights have
    the mean one.
    """
    generator = torch.Generator().manual_seed(seed)
    size, vocabulary = settings.batch, settings.vocabulary
    pair_rate = settings.rate * vocabulary**2 / size
    together = torch.from_numpy(np.cumsum(text.joint_VxV.ravel()))
    alone = torch.from_numpy(np.cumsum(text.unigram_V))
    label = torch.cat([torch.ones(size), torch.zeros(size)])
    vectors = start.float()
    reader = _Reader(basis_VxK, vectors, text)

    def drawn(cumulated: Tensor, count: int) -> Tensor:
        uniform = torch.rand(count, generator=generator, dtype=torch.float64) * cumulated[-1]
        return torch.searchsorted(cumulated, uniform).clamp(max=len(cumulated) - 1)

    for step in range(settings.batch_steps + 1):
        if step % settings.every == 0:
            reader.read(step, vectors)
        cells, chance = drawn(together, size), drawn(alone, 2 * size)
        first = torch.cat([cells // vocabulary, chance[:size]])
        second = torch.cat([cells % vocabulary, chance[size:]])
        one, other = vectors[first], vectors[second]
        logits = (one * other).sum(1)
        predicted = torch.sigmoid(logits) if logistic else 0.5 + logits / 4
        pull = (pair_rate * (label - predicted))[:, None]
        vectors = vectors.index_add(0, first, pull * other).index_add(0, second, pull * one)
    return reader.path


def _layer(text: Text, basis_VxK: np.ndarray, weights_VxV: np.ndarray) -> Path:
    """A matrix of free logits from zero, at steps that grow by 2 % and that no pair makes unstable."""
    likely, weight = (torch.from_numpy(of).float() for of in (text.likely_VxV, weights_VxV))
    weight = weight / weight.mean()
    basis = torch.from_numpy(basis_VxK.copy()).float()
    logits = torch.zeros_like(likely)
    path = Path()
    for step in range(LAYER_STEPS + 1):
        time = LAYER_START * (LAYER_GROWTH**step - 1)
        path.read(time, (basis.T @ logits @ basis).double().numpy())
        moved = (LAYER_START * (LAYER_GROWTH - 1) * LAYER_GROWTH**step) * weight
        # At most half of the way at once, where the curvature of a logit is at most a quarter.
        logits = logits - moved.clamp(max=2.0) * (torch.sigmoid(logits) - likely)
    return path


class _Reader:
    """A path under construction: U' W W' U on the modes, the rank of the change, the distance to the target on them."""

    def __init__(self, basis_VxK: np.ndarray, start: Tensor, text: Text):
        self.path = Path()
        self._basis_VxK, self._start = basis_VxK, start.double().numpy()
        self._target = np.diag(basis_VxK.T @ text.target_VxV @ basis_VxK)

    def read(self, step: int, vectors: Tensor) -> None:
        now = vectors.double().numpy()
        held_KxD = self._basis_VxK.T @ now
        map_KxK = held_KxD @ held_KxD.T
        loss = np.square(map_KxK - np.diag(self._target)).sum()
        self.path.read(step, map_KxK, predictions.effective_rank(now - self._start) if step else np.nan, loss)
