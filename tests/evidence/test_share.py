"""The carry-over share from scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence import share
from benchmarks.evidence.statistics import Interval

SEEDS = range(1, 6)
NOISE = np.array([-0.02, 0.01, 0.0, 0.015, -0.005])


def scores(network=0.8, reference=1.0, null=0.0, quantity="rank_growth", lacking=()):
    levels = {"a": network, "a/small": reference, "a/random": null, "a/lazy": null}
    rows = [
        (system, seed, quantity, level + shift)
        for system, level in levels.items()
        for seed, shift in zip(SEEDS, NOISE[::-1] if system == "a/small" else NOISE)
        if (system, seed) not in lacking
    ]
    rows += [("a", seed, "steps", 100.0) for seed in SEEDS] + [("a", seed, "test_accuracy", 0.5) for seed in SEEDS]
    return pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])


def row(prediction="rank", **given):
    return next(one for one in share.rows(scores(**given), "a", "a") if one["prediction"] == prediction)


@pytest.mark.parametrize(
    ("network", "word"), [(1.0, "carries over"), (0.8, "carries over"), (0.3, "partly"), (0.0, "does not")]
)
def test_the_share_is_one_at_the_reference_and_zero_at_the_null(network, word):
    found = row(network=network)
    assert found["share"] == pytest.approx(network, abs=0.02) and found["word"] == word
    assert found["share_low"] <= found["share"] <= found["share_high"] and found["n"] == 5


def test_a_reference_like_the_null_cannot_be_asked_about():
    found = row(reference=0.001, null=0.0, network=0.4)
    assert found["word"] == "cannot be asked" and "does not exceed the null" in found["why"]


@pytest.mark.parametrize(
    ("system", "who"), [("a", "the network"), ("a/small", "the reference"), ("a/lazy", "the null")]
)
def test_a_mode_that_never_passes_half_cannot_be_asked_about(system, who):
    found = row("order", quantity="timing_slope", lacking={(system, 3)})
    assert found["word"] == "cannot be asked" and found["why"] == f"a mode never passes half in {who}"


def test_a_path_of_its_own_twin_carries_over():
    assert row("path", network=0.97, quantity="path")["word"] == "carries over"


@pytest.mark.parametrize(
    ("wide", "narrow", "word"),
    [
        ((0.51, 2.0), (0.6, 1.9), "carries over"),
        ((-1.0, 0.19), (-0.9, 0.1), "does not"),
        ((0.21, 0.49), (0.25, 0.45), "partly"),
        ((0.15, 0.85), (0.21, 0.79), "partly"),
        ((0.1, 0.9), (0.15, 0.85), "undecided"),
    ],
)
def test_words(wide, narrow, word):
    assert share.word(Interval(*wide), Interval(*narrow)) == word


def test_without_a_bounded_interval_nothing_is_decided():
    assert share.word(None, None) == "undecided"
