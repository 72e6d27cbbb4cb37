"""Planted modes in a text (T9): K pairs of marker tokens, each of which shifts the character after it.

After marker +k or -k comes one of eight answers, answer j with probability (1 +- s_k h_k(j)) / 8, with h_k orthogonal
rows of signs that sum to zero. All markers are equally frequent: inputs have the same variance along every mode, and
the strength lies in the correlation alone. Markers and answers are tokens that the text does not have. Were characters
the answers, the text itself would teach a network to tell them apart, and its last layer would have the contrasts
before a marker needs them.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from scipy.linalg import hadamard
from torch import Tensor

from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.text import Corpus, Tokens, characters, windows
from benchmarks.studies.carry_over.task import Task
from benchmarks.studies.planted_modes.planted import Planted, planned, ranks, results, strengths
from benchmarks.studies.table import Result, tidy

# Windows to train on begin so many tokens apart.
STRIDE = 16
ANSWERS = 8
# Of a mode's strength, which is what its amplitude ends at: a mode with less has not been learned.
LEAST = 0.5


@tidy
def run(settings, seeds: Sequence[int], corpus: Corpus, compute, tick: Callable[[int, int], None]) -> Iterator[Result]:
    """Networks by their names in the settings, on falling strengths; ``NAME/swap`` and ``/equal`` on other data;
    ``/layer``, a single layer under the network's recipe, ``/lazy``, the network to first order, and ``/small``, its
    zero-layer model from small weights, beside it. Quantities: see the data card.

    Raises:
        ValueError: for a network with another vocabulary than the characters, two markers a mode and eight answers; or
            a text shorter than the windows that are asked of it.
    """
    tokens = characters(corpus)
    total = sum(
        len(seeds[: network.seeds]) * sum(planned(network, False).values()) for network in settings.networks.values()
    )
    before = 0
    for name, network in settings.networks.items():

        def along(done: int, before: int = before) -> None:
            tick(before + done, total)

        mine = seeds[: network.seeds]
        make = partial(plant, settings, network, tokens)
        yield from results(name, network, settings, mine, make, compute, along, level=False)
        before += len(mine) * sum(planned(network, False).values())


def plant(settings, network, tokens: Tokens, data: str, seed: int) -> Planted:
    """Next-token prediction on a text with a seed's markers planted in it."""
    V, L, K = len(tokens.vocabulary), settings.context, settings.modes
    vocabulary = V + 2 * K + ANSWERS
    if getattr(network.architecture, "vocabulary", vocabulary) != vocabulary:
        raise ValueError(
            f"{V} characters, {2 * K} markers and {ANSWERS} answers need a vocabulary of {vocabulary}, not "
            f"{network.architecture.vocabulary}"
        )
    s_K = strengths(settings, network, data)
    generator = np.random.default_rng(seed)
    answers = V + 2 * K + np.arange(ANSWERS)
    contrasts_KxA = hadamard(ANSWERS)[1 + generator.permutation(ANSWERS - 1)[:K]]
    train_N, test_N = (
        marked(ids, s_K, contrasts_KxA, answers, V, settings.every, generator)
        for ids in (tokens.train_N, tokens.validation_N)
    )
    starts = np.arange(0, len(train_N) - L, STRIDE)
    if len(starts) < network.batch_size or len(test_N) < L + 2:
        raise ValueError(f"a text of {len(train_N)} and {len(test_N)} tokens is too short for windows of {L}")
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(x)) for x in windows(train_N, starts, L))
    held = np.linspace(0, len(test_N) - L - 1, settings.read).astype(int)
    test, test_targets = (torch.from_numpy(x.copy()) for x in windows(test_N, held, L))
    # Each window with every marker in its last place: window, mode, sign.
    intervened = test.repeat_interleave(2 * K, dim=0)
    intervened[:, -1] = torch.arange(V, V + 2 * K).repeat(settings.read)
    return Planted(
        Task(
            inputs=inputs,
            targets=targets,
            batches=Minibatches([seed], examples=len(inputs), size=network.batch_size),
            shape=(L,),
            outputs=vocabulary,
            tokens=vocabulary,
            read_inputs=intervened,
            read_targets=test_targets.repeat_interleave(2 * K, dim=0),
            maps=lambda probabilities: amplitudes(probabilities[:, -1], contrasts_KxA, answers),
            modes=ranks(K),
            floor=0.0,
            test_inputs=test,
            test_targets=test_targets,
            linear=torch.full((test_targets.numel(),), int(np.bincount(train_N).argmax())),
        ),
        s_K,
        LEAST * s_K,
    )


def marked(
    ids_N: np.ndarray,
    s_K: np.ndarray,
    contrasts_KxA: np.ndarray,
    answers_A: np.ndarray,
    vocabulary: int,
    every: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """The text with one marker in each stretch of ``every`` tokens, all equally likely, and an answer after it.

    Marker +k is token ``vocabulary`` + 2 (k - 1), -k the one after.
    """
    marked_N = ids_N.copy()
    stretches = np.arange(0, len(ids_N) - every + 1, every)
    places = stretches + generator.integers(every - 1, size=len(stretches))
    modes, minus = generator.integers(len(s_K), size=len(places)), generator.integers(2, size=len(places))
    signed = (1 - 2 * minus) * s_K[modes]
    chances = (1 + signed[:, None] * contrasts_KxA[modes]) / contrasts_KxA.shape[1]
    drawn = (generator.random(len(places))[:, None] > np.cumsum(chances, axis=1)[:, :-1]).sum(1)
    marked_N[places], marked_N[places + 1] = vocabulary + 2 * modes + minus, answers_A[drawn]
    return marked_N


def amplitudes(probabilities_NxV: Tensor, contrasts_KxA: np.ndarray, answers_A: np.ndarray) -> np.ndarray:
    """K x 1, in float64: a mode's strength where the network has learned it, 0 where a marker says nothing.

    Of the probabilities given that one of the answers follows: that any of them does is common to all markers, and is
    learned on a time of its own.

    Args:
        probabilities_NxV: after the markers: window, mode, sign.
    """
    of_answers = probabilities_NxV[:, torch.from_numpy(answers_A)].double().numpy()
    of_answers = of_answers / of_answers.sum(1, keepdims=True)
    by_sign = of_answers.reshape(-1, len(contrasts_KxA), 2, len(answers_A)).mean(0)
    return ((by_sign[:, 0] - by_sign[:, 1]) / 2 * contrasts_KxA).sum(1, keepdims=True)
