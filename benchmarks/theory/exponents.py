"""Exponents of power laws."""

from collections.abc import Sequence

import numpy as np


def log_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares slope of ln y on ln x; nan for a single point, or if any y is not positive."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 and (y > 0).all() else float("nan")
