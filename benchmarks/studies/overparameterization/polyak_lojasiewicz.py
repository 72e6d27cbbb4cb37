"""The PL* condition of wide networks (O3: Liu, Zhu and Belkin 2020, arXiv:2003.00307)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.ntk import tangent_kernel
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.lab.training import train
from benchmarks.studies.overparameterization import COLUMNS
from benchmarks.studies.overparameterization.fitting import DIVERGENCE


def run(settings: dict, seeds: Iterable[int], images: Images) -> pd.DataFrame:
    """Quantities by seed, which draws the initialization; two classes of images are fixed. Everything is in float64.

    Of ``width-N``, a network with one hidden layer in NTK parametrization and one output, by full-batch gradient
    descent at ``lr`` over lambda_max(K_0) / n: ``lambda_min-STEP``, the least eigenvalue of the tangent kernel at the
    readings; ``log_retained``, ln of the least of these over the first; ``log_pl``, the ln of the least of |grad L|^2
    over 2 (lambda_min(K_t) / n) L at the readings; ``excess``, the largest of ln(L_t / L_0) - t ln(1 - lr mu) over all
    steps t >= 1, with n mu the least of the readings; ``mean_excess``, the same with n mu the mean eigenvalue of K_0;
    ``loss_fall``, ln(L_T / L_0).

    Of ``fixed-features``, the widest network with all layers but the readout frozen, whose kernel cannot move, and of
    ``vanishing``, f = a b at a = b = 1 with target 0, whose kernel a^2 + b^2 goes to zero with f: the same, of the
    latter without a seed.

    Args:
        settings: ``images``, ``pool``, ``activation``, ``widths``, ``lr``, ``steps``, ``readings`` (steps at which the
            kernel is read; 0 and the last are added), ``memory`` (MiB that a kernel may take).

    Raises:
        ValueError: if a kernel does not fit into the memory, or the widest network has fewer units than there are
            images, for then ``fixed-features`` has no positive least eigenvalue. Nothing has run then.
    """
    data = subset(images, settings["images"], classes=2, pool=settings["pool"])
    inputs = data.train_inputs.flatten(1).double()
    targets = encode_targets(data.train_labels, "mse", 2, torch.float64)
    widest = max(settings["widths"])
    if widest < len(inputs):
        raise ValueError(f"{widest} units at most for {len(inputs)} images: the fixed features need one an image")
    rows: list[tuple] = []
    for seed in seeds:
        for width in sorted(settings["widths"], reverse=True):  # the widest needs most memory: it fails first
            module = _network(inputs.shape[1], width, settings["activation"], seed)
            found = _descend(module, inputs, targets, settings)
            rows += [(f"width-{width}", seed, *rest) for rest in found]
        widest_module = _network(inputs.shape[1], widest, settings["activation"], seed)
        with torch.no_grad():
            features = widest_module[:-1](inputs)
        found = _descend(widest_module[-1], features, targets, settings)
        rows += [("fixed-features", seed, *rest) for rest in found]
    rows += [("vanishing", None, *rest) for rest in _vanishing(settings)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _vanishing(settings: dict) -> list[tuple]:
    module = _network(1, 1, "identity", seed=0)
    for weight in module.parameters():
        nn.init.ones_(weight)
    one = torch.ones(1, 1, dtype=torch.float64)
    return _descend(module, one, torch.zeros_like(one), settings)


def _network(inputs: int, width: int, activation: str, seed: int) -> nn.Sequential:
    (module,) = architectures.build_stack(
        "ntk_mlp", input_shape=(inputs,), outputs=1, seeds=[seed], hidden=[width], activation=activation
    )
    return module.double()


def _descend(module: nn.Module, inputs: Tensor, targets: Tensor, settings: dict) -> list[tuple]:
    """Quantities and values of one run."""
    n, steps = len(inputs), settings["steps"]
    problem = Problem(module, inputs, targets, "mse")
    params_1xP = flatten_parameters(module)[None]
    spectra: dict[int, np.ndarray] = {}
    gradients: dict[int, float] = {}
    read = {step for step in settings["readings"] if step < steps} | {steps}
    parameters: list[nn.Parameter] = []

    def measure(step: int, flat_P: Tensor) -> None:
        vector_to_parameters(flat_P, module.parameters())
        kernel = tangent_kernel(module, inputs, memory=settings["memory"] * 2**20)
        spectra[step] = torch.linalg.eigvalsh(kernel).numpy()
        gradients[step] = float(problem.at(flat_P[None]).grads_RxP.square().sum())

    def build(tensors: list[nn.Parameter]) -> list[torch.optim.Optimizer]:
        parameters.extend(tensors)
        return optimizers.build(tensors, name="sgd", lr=lr)

    def observe(step: int, _) -> None:
        if step in read:
            measure(step, parameters_to_vector(parameters).detach())

    measure(0, params_1xP[0])
    lr = settings["lr"] * n / spectra[0][-1]
    outcome = train(problem, params_1xP, build, seeds=[0], steps=steps, divergence=DIVERGENCE, observe=observe)
    losses_T = outcome.history.frame()["value"].to_numpy(float)
    least = {step: spectrum[0] for step, spectrum in spectra.items()}
    ratios = [gradients[step] / (2 * least[step] / n * losses_T[step]) for step in least]
    t = np.arange(1, len(losses_T))
    logs = np.log(losses_T[1:] / losses_T[0])

    def excess(eigenvalue: float) -> float:
        return float((logs - t * np.log1p(-lr * eigenvalue / n)).max())

    return [
        *((f"lambda_min-{step}", float(value)) for step, value in least.items()),
        ("lambda_max", float(spectra[0][-1])),
        ("log_retained", float(np.log(min(least.values()) / least[0]))),
        ("log_pl", float(np.log(min(ratios)))),
        ("excess", excess(min(least.values()))),
        ("mean_excess", excess(float(spectra[0].mean()))),
        ("loss_fall", float(logs[-1])),
    ]
