"""The largest stable learning rate against an output multiplier (Q12).

The network is f = (g(x; w) - g(x; w_0)) / scale. A small scale is the lazy regime; with a large one the weights must
change a great deal before the outputs do (Atanasov et al. 2025).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.lab import architectures
from benchmarks.lab.architectures import bias_free_mlp
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend, last
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.low_rank_progression.networks import Centred
from benchmarks.studies.low_rank_progression.setting import one_hot, whiten
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.exponents import log_slope

DIVERGENCE = 10.0


@tidy
def run(settings, seeds: Sequence[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """Centred ReLU networks without biases, on whitened images. A seed draws the initialization.

    Systems: ``depth-L-k``, depth L with the k-th scale of the settings, from 0; ``depth-L`` has the slopes, of
    ln(largest lr) on ln(scale).

    Quantities: see the data card.
    """
    data = subset(images, settings.images, pool=settings.pool)
    pixels = data.train_inputs.double().reshape(len(data.train_inputs), -1).numpy()
    inputs = torch.from_numpy(whiten(pixels, settings.components)[0]).float().to(device)
    labels = one_hot(data.train_labels, data.classes)
    targets = torch.from_numpy(labels - labels.mean(0)).float().to(device)
    scales = np.array(settings.scales)
    for depth in settings.depths:
        options = {"hidden": [settings.width] * (depth - 1), "activation": "relu"}
        for seed in seeds:
            (module,) = architectures.build_stack(
                bias_free_mlp.build, inputs.shape[1:], data.classes, [seed], **options
            )
            lrs = []
            for place, scale in enumerate(scales):
                whole = Problem(Centred(module, float(scale)).to(device), inputs, targets, "mse")
                lrs.append(largest_lr(whole, scale, settings.steps, settings.resolution))
                yield f"depth-{depth}-{place}", seed, {"scale": scale, "largest_lr": lrs[-1]}
            for regime, chosen in (("lazy", scales < 1), ("rich", scales > 1)):
                slope = log_slope(scales[chosen], np.array(lrs)[chosen])
                yield f"depth-{depth}", seed, {f"{regime}_slope": slope}


def largest_lr(problem: Problem, scale: float, steps: int, resolution: float) -> float:
    """By bisection: the largest learning rate at which gradient descent ends below its first loss and never exceeds it
    tenfold."""

    def stable(lr: float) -> bool:
        path = descend(problem, problem.initial_RxP(), sgd(lr=lr), steps=steps, divergence=DIVERGENCE)
        end = last(path)
        return not end.diverged and bool(end.losses_R < end.first_loss_R)

    low = high = min(scale**2, scale)
    while stable(high):
        low, high = high, 4 * high
    while not stable(low):
        low, high = low / 4, low
    while high / low > 1 + resolution:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low
