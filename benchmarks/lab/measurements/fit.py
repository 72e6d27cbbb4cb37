"""How well the network fits its training data, and how large the gradient is."""

from torch import Tensor

from benchmarks.lab.problem import Point


class Fit:
    """``train_accuracy`` (fraction of examples whose largest output is their label) and ``gradient_norm`` (Euclidean).

    Args:
        labels_N: class indices, or None where there are no classes: then only the gradient norm is read.
    """

    curvature = False

    def __init__(self, labels_N: Tensor | None, *, every: int):
        self.labels_N = labels_N
        self.every = every

    def measure(self, point: Point, step: int) -> dict[str, Tensor]:
        metrics = {"gradient_norm": point.grads_RxP.norm(dim=1)}
        if self.labels_N is not None:
            metrics["train_accuracy"] = (point.outputs_RxNxC.argmax(-1) == self.labels_N).double().mean(1)
        return metrics

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing is carried from one reading to the next."""
