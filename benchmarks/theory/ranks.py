"""Effective number of directions of a matrix."""

import numpy as np


def stable_rank(weight: np.ndarray) -> float:
    """|W|_F^2 / |W|^2, of a weight as a matrix of its outputs by everything else; nan for zero."""
    s = np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)
    return float(np.square(s).sum() / s[0] ** 2) if s[0] > 0 else np.nan
