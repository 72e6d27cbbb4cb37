"""The device ``pretend``: it computes on the CPU, to the CPU's bits, and raises where a CUDA device would.

Importing this module registers it, for good. A tensor there is an `OnDevice` around a CPU tensor; every operation on
one passes `OnDevice.__torch_dispatch__`, which looks where its arguments are, does it on the CPU and wraps the result.
"""

import os
import sys

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

NAME = "pretend"
# Found in a backward pass, through which no exception gets alive; the device's next operation raises them.
PENDING: list[Exception] = []

# Operations by their names in aten; "." ends a name, so that "mm." is no "addmm.".
COPIES = ("copy_.", "copy.", "_to_copy.", "_foreach_copy_.")
INDEXING = ("index.", "index_put.", "index_put_.", "_index_put_impl_.", "_unsafe_index.", "_unsafe_index_put.")
MATRIX_PRODUCTS = ("mm.", "bmm.", "addmm.", "mv.", "addmv.", "baddbmm.", "addbmm.", "dot.", "vdot.")
# What torch.use_deterministic_algorithms is documented to refuse on CUDA.
NO_DETERMINISTIC_KERNEL = (
    "adaptive_max_pool2d_backward.",
    "_adaptive_avg_pool2d_backward.",
    "_adaptive_avg_pool3d_backward.",
    "avg_pool3d_backward.",
    "fractional_max_pool2d_backward.",
    "fractional_max_pool3d_backward.",
    "upsample_linear1d_backward.",
    "upsample_bilinear2d_backward.",
    "upsample_bicubic2d_backward.",
    "upsample_trilinear3d_backward.",
    "grid_sampler_2d_backward.",
    "grid_sampler_3d_backward.",
    "reflection_pad1d_backward.",
    "reflection_pad2d_backward.",
    "reflection_pad3d_backward.",
    "max_unpool2d.",
    "max_unpool3d.",
    "nll_loss2d_forward.",
    "_ctc_loss_backward.",
    "median.dim",
    "histc.",
    "put_.",
)


class OnDevice(Tensor):
    """A tensor of the device; ``held`` is where its numbers are."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, device=torch.device(NAME, 0), requires_grad=False, **layout
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _carry_out(operation, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: "OnDevice") -> None:
        Tensor.data.__set__(self, other)
        self.held = other.held

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> list:
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"{self.held!r} on {NAME}"

    def __deepcopy__(self, memo: dict) -> Tensor:
        copy = OnDevice(self.detach().held.clone())
        memo[id(self)] = nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return OnDevice, (self.detach().held,)


def _refuse(told: str) -> None:
    if torch._C._current_autograd_node() is None:
        raise RuntimeError(told)
    PENDING.append(RuntimeError(told))


def _carry_out(operation, args: tuple, kwargs: dict):
    if PENDING and torch._C._current_autograd_node() is None:
        raise PENDING.pop()
    flat, form = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in flat if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    name = str(operation).removeprefix("aten.")
    if len(there) < len(tensors):
        _require_one_place(operation, name, args, tensors)
    wanted = kwargs.get("device")
    if wanted is not None:
        stays = torch.device(wanted).type == NAME
    elif name.startswith(COPIES):  # into what is given first, or like it
        stays = isinstance(args[0] if isinstance(args[0], Tensor) else args[0][0], OnDevice)
    else:
        stays = bool(there)
    if stays:
        _require_kernel(operation, name)

    inside, named = tree_unflatten([leaf.held if isinstance(leaf, OnDevice) else leaf for leaf in flat], form)
    if wanted is not None:
        named["device"] = "cpu"
    result = operation(*inside, **named)
    if not stays:
        return result
    given = {id(tensor.held): tensor for tensor in there}  # what an operation in place returns is what it was given
    result = tree_map_only(Tensor, lambda leaf: given[id(leaf)] if id(leaf) in given else OnDevice(leaf), result)
    changed = [args[0]] if torch.Tag.inplace_view in operation.tags else there if name.endswith("out") else []
    for tensor in changed:
        tensor.data = OnDevice(tensor.held)  # the wrapper takes on the new shape
    return result


def _require_one_place(operation, name: str, args: tuple, tensors: list[Tensor]) -> None:
    if name.startswith(COPIES):
        return
    here = [tensor for tensor in tensors if not isinstance(tensor, OnDevice)]
    if name.startswith(INDEXING):  # a tensor there may have indices here
        here = [tensor for tensor in (args[0], *args[2:3]) if not isinstance(tensor, OnDevice)]
    pointwise = torch.Tag.pointwise in operation.tags or name.startswith(("_foreach_", "fill", "masked_fill"))
    if here and not (pointwise and all(tensor.ndim == 0 for tensor in here)):
        told = ", ".join(f"{tensor.device.type} {tuple(tensor.shape)}" for tensor in tensors)
        _refuse(f"{operation}: all tensors must be on the same device, but found {told}")


def _require_kernel(operation, name: str) -> None:
    if torch.Tag.nondeterministic_seeded in operation.tags:
        _refuse(f"{operation} draws on the device, where no CPU generator can and a seed is other numbers")
    if torch.are_deterministic_algorithms_enabled():
        if name.startswith(NO_DETERMINISTIC_KERNEL):
            _refuse(f"{operation} does not have a deterministic implementation on CUDA")
        if name.startswith(MATRIX_PRODUCTS) and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
            _refuse(f"{operation} is deterministic on CUDA only with CUBLAS_WORKSPACE_CONFIG=:4096:8")


backend_registration._setup_privateuseone_for_python_backend(NAME)
getattr(torch, NAME).get_amp_supported_dtype = list  # no autocast, which torch.utils.checkpoint asks for
# Factories have no tensor of the device among their arguments: they come here by its name alone.
_LIBRARY = torch.library.Library("_", "IMPL")
_LIBRARY.fallback(lambda operation, *args, **kwargs: _carry_out(operation, args, kwargs), "PrivateUse1")
torch.serialization.add_safe_globals([OnDevice])
sys.modules[torch.optim.Optimizer.__module__]._foreach_supported_types.append(OnDevice)
torch.autograd.set_multithreading_enabled(False)  # or backward passes have a thread of the device
torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device=...) makes them here, and moves them
