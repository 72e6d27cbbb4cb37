"""The memory that a network of one's own takes: how much is free, how much will be needed, and how to need less.

Three things take memory beside the program and the data: the weights with their copies (the optimizer's two, those of
each reading in float64), the activations that are kept for the backward pass, and what a reading holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmarks.lab import contract
from benchmarks.lab.functional import Functional, trainable

# Activations that are kept for the backward pass may take so much; what needs more is evaluated in parts.
ACTIVATIONS = 2**29
# Bytes per parameter of training and reading: at four bytes the network, what it began as, its gradients, the
# optimizer's moments and the checks' copies; at eight the weights at the start and now, and their difference.
PER_PARAMETER = 120
# What the smallest network takes, with the libraries that are loaded on the way.
SMALL = 2**28


class Parts(nn.Module):
    """A network that takes a batch a few examples at a time and evaluates them again for the backward pass, so that
    activations of no more than these are kept. Outputs and gradients change by rounding only.

    Its parameters are the network's, in the same order. The backward pass too must run in the context that the network
    needs (`attention_kernels`).

    Args:
        size: examples at a time.
    """

    def __init__(self, network: nn.Module, size: int):
        super().__init__()
        self.network = network
        self.size = size
        self._call = Functional(network)

    def forward(self, inputs: Tensor) -> Tensor:
        parts = inputs.split(self.size)
        if not torch.is_grad_enabled():
            return torch.cat([self.network(part) for part in parts])
        given = trainable(self.network)
        return torch.cat([_Again.apply(self._call, part, tuple(given), *given.values()) for part in parts])


class _Again(torch.autograd.Function):
    """Keeps inputs and parameters alone."""

    @staticmethod
    def forward(ctx, evaluated: Callable, inputs: Tensor, names: tuple[str, ...], *values: Tensor) -> Tensor:
        ctx.evaluated, ctx.names = evaluated, names
        ctx.save_for_backward(inputs, *values)
        return evaluated(dict(zip(names, values)), inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple:
        inputs, *values = ctx.saved_tensors
        leaves = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            outputs = ctx.evaluated(dict(zip(ctx.names, leaves)), inputs)
        return None, None, None, *torch.autograd.grad(outputs, leaves, gradient, allow_unused=True)


def in_parts(network: nn.Module, inputs: Tensor, batch: int) -> nn.Module:
    """The network itself if the activations of a batch fit or its examples cannot be separated; else in `Parts`, as
    large as fit.

    Args:
        inputs: four examples or more.
    """
    kept = activations(network, inputs)
    if batch * kept <= ACTIVATIONS or not separable(network, inputs):
        return network
    return Parts(network, max(1, int(ACTIVATIONS // kept)))


def separable(network: nn.Module, inputs: Tensor) -> bool:
    """Whether what it makes of an example does not depend on the others of the batch, as a BatchNorm's output does."""
    try:
        contract.require_separate(network, inputs)
    except ValueError:
        return False
    return True


def activations(network: nn.Module, inputs: Tensor) -> float:
    """Bytes that are kept of one example for the backward pass: what four need more than two."""
    return _slope(network, inputs, sum)


def widest(network: nn.Module, inputs: Tensor) -> float:
    """Bytes of an example's largest activation."""
    return _slope(network, inputs, max)


def _slope(network: nn.Module, inputs: Tensor, of: Callable) -> float:
    two, four = (of(_kept(network, inputs[:count])) for count in (2, 4))
    return max(four - two, 0) / 2


def _kept(network: nn.Module, inputs: Tensor) -> list[int]:
    """The sizes of what the backward pass needs, in bytes."""
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = network(inputs)  # held, so that nothing that is kept makes room for another
    del outputs
    return list(kept.values()) or [0]


@dataclass(frozen=True)
class Need:
    """Bytes by what takes them, beyond what the process has already; ``rest`` is what nobody can lower."""

    weights: float
    activations: float
    data: float
    rest: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.activations + self.data + self.rest


def require_room(need: Need, advice: dict[str, str], free: float | None) -> None:
    """Raises ValueError, in one sentence that says what to lower, if more is needed than is free.

    Args:
        advice: what to do about each of the fields of `Need` but the rest.
        free: as `available` has it.
    """
    if free is None or need.total <= free:
        return
    most = max(advice, key=lambda name: getattr(need, name))
    raise ValueError(
        f"it would take about {need.total / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free: "
        f"{getattr(need, most) / 2**30:.1f} GiB are for {advice[most]}"
    )


def available(root: Path = Path("/")) -> float | None:
    """Bytes that this process may still take of the machine or its container; None if the system does not say."""
    free = []
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free.append(1024.0 * int(line.split()[1]))
    groups = root / "sys/fs/cgroup"
    for most, now in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = (_text(groups / name).strip() for name in (most, now))
        if limit.isdigit() and used.isdigit():
            free.append(float(limit) - float(used))
    return min(free, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
