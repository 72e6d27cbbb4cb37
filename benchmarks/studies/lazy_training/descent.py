"""Gradient descent of one network by the library's optimizer, and the two classes of images that it learns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Point, Problem, flatten_parameters


@dataclass(frozen=True)
class TwoClasses:
    """Images of two classes with targets -1 and 1: inputs N x features and M x features, targets N x 1 and M x 1."""

    inputs_NxD: Tensor
    targets_Nx1: Tensor
    tests_MxD: Tensor
    test_targets_Mx1: Tensor


def two_classes(images: Images, count: int, tests: int, pool: int, dtype: torch.dtype = torch.float32) -> TwoClasses:
    """The data of these studies: one fixed subset, whatever the seed.

    Raises:
        ValueError: if there are fewer images than asked for.
    """
    chosen = subset(images, count, classes=2, pool=pool)
    if len(chosen.test_labels) < tests:
        raise ValueError(f"{tests} test images of two classes asked for, {len(chosen.test_labels)} prepared")
    return TwoClasses(
        chosen.train_inputs.flatten(1).to(dtype),
        2 * chosen.train_labels.to(dtype)[:, None] - 1,
        chosen.test_inputs[:tests].flatten(1).to(dtype),
        2 * chosen.test_labels[:tests].to(dtype)[:, None] - 1,
    )


def drawn(images: Images, count: int, pool: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of two classes that a seed draws, in float64: pixels N x D and signs N.

    Raises:
        ValueError: if there are fewer images than asked for.
    """
    whole = subset(images, int((images.train_labels < 2).sum()), classes=2, pool=pool)
    if count > len(whole.train_labels):
        raise ValueError(f"{count} images of two classes asked for, {len(whole.train_labels)} prepared")
    chosen = np.random.default_rng(seed).choice(len(whole.train_labels), count, replace=False)
    return whole.train_inputs[chosen].flatten(1).double().numpy(), 2.0 * whole.train_labels[chosen].numpy() - 1


def network(architecture: dict, inputs_NxD: Tensor, seed: int) -> nn.Module:
    """A network with one output, initialized from its seed, in the inputs' dtype."""
    (module,) = architectures.build_stack(input_shape=(inputs_NxD.shape[1],), outputs=1, seeds=[seed], **architecture)
    return module.to(inputs_NxD.dtype)


def descend(problem: Problem, module: nn.Module, lr: float, steps: int) -> Iterator[Point]:
    """The points that gradient descent goes through: the start, and the point after each step.

    ``module`` gives the start, and holds the parameters of the last point when the next one is asked for.
    """
    weights = nn.Parameter(flatten_parameters(module)[None])
    (optimizer,) = optimizers.build([weights], name="sgd", lr=lr)
    for step in range(steps + 1):
        nn.utils.vector_to_parameters(weights.detach()[0], module.parameters())
        point = problem.at(weights)
        yield point
        if step < steps:
            weights.grad = point.grads_RxP
            optimizer.step()


def marks(steps: int, count: int) -> np.ndarray:
    """Step numbers from 0 to ``steps``, evenly in the logarithm of the number but for 0 and what rounds to the same."""
    return np.unique(np.concatenate([[0], np.geomspace(1, steps, count).round().astype(int)]))


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """The least-squares slope of ln y on ln x; nan of a single point, or where a y is not positive."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 and (y > 0).all() else float("nan")
