"""Data sets, targets and architectures: what a configuration names, and what it may not."""

import numpy as np
import pytest
import torch

from benchmarks.lab import architectures, datasets, losses, registry
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.fit import Fit
from benchmarks.lab.problem import Problem, flatten_parameters


def images():
    """60 training and 20 test images of 4 x 6 pixels, five classes in turn."""
    inputs = torch.randn(80, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(80) % 5
    return datasets.Images(inputs[:60], labels[:60], inputs[60:], labels[60:], 5)


def test_pixels_are_standardised_by_the_training_set():
    generator = np.random.default_rng(0)
    x_train, x_test = (generator.integers(0, 256, (n, 1, 2, 2), dtype=np.uint8) for n in (50, 10))
    x_train[:, 0, 0, 0] = 7
    data = datasets.images(x_train, np.arange(50) % 3, x_test, np.arange(10) % 3, torch.float64)
    flat = data.train_inputs.reshape(50, 4)
    torch.testing.assert_close(flat.mean(0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(flat.std(0, correction=0), torch.tensor([0.0, 1, 1, 1], dtype=torch.float64))
    expected = (x_test[:, 0, 1, 1] - x_train[:, 0, 1, 1].mean()) / x_train[:, 0, 1, 1].std()
    np.testing.assert_allclose(data.test_inputs[:, 0, 1, 1].numpy(), expected)
    np.testing.assert_allclose(data.test_inputs[:, 0, 0, 0].numpy(), x_test[:, 0, 0, 0].astype(float) - 7)
    assert (data.classes, data.train_labels.dtype) == (3, torch.int64)


def test_a_subset_is_at_equal_distances_in_the_file():
    data = images()
    part = datasets.subset(data, 20)
    torch.testing.assert_close(part.train_inputs, data.train_inputs[::3])
    torch.testing.assert_close(part.train_labels, data.train_labels[::3])
    assert (len(part.test_inputs), part.classes) == (20, 5)


def test_a_subset_of_classes_holds_these_only_in_the_order_of_the_file():
    data = images()
    part = datasets.subset(data, 12, classes=2)
    rows = [i for i in range(60) if i % 5 < 2]
    chosen = [rows[k * 24 // 12] for k in range(12)]
    torch.testing.assert_close(part.train_inputs, data.train_inputs[chosen])
    assert part.train_labels.tolist() == [i % 5 for i in chosen]
    assert part.test_labels.tolist() == [0, 1] * 4
    torch.testing.assert_close(part.test_inputs, data.test_inputs[[i for i in range(20) if i % 5 < 2]])
    assert part.classes == 2


def test_pooled_pixels_are_means_of_squares():
    data = images()
    part = datasets.subset(data, 60, pool=2)
    assert part.train_inputs.shape == (60, 3, 2, 3) and part.test_inputs.shape == (20, 3, 2, 3)
    for row in range(2):
        for column in range(3):
            square = data.train_inputs[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(part.train_inputs[:, :, row, column], square.mean((2, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(count=61), "61 training images asked for, 60 prepared"),
        (dict(count=0), "0 training images asked for"),
        (dict(count=25, classes=2), "25 training images asked for, 24 prepared"),
        (dict(count=5, classes=6), "6 classes asked for, the data have 5"),
        (dict(count=5, classes=1), "1 classes asked for"),
        (dict(count=5, pool=4), r"images of \(4, 6\) pixels cannot be averaged over 4 x 4"),
    ],
)
def test_a_subset_that_the_data_cannot_give_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.subset(images(), **arguments)


def test_two_classes_are_told_apart_by_one_output_under_mse_only():
    labels = torch.tensor([0, 1, 1])
    assert [losses.outputs(loss, classes) for loss in ("mse", "cross_entropy") for classes in (2, 3)] == [1, 3, 2, 3]
    single = losses.encode_targets(labels, "mse", 2, torch.float64)
    assert (single.tolist(), single.dtype) == ([[-1.0], [1.0], [1.0]], torch.float64)
    rows = losses.encode_targets(labels, "mse", 3, torch.float32)
    assert (rows.tolist(), rows.dtype) == ([[1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]], torch.float32)
    assert losses.encode_targets(labels, "cross_entropy", 2, torch.float64).tolist() == [0, 1, 1]


def test_accuracy_is_the_sign_of_a_single_output_and_the_largest_of_several():
    inputs = torch.tensor([[-2.0], [-1.0], [0.5], [3.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1])
    for outputs, targets, loss in ((1, torch.zeros(4, 1), "mse"), (2, labels, "cross_entropy")):
        module = torch.nn.Linear(1, outputs, bias=False).double()
        slopes = torch.tensor([[1.0], [-1.0], [1.0]]) if outputs == 1 else torch.tensor([[-1.0, 1], [1, -1], [-1, 1]])
        reading = Reading(
            0,
            Problem(module, inputs, targets.to(inputs) if outputs == 1 else targets, loss).at(slopes.double()),
            lambda: None,
        )
        metrics = Fit(labels, every=1).measure(reading)
        assert metrics["train_accuracy"].tolist() == [0.5, 0.5, 0.5]
        flipped = Fit(torch.tensor([0, 0, 1, 1]), every=1).measure(reading)
        assert flipped["train_accuracy"].tolist() == [1.0, 0.0, 1.0]
        torch.testing.assert_close(metrics["gradient_norm"], reading.point.grads_RxP.square().sum(1).sqrt())
        assert set(Fit(None, every=1).measure(reading)) == {"gradient_norm"}


@pytest.mark.parametrize(("outputs", "channels"), [(1, [3]), (4, [3, 5])])
def test_a_convolutional_network_has_its_outputs(outputs, channels):
    module = architectures.build("cnn", (2, 8, 6), outputs, channels=channels, activation="gelu")
    assert module(torch.zeros(7, 2, 8, 6)).shape == (7, outputs)
    convolutions = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == list(zip([2, *channels], channels))
    problem = Problem(module, torch.randn(5, 2, 8, 6), torch.zeros(5, outputs), "mse")
    assert problem.at(flatten_parameters(module)[None]).outputs_RxNxC.shape == (1, 5, outputs)


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 8, 3), (48,)])
def test_inputs_too_small_for_the_poolings_are_refused(shape):
    with pytest.raises(ValueError, match="too small for 2 poolings"):
        architectures.build("cnn", shape, 3, channels=[3, 5], activation="tanh")


def test_an_entry_is_loaded_by_name_and_what_cannot_be_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.load("benchmarks.lab.losses", "torch.nn:Linear", "build") is torch.nn.Linear
    assert registry.load("benchmarks.lab.architectures", "cnn", "build").__module__.endswith("architectures.cnn")
    for name, why in (
        ("sdg", "No module named 'benchmarks.lab.optimizers.sdg'"),
        ("nowhere:build", "No module named 'nowhere'"),
        ("torch.nn:Linaer", "module 'torch.nn' has no attribute 'Linaer'"),
        ("broken:build", "name 'nothing' is not defined"),
        (".broken:build", "relative import"),
    ):
        with pytest.raises(ValueError) as caught:
            registry.load("benchmarks.lab.optimizers", name, "build")
        assert str(caught.value).startswith(f"cannot load {name!r}: ") and why in str(caught.value)
