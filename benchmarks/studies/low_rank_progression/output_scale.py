"""The largest stable learning rate against an output multiplier (Q12).

The network is f = (g(x; w) - g(x; w_0)) / scale. A small scale is the lazy regime; with a large one the weights must
change a great deal before the outputs do (Atanasov et al. 2025).
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.lab.training import train
from benchmarks.studies.low_rank_progression.rung import COLUMNS
from benchmarks.studies.low_rank_progression.setting import one_hot, whiten

DIVERGENCE = 10.0


class Centred(nn.Module):
    """(g - g_0) / scale, with g_0 the module as it is given."""

    def __init__(self, module: nn.Module, scale: float):
        super().__init__()
        self.module = module
        self.start = [deepcopy(module).requires_grad_(False)]  # in a list, so that its parameters are not ours
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.module(inputs) - self.start[0](inputs)) / self.scale


def run(settings: dict, seeds: Sequence[int], images: Images) -> pd.DataFrame:
    """Quantities of each system ``depth-L-scale`` (its place among the scales): ``scale``, ``largest_lr``; and of
    ``depth-L``: ``lazy_slope`` and ``rich_slope``, of ln(largest lr) on ln(scale) over the scales below and above one.

    Args:
        settings: ``images``, ``pool``, ``components``, ``width``, ``depths``, ``scales``, ``steps``, ``resolution``
            (relative, of the learning rate).
    """
    data = subset(images, settings["images"], pool=settings["pool"])
    pixels = data.train_inputs.double().reshape(len(data.train_inputs), -1).numpy()
    inputs = torch.from_numpy(whiten(pixels, settings["components"])[0]).float()
    labels = one_hot(data.train_labels, data.classes)
    targets = torch.from_numpy(labels - labels.mean(0)).float()
    scales = np.array(settings["scales"])
    rows: list[tuple] = []
    for depth in settings["depths"]:
        for seed in seeds:
            found = []
            for place, scale in enumerate(scales):
                torch.manual_seed(seed)
                hidden = [settings["width"]] * (depth - 1)
                module = architectures.build(
                    "bias_free_mlp", inputs.shape[1:], data.classes, hidden=hidden, activation="relu"
                )
                whole = Problem(Centred(module, float(scale)), inputs, targets, "mse")
                found.append(largest_lr(whole, scale, settings["steps"], settings["resolution"]))
                system = f"depth-{depth}-{place}"
                rows += [(system, seed, "scale", scale), (system, seed, "largest_lr", found[-1])]
            for regime, chosen in (("lazy", scales < 1), ("rich", scales > 1)):
                slope = np.polyfit(np.log(scales[chosen]), np.log(np.array(found)[chosen]), 1)[0]
                rows.append((f"depth-{depth}", seed, f"{regime}_slope", slope))
    return pd.DataFrame(rows, columns=COLUMNS)


def largest_lr(problem: Problem, scale: float, steps: int, resolution: float) -> float:
    """By bisection: the largest learning rate at which gradient descent ends below its first loss and never exceeds ten
    times it."""
    start = stack_parameters([problem.module])

    def stable(lr: float) -> bool:
        outcome = train(
            problem,
            start,
            partial(optimizers.build, name="sgd", lr=lr),
            seeds=[0],
            steps=steps,
            divergence=DIVERGENCE,
        )
        return not outcome.diverged and bool(problem.losses(outcome.params_RxP) < problem.losses(start))

    low = high = min(scale**2, scale)
    while stable(high):
        low, high = high, 4 * high
    while not stable(low):
        low, high = low / 4, low
    while high / low > 1 + resolution:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low
