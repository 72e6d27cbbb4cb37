"""Run module: a system that classifies images, and the networks beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks.lab import datasets
from benchmarks.lab.augmentation import Augmented, ViewMinibatches, views
from benchmarks.lab.datasets import Images
from benchmarks.lab.minibatches import Minibatches
from benchmarks.studies.carry_over.task import Task, above_noise
from benchmarks.studies.carry_over.training import run_system
from benchmarks.studies.table import Runs

# How many permutations of the labels make the noise floor.
PERMUTATIONS = 5
# Of the digits, every so many-th image is held out.
HELD_OUT = 5
# The two planted patterns of XOR, each of so many standard deviations of a pixel along its unit vector.
PLANTED = 40.0
# The classes of CIFAR-10 that are animals; the others are vehicles.
ANIMALS = (2, 3, 4, 5, 6, 7)


def run(settings, seeds: Sequence[int], images: Images, compute, tick: Callable[[int, int], None]) -> Runs:
    """Train and score one system.

    Args:
        settings: `System` of study.py, on images.

    Raises:
        ValueError: for more images than there are, or a network that does not fit.
    """
    dtype = getattr(torch, compute.dtype)
    return run_system(settings, seeds, lambda seed: task(settings, images, seed, dtype), compute, tick)


def task(settings, images: Images, seed: int, dtype: torch.dtype) -> Task:
    """Classification of images with the seed's batches, and where the data are drawn anew, its data."""
    data = settings.data
    chosen = digits(dtype) if data.source == "digits" else images
    chosen = drawn(chosen, data.images, seed) if data.draw else datasets.subset(chosen, data.images, pool=data.pool)
    if data.labels != "real":
        chosen = planted(chosen, seed) if data.labels == "xor" else animals(chosen)
    train, labels, classes = chosen.train_inputs, chosen.train_labels, chosen.classes
    seen = (
        train if data.inputs == "real" else clones(train, labels, classes, seed, isotropic=data.inputs == "isotropic")
    )
    read = torch.arange(min(data.read, len(train))) * len(train) // min(data.read, len(train))
    components, scores = principal_components(train[read], data.components)
    modes, floor = above_noise(
        covariance(one_hot(labels[read], classes), scores),
        [covariance(one_hot(shuffled, classes), scores) for shuffled in permutations(labels[read], seed)],
        settings.modes,
    )
    linear = LogisticRegression(max_iter=2000).fit(*_numpy(train.flatten(1) @ components, labels))
    inputs, targets, dress = seen, labels, lambda module: module
    batches: Callable[[int], Tensor] = Minibatches([seed], examples=len(seen), size=settings.batch_size)
    if data.augment:
        inputs, targets = views(labels)
        batches = ViewMinibatches([seed], images=len(seen), size=settings.batch_size)

        def dress(module):
            return Augmented(module, seen)

    tests = (chosen.test_inputs.flatten(1) @ components).double().numpy()
    return Task(
        inputs=inputs,
        targets=targets,
        batches=batches,
        dress=dress,
        shape=tuple(train.shape[1:]),
        outputs=classes,
        read_inputs=train[read],
        read_targets=labels[read],
        maps=lambda probabilities_NxC: covariance(probabilities_NxC, scores),
        modes=modes,
        floor=floor,
        whitened=scores.double().std(0, correction=0).numpy(),
        test_inputs=chosen.test_inputs,
        test_targets=chosen.test_labels,
        linear=torch.from_numpy(linear.predict(tests)),
    )


def covariance(targets_NxC: Tensor, scores_NxD: Tensor) -> np.ndarray:
    """Of targets or outputs with principal components, C x D, in float64."""
    centred = targets_NxC.double() - targets_NxC.double().mean(0)
    return (centred.T @ scores_NxD.double() / len(scores_NxD)).numpy()


def one_hot(labels_N: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels_N, classes)


def permutations(labels_N: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [labels_N[torch.randperm(len(labels_N), generator=generator)] for _ in range(PERMUTATIONS)]


def principal_components(inputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The leading principal axes of images, pixels x D, and the centred images along them, N x D."""
    flat = inputs.flatten(1).double()
    centred = flat - flat.mean(0)
    squares, left = torch.linalg.eigh(centred @ centred.T)
    axes = centred.T @ (left[:, -count:] / squares[-count:].sqrt()).flip(1)
    return axes.to(inputs.dtype), (centred @ axes).to(inputs.dtype)


def drawn(images: Images, count: int, seed: int) -> Images:
    """The seed's own images, of which no other seed has one.

    Raises:
        ValueError: if there are too few for this seed.
    """
    if seed * count > len(images.train_labels):
        raise ValueError(
            f"seed {seed} needs images {(seed - 1) * count} to {seed * count}, there are {len(images.train_labels)}"
        )
    order = torch.randperm(len(images.train_labels), generator=torch.Generator().manual_seed(0))
    rows = order[(seed - 1) * count : seed * count]
    return Images(
        images.train_inputs[rows], images.train_labels[rows], images.test_inputs, images.test_labels, images.classes
    )


def digits(dtype: torch.dtype) -> Images:
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, one in five held out."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 1, 8, 8)
    held = np.arange(len(labels)) % HELD_OUT == 0
    return datasets.images(pixels[~held], labels[~held], pixels[held], labels[held], dtype)


def clones(inputs: Tensor, labels_N: Tensor, classes: int, seed: int, *, isotropic: bool) -> Tensor:
    """Gaussian inputs with the mean and the covariance of each class (Refinetti et al. 2023, section 2); or with its
    mean alone, and a variance that is the same for all pixels."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.empty_like(inputs)
    for label in range(classes):
        rows = torch.nonzero(labels_N == label).flatten()
        flat = inputs[rows].flatten(1)
        mean = flat.mean(0)
        if isotropic:
            noise = (flat - mean).square().mean().sqrt() * torch.randn(flat.shape, generator=generator)
        else:  # a mixture of the centred images with Gaussian weights has their covariance
            noise = torch.randn(len(rows), len(rows), generator=generator).to(flat) @ (flat - mean) / len(rows) ** 0.5
        made[rows] = (mean + noise).view(-1, *inputs.shape[1:]).to(inputs)
    return made


def animals(images: Images) -> Images:
    """The same images in two classes, animals and vehicles."""

    def halves(labels_N: Tensor) -> Tensor:
        return torch.isin(labels_N, torch.tensor(ANIMALS)).long()

    return replace(images, train_labels=halves(images.train_labels), test_labels=halves(images.test_labels), classes=2)


def planted(images: Images, seed: int) -> Images:
    """Two classes that no linear classifier tells apart: each image gets two orthogonal patterns with random signs, and
    its label is whether they agree."""
    generator = torch.Generator().manual_seed(seed)
    shape = images.train_inputs.shape[1:]
    patterns = torch.linalg.qr(torch.randn(shape.numel(), 2, generator=generator))[0].T.reshape(2, *shape)

    def plant(inputs: Tensor) -> tuple[Tensor, Tensor]:
        signs = 2 * torch.randint(2, (len(inputs), 2), generator=generator) - 1
        added = torch.einsum("nk,kchw->nchw", signs.to(inputs), patterns.to(inputs))
        return inputs + PLANTED * added, (signs[:, 0] == signs[:, 1]).long()

    train, labels = plant(images.train_inputs)
    test, test_labels = plant(images.test_inputs)
    return Images(train, labels, test, test_labels, 2)


def _numpy(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tensors]
