"""Data sets, targets and the registry: what a configuration names, and what it may not."""

import numpy as np
import pytest
import torch

from benchmarks.lab import architectures, datasets, losses, registry
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.fit import Fit
from benchmarks.lab.problem import Problem, flatten_parameters

OPTIMIZERS = "benchmarks.lab.optimizers"
ARCHITECTURES = "benchmarks.lab.architectures"
MEASUREMENTS = "benchmarks.lab.measurements"


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


def test_the_entries_of_a_package_are_its_files_that_build():
    assert registry.entries(ARCHITECTURES) == [
        "bias_free_mlp",
        "cnn",
        "deep_linear",
        "mlp",
        "ntk_mlp",
        "residual_mlp",
        "self_stabilization",
        "transformer",
        "two_layer",
    ]
    measured = registry.entries(MEASUREMENTS)
    assert {"sharpness", "path", "central_flow", "batch_sharpness"} <= set(measured)
    assert not {"eigensolvers", "peers", "linear_stability", "__init__"} & set(measured)


@pytest.mark.parametrize(
    ("package", "name", "options", "message"),
    [
        (MEASUREMENTS, "fit", dict(every=2.0), "option 'every' of 'fit' must be int, got 2.0"),
        (MEASUREMENTS, "fit", dict(every=True), "option 'every' of 'fit' must be int, got True"),
        (MEASUREMENTS, "fit", {}, "'fit' needs the option 'every'"),
        (MEASUREMENTS, "fit", dict(evry=2), "unknown option of 'fit' 'evry': did you mean 'every'"),
        (OPTIMIZERS, "sgd", dict(lr="0.1"), "option 'lr' of 'sgd' must be float, got '0.1'"),
        (OPTIMIZERS, "sgd", dict(lr=0.1, nesterov=1), "option 'nesterov' of 'sgd' must be bool, got 1"),
        (ARCHITECTURES, "cnn", dict(channels=[4, 4.0], activation="tanh"), "'channels' of 'cnn' must be Sequence"),
        (ARCHITECTURES, "cnn", dict(channels=4, activation="tanh"), "'channels' of 'cnn' must be Sequence"),
        (ARCHITECTURES, "cnn", dict(channels=[4], activation=1), "'activation' of 'cnn' must be str, got 1"),
        (OPTIMIZERS, "sdg", dict(lr=0.1), "unknown entry of optimizers 'sdg': did you mean 'sgd'"),
    ],
)
def test_options_are_checked_by_name_and_type(package, name, options, message):
    with pytest.raises(ValueError) as caught:
        registry.check_options(package, name, options)
    assert message in str(caught.value)


def test_options_of_the_right_types_pass():
    registry.check_options(OPTIMIZERS, "sgd", dict(lr=1, momentum=0.9, nesterov=True))
    registry.check_options(ARCHITECTURES, "cnn", dict(channels=[4, 4], activation="tanh"))
    registry.check_options(OPTIMIZERS, "torch.optim:SGD", dict(anything="goes"))


def test_an_entry_defines_its_functions_and_constants():
    assert registry.defines(OPTIMIZERS, "sam", "CLOSURES")
    assert registry.defines(OPTIMIZERS, "adam", "preconditioner")
    assert not registry.defines(OPTIMIZERS, "sgd", "preconditioner")
    assert not registry.defines(OPTIMIZERS, "torch.optim:SGD", "build")
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        registry.defines(OPTIMIZERS, "adm", "build")
