"""What a network and a loss must satisfy for a `Problem`, checked on a few examples: by behaviour, not by class.

The module is not changed: it runs on copies of its tensors, which are compared afterwards. This is done once per
problem, on `FEW` examples, and costs a few forward and backward passes over them.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from benchmarks.lab.functional import Functional, trainable, untrained

FEW = 8
# Relative to central differences in float64, a correct derivative is off by far less, PyTorch's wrong ones by >= 4 %.
WRONG = 0.02


def spread(targets: Tensor, loss: Callable | None, count: int) -> Tensor:
    """At most ``count`` evenly spaced examples that count in the mean loss; on the CPU."""
    rows = torch.arange(len(targets))
    if hasattr(loss, "counts"):
        rows = rows[loss.counts(targets).cpu() > 0]
    count = min(count, len(rows))
    return rows[torch.arange(count) * len(rows) // count]


def require_uniform(modules: Sequence[nn.Module], named: dict[str, nn.Parameter], inputs: Tensor) -> None:
    """Raises ValueError unless there are trainable parameters: real, one dtype and device, alike in all networks."""
    if not named:
        raise ValueError("the network has no parameter that requires a gradient: all are frozen, or there are none")
    kinds = {(p.dtype, p.device): name for name, p in named.items()}
    if len(kinds) > 1:
        listed = " and ".join(f"{name!r} of {dtype} on {device}" for (dtype, device), name in kinds.items())
        raise ValueError(f"parameters must have one dtype and be on one device: there are {listed}")
    ((dtype, device),) = kinds
    if dtype.is_complex:
        raise ValueError(f"parameters of {dtype}: only real ones have a gradient that is a direction of descent")
    if inputs.device != device:
        raise ValueError(f"inputs are on {inputs.device}, parameters on {device}: move one of them")
    first, trained = untrained(modules[0]), _kinds(named)
    for place, module in enumerate(modules[1:], start=2):
        if _kinds(trainable(module)) != trained:
            raise ValueError(f"network {place} of the stack has different trainable parameters from the first one")
        if {n: v.shape for n, v in untrained(module).items()} != {n: v.shape for n, v in first.items()}:
            raise ValueError(
                f"network {place} of the stack has different buffers or frozen parameters from the first one"
            )


def _kinds(named: dict[str, nn.Parameter]) -> list[tuple]:
    return [(name, p.shape, p.dtype, p.device) for name, p in named.items()]


def require_alike(modules: Sequence[nn.Module], inputs: Tensor) -> None:
    """Raises ValueError unless each network differs from the first only in its tensors: the first's code runs all."""
    for place, module in enumerate(modules[1:], start=2):
        own = [leaf.detach() for leaf in _tensors(_call(module, inputs[:FEW])[0])]
        tensors = {name: p.detach() for name, p in module.named_parameters()} | dict(module.named_buffers())
        as_first = Functional(modules[0])({n: _copied(t, inputs) for n, t in tensors.items()}, inputs[:FEW])
        if not _all_same(own, [leaf.detach() for leaf in _tensors(as_first)], tolerance=1e-3):
            raise ValueError(
                f"network {place} of the stack differs from the first one in more than its parameters and buffers (an "
                "activation, a number that is not a buffer): make a separate problem for each"
            )


def needs_plain_attention(module: nn.Module, inputs: Tensor) -> bool:
    """Whether the network calls attention, whose fused kernels have no second derivative."""
    if any(isinstance(child, nn.MultiheadAttention | nn.TransformerEncoderLayer) for child in module.modules()):
        return True
    with _Watch() as watch, torch.no_grad():
        _try(lambda: _call(module, inputs[:FEW])[0], inputs)
    return watch.seen


class _Watch(TorchFunctionMode):
    seen = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.seen |= function is F.scaled_dot_product_attention
        return function(*args, **kwargs or {})


