"""Lazy training by output scale: a centred network times alpha, its loss over alpha squared (N3)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab.architectures import deep_linear, ntk_mlp
from benchmarks.lab.datasets import Images
from benchmarks.lab.loop import descend
from benchmarks.lab.ntk import jacobian
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.lazy_training.setup import TwoClasses, learning_rate, marks, network, two_classes
from benchmarks.studies.table import Result, tidy
from benchmarks.theory.exponents import log_slope
from benchmarks.theory.linearized import Descent

MARKS = 20
# Discrepancies below this are of a model that is linear: rounding has no exponent.
ROUNDING = 1e-9
QUANTITIES = ("distance", "weight_discrepancy", "output_discrepancy")


@tidy
def run(settings, seeds: Iterable[int], images: Images) -> Iterator[Result]:
    """Gradient descent on |alpha (f_w - f_w0) - y|^2 / 2 alpha^2, the mean over two classes of images, beside that on
    the network linearized at w_0, in float64 (Chizat, Oyallon and Bach 2019, arXiv:1812.07956, section 2).

    This is the plain loss of f_w with the targets f_w0 + y / alpha, which is how it is trained; the learning rate does
    not depend on alpha.

    Systems: ``tanh``, a network in NTK parametrization with one hidden layer, and as a control ``linear``, regression
    on the pixels, where slopes of discrepancies are nan.

    ``lazy_...`` are slopes over the last five ``scales`` (four octaves), ``rich_...`` over ``rich_scales``. Outputs are
    those of test images. ``relative_discrepancy`` is at the largest alpha, ``loss_left`` the largest over alpha.

    Raises:
        ValueError: for fewer than five scales.

    Quantities: see the data card.
    """
    if len(settings.scales) < 5:
        raise ValueError(f"slopes over four octaves need five scales, got {len(settings.scales)}")
    data = two_classes(images, settings.images, settings.tests, settings.pool, torch.float64)
    options = {"hidden": [settings.width], "activation": "tanh"}
    for seed in seeds:
        tanh = network(ntk_mlp.build, data.inputs_NxD, seed, **options)
        yield "tanh", seed, _ladder(tanh, data, settings)
        linear = network(deep_linear.build, data.inputs_NxD, seed)
        yield "linear", seed, _ladder(linear, data, settings)


def _ladder(module: nn.Module, data: TwoClasses, settings) -> dict[str, float]:
    everything = torch.cat([data.inputs_NxD, data.tests_MxD])
    jacobian_xP = jacobian(module, everything, flatten_parameters(module))[:, 0]
    quantities, by_scale, left = {}, {}, []
    scales = sorted({*settings.rich_scales, *settings.scales})
    for scale in scales:
        by_scale[scale], loss_left = compare(module, data, jacobian_xP, scale, settings)
        left.append(loss_left)
        quantities |= {f"{name}-{scale:g}": value for name, value in zip(QUANTITIES, by_scale[scale])}
    for kind, chosen in (("lazy", settings.scales[-5:]), ("rich", settings.rich_scales)):
        for name, values in zip(QUANTITIES, zip(*(by_scale[scale] for scale in chosen))):
            quantities[f"{kind}_{name}"] = log_slope(chosen, values) if max(values) > ROUNDING else float("nan")
    last = by_scale[scales[-1]]
    return quantities | {"relative_discrepancy": last[2] / last[3], "loss_left": max(left)}


def compare(
    module: nn.Module, data: TwoClasses, jacobian_xP: Tensor, scale: float, settings
) -> tuple[Sequence[float], float]:
    """The three quantities at a scale and the root mean square of the linearized outputs' change over test images, at
    the end; and the last loss over the first.

    Args:
        module: at w_0.
        jacobian_xP: of its outputs on training examples, then on tests, at w_0.
    """
    n = len(data.inputs_NxD)
    start = flatten_parameters(module)
    with torch.no_grad():
        first, tests = module(data.inputs_NxD), module(data.tests_MxD)[:, 0]
    kernel = (jacobian_xP[:n] @ jacobian_xP[:n].T).numpy()
    lr = learning_rate(settings.rate, kernel)
    linear = Descent(kernel, -data.targets_Nx1[:, 0].numpy() / scale, lr)
    problem = Problem(module, data.inputs_NxD, first + data.targets_Nx1 / scale, "mse")
    at = set(marks(settings.steps, MARKS))
    largest = np.zeros(3)
    for step in descend(problem, start[None], sgd(lr=lr), steps=settings.steps):
        if step.number not in at:
            continue
        moved = step.params_RxP[0] - start
        moved_linear = -jacobian_xP[:n].T @ torch.from_numpy(linear.gathered(step.number))
        expected = jacobian_xP[n:] @ moved_linear
        strayed = problem.outputs(step.params_RxP, data.tests_MxD)[0, :, 0] - tests - expected
        now = [moved.norm(), (moved - moved_linear).norm(), scale * strayed.square().mean().sqrt()]
        largest = np.maximum(largest, [float(value) for value in now])
    return (*largest, scale * float(expected.square().mean().sqrt())), float(step.losses_R) / float(step.first_loss_R)
