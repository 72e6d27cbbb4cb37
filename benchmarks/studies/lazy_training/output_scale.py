"""Lazy training by output scale: a centred network times alpha, its loss over alpha squared (N3)."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.lazy_training import COLUMNS
from benchmarks.studies.lazy_training.descent import TwoClasses, descend, marks, network, slope, two_classes
from benchmarks.theory.linearized import Descent

MARKS = 20
# Discrepancies below this are of a model that is linear: rounding has no exponent.
ROUNDING = 1e-9
QUANTITIES = ("distance", "weight_discrepancy", "output_discrepancy")


def run(settings: dict, seeds: Iterable[int], images: Images) -> pd.DataFrame:
    """Gradient descent on |alpha (f_w - f_w0) - y|^2 / 2 alpha^2, the mean over two classes of images, beside that on
    the network linearized at w_0, in float64 (Chizat, Oyallon and Bach 2019, arXiv:1812.07956, section 2).

    This is the plain loss of f_w with the targets f_w0 + y / alpha, which is how it is trained; the learning rate does
    not depend on alpha.

    Systems: ``tanh``, a network in NTK parametrization with one hidden layer, and ``linear``, regression on the pixels.
    Quantities, by alpha as ``distance-A`` and so on, each the largest over the run:

        distance             |w_t - w_0|
        weight_discrepancy   |w_t - w_t^lin|
        output_discrepancy   root mean square of alpha (f_t - f_t^lin) over test images

    ``lazy_...`` and ``rich_...`` are the slopes of their logarithms on ln alpha over the last five ``scales`` (four
    octaves) and over ``rich_scales``, nan where a model is linear; ``relative_discrepancy`` is the output's over the
    root mean square of alpha (f_T^lin - f_0) at the largest alpha; ``loss_left`` the largest last loss over the first,
    over alpha.

    Args:
        settings: ``images``, ``tests``, ``pool``, ``width``, ``scales`` (alpha, rising, at least five),
            ``rich_scales``, ``rate`` (learning rate in units of N / largest eigenvalue of the first kernel), ``steps``.

    Raises:
        ValueError: for fewer than five scales.
    """
    if len(settings["scales"]) < 5:
        raise ValueError(f"slopes over four octaves need five scales, got {len(settings['scales'])}")
    data = two_classes(images, settings["images"], settings["tests"], settings["pool"], torch.float64)
    systems = {
        "tanh": {"name": "ntk_mlp", "hidden": [settings["width"]], "activation": "tanh"},
        "linear": {"name": "deep_linear"},
    }
    rows: list[tuple] = []
    for seed in seeds:
        for name, architecture in systems.items():
            rows += [(name, seed, *rest) for rest in _ladder(architecture, data, seed, settings)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _ladder(architecture: dict, data: TwoClasses, seed: int, settings: dict) -> list[tuple[str, float]]:
    everything = torch.cat([data.inputs_NxD, data.tests_MxD])
    module = network(architecture, everything, seed)
    jacobian_xP = jacobian(module, everything)
    rows, found, left = [], {}, []
    scales = sorted({*settings["rich_scales"], *settings["scales"]})
    for scale in scales:
        values, share = compare(network(architecture, everything, seed), data, jacobian_xP, scale, settings)
        found[scale] = values
        left.append(share)
        rows += [(f"{name}-{scale:g}", value) for name, value in zip(QUANTITIES, values)]
    for kind, chosen in (("lazy", settings["scales"][-5:]), ("rich", settings["rich_scales"])):
        for name, values in zip(QUANTITIES, zip(*(found[scale] for scale in chosen))):
            rows.append((f"{kind}_{name}", slope(chosen, values) if max(values) > ROUNDING else float("nan")))
    return [*rows, ("relative_discrepancy", found[scales[-1]][2] / found[scales[-1]][3]), ("loss_left", max(left))]


def compare(
    module: nn.Module, data: TwoClasses, jacobian_xP: Tensor, scale: float, settings: dict
) -> tuple[Sequence[float], float]:
    """The three quantities at a scale and the root mean square of the linearized outputs' change over test images, at
    the end; and the share of the loss that is left.

    Args:
        module: at w_0; it is trained.
        jacobian_xP: of its outputs on training examples, then on tests, at w_0.
    """
    n = len(data.inputs_NxD)
    start = flatten_parameters(module)
    with torch.no_grad():
        first, tests = module(data.inputs_NxD), module(data.tests_MxD)[:, 0]
    kernel = (jacobian_xP[:n] @ jacobian_xP[:n].T).numpy()
    lr = settings["rate"] * n / float(np.linalg.eigvalsh(kernel)[-1])
    linear = Descent(kernel, -data.targets_Nx1[:, 0].numpy() / scale, lr)
    problem = Problem(module, data.inputs_NxD, first + data.targets_Nx1 / scale, "mse")
    at = set(marks(settings["steps"], MARKS))
    largest, losses = np.zeros(3), []
    for step, point in enumerate(descend(problem, module, lr, settings["steps"])):
        losses.append(float(point.losses_R))
        if step not in at:
            continue
        moved = flatten_parameters(module) - start
        moved_linear = -jacobian_xP[:n].T @ torch.from_numpy(linear.gathered(step))
        expected = jacobian_xP[n:] @ moved_linear
        with torch.no_grad():
            strayed = module(data.tests_MxD)[:, 0] - tests - expected
        now = [moved.norm(), (moved - moved_linear).norm(), scale * strayed.square().mean().sqrt()]
        largest = np.maximum(largest, [float(value) for value in now])
    return (*largest, scale * float(expected.square().mean().sqrt())), losses[-1] / losses[0]


def jacobian(module: nn.Module, inputs_NxD: Tensor) -> Tensor:
    """Of a network's one output in its flat parameters, N x P."""
    tensors = {name: p.detach() for name, p in module.named_parameters()}

    def output(tensors: dict[str, Tensor], input_D: Tensor) -> Tensor:
        return functional_call(module, tensors, (input_D[None],))[0, 0]

    parts = vmap(jacrev(output), in_dims=(None, 0))(tensors, inputs_NxD)
    return torch.cat([parts[name].flatten(1) for name in tensors], dim=1)
