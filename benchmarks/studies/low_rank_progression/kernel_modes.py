"""Modes on the eigenfunctions of a network's tangent kernel at its start: what linear modes cannot see."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp

from benchmarks.studies.low_rank_progression.setting import Setting, modes_above, noise_floor, target_map
from benchmarks.theory.modes import Modes

ITERATIONS = 6
OVERSAMPLING = 16


def eigenfunctions(setting: Setting, net: nn.Module, count: int, merge: float) -> tuple[Tensor, Modes, float]:
    """The ``count`` leading eigenfunctions of the kernel summed over outputs, centred and orthonormal on the data.

    By subspace iteration on products sum_c J_c J_c' v, which never form a Jacobian.

    Returns:
        features (N x count), the modes of the labels on them, their noise floor.
    """
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def outputs(weights: dict[str, Tensor]) -> Tensor:
        return functional_call(net, weights, (setting.inputs,))

    value, pull = vjp(outputs, weights)
    N, C = value.shape

    def product(vectors_NxK: Tensor) -> Tensor:
        columns = []
        for vector_N in vectors_NxK.T:
            total = torch.zeros(N, dtype=value.dtype)
            for c in range(C):
                cotangent = torch.zeros_like(value)
                cotangent[:, c] = vector_N
                (direction,) = pull(cotangent)
                total += jvp(outputs, (weights,), (direction,))[1][:, c]
            columns.append(total - total.mean())
        return torch.stack(columns, dim=1)

    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(N, count + OVERSAMPLING, generator=generator, dtype=value.dtype)
    for _ in range(ITERATIONS):
        basis, _ = torch.linalg.qr(product(basis - basis.mean(0)))
    rotated = basis.double().numpy().T @ product(basis).double().numpy()
    values, vectors = np.linalg.eigh((rotated + rotated.T) / 2)
    leading = basis.double().numpy() @ vectors[:, np.argsort(-values)[:count]]
    features = N**0.5 * np.linalg.qr(leading)[0]
    targets = setting.targets.double().numpy()
    floor = noise_floor(targets, features)
    return (
        torch.from_numpy(features).to(value.dtype),
        modes_above(target_map(targets, features), floor, None, merge),
        floor,
    )
