"""Text as tokens: the split, characters, windows and counts, each against a loop."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.lab import text
from pipelines import markov_text, sources, text_sources

CORPUS = text.split("the cat sat on the mat; é, € and 𝛑 are characters too\n" * 3)
TOKENS = text.characters(CORPUS)


def test_nine_tenths_rounded_down_train_and_the_rest_validates():
    corpus = text.split("abcdefghijklmnopqrs")
    assert (corpus.train, corpus.validation) == ("abcdefghijklmnopq", "rs")
    for short in ("", "a"):
        with pytest.raises(ValueError, match=f"a text of {len(short)} characters cannot be split"):
            text.split(short)


def test_characters_are_tokens_in_the_order_of_code_points():
    both = CORPUS.train + CORPUS.validation
    assert TOKENS.vocabulary == tuple(sorted(set(both)))
    assert TOKENS.train_N.tolist() == [TOKENS.vocabulary.index(character) for character in CORPUS.train]
    assert TOKENS.validation_N.tolist() == [TOKENS.vocabulary.index(character) for character in CORPUS.validation]
    assert TOKENS.train_N.dtype == TOKENS.validation_N.dtype == np.int64
    assert TOKENS.decode(TOKENS.train_N) == CORPUS.train
    assert TOKENS.decode([0, 1]) == "".join(TOKENS.vocabulary[:2]) and TOKENS.decode([]) == ""
    # A character of the validating part alone has an index too.
    assert text.characters(text.Corpus("ba", "z")).validation_N.tolist() == [2]


@pytest.mark.parametrize("index", [-1, len(TOKENS.vocabulary)])
def test_an_index_that_no_token_has_is_refused(index):
    message = f"no token has the index {index}: there are {len(TOKENS.vocabulary)}"
    with pytest.raises(ValueError, match=message):
        TOKENS.decode([0, index])
    with pytest.raises(ValueError, match=message):
        text.bigrams(np.array([0, index, 0]), len(TOKENS.vocabulary))


@pytest.mark.parametrize("length", [1, 5])
def test_windows_are_those_of_a_loop_and_share_one_copy(length):
    ids, last = TOKENS.train_N, len(TOKENS.train_N) - length - 1
    starts_RxN = np.array([[0, 7, last], [3, 3, 0]])
    inputs, targets = text.windows(ids, starts_RxN, length)
    assert inputs.shape == targets.shape == (2, 3, length)
    for run, row in enumerate(starts_RxN):
        for n, start in enumerate(row):
            for position in range(length):
                assert inputs[run, n, position] == ids[start + position]
                assert targets[run, n, position] == ids[start + position + 1]
    assert inputs.base is targets.base and inputs.base.size == 6 * (length + 1)
    assert not np.shares_memory(inputs, ids), "who writes into a window leaves the text as it is"
    flat, _ = text.windows(ids, starts_RxN[0], length)
    np.testing.assert_array_equal(flat, inputs[0])


def test_a_window_that_does_not_lie_in_the_text_is_refused():
    ids = np.arange(10)
    assert text.windows(ids, [0], 9)[1][0, -1] == 9
    for starts, length, message in (
        ([0, 5], 5, "a window of 5 tokens and the one after it cannot start at 5 of 10"),
        ([-1], 5, "cannot start at -1 of 10"),
        ([0], 10, "a window of 10 tokens"),
        ([0], 0, "a window needs at least 1 token, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            text.windows(ids, starts, length)


def test_pairs_are_counted_as_in_a_loop_and_their_probabilities_agree():
    ids, size = TOKENS.train_N, len(TOKENS.vocabulary) + 1  # the last one never occurs
    counts = np.zeros((size, size), dtype=int)
    for first, second in zip(ids[:-1], ids[1:]):
        counts[first, second] += 1
    pairs = text.bigrams(ids, size)
    np.testing.assert_array_equal(pairs.counts_VxV, counts)
    np.testing.assert_allclose(pairs.joint_VxV, counts / (len(ids) - 1))
    np.testing.assert_allclose(pairs.unigram_V, [np.mean(ids[:-1] == token) for token in range(size)])
    one_hot = np.eye(size)[ids[1:]]
    for token in set(ids[:-1].tolist()):
        np.testing.assert_allclose(pairs.conditional_VxV[token], one_hot[ids[:-1] == token].mean(0))
    assert not pairs.conditional_VxV[-1].any()
    np.testing.assert_allclose(pairs.unigram_V[:, None] * pairs.conditional_VxV, pairs.joint_VxV)
    with pytest.raises(ValueError, match="a text of 1 tokens has no pair"):
        text.bigrams(ids[:1], size)


def test_the_generated_text_has_the_statistics_that_it_promises():
    exact = np.array(markov_text.pairs(), dtype=float)
    frequencies = 1 / np.arange(1, 28)
    for axis in (0, 1):
        np.testing.assert_allclose(exact.sum(axis), frequencies / frequencies.sum())
    spectrum = np.linalg.svd(exact - np.outer(exact.sum(1), exact.sum(0)), compute_uv=False)
    assert (spectrum[:8] / spectrum[1:9] >= 1.1).all()
    ranks = np.arange(1, 27)
    slope = np.polyfit(np.log(ranks), np.log(spectrum[:26]), 1)[0]
    assert -1.1 < slope < -0.7, "a power law near 1 / k"

    tokens = text.characters(text.split(markov_text.text()))
    order = [markov_text.ALPHABET.index(character) for character in tokens.vocabulary]
    expected = exact[np.ix_(order, order)]
    joint = text.bigrams(tokens.train_N, len(tokens.vocabulary)).joint_VxV
    # Six standard errors of each of 180,000 pairs.
    np.testing.assert_array_less(np.abs(joint - expected), 6 * np.sqrt(expected / len(tokens.train_N)) + 1e-5)
    found = np.linalg.svd(joint - np.outer(joint.sum(1), joint.sum(0)), compute_uv=False)
    np.testing.assert_allclose(found[:8], spectrum[:8], rtol=0.03)
    assert (found[:6] / found[1:7] >= 1.1).all()


def test_two_characters_back_tell_more_than_one():
    ids = np.array([markov_text.ALPHABET.index(character) for character in markov_text.text(100_000)])

    def entropy(codes):
        share = np.unique(codes, return_counts=True)[1] / len(codes)
        return -(share * np.log(share)).sum()

    pairs, triples = ids[:-1] * 27 + ids[1:], (ids[:-2] * 27 + ids[1:-1]) * 27 + ids[2:]
    after_one, after_two = entropy(pairs) - entropy(ids), entropy(triples) - entropy(pairs)
    assert entropy(ids) - after_one > 0.5 and after_one - after_two > 0.05  # nats


def test_nothing_here_loads_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import benchmarks.lab.text, sys; print('torch' in sys.modules)"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n", done.stderr


def test_tiny_shakespeare_is_what_its_card_says():
    root = Path(__file__).parents[2]
    place = Path(os.environ.get("TINYSHAKESPEARE") or root / "data/raw")
    try:
        content = text_sources.from_place(place)
    except sources.DataError as missing:
        pytest.skip(str(missing))
    corpus = text.split(content.decode())
    tokens = text.characters(corpus)
    assert len(content) == text_sources.BYTES == 1_115_394
    assert (len(tokens.train_N), len(tokens.validation_N)) == (1_003_854, 111_540)
    assert len(tokens.vocabulary) == 65 and tokens.vocabulary[:3] == ("\n", " ", "!")
    assert set(corpus.train) == set(tokens.vocabulary)
