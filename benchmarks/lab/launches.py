"""What a device is asked to do, counted: kernels, waits of the host, copies between the two, FLOP and bytes.

    with Counted("pretend") as seen:        # the device of `benchmarks.lab.pretend_device`, or "cpu"
        problem.at(params_RxP)
    seen.launches, seen.waits, seen.transfers

On small networks a GPU spends its time starting kernels, and these can be counted without one: an operation that is no
view starts one kernel. That is a convention, not a measurement: a library's operation may start several (an eigenvalue
problem starts hundreds), and a fused optimizer step over many tensors counts as one.
"""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# Operations by their names in aten; "." ends a name. Those that start no kernel, though they are no views:
_FREE = ("empty.", "empty_like.", "empty_strided.", "new_empty.", "detach.", "alias.", "lift_fresh.", "_unsafe_view.")
_FREE += ("_reshape_alias.", "_local_scalar_dense.", "set_.")
_COPIES = ("copy_.", "_to_copy.", "_foreach_copy_.")
# For these the host needs a value, the number of results, or whether a factorization has succeeded.
_WAITS = ("_local_scalar_dense.", "nonzero.", "masked_select.", "equal.", "_unique2.", "unique_dim.", "bincount.")
_WAITS += ("linalg_eigh.", "_linalg_eigh.", "linalg_eig.", "_linalg_svd.", "linalg_qr.", "linalg_cholesky_ex.")
_BY_MASK = ("index.", "index_put_.", "_index_put_impl_.")


class Counted(TorchDispatchMode):
    """Counts the operations on tensors of one kind of device, for as long as it lasts.

    Attributes:
        launches, waits, transfers: counts by operation; their ``total()`` is the number.
        flop: of matrix products, convolutions and attention, by torch's formulas (2 for a multiplication and addition).
        bytes: that operations which start a kernel read and write, if each tensor is read or written once.
    """

    def __init__(self, device: str):
        super().__init__()
        self.device = device
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.transfers: Counter[str] = Counter()
        self.flop = 0
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        given, made = ([leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)] for tree in (args, result))
        if any(tensor.device.type == self.device for tensor in (*given, *made)):
            self._count(operation, args, kwargs or {}, given, made, result)
        return result

    def _count(self, operation, args: tuple, kwargs: dict, given: list[Tensor], made: list[Tensor], result) -> None:
        name = str(operation).removeprefix("aten.")
        if name.startswith(_COPIES) and len({tensor.device.type for tensor in (*given, *made)}) > 1:
            to_host = made[0].device.type != self.device
            self.transfers["to host" if to_host else "to device"] += 1
            self.waits["to host"] += to_host
            return
        by_mask = name.startswith(_BY_MASK) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name.startswith(_WAITS) or by_mask:
            self.waits[name] += 1
        if operation.is_view or name.startswith(_FREE):
            return
        self.launches[name] += 1
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in (*given, *made))
        formula = flop_registry.get(operation.overloadpacket)
        if formula is not None:
            self.flop += int(formula(*args, **kwargs, out_val=result))
