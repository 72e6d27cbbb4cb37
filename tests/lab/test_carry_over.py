"""The open question where it is asked: tasks, the networks beside a network, and what is read of their weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images
from benchmarks.lab.pretend_device import NAME
from benchmarks.lab.text import Corpus, characters
from benchmarks.studies.carry_over import networks, on_images, on_text, task, training, weights

GENERATOR = torch.Generator().manual_seed(0)


def gaussian_images(count=400, classes=4):
    """Classes whose means differ, on 3 x 4 x 4 pixels."""
    labels = torch.arange(count) % classes
    means = 2 * torch.randn(classes, 48, generator=GENERATOR, dtype=torch.float64)
    pixels = means[labels] + torch.randn(count, 48, generator=GENERATOR, dtype=torch.float64)
    inputs = pixels.view(-1, 3, 4, 4)
    half = count // 2
    return Images(inputs[:half], labels[:half], inputs[half:], labels[half:], classes)


def image_settings(**data):
    given = dict(source="images", images=200, pool=1, read=200, components=10, augment=False, draw=False)
    return SimpleNamespace(
        data=SimpleNamespace(**{**given, "labels": "real", "inputs": "real", **data}), batch_size=20, modes=9
    )


def text_settings(**data):
    given = dict(context=8, read=400, order="natural", draw=False)
    return SimpleNamespace(data=SimpleNamespace(**{**given, **data}), batch_size=20, modes=5)


def text(length=6000):
    """A chain of four characters, each mostly followed by the next."""
    generator = np.random.default_rng(0)
    moves = generator.choice([1, 2, 3], size=length, p=[0.7, 0.2, 0.1])
    letters = np.array(list("abcd"))[np.cumsum(moves) % 4]
    return characters(Corpus("".join(letters[: 5 * length // 6]), "".join(letters[5 * length // 6 :])))


# Maps: what a network that knows everything would read


def test_the_labels_themselves_read_as_the_target():
    made = on_images.task(image_settings(), gaussian_images(), 1, torch.float64)
    read = made.maps(torch.nn.functional.one_hot(made.read_targets, 4).double())
    np.testing.assert_allclose(read, made.modes.target_CxD, atol=1e-12)
    assert len(made.modes.s_K) == 3, "four classes, centred"
    assert np.abs(made.maps(torch.full((200, 4), 0.25))).max() < 1e-12, "a flat network knows nothing"


def test_modes_stand_on_principal_components():
    made = on_images.task(image_settings(), gaussian_images(), 1, torch.float64)
    images = made.read_inputs.flatten(1).numpy()
    s = np.linalg.svd(images - images.mean(0), compute_uv=False)[:10]
    np.testing.assert_allclose(made.whitened, s / np.sqrt(200), rtol=1e-6)


def test_the_pairs_of_a_text_read_as_the_target():
    tokens = text()
    made = on_text.task(text_settings(), tokens, 1)
    bigram = on_text.ngrams(tokens.train_N, 4)["bigram"].exp().double()
    read = made.maps(bigram[made.read_inputs])
    np.testing.assert_allclose(read, made.modes.target_CxD, atol=2e-3)
    first = made.modes.parts_KxCxD[0]
    unigram = np.bincount(tokens.train_N) / len(tokens.train_N)
    np.testing.assert_allclose(first, np.outer(unigram, np.sqrt(unigram)), atol=0.02)


def test_the_modes_of_a_flat_chain_are_equally_strong():
    tokens = text(60000)
    made = on_text.task(text_settings(order="flat"), tokens, 1)
    first, *rest = made.modes.s_K
    assert first == pytest.approx(0.5, abs=0.01), "four characters, equally frequent: |u| |sqrt u|"
    np.testing.assert_allclose(rest, on_text.FOLLOWS * 0.5, rtol=0.05)
    assert (
        on_text.ordered(tokens.train_N, "flat", 4, 1)[:50].tolist()
        == on_text.ordered(tokens.train_N, "flat", 4, 1)[:50].tolist()
    )


def test_ngrams_are_distributions_and_know_a_text_that_repeats():
    ids = np.array([0, 1, 0, 2] * 500)
    models = {name: log.exp() for name, log in on_text.ngrams(ids, 3).items()}
    for model in models.values():
        torch.testing.assert_close(model.sum(-1), torch.ones(model.shape[:-1]))
    assert models["bigram"][0, 1] == pytest.approx(0.5, abs=0.01)
    assert models["trigram"][1, 0, 2] == pytest.approx(1, abs=0.01)


# Data that are made


def test_clones_have_the_mean_and_the_covariance_of_each_class():
    data = gaussian_images(4000, 2)
    cloned = on_images.clones(data.train_inputs, data.train_labels, 2, 1, isotropic=False).flatten(1)
    flat = data.train_inputs.flatten(1)
    for label in range(2):
        mine, real = cloned[data.train_labels == label], flat[data.train_labels == label]
        assert (mine.mean(0) - real.mean(0)).abs().max() < 0.15
        assert (mine.T.cov() - real.T.cov()).abs().max() < 0.25


def test_no_linear_classifier_sees_xor():
    data = on_images.planted(gaussian_images(4000), 1)
    train, test = data.train_inputs.flatten(1).numpy(), data.test_inputs.flatten(1).numpy()
    linear = LogisticRegression(max_iter=2000).fit(train, data.train_labels.numpy())
    assert linear.score(test, data.test_labels.numpy()) == pytest.approx(0.5, abs=0.05)


def test_draws_share_no_image():
    data = gaussian_images(400)
    parts = [on_images.drawn(data, 50, seed).train_inputs for seed in (1, 2, 3, 4)]
    assert len(torch.unique(torch.cat(parts).flatten(1), dim=0)) == 200
    with pytest.raises(ValueError, match="seed 5 needs images 200 to 250, there are 200"):
        on_images.drawn(data, 50, 5)


def test_animals_and_vehicles_are_the_only_two_classes():
    data = gaussian_images(400, 10)
    halved = on_images.animals(data)
    assert halved.classes == 2
    assert set(data.train_labels[halved.train_labels == 1].tolist()) == {2, 3, 4, 5, 6, 7}


def test_a_text_read_backwards_is_predicted_from_what_follows():
    made = on_text.task(text_settings(), text(), 1)
    back = made.backwards()
    assert torch.equal(back.inputs[:, 0], made.targets[:, -1])
    assert torch.equal(back.targets[:, :-1], back.inputs[:, 1:]), "each target is the next input"


# Training


class Tilted(nn.Module):
    """A linear network of one layer on four pixels: its modes have half times in closed form."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(48, 4, dtype=torch.float64)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1))