def require_deterministic(
    module: nn.Module, inputs: Tensor, targets: Tensor | None = None, loss: Callable | None = None
) -> None:
    """Evaluate twice and compare value, gradient and state. Without a loss, the output must be a single tensor.

    Raises:
        ValueError: naming the submodule that is random or changes its buffers; or for a loss that does not give one
            value per example, does not fit the targets, or depends on nothing that is trained.
    """
    if targets is None:
        inputs, loss = inputs[:FEW], _first_output
    else:
        _evaluate(module, inputs[:FEW], targets, loss)  # first the contract of the loss, then examples that count
        rows = spread(targets, loss, FEW)
        inputs, targets = inputs[rows], targets[rows]
    first, second = (_evaluate(module, inputs, targets, loss) for _ in range(2))
    state = _random_state(inputs.device)
    _call(module, inputs)
    drawn = not torch.equal(state, _random_state(inputs.device))
    if not drawn and _all_same(first.outputs, second.outputs) and not _same(first.losses_N, second.losses_N):
        raise ValueError("the loss is random, or changes from call to call: its values differ for the same outputs")
    if drawn or not _all_same(first.outputs, second.outputs) or not _all_same(first.grads, second.grads):
        raise ValueError(
            f"{_culprit(module, inputs, drawn)} is random, or changes from call to call, so the loss is not a function "
            "of the parameters: call .eval(), or set its dropout to 0"
        )
    buffers = dict(module.named_buffers())
    for name, before in {**dict(module.named_parameters()), **buffers}.items():
        after = first.tensors[name]
        if not _same(before.to(after.dtype), after):
            owner, _, buffer = name.rpartition(".")
            kind = "buffer" if name in buffers else "parameter"
            running = buffer.startswith("running_")
            what = "its running statistics" if running else f"its {kind} {buffer!r}"
            advice = ", or build it with track_running_stats=False" if running else ", or take that out"
            raise ValueError(f"{_told(module, owner)} changes {what} as it is evaluated: call .eval(){advice}")
    _require_given(module, inputs, targets, loss)


def _require_given(module: nn.Module, inputs: Tensor, targets: Tensor | None, loss: Callable) -> None:
    """Raises ValueError if gradients depend on the module's own values and not only on those it is called with, as with
    `torch.utils.checkpoint`, which recomputes in the backward pass."""
    generator = torch.Generator().manual_seed(0)
    own = trainable(module)
    before = {name: p.detach().clone() for name, p in own.items()}
    noise = {n: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) for n, p in before.items()}
    moved = {n: p + 0.1 * (float(p.norm()) or 1.0) / float(noise[n].norm()) * noise[n] for n, p in before.items()}
    elsewhere = _evaluate(module, inputs, targets, loss, moved)
    try:
        for name, p in own.items():
            p.data.copy_(moved[name])  # not seen by a graph that the caller may hold
        there = _evaluate(module, inputs, targets, loss, moved)
    finally:
        for name, p in own.items():
            p.data.copy_(before[name])
    if not _all_same(elsewhere.grads, there.grads):
        raise ValueError(
            f"{type(module).__name__}: the gradient depends on parameters that the network was not called with, as "
            "with torch.utils.checkpoint: remove that, and use chunk_size to save memory"
        )


