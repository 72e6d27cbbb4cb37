"""Word vectors and Barlow Twins: closed forms against the flow, minibatches against expectations, and bad input."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.integrate import solve_ivp

from benchmarks.lab.datasets import Images
from benchmarks.lab.text import Corpus
from benchmarks.studies.solved_embeddings import barlow, scores, word2vec
from benchmarks.studies.solved_embeddings.study import Barlow, Word2vec
from benchmarks.studies.table import COLUMNS
from benchmarks.theory import embeddings
from benchmarks.theory.modes import Modes

WORDS = {
    "seeds": 1,
    "vocabulary": 30,
    "window": 3,
    "subsample": 0.01,
    "width": 8,
    "modes": 4,
    "small": 1e-4,
    "rate": 2e-3,
    "steps": 1000,
    "batch": 64,
    "batch_steps": 100,
    "every": 10,
}
VIEWS = {
    "seeds": 1,
    "images": 60,
    "pool": 1,
    "padding": 1,
    "read": 40,
    "components": 12,
    "width": 3,
    "channels": [4, 6],
    "small": 0.6,
    "batch": 30,
    "rate": 0.02,
    "momentum": 0.0,
    "steps": 40,
    "every": 10,
    "linear": {"small": 1e-2, "step": 0.02, "steps": 4000, "every": 10},
}


def value(table, system, quantity):
    assert list(table) == COLUMNS
    (found,) = table[(table.system == system) & (table.quantity == quantity)].value
    return found


@pytest.fixture(scope="module")
def corpus():
    """Five groups of 2 to 10 words; a group speaks ten words at a time, so that each larger one is a stronger mode."""
    generator = np.random.default_rng(0)
    first, sizes = np.array([0, 2, 6, 12, 20]), np.array([2, 4, 6, 8, 10])
    groups = np.repeat(generator.integers(5, size=1500), 10)
    ranks = first[groups] + (sizes[groups] * generator.random(len(groups))).astype(int)
    return Corpus(" ".join("abcdefghijklmnopqrstuvwxyz"[rank % 26] + "x" * (rank // 26) for rank in ranks), "")


@pytest.fixture(scope="module")
def images():
    """Smooth random images, so that two crops of one are alike."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(60, 1, 3, 3, generator=generator)
    inputs = torch.nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear")
    labels = torch.zeros(60, dtype=torch.int64)
    return Images(inputs, labels, inputs, labels, 2)


def target_of(strengths, size, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    whole = np.concatenate([strengths, -np.linspace(0.1, 1, size - len(strengths))])
    return (basis * whole) @ basis.T, basis[:, : len(strengths)]


def test_the_riccati_solution_is_the_flow_of_the_quadratic_model():
    target, _ = target_of([3.0, 1.5], 6)
    start = 0.3 * np.random.default_rng(1).normal(size=(6, 3))

    def flow(_, flat):
        vectors = flat.reshape(6, 3)
        return ((target - vectors @ vectors.T) @ vectors).ravel()

    end = solve_ivp(flow, (0, 1.2), start.ravel(), rtol=1e-10, atol=1e-12).y[:, -1].reshape(6, 3)
    np.testing.assert_allclose(embeddings.word_gram(start, target, 1.2), end @ end.T, atol=1e-8)


def test_small_random_weights_pass_half_when_the_aligned_start_says():
    """Against the exact solution, which knows nothing of orthogonal parts."""
    strengths = np.array([2.5, 1.8, 1.2])
    target, basis = target_of(strengths, 12)
    start = 3e-3 * np.random.default_rng(2).normal(size=(12, 3))
    foretold = embeddings.word_half_times(strengths, embeddings.aligned_start(basis.T @ start))
    for k, time in enumerate(foretold):
        gram = embeddings.word_gram(start, target, time)
        assert basis[:, k] @ gram @ basis[:, k] == pytest.approx(strengths[k] / 2, rel=0.05)


def test_an_aligned_start_is_what_each_row_adds():
    np.testing.assert_allclose(embeddings.aligned_start(np.array([[3.0, 0.0], [5.0, 2.0]])), [9.0, 4.0])


def test_half_times_of_views_are_those_of_the_logistic_equation():
    gamma, first = 0.7, 1e-3
    time = float(embeddings.view_half_times(np.array([gamma]), np.array([first]))[0])
    end = solve_ivp(lambda _, c: 8 * gamma * c * (1 - c), (0, time), [first], rtol=1e-10, atol=1e-12).y[0, -1]
    assert end == pytest.approx(0.5, abs=1e-6)


def test_the_target_is_zero_for_independent_words_and_minus_two_for_words_that_never_meet():
    unigram = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(embeddings.quadratic_target(np.outer(unigram, unigram)), 0, atol=1e-12)
    assert embeddings.quadratic_target(np.diag([0.5, 0.5]))[0, 1] == -2
    with pytest.raises(ValueError, match="word 1 of the vocabulary is in no pair"):
        embeddings.quadratic_target(np.diag([1.0, 0.0]))


def test_pairs_are_counted_by_distance():
    """a b c with a window of two: neighbours count twice."""
    joint = word2vec.pairs(np.array([0, 1, 2]), 3, window=2, subsample=10.0)
    np.testing.assert_allclose(joint, np.array([[0, 2, 1], [2, 0, 2], [1, 2, 0]]) / 10)


def test_minibatches_follow_the_weighted_gradient_in_expectation(corpus):
    """One step of very many pairs against the gradient of the expected loss."""
    settings = SimpleNamespace(**WORDS | {"batch": 500_000, "batch_steps": 1, "every": 1, "rate": 1e-2})
    ids = word2vec.words(corpus.train, 30)
    text = word2vec.Text.of(ids, 30, 3, 0.01)
    basis, _, _ = word2vec.modes_of(text, word2vec.Text.of(np.random.default_rng(0).permutation(ids), 30, 3, 0.01), 4)
    start = torch.randn(30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3
    path = word2vec._sampled(text, basis, start, settings, 1, True)
    together = text.joint_VxV + np.outer(text.unigram_V, text.unigram_V)
    weight = 30**2 / 2 * together
    logits = (start @ start.T).numpy()
    residual = weight * (1 / (1 + np.exp(-logits)) - text.likely_VxV)
    after = start.numpy() - 4 * settings.rate * residual @ start.numpy()
    moved, expected = path.maps[1] - path.maps[0], basis.T @ (after @ after.T - logits) @ basis
    np.testing.assert_allclose(moved, expected, atol=0.05 * np.abs(expected).max())


def test_the_experiment_on_words(corpus):
    table = word2vec.run(SimpleNamespace(**WORDS), [1], corpus, lambda done, planned: None)
    assert value(table, "aligned", "time_error") < 0.05
    assert value(table, "word2vec/small", "time_error") < 0.1
    assert value(table, "word2vec-small", "passed_share") == 1
    assert value(table, "word2vec-small/random", "passed_share") < 0.5
    assert value(table, "word2vec-small/layer", "timing_slope") == pytest.approx(0, abs=0.05)
    assert value(table, "word2vec-small", "path") > 0.8
    assert table[table.system == "aligned"].seed.isna().all()


def test_a_text_of_few_words_or_without_modes_is_refused(corpus):
    settings = SimpleNamespace(**WORDS)
    with pytest.raises(ValueError, match="a vocabulary of 30 words from a text with 2 different ones"):
        word2vec.run(settings, [1], Corpus("to be to be", ""), lambda done, planned: None)
    ids = word2vec.words(corpus.train, 30)
    text, permuted = (word2vec.Text.of(of, 30, 3, 0.01) for of in (ids, np.random.default_rng(0).permutation(ids)))
    with pytest.raises(ValueError, match="0 modes of the text exceed those of permuted words"):
        word2vec.modes_of(permuted, text, 4)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (Word2vec, {"vocabulary": 3}, "a vocabulary of 3 words has no 4 modes"),
        (Word2vec, {"width": 3}, "vectors of width 3 cannot hold 4 modes"),
        (Word2vec, {"steps": 1005}, "1005 steps are not a multiple of the 10"),
        (Barlow, {"components": 2}, "2 components have no 3 modes"),
        (Barlow, {"read": 100}, "60 images are fewer than are read"),
    ],
)
def test_bad_settings_are_told_in_one_sentence(model, change, message):
    whole = WORDS if model is Word2vec else VIEWS
    model.model_validate(whole)
    with pytest.raises(ValidationError, match=message):
        model.model_validate(whole | change)


