"""Minibatches determined by seed and step alone, so that a resumed run needs no generator state."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Minibatches:
    """Calling it with a step gives rows_RxB: for each run B of the N examples, without repetition, fresh at each step.

    Args:
        stream: another value gives batches independent of these.

    Raises:
        ValueError: if a batch is larger than the data.
    """

    def __init__(self, seeds: Sequence[int], *, examples: int, size: int, stream: int = 0):
        if not 1 <= size <= examples:
            raise ValueError(f"a batch of {size} from {examples} examples")
        self.seeds = list(seeds)
        self.examples = examples
        self.size = size
        self.stream = stream

    def __call__(self, step: int) -> Tensor:
        rows = []
        for seed in self.seeds:
            # Mixed: torch keeps 32 bits of a seed, and a sum of seed and step would repeat batches in another run.
            (mixed,) = np.random.SeedSequence((seed, self.stream, step)).generate_state(1)
            generator = torch.Generator().manual_seed(int(mixed))
            rows.append(torch.randperm(self.examples, generator=generator)[: self.size])
        return torch.stack(rows)
