"""The empirical neural tangent kernel, exact, in bounded memory (Jacot, Gabriel and Hongler 2018, arXiv:1806.07572)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from benchmarks.lab import contract
from benchmarks.lab.functional import Functional, trainable
from benchmarks.lab.problem import attention_kernels

MEMORY = 2**31
"""Bytes that a kernel may take where nothing else is said: 2 GiB."""


def tangent_kernel(
    module: nn.Module,
    inputs_NxD: Tensor,
    others_MxD: Tensor | None = None,
    *,
    params_P: Tensor | None = None,
    memory: int = MEMORY,
) -> Tensor:
    """K = J(x) J(x')' over the trainable parameters, NC x MC: rows by example, then output.

    Outputs may have any shape after N (a sequence's N x T x V, a map's N x C x H x W): C is their number per example.

    The Jacobian is contracted one parameter tensor at a time and in blocks of examples, so it is never held as a whole.
    Two blocks and their copies are held in addition to the kernel; with more than one block, gradients of the second
    factor are recomputed for every block of the first.

    Args:
        others_MxD: the second factor's inputs; the first's if not given.
        params_P: the flat parameters; the module's own if not given.
        memory: bytes to which the block size is fitted: the kernel, two blocks and as much again for the copies that
            differentiation makes. Threads and the allocator add to it; the peak stays below one and a half times this.

    Raises:
        ValueError: before the kernel is computed, if it does not fit (saying what it needs), or for a network that
            couples examples, is random, or whose output is not a single tensor.
    """
    others_MxD = inputs_NxD if others_MxD is None else others_MxD
    contract.require_uniform([module], trainable(module), inputs_NxD)
    with attention_kernels(module, inputs_NxD)():
        contract.require_deterministic(module, inputs_NxD)
        contract.require_separate(module, inputs_NxD)
        return _kernel(module, layers(module, params_P), inputs_NxD, others_MxD, memory)


def _kernel(
    module: nn.Module, tensors: dict[str, Tensor], inputs_NxD: Tensor, others_MxD: Tensor, memory: int
) -> Tensor:
    block = _block(module, inputs_NxD, len(others_MxD), memory)
    symmetric = inputs_NxD is others_MxD
    kernel = None
    for name in tensors:
        for i in range(0, len(inputs_NxD), block):
            left = _rows(module, tensors, name, inputs_NxD[i : i + block])
            for j in range(i if symmetric else 0, len(others_MxD), block):
                right = left if symmetric and i == j else _rows(module, tensors, name, others_MxD[j : j + block])
                if kernel is None:
                    outputs = left.shape[1]
                    kernel = left.new_zeros(len(inputs_NxD) * outputs, len(others_MxD) * outputs)
                part = left.flatten(0, 1) @ right.flatten(0, 1).T
                kernel[i * outputs :, j * outputs :][: part.shape[0], : part.shape[1]] += part
    return kernel.triu() + kernel.triu(1).T if symmetric else kernel


def jacobian(module: nn.Module, inputs: Tensor, params_P: Tensor) -> Tensor:
    """The Jacobian of all outputs in the flat parameters, N x C x P, as a whole: for few examples, small networks."""
    return jacrev(lambda flat_P: call(module, flat_P, inputs), chunk_size=200)(params_P)


def call(module: nn.Module, params_P: Tensor, inputs: Tensor) -> Tensor:
    """The network's outputs at these flat parameters, as a differentiable function of them."""
    return Functional(module)(layers(module, params_P), inputs)


def layers(module: nn.Module, params_P: Tensor | None = None) -> dict[str, Tensor]:
    """Flat trainable parameters in the shapes of the module's, by name; the module's own, detached, if not given."""
    named = trainable(module)
    if params_P is None:
        return {name: p.detach() for name, p in named.items()}
    parts = params_P.split([p.numel() for p in named.values()])
    return {name: part.view_as(p) for (name, p), part in zip(named.items(), parts)}


def _rows(module: nn.Module, tensors: dict[str, Tensor], name: str, inputs_BxD: Tensor) -> Tensor:
    """The Jacobian of a block of examples in one parameter tensor, B x C x its size."""

    function = Functional(module)

    def outputs_C(tensor: Tensor, input_D: Tensor) -> Tensor:
        return function({**tensors, name: tensor}, input_D[None]).reshape(-1)

    try:
        rows = vmap(jacrev(outputs_C), in_dims=(None, 0))(tensors[name], inputs_BxD)
    except RuntimeError:  # a layer without a batching rule (LSTM, GRU): an example and an output at a time
        each = [partial(outputs_C, input_D=input_D) for input_D in inputs_BxD]
        rows = torch.stack([torch.autograd.functional.jacobian(one, tensors[name]) for one in each])
    return rows.flatten(2)


def _block(module: nn.Module, inputs_NxD: Tensor, others: int, memory: int) -> int:
    """The number of examples that a block may have."""
    with torch.no_grad():
        outputs = module(inputs_NxD[:1]).numel()
    size = next(iter(trainable(module).values())).element_size()
    kernel = len(inputs_NxD) * others * outputs**2 * size
    example = outputs * max(p.numel() for p in trainable(module).values()) * size
    block = (memory - kernel) // (4 * example)
    if block < 1:
        raise ValueError(
            f"the tangent kernel needs at least {(kernel + 4 * example) / 2**20:,.0f} MiB ({kernel / 2**20:,.0f} for "
            f"{len(inputs_NxD)} x {others} examples of {outputs} outputs), but {memory / 2**20:,.0f} are allowed: "
            "use fewer examples, a narrower network or more memory"
        )
    return min(block, max(len(inputs_NxD), others))
