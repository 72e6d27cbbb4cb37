"""Run module: a system that predicts the next character of a text, and the networks beside it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.text import Corpus, Tokens, bigrams, characters, windows
from benchmarks.studies.carry_over.task import Task, above_noise
from benchmarks.studies.carry_over.training import run_system
from benchmarks.studies.table import Runs

# Windows to train on begin so many tokens apart; those to test on do not overlap.
STRIDE = 16
# What the next order's model counts for, in pairs or triples (additive smoothing towards it).
PSEUDOCOUNTS = 1.0
DRAWS = 5
# How often a character of a flat chain is followed by its own successor.
FOLLOWS = 0.5


def run(settings, seeds: Sequence[int], corpus: Corpus, compute, tick: Callable[[int, int], None]) -> Runs:
    """Train and score one system.

    Args:
        settings: `System` of study.py, on a text.

    Raises:
        ValueError: for a text shorter than the windows that are asked of it, or a network that does not fit.
    """
    tokens = characters(corpus)
    return run_system(settings, seeds, lambda seed: task(settings, tokens, seed), compute, tick)


def task(settings, tokens: Tokens, seed: int) -> Task:
    """Next-token prediction with the seed's batches, and where the text is drawn anew, its fifth of the text."""
    data, V = settings.data, len(tokens.vocabulary)
    generator = np.random.default_rng(seed)
    train_N, test_N = (ordered(ids, data.order, V, seed) for ids in (tokens.train_N, tokens.validation_N))
    if data.draw:
        parts = np.array_split(train_N, DRAWS)
        if seed > len(parts):
            raise ValueError(f"there are {DRAWS} draws of the text, and seed {seed} asks for another")
        train_N = parts[seed - 1]
    L = data.context
    starts = {
        "train": np.arange(0, len(train_N) - L, STRIDE),
        "read": np.linspace(0, len(train_N) - L - 1, data.read).astype(int),
        "test": np.linspace(1, len(test_N) - L - 1, data.read).astype(int),
    }
    if len(starts["train"]) < settings.batch_size or len(test_N) < L + 2:
        raise ValueError(f"a text of {len(train_N)} and {len(test_N)} tokens is too short for windows of {L}")
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(x)) for x in windows(train_N, starts["train"], L))
    read, read_targets = (torch.from_numpy(x.copy()) for x in windows(train_N, starts["read"], L))
    test, test_targets = (torch.from_numpy(x.copy()) for x in windows(test_N, starts["test"], L))
    pairs = bigrams(train_N, V)
    weight_V = np.sqrt(pairs.unigram_V) * np.isin(np.arange(V), read.numpy())
    unrelated = [bigrams(generator.permutation(train_N), V).conditional_VxV.T * weight_V for _ in range(DRAWS)]
    # The first mode of unrelated text is how frequent characters are; what is left of it is noise.
    leading = np.outer(pairs.unigram_V, weight_V)
    modes, floor = above_noise(pairs.conditional_VxV.T * weight_V, [one - leading for one in unrelated], settings.modes)
    models = ngrams(train_N, V)
    before = torch.from_numpy(test_N[starts["test"][:, None] + np.arange(L) - 1])
    return Task(
        inputs=inputs,
        targets=targets,
        batches=Minibatches([seed], examples=len(inputs), size=settings.batch_size),
        shape=(L,),
        outputs=V,
        tokens=V,
        read_inputs=read,
        read_targets=read_targets,
        maps=lambda probabilities_NxLxV: by_token(probabilities_NxLxV, read, weight_V),
        modes=modes,
        floor=floor,
        test_inputs=test,
        test_targets=test_targets,
        linear=models["bigram"][test].argmax(-1).reshape(-1),
        references={
            "unigram": models["unigram"].expand(*test.shape, V),
            "bigram": models["bigram"][test],
            "trigram": models["trigram"][before, test],
        },
    )


def ordered(ids_N: np.ndarray, order: str, vocabulary: int, seed: int) -> np.ndarray:
    """The text as it is (natural), or as long a chain in which every mode but that of frequencies has the same strength
    (flat): each character is followed by one of its own every other time, else by any."""
    if order == "natural":
        return ids_N
    generator = np.random.default_rng(seed)
    successor = generator.permutation(vocabulary)
    chain, follows = generator.integers(vocabulary, size=len(ids_N)), generator.random(len(ids_N)) < FOLLOWS
    for t in np.flatnonzero(follows[1:]) + 1:
        chain[t] = successor[chain[t - 1]]
    return chain


def by_token(probabilities_NxLxV: Tensor, ids_NxL: Tensor, weight_V: np.ndarray) -> np.ndarray:
    """Mean predicted distribution after each token, a column times the token's weight: V x V, next x token."""
    V = probabilities_NxLxV.shape[-1]
    sums = torch.zeros(V, V, dtype=torch.float64)
    sums.index_add_(0, ids_NxL.reshape(-1), probabilities_NxLxV.reshape(-1, V).double())
    counts = torch.bincount(ids_NxL.reshape(-1), minlength=V).clamp(min=1)
    return (sums / counts[:, None]).numpy().T * weight_V


def ngrams(ids_N: np.ndarray, V: int) -> dict[str, Tensor]:
    """Log-probabilities of the next token: V; given one token, V x V; given two, V x V x V. The counts of each order
    are smoothed by those of the one below, as so many pseudocounts (Chen and Goodman 1999, section 2.2)."""
    unigram_V = (np.bincount(ids_N, minlength=V) + PSEUDOCOUNTS / V) / (len(ids_N) + PSEUDOCOUNTS)
    pairs = bigrams(ids_N, V).counts_VxV
    triples = np.bincount((ids_N[:-2] * V + ids_N[1:-1]) * V + ids_N[2:], minlength=V**3).reshape(V, V, V)

    def smoothed(counts: np.ndarray, below: np.ndarray) -> np.ndarray:
        return (counts + PSEUDOCOUNTS * below) / (counts.sum(-1, keepdims=True) + PSEUDOCOUNTS)

    bigram_VxV = smoothed(pairs, unigram_V)
    found = {"unigram": unigram_V, "bigram": bigram_VxV, "trigram": smoothed(triples, bigram_VxV)}
    return {name: torch.from_numpy(np.log(values)).float() for name, values in found.items()}
