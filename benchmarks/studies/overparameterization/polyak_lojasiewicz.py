"""The PL* condition of wide networks (O3: Liu, Zhu and Belkin 2020, arXiv:2003.00307)."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures
from benchmarks.lab.architectures import ntk_mlp
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.ntk import tangent_kernel
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Iterable[int], images: Images) -> Iterator[Result]:
    """Full-batch gradient descent in float64 on two classes of images, which are fixed. The tangent kernel is read at
    ``readings``, over which the least of lambda_min and of the PL* ratio are taken; the excess is the largest over all
    steps t >= 1.

    Systems: ``width-N``, a network with one hidden layer in NTK parametrization and one output, whose initialization
    the seed draws. Controls: ``fixed-features``, the widest of these with all layers but the readout frozen, whose
    kernel cannot move; and, without a seed, ``vanishing``, f = a b at a = b = 1 with target 0, whose kernel a^2 + b^2
    goes to zero with f.

    Raises:
        ValueError: if a kernel does not fit into the memory, or the widest network has fewer units than there are
            images, for then ``fixed-features`` has no positive least eigenvalue. Nothing has run then.

    Quantities: see the data card.
    """
    data = subset(images, settings.images, classes=2, pool=settings.pool)
    inputs = data.train_inputs.flatten(1).double()
    targets = encode_targets(data.train_labels, "mse", 2, torch.float64)
    widest = max(settings.widths)
    if widest < len(inputs):
        raise ValueError(f"{widest} units at most for {len(inputs)} images: the fixed features need one an image")
    for seed in seeds:
        for width in sorted(settings.widths, reverse=True):  # the widest needs most memory: it fails first
            module = _network(inputs.shape[1], width, settings.activation, seed)
            yield f"width-{width}", seed, _scores(module, inputs, targets, settings)
        widest_module = _network(inputs.shape[1], widest, settings.activation, seed)
        with torch.no_grad():
            features = widest_module[:-1](inputs)
        yield "fixed-features", seed, _scores(widest_module[-1], features, targets, settings)
    yield "vanishing", None, _vanishing(settings)


def _vanishing(settings) -> dict[str, float]:
    module = _network(1, 1, "identity", seed=0)
    for weight in module.parameters():
        nn.init.ones_(weight)
    one = torch.ones(1, 1, dtype=torch.float64)
    return _scores(module, one, torch.zeros_like(one), settings)


def _network(inputs: int, width: int, activation: str, seed: int) -> nn.Sequential:
    (module,) = architectures.build_stack(ntk_mlp.build, (inputs,), 1, [seed], hidden=[width], activation=activation)
    return module.double()


def _scores(module: nn.Module, inputs: Tensor, targets: Tensor, settings) -> dict[str, float]:
    n, steps = len(inputs), settings.steps
    problem = Problem(module, inputs, targets, "mse")
    start_1xP = problem.initial_RxP()

    def spectrum(params_1xP: Tensor) -> np.ndarray:
        kernel = tangent_kernel(module, inputs, params_P=params_1xP[0], memory=settings.memory * 2**20)
        return torch.linalg.eigvalsh(kernel).numpy()

    first = spectrum(start_1xP)
    lr = float(settings.lr * n / first[-1])
    losses, least, ratios = [], {}, []
    for step in descend(problem, start_1xP, sgd(lr=lr), steps=steps):
        losses.append(float(step.losses_R))
        if step.number in {0, *settings.readings, steps}:
            least[step.number] = (spectrum(step.params_RxP) if step.number else first)[0]
            gradient = float(step.point.grads_RxP.square().sum())
            ratios.append(gradient / (2 * least[step.number] / n * losses[-1]))
    t = np.arange(1, len(losses))
    logs = np.log(np.array(losses[1:]) / losses[0])

    def excess(eigenvalue: float) -> float:
        return float((logs - t * np.log1p(-lr * eigenvalue / n)).max())

    return {
        **{f"lambda_min-{step}": value for step, value in least.items()},
        "lambda_max": first[-1],
        "log_retained": np.log(min(least.values()) / least[0]),
        "log_pl": np.log(min(ratios)),
        "excess": excess(min(least.values())),
        "mean_excess": excess(first.mean()),
        "loss_fall": logs[-1],
    }
