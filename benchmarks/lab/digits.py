"""The digits that ship with scikit-learn: a second data set wherever the library is installed."""

import numpy as np


def arrays() -> dict[str, np.ndarray]:
    """The 8 x 8 digits in file order, uint8: the first 1,000 to train on (N x 1 x 8 x 8), the next 500 to test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = bunch.images.astype(np.uint8)[:, None]
    y = bunch.target.astype(np.uint8)
    return {"x_train": x[:1000], "y_train": y[:1000], "x_test": x[1000:1500], "y_test": y[1000:1500]}
