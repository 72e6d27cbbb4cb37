"""Planted modes: what is put into the data, what is read of networks with known answers, and when it is learned."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmarks.lab.augmentation import originals
from benchmarks.lab.datasets import Images
from benchmarks.lab.text import Corpus, bigrams, characters
from benchmarks.studies.planted_modes import planted, planted_images, planted_text
from benchmarks.studies.planted_modes.study import PlantedImages, PlantedText

COMPUTE = SimpleNamespace(dtype="float64", device="cpu")
STRENGTHS = np.array([4.0, 2.0, 1.0])


def noise(count=600, classes=6, scale=0.1):
    """Images of white noise, in which labels have nothing to see."""
    generator = torch.Generator().manual_seed(0)
    inputs = scale * torch.randn(2 * count, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(2 * count) % classes
    return Images(inputs[:count], labels[:count], inputs[count:], labels[count:], classes)


def network(**changes):
    given = dict(seeds=2, strongest=4.0, decay=0.0, decays="all", clip=None, warmup=0, cosine=None, batch_size=600)
    given |= dict(steps=60, layer_lr=0.05, lazy=None, small=None, augment=False)
    given |= dict(architecture={"name": "mlp", "hidden": [], "activation": "identity"})
    return SimpleNamespace(**{**given, "optimizer": {"name": "sgd", "lr": 0.05}, **changes})


def settings(**changes):
    given = dict(seeds=2, images=600, modes=3, ratio=0.5, swap=[1, 3], read=20, readings=40)
    return SimpleNamespace(**{**given, **changes})


def plant(data="falling", of=None, **changes):
    return planted_images.plant(settings(), network(**changes), of or noise(), data, 1, dtype=torch.float64)


def text(length=40000):
    generator = np.random.default_rng(0)
    letters = "".join(np.array(list("abcdefghij"))[generator.integers(10, size=length)])
    return characters(Corpus(letters[: length // 2], letters[length // 2 :]))


# What is put into the data


def test_tiles_are_orthonormal_and_without_a_mean():
    patterns = planted_images.tiles((3, 32, 32), 5, torch.Generator().manual_seed(1))
    flat = patterns.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(5, dtype=flat.dtype), rtol=0, atol=1e-12)
    assert patterns.mean((2, 3)).abs().max() < 1e-12
    torch.testing.assert_close(patterns[..., :4, :4], patterns[..., 28:, 4:8])


def test_contrasts_are_orthogonal_and_balanced():
    signs = planted_images.contrasts(10, 5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(signs.T @ signs, 2 * torch.eye(5))
    assert (signs.sum(0) == 0).all()


@pytest.mark.parametrize(
    ("data", "expected"), [("falling", [4, 2, 1]), ("swap", [1, 2, 4]), ("equal", [2, 2, 2]), ("level", [4, 2, 1])]
)
def test_the_correlation_of_the_images_has_the_strengths(data, expected):
    made = plant(data, noise(count=30000 if data == "level" else 600, scale=1e-6))
    target = torch.nn.functional.one_hot(made.task.targets, 6).double()
    covariance = (target - target.mean(0)).T @ made.task.inputs.flatten(1) / len(target)
    s = np.linalg.svd(covariance.numpy(), compute_uv=False)[:3]
    tolerance = 0.1 if data == "level" else 1e-5
    np.testing.assert_allclose(s * 6 / np.sqrt(2), sorted(expected, reverse=True), rtol=tolerance)
    np.testing.assert_allclose(made.s_K, expected)


def test_level_images_vary_alike_along_all_patterns():
    images = noise(count=30000, scale=1e-6)
    falling, level = (plant(data, images).task.inputs.flatten(1) for data in ("falling", "level"))
    patterns = planted_images.tiles((1, 8, 8), 3, torch.Generator().manual_seed(1)).flatten(1)
    np.testing.assert_allclose((falling @ patterns.T).var(0), STRENGTHS**2 / 3, rtol=1e-3)
    np.testing.assert_allclose((level @ patterns.T).var(0), 16 / 3, rtol=0.05)


def test_crops_and_flips_leave_the_patterns_alone():
    made, plain = plant(augment=True), plant()
    dressed = made.task.dress(torch.nn.Identity())
    torch.testing.assert_close(dressed(originals(600)), plain.task.inputs)
    rows = originals(600)
    rows[:, 3] = 1
    added = plain.task.inputs - noise().train_inputs
    torch.testing.assert_close(dressed(rows), noise().train_inputs.flip(-1) + added)


def test_markers_shift_what_comes_next_by_the_strengths():
    ids = np.zeros(800_000, dtype=np.int64)
    contrasts = np.array([[1, -1, 1, -1], [1, 1, -1, -1]])
    answers = np.arange(5, 9)
    marked = planted_text.marked(ids, np.array([0.8, 0.2]), contrasts, answers, 1, 4, np.random.default_rng(0))
    after = bigrams(marked, 9).conditional_VxV[1:5][:, answers]
    expected = [(1 + sign * s * h) / 4 for s, h in zip((0.8, 0.2), contrasts) for sign in (1, -1)]
    np.testing.assert_allclose(after, expected, atol=0.01)
    frequency = np.bincount(marked, minlength=9)[1:5] / len(marked)
    np.testing.assert_allclose(frequency, 1 / 16, rtol=0.02)


# What is read


def test_a_matched_filter_reads_as_one_and_a_flat_network_as_zero():
    made = plant()
    patterns = planted_images.tiles((1, 8, 8), 3, torch.Generator().manual_seed(1)).flatten(1)
    signs = planted_images.contrasts(6, 3, _after_tiles())
    outputs = 100 * made.task.read_inputs.flatten(1) @ patterns.T @ signs.double().T
    np.testing.assert_allclose(made.task.maps(outputs.softmax(-1)), np.ones((3, 1)), atol=1e-6)
    np.testing.assert_allclose(made.task.maps(torch.full((120, 6), 1 / 6)), np.zeros((3, 1)), atol=1e-12)
    assert (outputs.argmax(1) == made.task.read_targets).all()


def _after_tiles():
    generator = torch.Generator().manual_seed(1)
    planted_images.tiles((1, 8, 8), 3, generator)
    return generator


def test_the_true_distribution_of_a_text_reads_as_the_strengths():
    of = network(strongest=0.8, batch_size=8, architecture=SimpleNamespace(vocabulary=24))
    given = settings(context=8, every=4)
    made = planted_text.plant(given, of, text(), "falling", 1)
    windows = made.task.inputs
    counted = np.zeros((24, 24))
    np.add.at(counted, (windows.numpy().ravel(), made.task.targets.numpy().ravel()), 1)
    following = torch.from_numpy(counted / np.maximum(counted.sum(1, keepdims=True), 1))
    read = made.task.maps(following[made.task.read_inputs] * 0.3 + 0.7 * torch.eye(24)[0])
    np.testing.assert_allclose(read[:, 0], [0.8, 0.4, 0.2], atol=0.08)


def path_of(halves, last, steps=400):
    """Amplitudes that go half of their way at given times."""
    times = np.linspace(0, steps, 2001)
    amplitudes = last * (1 - 2 ** (-times[:, None] / halves))
    told = {"test_accuracy": np.ones(2001), "rank": np.array([np.nan, 1.0, 2.0])}
    return SimpleNamespace(steps_T=times, times_T=times, maps_TxCxD=amplitudes[:, :, None], told=told, diverged=False)


def made(s_K, least=0.05):
    return planted.Planted(None, np.asarray(s_K), np.full(3, least))


def test_half_times_that_are_known_are_read_with_their_slope():
    scores = planted.scores(path_of(20 / STRENGTHS, np.ones(3)), made(STRENGTHS), STRENGTHS)
    assert scores["timing_slope"] == pytest.approx(-1, abs=1e-3)
    assert scores["timing_order"] == 1 and scores["passed_half"] == 3
    assert scores["latest"] == pytest.approx(20 / 400, rel=1e-3)
    equal = planted.scores(path_of(np.full(3, 20.0), np.ones(3)), made([2.0] * 3), STRENGTHS)
    assert equal["timing_spread"] < 1e-9 and abs(equal["timing_slope"]) < 1e-9


def test_a_mode_that_is_not_learned_has_no_half_time_and_no_order_is_told():
    scores = planted.scores(path_of(20 / STRENGTHS, np.array([1, 1, 0.01])), made(STRENGTHS), STRENGTHS)
    assert scores["passed_half"] == 2 and "timing_slope" not in scores and "half_time_3" not in scores


def test_both_times_must_move_the_right_way():
    before = {"half_time_1": 10.0, "half_time_2": 40.0}
    right = planted.swapped(before, {"half_time_1": 30.0, "half_time_2": 20.0}, [1, 2])
    assert right == {"swap_least": pytest.approx(np.log(2)), "swapped": 1.0}
    assert planted.swapped(before, {"half_time_1": 30.0, "half_time_2": 50.0}, [1, 2])["swapped"] == 0
    assert planted.swapped(before, {"half_time_1": 30.0}, [1, 2]) == {}


# When it is learned


@pytest.mark.parametrize(("data", "slope"), [("falling", -2.0), ("level", 0.0)])
def test_a_single_layer_is_timed_by_the_variance_of_its_inputs(data, slope):
    """Gradient descent on the squared loss of the planted images, in closed form: ln 2 / lambda_k."""
    task = plant(data, noise(count=30000, scale=1e-3)).task
    patterns = planted_images.tiles((1, 8, 8), 3, torch.Generator().manual_seed(1)).flatten(1)
    along = task.inputs.flatten(1) @ patterns.T
    variance, b = along.square().mean(0).numpy(), 1 / 3
    times = np.geomspace(1e-3, 10, 4000)
    amplitudes = b * STRENGTHS / variance * -np.expm1(-np.outer(times, variance))
    path = path_of(np.ones(3), np.ones(3))
    path.steps_T = path.times_T = times
    path.maps_TxCxD = amplitudes[:, :, None]
    assert planted.scores(path, made(STRENGTHS), STRENGTHS)["timing_slope"] == pytest.approx(slope, abs=0.05)


def test_an_experiment_learns_what_is_planted_and_its_order():
    given = settings(images=200, readings=12, networks={"net": network(lazy=5, batch_size=200)})
    done = []
    table = planted_images.run(given, [1, 2], noise(300), COMPUTE, lambda *numbers: done.append(numbers))
    scores = table.set_index(["system", "seed", "quantity"])["value"]
    assert done[-1][0] == done[-1][1], "told as many steps as were planned"
    assert set(table["system"]) == {f"net{kind}" for kind in ("", *planted.DATA, *planted.BESIDE) if kind != "/small"}
    assert (scores.xs("swapped", level="quantity") == 1).all()
    assert (scores.xs(("net", "passed_half"), level=("system", "quantity")) == 3).all()
    assert (scores.xs(("net", "timing_order"), level=("system", "quantity")) == 1).all()
    assert (scores.xs(("net/equal", "timing_spread"), level=("system", "quantity")) < 0.2).all()
    # With no hidden layer the network is the single layer but for its start.
    slopes = scores.xs("timing_slope", level="quantity").unstack("system")
    np.testing.assert_allclose(slopes["net"], slopes["net/layer"], atol=0.2)


# What is refused


@pytest.mark.parametrize(
    ("shape", "modes", "said"), [((1, 8, 8), 16, "15 orthogonal tiles, not 16"), ((1, 6, 8), 3, "not filled by tiles")]
)
def test_tiles_that_there_are_not(shape, modes, said):
    with pytest.raises(ValueError, match=said):
        planted_images.tiles(shape, modes, torch.Generator())


def test_more_modes_than_pairs_of_classes():
    with pytest.raises(ValueError, match="6 modes need 12 classes, there are 10"):
        planted_images.contrasts(10, 6, torch.Generator())


def test_a_vocabulary_that_does_not_fit():
    of = network(batch_size=8, architecture=SimpleNamespace(vocabulary=20))
    with pytest.raises(ValueError, match="10 characters, 6 markers and 8 answers need a vocabulary of 24, not 20"):
        planted_text.plant(settings(context=8, every=4), of, text(), "falling", 1)


def test_a_text_too_short():
    of = network(architecture=SimpleNamespace(vocabulary=24))
    with pytest.raises(ValueError, match="too short for windows of 8"):
        planted_text.plant(settings(context=8, every=4), of, text(100), "falling", 1)


NETWORK = dict(
    seeds=2, strongest=0.9, architecture={"name": "mlp", "hidden": [5], "activation": "relu"}, decay=0.0, decays="all",
    optimizer={"name": "sgd", "lr": 0.1}, clip=None, warmup=0, cosine=None, batch_size=8, steps=9, layer_lr=0.1,
    lazy=None, small=None,
)  # fmt: skip
GIVEN = dict(seeds=2, modes=5, ratio=0.7, swap=[2, 4], read=5, readings=5)


@pytest.mark.parametrize(
    ("changes", "of_network", "said"),
    [
        ({"modes": 8}, {}, "7 orthogonal contrasts of eight answers, not 8"),
        ({}, {"strongest": 2.0}, "networks.gpt.strongest: a shift of probabilities is at most 1"),
        ({"swap": [4, 2]}, {}, "the stronger first"),
        ({"swap": [2, 6]}, {}, "two of 5 modes"),
        ({}, {"warmup": 3}, "a warm-up is part of the cosine schedule"),
        ({}, {"warmup": 9, "cosine": 20}, "leaves nothing of 9 steps"),
    ],
)
def test_settings_that_are_refused(changes, of_network, said):
    with pytest.raises(ValidationError, match=said):
        PlantedText(context=8, every=4, networks={"gpt": NETWORK | of_network}, **(GIVEN | changes))


def test_settings_of_images():
    assert PlantedImages(images=50, networks={"net": NETWORK | {"augment": False}}, **GIVEN).networks["net"].steps == 9
