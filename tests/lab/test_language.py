"""Contests on a text: their losses against sums written out, their protocol against that of the other contests."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from benchmarks.lab import datasets, text
from benchmarks.lab.problem import stack_parameters
from benchmarks.studies.optimizer_comparison import contest, language, tasks
from benchmarks.studies.optimizer_comparison.study import Contest, Extra, Workload
from benchmarks.studies.schema import Compute, resolve

COMPUTE = Compute(device="cpu", dtype="float64", threads=1, chunk_size=25)
SMALL = {
    "data": {"name": "text", "length": 5, "train": 12, "validation": 4, "test": 3},
    "architecture": {"name": "gpt", "width": 4, "heads": 1, "layers": 1, "vocabulary": 4},
    "batch_size": 6,
    "steps": 4,
    "warmup": 0,
    "decay": True,
    "factors": [],
    "factor_seeds": 1,
    "curvature_examples": 3,
}
GENERATED = {
    "data": {"name": "imbalanced", "size": 3, "balanced": False},
    "architecture": {"name": "mlp", "hidden": [], "activation": "identity"},
    "batch_size": 5,
    "factors": [0.25, 4],
}
PROTOCOL = {"trials": 3, "tuning_seed": 1000, "space_seed": 0, "seeds": [1, 2], "marks": 2}
NO_IMAGES = datasets.Images(*[torch.zeros(0)] * 4, classes=0)


@pytest.fixture(autouse=True, scope="module")
def versions_are_looked_up_once():
    """It takes longer than a contest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_version", cache(contest._version))
        yield


def workload_of(**changes):
    return Workload.model_validate(resolve(SMALL, changes))


def letters(characters: int = 600) -> text.Corpus:
    """Four letters in no order: a for one half, b for a quarter, c and d."""
    drawn = np.random.default_rng(0).choice(list("abcd"), characters, p=[0.5, 0.25, 0.15, 0.1])
    return text.split("".join(drawn))


def settings(optimizer: dict, space: dict, **workload) -> Contest:
    given = {"protocol": PROTOCOL, "workload": workload_of(**workload).model_dump()}
    return Contest.model_validate({**given, "optimizer": optimizer, "space": space})


@pytest.mark.parametrize("optimizer", ["sgd", "blockwise_sgd", "hopeless"])
def test_the_protocol_is_that_of_the_other_contests(optimizer):
    lr = [1e200, 1e300] if optimizer == "hopeless" else [0.05, 1.0]
    name = "sgd" if optimizer == "hopeless" else optimizer
    asked = settings({"name": name}, {"lr": {"log": lr}, "momentum": {"one_minus": [0.02, 0.5]}}, **GENERATED)
    ticks: dict[str, list] = {"one": [], "other": []}
    one = contest.run(asked, NO_IMAGES, COMPUTE, lambda *done: ticks["one"].append(done))
    other = language.contested(
        asked,
        lambda seed: tasks.build(asked.workload, NO_IMAGES, seed, COMPUTE),
        lambda *done: ticks["other"].append(done),
    )
    assert set(one.rows["role"]) == ({"trial"} if optimizer == "hopeless" else {"trial", "final", "factor"})
    pd.testing.assert_frame_equal(one.rows, other.rows, check_exact=True)
    pd.testing.assert_frame_equal(one.curves, other.curves, check_exact=True)
    assert one.facts == other.facts and list(one.facts) == list(other.facts)
    assert ticks["one"] == ticks["other"]


