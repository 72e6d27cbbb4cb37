"""What the experiments share: two classes of images, networks with one output and their kernel, marks along a run."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.losses import encode_targets
from benchmarks.lab.ntk import tangent_kernel


@dataclass(frozen=True)
class TwoClasses:
    """Images of two classes, N to train on with targets -1 and 1, and M to test on."""

    inputs_NxD: Tensor
    targets_Nx1: Tensor
    tests_MxD: Tensor


def two_classes(
    images: Images, count: int, tests: int, pool: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> TwoClasses:
    """The data of these studies: one fixed subset, whatever the seed.

    Raises:
        ValueError: if there are fewer images than asked for.
    """
    chosen = subset(images, count, classes=2, pool=pool)
    if len(chosen.test_labels) < tests:
        raise ValueError(f"{tests} test images of two classes asked for, {len(chosen.test_labels)} prepared")
    return TwoClasses(
        chosen.train_inputs.flatten(1).to(device, dtype),
        encode_targets(chosen.train_labels, "mse", 2, dtype).to(device),
        chosen.test_inputs[:tests].flatten(1).to(device, dtype),
    )


def drawn(images: Images, count: int, pool: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of two classes, drawn by the seed, in float64: pixels N x D and signs N.

    Raises:
        ValueError: if there are fewer images than asked for.
    """
    whole = subset(images, int((images.train_labels < 2).sum()), classes=2, pool=pool)
    if count > len(whole.train_labels):
        raise ValueError(f"{count} images of two classes asked for, {len(whole.train_labels)} prepared")
    chosen = np.random.default_rng(seed).choice(len(whole.train_labels), count, replace=False)
    return whole.train_inputs[chosen].flatten(1).double().numpy(), 2.0 * whole.train_labels[chosen].numpy() - 1


def network(
    build: Callable[..., nn.Module], inputs_NxD: Tensor, seed: int, shrink: float = 1.0, **options
) -> nn.Module:
    """A network with one output, in the inputs' dtype and where they are; its weights are those that the seed draws,
    times ``shrink``."""
    (module,) = architectures.build_stack(build, inputs_NxD.shape[1:], 1, [seed], **options)
    with torch.no_grad():
        for weights in module.to(inputs_NxD).parameters():
            weights.mul_(shrink)
    return module


def kernel(
    module: nn.Module, memory: int, inputs_NxD: Tensor, others_MxD: Tensor | None = None, params_P: Tensor | None = None
) -> np.ndarray:
    """The tangent kernel in float64, in ``memory`` MiB; see `tangent_kernel`."""
    kernel_NxM = tangent_kernel(module, inputs_NxD, others_MxD, params_P=params_P, memory=memory * 2**20)
    return kernel_NxM.double().cpu().numpy()


def learning_rate(rate: float, kernel_NxN: np.ndarray) -> float:
    """What ``rate`` is in units of N / (largest eigenvalue of the kernel)."""
    return rate * len(kernel_NxN) / float(np.linalg.eigvalsh(kernel_NxN)[-1])


def marks(steps: int, count: int) -> np.ndarray:
    """Step numbers from 0 to ``steps``, evenly in the logarithm of the number but for 0 and what rounds to the same."""
    return np.unique(np.concatenate([[0], np.geomspace(1, steps, count).round().astype(int)]))