@pytest.fixture(scope="module")
def followed():
    made = on_images.task(image_settings(), gaussian_images(), 1, torch.float64)

    def follow(schedule=lambda step: 1.0, lr=1e-3, device="cpu", of=lambda made: made):
        torch.manual_seed(0)
        optimizer = optimizers.named("sgd", lr=lr)
        return training.follow(Tilted(), of(made), optimizer, 40, schedule, None, 10, lambda step: None, device)

    return follow


def test_a_schedule_is_no_clock(followed):
    """At half of the learning rate a step is half as much time."""
    whole, half = followed(), followed(lambda step: 0.5)
    np.testing.assert_allclose(half.times_T, half.steps_T / 2)
    np.testing.assert_allclose(whole.times_T, whole.steps_T)


def test_a_run_that_diverges_ends_its_path(followed):
    """On targets without a relation to the inputs no large step ends well."""
    path = followed(lr=1e6, of=lambda made: made.with_targets(torch.Generator().manual_seed(0)))
    assert path.diverged and path.steps_T[-1] < 40


def test_the_change_of_the_weights_is_since_the_start(followed):
    """In float64 too, where a reading of the parameters would share their memory."""
    told = followed().told
    assert np.isfinite(told["rank"][1:]).all() and np.isnan(told["rank"][0])


def test_the_same_path_on_a_device(followed, deterministic):
    here, there = followed(), followed(device=NAME)
    np.testing.assert_array_equal(there.maps_TxCxD, here.maps_TxCxD)
    for name, values in here.told.items():
        np.testing.assert_array_equal(there.told[name], values)


# Twins


def test_the_twin_of_a_gpt_is_its_zero_layer_model():
    net = architectures.build("gpt", input_shape=(8,), outputs=5, width=8, heads=2, layers=2, vocabulary=5)
    twin = networks.linear_twin(net, (8,), 5)
    ids = torch.randint(5, (3, 8), generator=GENERATOR)
    wanted = (net[0].weight[ids] + net[1].weight[:8]) @ net[-1].weight.T
    torch.testing.assert_close(twin(ids), wanted)


def test_a_single_layer_starts_from_nothing_and_is_linear():
    layer = networks.single_layer((2, 3), 4)
    assert not layer(torch.ones(5, 2, 3)).any()
    assert networks.single_layer((8,), 5, 5)(torch.zeros(3, 8, dtype=torch.long)).shape == (3, 8, 5)


def test_a_network_without_a_twin_is_told():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.cell = nn.Embedding(5, 5), nn.GRU(5, 5, batch_first=True)

        def forward(self, ids):
            return self.cell(self.embedding(ids))[0]

    with pytest.raises(ValueError, match="has no linear twin"):
        networks.linear_twin(Recurrent(), (8,), 5)


# Weights


def test_neighbours_are_matrices_that_read_what_the_other_writes():
    mlp = architectures.build("mlp", input_shape=(4,), outputs=2, hidden=[6, 5], activation="relu")
    assert list(weights.neighbours(mlp)) == [("1", "3"), ("3", "5")]
    gpt = architectures.build("gpt", input_shape=(8,), outputs=5, width=8, heads=2, layers=1, vocabulary=5)
    assert list(weights.neighbours(gpt)) == [("2.attention.project.value", "2.attention.out"), ("2.mlp.0", "2.mlp.2")]


def test_changes_that_face_each_other_overlap_wholly():
    net = nn.Sequential(nn.Linear(12, 30, bias=False), nn.ReLU(), nn.Linear(30, 4, bias=False))
    u = torch.linalg.qr(torch.randn(30, 2, generator=GENERATOR))[0]
    first, second = u @ torch.randn(2, 12, generator=GENERATOR), torch.randn(4, 2, generator=GENERATOR) @ u.T
    found = weights.facing(net, weights.matrices(net, [first, second]), 2)
    assert found.value == pytest.approx(1, abs=1e-6) and found.chance == pytest.approx(2 / 30)


def test_parallel_analysis_counts_what_exceeds_noise_of_the_same_rank():
    noise = [np.diag([1.0, 0.5, 0.2]), np.diag([0.9, 0.6, 0.2])]
    modes, floor = task.above_noise(np.diag([3.0, 0.7, 0.1]), noise, 9)
    assert len(modes.s_K) == 2 and floor == 0.2