def test_losses_are_means_over_positions():
    """Without layers the logits of a position are a row of one matrix, so that pairs of tokens decide everything."""
    corpus = letters()
    bigrams = {**workload_of().architecture, "layers": 0}
    task = language.build(workload_of().model_copy(update={"architecture": bigrams}), corpus, 1, COMPUTE)
    embedding_VxW, unembedding_VxW = (p.detach().numpy() for p in task.network.parameters())
    logits_VxV = embedding_VxW @ unembedding_VxW.T
    losses_VxV = np.log(np.exp(logits_VxV).sum(1, keepdims=True)) - logits_VxV
    for split, (inputs_NxL, targets_NxL) in task.splits.items():
        pairs = list(zip(inputs_NxL.flatten().tolist(), targets_NxL.flatten().tolist()))
        losses = np.array([losses_VxV[pair] for pair in pairs])
        scores = task.evaluate(stack_parameters([task.network]), split)
        assert scores["loss"] == pytest.approx(losses.mean(), rel=1e-12)
        assert scores["accuracy"] == pytest.approx(np.mean([logits_VxV[a].argmax() == b for a, b in pairs]))
        # The most frequent token, the next two, the last: a; b and c; d.
        groups = np.array([[0, 1, 1, 2][b] for _, b in pairs])
        expected = [losses[groups == g].mean() if g in groups else np.nan for g in range(3)]
        assert scores["group_losses"].tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    point = task.problem.at(stack_parameters([task.network]))
    assert float(point.losses_R[0]) == pytest.approx(task.evaluate(stack_parameters([task.network]), "train")["loss"])
    assert task.part(3).examples == 3 and task.problem.chunk_size == 5


def test_windows_lie_in_their_part_of_the_text_at_equal_distances():
    corpus = text.Corpus("".join(map(chr, range(100, 200))), "".join(map(chr, range(200, 251))))
    workload = workload_of(architecture={"vocabulary": 151})
    first, other = (language.build(workload, corpus, seed, COMPUTE) for seed in (1, 2))
    starts = {name: inputs[:, 0].tolist() for name, (inputs, _) in first.splits.items()}
    # Tokens are numbered from 0 on in the text's order: 0-99 train, 100-124 validate, 125-150 test.
    assert starts["validation"] == [100, 106, 112, 119] and starts["test"] == [125, 135, 145]
    assert (starts["train"][0], starts["train"][-1]) == (0, 94) and set(np.diff(starts["train"])) == {8, 9}
    for name, (inputs, targets) in first.splits.items():
        assert torch.equal(inputs + 1, targets) and torch.equal(inputs, inputs[:, :1] + torch.arange(5)), name
        assert torch.equal(inputs, other.splits[name][0])
    assert first.splits["validation"][1].max() < 125 <= first.splits["test"][0].min()
    embeddings = [next(task.network.parameters()) for task in (first, other)]
    assert not torch.isclose(*embeddings).any()


def test_more_windows_than_there_are_is_one_clear_error():
    with pytest.raises(ValueError, match="6 windows for validation asked for: the text has 5 of 5 tokens there"):
        language.build(workload_of(data={"validation": 6}), letters(), 1, COMPUTE)
    with pytest.raises(ValueError, match="a gpt has a logit for each of the 7 tokens, not 4"):
        language.build(workload_of(architecture={"vocabulary": 7}), letters(), 1, COMPUTE)


def test_a_contest_learns_what_follows_what():
    corpus = text.split("abcd" * 150)
    asked = settings({"name": "adam"}, {"lr": {"log": [0.02, 0.05]}}, architecture={"width": 8}, steps=100)
    made = language.run(asked, corpus, COMPUTE)
    finals = made.rows[made.rows["role"] == "final"]
    assert (finals["objective"] == finals["validation_loss"]).all() and set(finals["seed"]) == {1, 2}
    assert (finals[["validation_loss", "test_loss", "train_loss"]] < 0.3).all(axis=None)
    assert (finals[["validation_accuracy", "test_accuracy"]] > 0.9).all(axis=None)
    assert finals["sharpness_end"].notna().all()


def test_an_extra_is_on_no_text():
    with pytest.raises(ValidationError, match="does not match any of the expected tags: 'images', 'imbalanced', 'tok"):
        Extra.model_validate(SMALL)