def require_separate(
    module: nn.Module, inputs: Tensor, targets: Tensor | None = None, loss: Callable | None = None
) -> None:
    """Raises ValueError, naming the submodule, if the output for an example (with a loss: its loss) depends on the
    other examples of the batch."""
    count = min(FEW, len(inputs))
    halves = [slice(a, b) for a, b in pairwise((0, count - count // 2, count)) if b > a]

    def said(rows: slice) -> list[Tensor]:
        outputs = _call(module, inputs[rows])[0]
        return _tensors(outputs if loss is None else loss(outputs, targets[rows]))

    with torch.no_grad():
        whole = said(slice(0, count))
        try:
            parts = [torch.cat(leaves) for leaves in zip(*map(said, halves))]
            if _all_same(whole, parts, tolerance=1e-3):
                return
        except (ValueError, RuntimeError):
            pass  # BatchNorm refuses a single example
        raise ValueError(
            f"{_coupling(module, inputs, halves)} couples the examples of a batch: with several chunks, or for a "
            "tangent kernel, each example must be independent of the others (leave out chunk_size, or call .eval())"
        )


def can_vmap(problem, params_RxP: Tensor) -> bool:
    """Whether ``torch.vmap`` over the runs works and agrees with one run after the other, on shared examples and on
    minibatches."""
    if any(isinstance(child, nn.Embedding) and child.padding_idx is not None for child in problem.module.modules()):
        return False  # vmap would train the padding row of every run but the first
    few = problem.sample(FEW, runs=len(params_RxP))
    rows = torch.arange(few.examples)
    return all(_vmaps(few, params_RxP, rows_RxB) for rows_RxB in (None, torch.stack([rows, rows.flip(0)])))


def _vmaps(few, params_RxP: Tensor, rows_RxB: Tensor | None) -> bool:
    readings = []
    data = (few._inputs, few._targets) if rows_RxB is None else (few._inputs[rows_RxB], few._targets[rows_RxB])
    for vmap in (False, True):
        few._vmap = vmap
        leaf = params_RxP.detach().clone().requires_grad_()
        try:
            with torch.enable_grad():
                losses_R, _ = few._chunk_losses(leaf, *data, rows_RxB)
                (grads_RxP,) = torch.autograd.grad(losses_R.sum(), leaf, create_graph=True)
        except (RuntimeError, ValueError):
            if not vmap:
                raise
            return False
        readings.append((losses_R.detach(), grads_RxP.detach()))
    return _all_same(*readings, tolerance=torch.finfo(params_RxP.dtype).eps ** 0.5)


def require_derivative(problem, order: int) -> None:
    """Compare PyTorch's second or third derivative with central differences of the next lower one, once per problem.

    This uses two examples, near the network's own parameters, along a random direction; in float64 on a copy of the
    module, or in its own dtype if that fails. Several step sizes are tried, because a step may cross a ReLU's kink.

    Raises:
        ValueError: if it is wrong or missing.
    """
    if order in problem.derivatives:
        return
    few, w = _exact(problem)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, *w.shape, generator=generator, dtype=torch.float64).to(w)
    v, aside = directions * (float(w.norm()) or 1.0) / directions.norm(dim=-1, keepdim=True)
    w = w + 0.1 * aside  # zero weights are a kink of every ReLU

    def lower(params: Tensor) -> Tensor:
        point = few.at(params, curvature=order > 2)
        return point.hvp(v) if order > 2 else point.grads_RxP

    size = float(lower(w).norm())
    try:
        point = few.at(w, curvature=True)
        derivative = point.curvature_gradient(v, v) if order > 2 else point.hvp(v)
    except RuntimeError as error:
        said = f"missing ({str(error).splitlines()[0]})"
    else:
        apart = []
        for h in (1e-5, 1e-6, 1e-7, 1e-4, 1e-3, 1e-2):
            expected = (lower(w + h * v) - lower(w - h * v)) / (2 * h)
            largest = max(float(derivative.norm()), float(expected.norm()))
            # A step size at which rounding could hide an error, or look like one, is inconclusive.
            if 30 * torch.finfo(w.dtype).eps * size / h < WRONG * largest:
                apart.append(float((derivative - expected).norm()) / largest)
                if apart[-1] <= WRONG:
                    break
        if not apart or apart[-1] <= WRONG:
            problem.derivatives.add(order)
            return
        said = f"wrong by {min(apart):.0%}"
    which = {2: "second", 3: "third"}[order]
    raise ValueError(
        f"{_suspects(problem.module)}: PyTorch's {which} derivative of this network is {said}; write the layer out in "
        "basic operations, or use another (for normalization, GroupNorm)"
    )


def _exact(problem):
    """The problem of the first network on two examples, and its parameters, 1 x P: in float64 if that works."""
    few = problem.sample(2, runs=1)
    few.derivatives = {2, 3}
    w = problem.initial_RxP()[:1]
    device = torch.device("cpu") if w.device.type == "mps" else w.device  # mps has no float64

    def double(x: Tensor) -> Tensor:
        return x.to(device, torch.float64 if x.is_floating_point() else x.dtype)

    try:
        exact = few.sample(2)
        exact.module = deepcopy(problem.module).to(device).double()
        exact._inputs, exact._targets = double(few._inputs), double(few._targets)
        exact._own_RxX = {name: double(values) for name, values in few._own_RxX.items()}
        if isinstance(few._counts_N, Tensor):
            exact._counts_N = double(few._counts_N)
        exact.at(double(w))
        return exact, double(w)
    except RuntimeError:  # weights that are no leaves, or a cast in forward()
        return few, w


def _copied(value: Tensor, inputs: Tensor) -> Tensor:
    """A copy in the inputs' dtype if both are floating point: the dtype the parameters will have is not yet known."""
    real = value.is_floating_point() and inputs.is_floating_point()
    return value.detach().to(inputs.dtype if real else value.dtype, copy=True)


def _call(module: nn.Module, inputs: Tensor, given: dict[str, Tensor] | None = None) -> tuple:
    """The outputs, computed on copies of the module's tensors; the trainable copies; all copies as the call left them.

    Args:
        given: values of the parameters; the module's own if not given.
    """
    parameters = {name: _copied(p, inputs).requires_grad_() for name, p in (given or trainable(module)).items()}
    tensors = parameters | {name: _copied(value, inputs) for name, value in untrained(module).items()}
    return Functional(module)(tensors, inputs), parameters, tensors


def _tensors(tree) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _try(call: Callable, inputs: Tensor):
    try:
        return call()
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(
            f"the network cannot be evaluated on inputs {tuple(inputs.shape)} of {inputs.dtype}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _first_output(outputs: Tensor, targets: None) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the network's output is a {type(outputs).__name__}, where a single tensor is needed")
    return outputs.reshape(len(outputs), -1)[:, 0]


class _Evaluated(NamedTuple):
    """``tensors``: everything the module holds after the call."""

    outputs: list[Tensor]
    losses_N: Tensor
    grads: list[Tensor]
    tensors: dict[str, Tensor]


def _evaluate(
    module: nn.Module, inputs: Tensor, targets: Tensor | None, loss: Callable, given: dict[str, Tensor] | None = None
) -> _Evaluated:
    """Outputs, losses and gradients at these inputs.

    Args:
        targets: of these inputs first, then of any others; the values of all are checked.
    """
    with torch.enable_grad():
        outputs, parameters, tensors = _try(lambda: _call(module, inputs, given), inputs)
        shapes = [tuple(leaf.shape) for leaf in _tensors(outputs)]
        if hasattr(loss, "check") and isinstance(outputs, Tensor):
            loss.check(outputs, targets)
        wanted = None if targets is None else targets[: len(inputs)]
        shown = f"outputs {', '.join(map(str, shapes))} and targets {None if wanted is None else tuple(wanted.shape)}"
        try:
            losses_N = loss(outputs, wanted)
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            kind = type(outputs).__name__
            advice = "" if isinstance(outputs, Tensor) else f"; the output is a {kind}: give a loss that takes it"
            said = str(error).splitlines()[0]
            raise ValueError(f"the loss cannot be evaluated on {shown}: {said}{advice}") from error
        got = tuple(losses_N.shape) if isinstance(losses_N, Tensor) else type(losses_N).__name__
        if got != (len(inputs),):
            raise ValueError(
                f"a loss must give one value per example: for {len(inputs)} examples it gave {got}, from {shown}; with "
                "torch's losses, use reduction='none' and sum over the outputs of each example"
            )
        if not losses_N.requires_grad:
            raise ValueError("the loss depends on no parameter that requires a gradient: is the output detached?")
        grads = torch.autograd.grad(losses_N.sum(), list(parameters.values()), allow_unused=True)
    outputs = [leaf.detach() for leaf in _tensors(outputs)]
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    return _Evaluated(outputs, losses_N.detach(), [g for g in grads if g is not None], tensors)


def _same(a: Tensor, b: Tensor, tolerance: float | None = None) -> bool:
    """Up to rounding, which on a GPU may differ from call to call; nan is the same as nan."""
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    a, b = a.nan_to_num(), b.nan_to_num()
    tolerance = 100 * torch.finfo(a.dtype).eps if tolerance is None else tolerance
    return bool((a - b).abs().max() <= tolerance * max(a.abs().max(), b.abs().max())) if a.numel() else True


def _all_same(first: Sequence[Tensor], second: Sequence[Tensor], tolerance: float | None = None) -> bool:
    return len(first) == len(second) and all(_same(a, b, tolerance) for a, b in zip(first, second))


def _random_state(device: torch.device) -> Tensor:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return torch.cat(states)


def _trace(module: nn.Module, inputs: Tensor) -> list[tuple[str, bool, list[Tensor]]]:
    """For every submodule its name, whether it drew random numbers, and its outputs, in the order in which they end."""
    seen: list[tuple] = []
    entered: list[Tensor] = []
    handles = []
    for name, child in module.named_modules():
        handles.append(child.register_forward_pre_hook(lambda *_: entered.append(_random_state(inputs.device))))

        def leave(child, args, outputs, name=name):
            drew = not torch.equal(entered.pop(), _random_state(inputs.device))
            seen.append((name, drew, _tensors(outputs)))

        handles.append(child.register_forward_hook(leave))
    try:
        with torch.enable_grad():  # a fused path without a gradient calls no submodule
            _call(module, inputs)
    except (ValueError, RuntimeError):
        pass
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _culprit(module: nn.Module, inputs: Tensor, drew: bool) -> str:
    """The first submodule that draws random numbers, or (``drew`` False) whose output differs the second time."""
    first, second = _trace(module, inputs), _trace(module, inputs)
    for (name, drawn, once), (_, _, again) in zip(first, second):
        if drawn if drew else not _all_same(once, again):
            return _told(module, name)
    return _told(module, "")


def _coupling(module: nn.Module, inputs: Tensor, halves: Sequence[slice]) -> str:
    """The first submodule whose output for the first examples changes when they come alone."""
    whole, part = _trace(module, inputs[: halves[-1].stop]), _trace(module, inputs[halves[0]])
    for (name, _, together), (_, _, alone) in zip(whole, part):
        if not _all_same([a[: len(b)] for a, b in zip(together, alone)], alone, tolerance=1e-3):
            return _told(module, name)
    return _told(module, whole[len(part)][0] if len(part) < len(whole) else "")


def _told(module: nn.Module, name: str) -> str:
    kind = type(module.get_submodule(name)).__name__
    return f"{kind} {name!r}" if name else f"{kind}, in its own forward,"


def _suspects(module: nn.Module) -> str:
    """The layers whose derivatives are known to be wrong or missing (docs/explanation/curvature.md)."""
    known = (nn.LayerNorm, nn.modules.batchnorm._NormBase)
    names = [f"{type(child).__name__} {name!r}" for name, child in module.named_modules() if isinstance(child, known)]
    return ", ".join(names) or type(module).__name__
