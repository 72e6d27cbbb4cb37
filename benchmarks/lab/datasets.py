"""Images as tensors, standardised per pixel with the training set's statistics (Cohen et al. 2021)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A classification data set: inputs N x channels x height x width, labels N (int64), number of classes."""

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: int

    def to(self, device: str) -> "Images":
        tensors = (self.train_inputs, self.train_labels, self.test_inputs, self.test_labels)
        return Images(*(tensor.to(device) for tensor in tensors), self.classes)


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


def subset(data: Images, count: int, *, classes: int | None = None, pool: int = 1) -> Images:
    """A smaller problem: ``count`` training images, evenly spaced in the file, so that every batch is represented.

    The pixels keep the standardisation of the whole training set.

    Args:
        classes: use only images whose label is below this; all if not given.
        pool: side of the squares of pixels that are averaged, a divisor of height and width.

    Raises:
        ValueError: if there are fewer than ``count`` images or ``classes`` classes, or ``pool`` does not divide the
            sides.
    """
    classes = classes or data.classes
    if not 2 <= classes <= data.classes:
        raise ValueError(f"{classes} classes asked for, the data have {data.classes}")
    if any(side % pool for side in data.train_inputs.shape[2:]):
        raise ValueError(
            f"images of {tuple(data.train_inputs.shape[2:])} pixels cannot be averaged over {pool} x {pool}"
        )
    chosen = torch.nonzero(data.train_labels < classes).flatten()
    if not 1 <= count <= len(chosen):
        raise ValueError(f"{count} training images asked for, {len(chosen)} prepared")
    rows = chosen[torch.arange(count) * len(chosen) // count]
    tests = data.test_labels < classes
    inputs, test_inputs = data.train_inputs[rows], data.test_inputs[tests]
    if pool > 1:
        inputs, test_inputs = F.avg_pool2d(inputs, pool), F.avg_pool2d(test_inputs, pool)
    return Images(inputs, data.train_labels[rows], test_inputs, data.test_labels[tests], classes)
