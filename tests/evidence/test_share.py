"""The carry-over share from scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence import share
from benchmarks.evidence.statistics import Interval
from benchmarks.studies.carry_over import tables

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


def test_a_share_whose_interval_has_no_ends_says_so():
    """Two seeds whose reference is more than two standard errors from the null: at 95 % it could still be the null."""
    two = scores()
    two = two[two["seed"] <= 2].copy()
    of = two["system"].isin(["a/small", "a"]) & (two["quantity"] == "rank_growth")
    two.loc[of, "value"] = [0.8, 0.4, 1.2, 0.5]
    two.loc[(two["system"] == "a/random"), "value"] = 0.0
    found = next(one for one in share.rows(two, "a", "a") if one["prediction"] == "rank")
    assert found["word"] == "undecided" and np.isnan(found["share_low"]) and found["why"] == share.UNBOUNDED


@pytest.mark.parametrize(
    ("system", "who"), [("a", "the network"), ("a/small", "the reference"), ("a/lazy", "the null")]
)
def test_a_mode_that_never_passes_half_cannot_be_asked_about(system, who):
    found = row("order", quantity="timing_slope", lacking={(system, 3)})
    assert found["word"] == "cannot be asked" and found["why"] == f"a mode never passes half in {who}"


def test_a_path_of_its_own_twin_carries_over():
    assert row("path", network=0.97, quantity="path")["word"] == "carries over"


def test_a_null_with_more_of_it_than_the_reference_cannot_be_asked_about():
    """Order is a negative slope: a lazy network with a steeper one leaves nothing to carry over."""
    found = row("order", quantity="timing_slope", network=-0.3, reference=-0.6, null=-0.8)
    assert found["word"] == "cannot be asked" and "does not exceed the null" in found["why"]
    assert np.isnan(found["share"])


def test_the_null_of_order_is_the_first_that_was_trained():
    given = dict(quantity="timing_slope", network=-0.8, reference=-1.0, null=0.0)
    whole = scores(**given)
    trained = [("a/lazy", seed, "steps", 100.0) for seed in SEEDS]
    whole = pd.concat([whole, pd.DataFrame(trained, columns=whole.columns)])
    lazy = next(share.rows(whole, "a", "a"))
    layer = next(share.rows(whole.replace({"a/lazy": "a/layer"}), "a", "a"))
    assert lazy["null_is"] == "the network to first order" and layer["null_is"] == "a single layer"
    assert lazy["share"] == pytest.approx(layer["share"]) == pytest.approx(0.8, abs=0.02)


def test_the_reference_is_that_of_another_system():
    other = scores(reference=1.0).replace({"a/small": "b/small"})
    found = next(one for one in share.rows(other, "a", "b") if one["prediction"] == "rank")
    assert found["share"] == pytest.approx(0.8, abs=0.02)


def answered(*systems):
    """The answer's table for systems of which only rank and order were measured."""
    rows = []
    for name, given in systems:
        whole = pd.concat([scores(**given), scores(**{**given, "quantity": "timing_slope", "network": -0.5})])
        whole.loc[whole["quantity"] == "timing_slope", "value"] *= np.where(
            whole.loc[whole["quantity"] == "timing_slope", "system"] == "a", 1, -1
        )
        rows += [{"system": name, **one} for one in share.rows(whole.drop_duplicates(), "a", "a")]
    return pd.DataFrame(rows)


def test_three_sentences_count_what_the_table_has():
    said = share.in_three(answered(("one", {"network": 0.9}), ("two", {"network": -0.1})))
    assert len(said) == 3
    assert "2 systems" in said[0] and "rank in 1 of 2" in said[0] and "alignment" not in said[0]
    assert "order carries over in" in said[0] or "rank carries over in" in said[0]
    assert "Strong modes are learned first in 2 of the 2 systems" in said[1]
    assert "95 % interval" in said[0] and "by means over seeds without intervals" in said[1], "what is compared is said"
    assert said[2].endswith(
        "the rank of the weights' change grows no more than on targets without a relation to the inputs in 1 of 2."
    )


def test_cells_without_a_word_are_listed_with_the_reason():
    lines = share.left_open(answered(("one", {"network": 0.9})))
    assert any("alignment of one" in line and "no neighbouring layers" in line for line in lines)


def test_paths_are_told_beside_other_twins():
    paths = [
        ("a", 1, "path", 0.8),
        ("a", 1, "path_other_seed", 0.7),
        ("a", 1, "path_reversed", 0.6),
        ("b", 1, "path", 0.5),
    ]
    said = share.other_twins(pd.DataFrame(paths, columns=["system", "seed", "quantity", "value"]))
    assert said.endswith("a 0.80, 0.70 of another seed, 0.60 of the text read backwards.")
    assert share.other_twins(scores()) == ""


def test_nothing_that_was_run_can_be_asked():
    nothing = answered(("one", {"network": 0.9})).assign(word=share.CANNOT)
    assert share.in_three(nothing) == ["No prediction can be asked of any system that was run."]


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


def solved(table):
    """Scores of the study solved_embeddings by what its systems are asked; runs without a seed among them."""
    names = tables.SOLVED[table]
    main = next(iter(names))
    levels = dict.fromkeys(names, 0.6) | {f"{main}/small": 1.0} | {f"{name}/random": 0.0 for name in names}
    found = [
        (system, seed, quantity, level * size + shift)
        for system, level in levels.items()
        for quantity, size in (("rank_growth", 1.0), ("timing_slope", -1.0), ("path", 1.6), ("steps", 100.0))
        for seed, shift in zip(SEEDS, NOISE[::-1] if system.endswith("/small") else NOISE)
    ]
    layers = [(f"{name}/layer", seed) for name in names for seed in SEEDS]
    found += [(*layer, quantity, 0.0) for layer in layers for quantity in ("timing_slope", "steps")]
    found += [("aligned", np.nan, "rank_growth", 1.0)]
    return pd.DataFrame(found, columns=["system", "seed", "quantity", "value"])


@pytest.mark.parametrize("table", tables.SOLVED)
def test_systems_whose_models_are_solved_have_rows_and_say_what_cannot_be_asked(table):
    answer = pd.DataFrame(tables.solved_rows(table, solved(table)))
    assert list(dict.fromkeys(answer["system"])) == list(tables.SOLVED[table])
    assert len(answer) == len(tables.SOLVED[table]) * len(share.PREDICTIONS) and answer["network"].str.len().all()
    for row in answer.itertuples():
        why = tables.SOLVED[table][row.system].meaningless.get(row.prediction)
        if why:
            assert (row.word, row.why, row.n) == ("cannot be asked", why, 0)
        elif row.prediction == "rank":
            assert row.share == pytest.approx(0.6, abs=0.02) and row.n == 5
    assert set(answer["word"]) > {"cannot be asked"}


def test_word_vectors_are_asked_about_order_against_free_logits():
    answer = pd.DataFrame(tables.solved_rows("solved_embeddings/word2vec", solved("solved_embeddings/word2vec")))
    row = answer.set_index(["system", "prediction"]).loc[("word2vec", "order")]
    assert row["null_is"] == "a single layer" and row["share"] == pytest.approx(0.6, abs=0.02)
