"""The prepared images as the lab takes them."""

from pathlib import Path

import numpy as np


def load(path: Path, dtype: str):
    """`benchmarks.lab.datasets.Images` of a file that `prepare` made, in a dtype by its name."""
    import torch  # here, because it takes seconds

    from benchmarks.lab import datasets

    with np.load(path) as arrays:
        return datasets.images(**arrays, dtype=getattr(torch, dtype))
