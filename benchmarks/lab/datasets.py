"""Images as tensors, standardised per pixel with the training set's statistics (Cohen et al. 2021)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A classification data set: inputs N x channels x height x width, labels N (int64), number of classes."""

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: int


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the training mean of every pixel and divide by its (population) standard deviation, in float64.

    A pixel that never varies in training is left centred: dividing by zero would make it infinite.
    """
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, scale = train.mean(0), train.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return (train - mean) / scale, (test - mean) / scale


def images(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, dtype: torch.dtype
) -> Images:
    """Raw pixel arrays (N x channels x height x width, uint8) as a standardised data set."""
    train, test = standardise(x_train, x_test)
    return Images(
        train_inputs=torch.from_numpy(train).to(dtype),
        train_labels=torch.from_numpy(y_train.astype(np.int64)),
        test_inputs=torch.from_numpy(test).to(dtype),
        test_labels=torch.from_numpy(y_test.astype(np.int64)),
        classes=int(y_train.max()) + 1,
    )


def subset(data: Images, count: int) -> Images:
    """``count`` training images at equal distances in the file, so that every source batch takes part.

    The pixels keep the standardisation of the whole training set.

    Raises:
        ValueError: if there are fewer than ``count``.
    """
    available = len(data.train_inputs)
    if not 1 <= count <= available:
        raise ValueError(f"{count} training images asked for, {available} prepared")
    rows = torch.arange(count) * available // count
    return Images(data.train_inputs[rows], data.train_labels[rows], data.test_inputs, data.test_labels, data.classes)
