"""How well the network fits its training data, and how large the gradient is."""

from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup, Stateless


class Fit(Stateless):
    """``train_accuracy`` (fraction of examples whose label is given by their largest output, or by the sign of a single
    output) and ``gradient_norm`` (Euclidean).

    Args:
        labels_N: class indices (N, or N x T of sequences), or None where there are no classes: then only the gradient
            norm is read.
    """

    curvature = False

    def __init__(self, labels_N: Tensor | None, *, every: int):
        self.labels_N = labels_N
        self.every = every

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        outputs_RxNxC = reading.point.outputs_RxNxC
        metrics = {"gradient_norm": reading.point.grads_RxP.norm(dim=1)}
        if self.labels_N is not None:
            single = outputs_RxNxC.shape[-1] == 1
            guesses_RxN = (outputs_RxNxC[..., 0] > 0).long() if single else outputs_RxNxC.argmax(-1)
            metrics["train_accuracy"] = (guesses_RxN == self.labels_N).flatten(1).cpu().double().mean(1)
        return metrics


def build(setup: Setup, *, every: int) -> Fit:
    return Fit(setup.labels_N, every=every)
