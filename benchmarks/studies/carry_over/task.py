"""What a system learns and how it is read, whatever the kind of its data."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.theory.modes import Modes


@dataclass(frozen=True)
class Task:
    """Data to train on, and what is read of a network along the way.

    Attributes:
        inputs, targets: of the loss that is minimised, N first.
        batches: rows_1xB of a step's minibatch.
        dress: makes of a network one that takes ``inputs``.
        shape, outputs: what an architecture is built for.
        tokens: the vocabulary, where inputs are token ids; else 0.
        read_inputs, read_targets: where the map is read; training examples as they are.
        maps: from probabilities there (N x ... x C) to the map A (C x D).
        modes: of the map's target, above the noise of targets without a relation to the inputs.
        floor: that noise, a singular value.
        whitened: scale_D, by which columns of A and T are divided to read inputs of unit variance; None where the map
            is read so already.
        test_inputs, test_targets: held out.
        linear: class indices, what the best linear predictor says of them.
        references: log-probabilities of other predictors there, by name, to measure distances to; N x ... x C.
    """

    inputs: Tensor
    targets: Tensor
    batches: Callable[[int], Tensor]
    shape: tuple[int, ...]
    outputs: int
    read_inputs: Tensor
    read_targets: Tensor
    maps: Callable[[Tensor], np.ndarray]
    modes: Modes
    floor: float
    test_inputs: Tensor
    test_targets: Tensor
    linear: Tensor
    tokens: int = 0
    dress: Callable[[nn.Module], nn.Module] = lambda module: module
    whitened: np.ndarray | None = None
    references: dict[str, Tensor] = field(default_factory=dict)

    def with_targets(self, generator: torch.Generator) -> "Task":
        """The same task with its training targets permuted, so that inputs say nothing about them."""
        flat = self.targets.reshape(-1)
        return replace(self, targets=flat[torch.randperm(len(flat), generator=generator)].view(self.targets.shape))

    def backwards(self) -> "Task":
        """The same windows of a text, read backwards: inputs and targets N x L of which each holds the next of the
        other."""
        return replace(self, inputs=self.targets.flip(1), targets=self.inputs.flip(1))


def above_noise(target_CxD: np.ndarray, unrelated: list[np.ndarray], most: int) -> tuple[Modes, float]:
    """The leading modes of a target whose singular value exceeds that of the same rank in every target without a
    relation (parallel analysis, Horn 1965), at most so many and at least one; and the singular value that ended them.
    """
    s, floors = (np.linalg.svd(m, compute_uv=False) for m in (target_CxD, np.stack(unrelated)))
    above = s > np.maximum(floors.max(0), 1e-9 * s[0])
    count = len(s) if above.all() else int(np.argmin(above))
    return Modes.of(target_CxD, max(1, min(most, count))), float(floors.max(0)[min(count, len(s) - 1)])
