"""What is trained: a problem, its initialization, and the data it is judged on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lab import architectures, datasets
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem

Split = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """One seed's task.

    Attributes:
        problem: the training loss, cross-entropy in nats.
        network: at its initial parameters.
        splits: by name, ``train`` always, ``validation`` and ``test`` where there are such data.
        groups_C: the group of each class, by which per-class losses are reported: from the most frequent (0) on.
    """

    problem: Problem
    network: nn.Module
    splits: dict[str, Split]
    groups_C: Tensor

    def minibatches(self, size: int | None, seed: int) -> Minibatches | None:
        """A stream of minibatches of the training data; None where a step takes all of them."""
        return Minibatches([seed], examples=self.problem.examples, size=size) if size else None

    def part(self, examples: int) -> Problem:
        """The loss on at most ``examples`` training examples, evenly spaced."""
        inputs, labels = self.splits["train"]
        count = min(examples, len(inputs))
        rows = torch.arange(count) * len(inputs) // count
        return Problem(self.network, inputs[rows], labels[rows], "cross_entropy", chunk_size=count)

    def evaluate(self, params_1xP: Tensor, split: str) -> dict[str, float | Tensor]:
        """Mean loss, accuracy, and the mean loss of each group of classes (nan where it has no example)."""
        inputs, labels = self.splits[split]
        losses, right = [], []
        for chunk, targets in zip(inputs.split(self.problem.chunk_size), labels.split(self.problem.chunk_size)):
            (outputs_NxC,) = self.problem.outputs(params_1xP, chunk)
            losses.append(F.cross_entropy(outputs_NxC, targets, reduction="none"))
            right.append(outputs_NxC.argmax(1) == targets)
        losses_N = torch.cat(losses).double()
        groups_N = self.groups_C[labels]
        groups = int(self.groups_C.max()) + 1
        return {
            "loss": float(losses_N.mean()),
            "accuracy": float(torch.cat(right).double().mean()),
            "group_losses": torch.stack([losses_N[groups_N == g].mean() for g in range(groups)]),
        }


def build(workload, images: datasets.Images, seed: int, compute) -> Task:
    """The task of a workload. Its seed decides the initialization, and generated data.

    Args:
        workload: `Workload` of study.py.
        compute: with ``device``, ``dtype`` (by its name) and ``chunk_size``.

    Raises:
        ValueError: for missing images, or an architecture that does not fit.
    """
    dtype, device = getattr(torch, compute.dtype), torch.device(compute.device)
    options = {key: value for key, value in workload.data if key != "name"}
    kind = workload.data.name
    splits, classes, groups_C = _images(images, **options) if kind == "images" else GENERATORS[kind](seed, **options)
    inputs, labels = splits["train"]
    if inputs.is_floating_point():
        splits = {name: (x.to(dtype), y) for name, (x, y) in splits.items()}
    (network,) = architectures.build_stack(
        input_shape=tuple(inputs.shape[1:]), outputs=classes, seeds=[seed], **workload.architecture
    )
    network = network.to(device, dtype)
    splits = {name: (x.to(device), y.to(device)) for name, (x, y) in splits.items()}
    problem = Problem(network, *splits["train"], "cross_entropy", chunk_size=compute.chunk_size)
    return Task(problem, network, splits, groups_C.to(device))


def _images(data: datasets.Images, *, train: int, validation: int, pool: int) -> tuple[dict[str, Split], int, Tensor]:
    """Training and validation images out of the training set, at equal distances in the file; the test set whole."""
    chosen = datasets.subset(data, train + validation, pool=pool)
    # Every k-th is for validation, so that each of the data's batches and classes takes part in both.
    order = torch.arange(train + validation)
    held = (order * validation) // (train + validation) != ((order + 1) * validation) // (train + validation)
    inputs, labels = chosen.train_inputs, chosen.train_labels
    splits = {
        "train": (inputs[~held], labels[~held]),
        "validation": (inputs[held], labels[held]),
        "test": (chosen.test_inputs, chosen.test_labels),
    }
    return splits, chosen.classes, torch.arange(chosen.classes)


def _imbalanced(seed: int, *, size: int, balanced: bool) -> tuple:
    """Inputs that carry no information about their class, and heavy-tailed labels (Kunstner et al. 2024).

    Group g of ``size`` has 2^g classes with 2^(size - g) examples each, so that a class's frequency falls as one over
    its rank; (size + 1) 2^size features, uniform on [0, 1]. ``balanced`` gives each of the same classes as many
    examples as divide evenly.
    """
    generator = torch.Generator().manual_seed(seed)
    groups_C = torch.repeat_interleave(torch.arange(size), 2 ** torch.arange(size))
    classes = len(groups_C)
    each = torch.full((classes,), size * 2**size // classes) if balanced else 2 ** (size - groups_C)
    labels = torch.repeat_interleave(torch.arange(classes), each)
    inputs = torch.rand(len(labels), (size + 1) * 2**size, generator=generator)
    return {"train": (inputs, labels)}, classes, groups_C


def _tokens(seed: int, *, vocabulary: int, length: int, examples: int, exponent: float, copied: float) -> tuple:
    """Next tokens after a context, all with frequencies like rank^-exponent; a share ``copied`` follows from the last
    token by a permutation."""
    generator = np.random.default_rng(seed)
    weights = np.arange(1, vocabulary + 1.0) ** -exponent
    frequencies = weights / weights.sum()
    contexts = generator.choice(vocabulary, (examples, length), p=frequencies)
    follows = generator.permutation(vocabulary)
    drawn = generator.choice(vocabulary, examples, p=frequencies)
    labels = np.where(generator.random(examples) < copied, follows[contexts[:, -1]], drawn)
    counts = np.bincount(labels, minlength=vocabulary)
    # Fifths of the examples by the frequency of their label; ties by token.
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    groups = np.empty(vocabulary, dtype=np.int64)
    groups[order] = np.minimum(5 * before // examples, 4)
    split = (torch.from_numpy(contexts), torch.from_numpy(labels))
    return {"train": split}, vocabulary, torch.from_numpy(groups)


GENERATORS: dict[str, Callable[..., tuple]] = {"imbalanced": _imbalanced, "tokens": _tokens}
