"""Losses per example. A loss maps (outputs, targets) of one run to losses_N; `Problem` divides their sum by N.

A loss that also has ``counts(targets) -> counts_N`` is divided by the sum of these counts instead: for sequences, a
mean over tokens. The conventions are Cohen et al.'s (2021): every sharpness and every 2 / lr of this project depends on
them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the squared error, summed over the outputs of an example (``nn.MSELoss`` is 2 / C times this).

    Raises:
        ValueError: unless outputs and targets have the same shape, N first.
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"mse compares outputs {tuple(outputs.shape)} with targets {tuple(targets.shape)}: give both the same shape"
        )
    squares = (outputs - targets).square()
    return 0.5 * (squares.sum(-1) if squares.ndim == 2 else squares.reshape(len(squares), -1).sum(-1))


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy in nats. The classes are the last axis of the outputs, N x C or N x T x V.

    Targets are class indices (N, or N x T) or class probabilities (the outputs' shape). A sequence's loss is the sum
    over its positions, and the mean is over all positions that count, as in ``F.cross_entropy`` of the flattened batch.

    Attributes:
        ignore_index: positions with this target do not count (padding).
        weight: one per class, C; the mean is then weighted, as torch's is.
    """

    ignore_index: int = -100
    weight: Tensor | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Raises ValueError unless the targets have the outputs' shape, with or without the last axis."""
        wanted = outputs.shape if targets.is_floating_point() else outputs.shape[:-1]
        if targets.shape != wanted:
            raise ValueError(
                f"cross_entropy of outputs {tuple(outputs.shape)}, classes last, needs targets {tuple(wanted)}, "
                f"got {tuple(targets.shape)} of {targets.dtype}"
            )
        options = {
            "ignore_index": self.ignore_index,
            "weight": self.weight if self.weight is None else self.weight.to(outputs),
            "reduction": "none",
        }
        if outputs.ndim == 2:
            return F.cross_entropy(outputs, targets, **options)
        flat = targets.reshape(-1, *targets.shape[outputs.ndim - 1 :])
        return F.cross_entropy(outputs.flatten(0, -2), flat, **options).view(len(outputs), -1).sum(1)

    def counts(self, targets: Tensor) -> Tensor:
        """How much each example counts in the mean: the number of its positions, or the sum of their class weights."""
        if targets.is_floating_point():
            return torch.full((len(targets),), targets[0, ..., 0].numel(), device=targets.device)
        counted = targets != self.ignore_index
        if self.weight is not None:
            counted = counted * self.weight.to(targets.device)[targets.where(counted, 0)]
        return counted.reshape(len(targets), -1).sum(1)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raises ValueError for an index outside the classes: on a GPU it would end the process."""
        if targets.is_floating_point() or not len(targets):
            return
        counted = targets[targets != self.ignore_index]
        if not len(counted):
            raise ValueError(f"every target is {self.ignore_index} (padding), so there is no loss")
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= outputs.shape[-1]:
            raise ValueError(
                f"targets go from {low} to {high}, but the network has {outputs.shape[-1]} classes (0 to "
                f"{outputs.shape[-1] - 1}); padding is {self.ignore_index}"
            )


cross_entropy = CrossEntropy()


def objective(outputs_Nx1: Tensor, targets: Tensor) -> Tensor:
    """For a module whose single output is already the loss, such as a toy model of dynamics."""
    return outputs_Nx1.reshape(len(outputs_Nx1), -1).squeeze(-1)


LOSSES: dict[str, Loss] = {"mse": mse, "cross_entropy": cross_entropy, "objective": objective}


def outputs(loss: str, classes: int) -> int:
    """How many outputs a network needs: one per class, or a single one for ``mse`` with two classes."""
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
