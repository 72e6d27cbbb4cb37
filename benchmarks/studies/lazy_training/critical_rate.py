"""The largest learning rate at which a wide network trains as its linearization does (N4)."""

from collections.abc import Iterable, Iterator

import numpy as np
from torch import nn

from benchmarks.lab.architectures import deep_linear, ntk_mlp
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.lazy_training.setup import TwoClasses, kernel, network, two_classes
from benchmarks.studies.table import Result, tidy

# In units of N / (largest eigenvalue of the first kernel): 2 is where the linearized network turns unstable.
LOW, HIGH = 1 / 16, 16.0
# A loss has risen by more than rounding if it exceeds the one before it by this fraction.
RISE = 1e-4


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """Bisection of the learning rate of gradient descent on half squared errors of two classes. A rate is too large if
    the loss rises at any step of the run: where one mode of the linearized network grows, it soon outweighs what the
    others lose, whether the network then diverges or is catapulted (Lewkowycz et al. 2020, arXiv:2003.02218).

    Systems: ``ntk-W`` and ``mean-field-W`` for a width W, tanh networks with one hidden layer; ``linear``, regression
    on the pixels.

    Raises:
        ValueError: for a kernel that does not fit in memory, before anything is trained; or if the critical rate is not
            between 1/32 and 8 times the predicted one.

    Quantities: see the data card.
    """
    data = two_classes(images, settings.images, 1, settings.pool, device=device)
    systems = [(width, "ntk") for width in settings.widths]
    systems += [(width, "mean-field") for width in settings.mean_field_widths]
    seeds = list(seeds)
    for width, readout in sorted(systems, reverse=True):  # the widest first: its kernel fits or nothing is done
        options = {"hidden": [width], "activation": "tanh", "readout": readout}
        for seed in seeds:
            module = network(ntk_mlp.build, data.inputs_NxD, seed, **options)
            yield f"{readout}-{width}", seed, _threshold(module, data, settings)
    for seed in seeds:
        module = network(deep_linear.build, data.inputs_NxD, seed)
        yield "linear", seed, _threshold(module, data, settings)


def _threshold(module: nn.Module, data: TwoClasses, settings) -> dict[str, float]:
    first = kernel(module, settings.memory, data.inputs_NxD)
    top = float(np.linalg.eigvalsh(first)[-1]) / len(first)
    problem = Problem(module, data.inputs_NxD, data.targets_Nx1, "mse")

    def rises(rate: float) -> bool:
        before = np.inf
        for step in descend(problem, problem.initial_RxP(), sgd(lr=rate / top), steps=settings.steps):
            loss = float(step.losses_R)
            if not loss <= before * (1 + RISE):
                return True
            before = loss
        return False

    if rises(LOW) or not rises(HIGH):
        raise ValueError(
            f"no critical learning rate between {LOW:g} and {HIGH:g} over the sharpness in {settings.steps} steps"
        )
    low, high = LOW, HIGH
    while high / low > 1 + settings.resolution:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if rises(middle) else (middle, high)
    return {"threshold_ratio": (low * high) ** 0.5 / 2, "lambda_max": top}