def test_views_of_an_image_and_of_its_partner():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 2, 2).contiguous()
    of = barlow.Views.of(images + 1, padding=1)
    one, other = of.pair(torch.tensor([0, 3]), torch.tensor([3, 0]), torch.Generator().manual_seed(0))
    assert set(one[0].unique().tolist()) <= {0.0, 1.0} and set(other[0].unique().tolist()) <= {0.0, 4.0}


def test_the_cross_covariance_is_symmetric_and_centred():
    one, other = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)).double().unbind()
    found = barlow.cross_covariance(one + 5, other - 2)
    expected = np.cov(one.T.numpy(), other.T.numpy(), bias=True)[:3, 3:]
    np.testing.assert_allclose(found.numpy(), (expected + expected.T) / 2, atol=1e-12)


def test_moves_around_one_are_no_advances():
    path = scores.Path()
    for step, eigenvalues in enumerate(([0.0, 0.0], [0.9, 0.0], [1.2, 0.0], [0.8, 0.5], [1.1, 1.0], [0.9, 0.8])):
        path.read(step, np.diag(eigenvalues))
    np.testing.assert_allclose(barlow.advances(path)[-3:], [[1, 0.5], [1, 1], [1, 1]])
    assert scores.scores(path, Modes.of(np.eye(2), 2))["active_modes"] > 1.3
    found = barlow.embedding_scores(path, 2)["active_modes"]
    assert found == pytest.approx(1)


def test_the_experiment_on_views(images):
    settings = Barlow.model_validate(VIEWS)
    table = barlow.run(settings, [1], images, lambda done, planned: None)
    assert value(table, "aligned", "time_error") < 0.05
    assert value(table, "barlow/small", "timing_slope") < -0.5
    assert value(table, "barlow/flat", "active_modes") > 1.5
    assert set(table.system) == {
        *("aligned", "barlow", "barlow/small", "barlow/flat", "barlow/random", "barlow-small", "barlow-small/random")
    }


def test_an_embedding_wider_than_the_modes_of_the_views_is_refused(images):
    settings = Barlow.model_validate(VIEWS | {"components": 64, "width": 60})
    with pytest.raises(ValueError, match="an embedding of width 60 needs as many modes of the views"):
        barlow.run(settings, [1], images, lambda done, planned: None)
    with pytest.raises(ValueError, match="65 components of 64 pixels"):
        barlow.run(Barlow.model_validate(VIEWS | {"components": 65}), [1], images, lambda done, planned: None)
