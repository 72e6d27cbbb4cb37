"""Bases other than the inputs, for what linear modes cannot see: kernel eigenfunctions and products of inputs."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from benchmarks.lab.ntk import call
from benchmarks.lab.problem import flatten_parameters
from benchmarks.studies.low_rank_progression.setting import Setting, modes_above, noise_floor, target_map

ITERATIONS = 6
OVERSAMPLING = 16
QUADRATIC = 32


def kernel(setting: Setting, net: nn.Module, count: int, merge: float) -> Setting:
    """Read on the ``count`` leading eigenfunctions of the kernel summed over outputs, centred and orthonormal.

    By subspace iteration on products sum_c J_c J_c' v, which never form a Jacobian.
    """
    outputs, params_P = partial(call, net, inputs=setting.inputs), flatten_parameters(net)
    value, pull = vjp(outputs, params_P)
    N, C = value.shape

    def product(vectors_NxK: Tensor) -> Tensor:
        columns = []
        for vector_N in vectors_NxK.T:
            total = torch.zeros(N, dtype=value.dtype)
            for c in range(C):
                cotangent = torch.zeros_like(value)
                cotangent[:, c] = vector_N
                (direction,) = pull(cotangent)
                total += jvp(outputs, (params_P,), (direction,))[1][:, c]
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
    return _read_on(features, setting, merge)


def quadratic(setting: Setting, merge: float) -> Setting:
    """Read on the `QUADRATIC` leading principal components of all products of two inputs, without what is linear in
    them."""
    inputs = setting.features_NxD.double().numpy()
    N, D = inputs.shape
    first, second = np.triu_indices(D)
    products = inputs[:, first] * inputs[:, second]
    products -= products.mean(0)
    products -= inputs @ (inputs.T @ products) / N
    _, vectors = np.linalg.eigh(products.T @ products / N)
    features = N**0.5 * np.linalg.qr(products @ vectors[:, ::-1][:, :QUADRATIC])[0]
    return _read_on(features, setting, merge)


def _read_on(features_NxK: np.ndarray, setting: Setting, merge: float) -> Setting:
    targets = setting.targets.double().numpy()
    floor = noise_floor(targets, features_NxK)
    modes = modes_above(target_map(targets, features_NxK), floor, None, merge)
    features = torch.from_numpy(features_NxK).to(setting.features_NxD)
    return replace(setting, features_NxD=features, modes=modes, noise_floor=floor)
