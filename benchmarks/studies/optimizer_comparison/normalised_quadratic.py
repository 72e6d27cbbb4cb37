"""Where normalization must make a network less sensitive to its learning rate: a linear map from a unit vector.

Gradient descent on |X w - X w*|^2 / (2 n) diverges beyond 2 / lambda_max; on the same function of w |w*| / |w| it
cannot: the gradient is orthogonal to w, so a large step makes w long and every later step small (Arora, Li and Lyu
2019).
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.lab.loop import descend, last
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.tuning import lr_sensitivity


class _Map(nn.Module):
    def __init__(self, start: Tensor, length: float | None):
        super().__init__()
        self.weight = nn.Parameter(start)
        self.length = length

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.weight if self.length is None else self.length * self.weight / self.weight.norm()
        return (inputs @ weight)[:, None]


@tidy
def run(settings, seeds: Iterable[int]) -> Iterator[Result]:
    """Gradient descent from weights, on data, that the seed draws; learning rates are around the best of each system.

    Systems: ``normalised``, and ``plain``, the control; ``both`` has their ratio.

    Quantities: see the data card.
    """
    grid = torch.logspace(-settings.decades / 2, settings.decades / 2, settings.rates).tolist()
    for seed in seeds:
        sensitivities = {}
        for name in ("plain", "normalised"):
            losses, first = zip(*(_loss(seed, settings, name, settings.lr * rate) for rate in settings.search))
            best = settings.lr * settings.search[min(range(len(losses)), key=losses.__getitem__)]
            swept = [_loss(seed, settings, name, best * factor)[0] for factor in grid]
            sensitivities[name] = lr_sensitivity(grid, swept, first[0])
            yield name, seed, {"sensitivity": sensitivities[name]}
        yield "both", seed, {"ratio": sensitivities["plain"] / sensitivities["normalised"]}


def _loss(seed: int, settings, name: str, lr: float) -> tuple[float, float]:
    """The last loss, infinite after divergence, and the first."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(settings.examples, settings.features, dtype=torch.float64, generator=generator)
    true, start = torch.randn(2, settings.features, dtype=torch.float64, generator=generator).unbind()
    network = _Map(start, float(true.norm()) if name == "normalised" else None)
    problem = Problem(network, inputs, (inputs @ true)[:, None], "mse")
    step = last(descend(problem, start[None], sgd(lr=lr), steps=settings.steps, divergence=1e6))
    return (float("inf") if step.diverged else float(step.losses_R)), float(step.first_loss_R)
