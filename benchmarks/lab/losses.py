"""Losses per example. A loss maps (outputs_NxC, targets) of one run to losses_N; `Problem` takes the mean.

The conventions are Cohen et al.'s (2021): every sharpness and every 2 / lr of this project depends on them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(outputs_NxC: Tensor, targets_NxC: Tensor) -> Tensor:
    """Half the squared error, summed over outputs (``nn.MSELoss`` is 2 / C times this)."""
    return 0.5 * (outputs_NxC - targets_NxC).square().sum(-1)


def cross_entropy(outputs_NxC: Tensor, targets_N: Tensor) -> Tensor:
    """Softmax cross-entropy in nats against class indices, or against class probabilities (N x C)."""
    return F.cross_entropy(outputs_NxC, targets_N, reduction="none")


def objective(outputs_NxC: Tensor, targets: Tensor) -> Tensor:
    """For a module whose single output is already the loss, such as a toy model of dynamics."""
    return outputs_NxC.squeeze(-1)


LOSSES: dict[str, Loss] = {"mse": mse, "cross_entropy": cross_entropy, "objective": objective}


def outputs(loss: str, classes: int) -> int:
    """How many outputs a network needs: one a class, or a single one where ``mse`` tells two classes apart."""
    return 1 if loss == "mse" and classes == 2 else classes


def encode_targets(labels_N: Tensor, loss: str, classes: int, dtype: torch.dtype) -> Tensor:
    """Class labels as the targets a named loss wants.

    For ``mse`` one-hot 0/1 rows (N x C), or -1/+1 (N x 1) with two classes, whose one-hot columns would double every
    eigenvalue; class indices (N) otherwise.
    """
    if loss != "mse":
        return labels_N.long()
    if classes == 2:
        return (2 * labels_N.to(dtype) - 1)[:, None]
    return F.one_hot(labels_N.long(), classes).to(dtype)
