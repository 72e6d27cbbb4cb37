"""A training problem as a mathematical object: w -> L(w), for a stack of R independent runs.

Shape letters, used as suffixes in all numeric code:

    R  runs in the stack          N  training examples       C  outputs of the network
    P  parameters of one run      K  vectors or eigenpairs   T  training steps

The R losses share the data and the architecture but no parameter, so the Hessian of their sum is block
diagonal and one backward pass gives R gradients or R Hessian-vector products at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map, tree_map_only

from benchmarks.lab import contract
from benchmarks.lab.functional import Functional, trainable, untrained
from benchmarks.lab.losses import LOSSES, Loss


def flatten_parameters(module: nn.Module) -> Tensor:
    """The trainable parameters of a module as one detached vector, in the module's order: params_P."""
    return torch.cat([p.detach().reshape(-1) for p in trainable(module).values()])


def stack_parameters(modules: Iterable[nn.Module]) -> Tensor:
    """The flat parameters of several modules of one architecture, one row per run: params_RxP.

    Raises:
        ValueError: if a buffer or a frozen parameter, which the rows leave out, differs from network to network: a
            problem made of the first network would use the first one's for all.
    """
    modules = list(modules)
    for name in _differing(modules):
        raise ValueError(
            f"{name!r} is not trained and differs from network to network: give Problem all the networks, and start "
            "from its initial_RxP()"
        )
    return _stacked(modules)


class Problem:
    """The mean loss of a network over a data set, as a function of a stack of flat parameters.

    Any ``nn.Module`` is accepted whose output is a deterministic function of its parameters and inputs; this is checked
    on a few examples (`benchmarks.lab.contract`). With R = 1 the module is called directly; with R > 1 through
    ``torch.vmap`` over the runs, or one run after another where vmap does not work (LSTM, GRU).

    Parameters that do not require a gradient are constants: they are neither measured nor trained.

    Args:
        module: the architecture; the values of its trainable parameters are not used. Or a list, one network per run:
            then buffers and frozen parameters are each run's own.
        inputs: all training inputs, N first; any number of further axes.
        targets: whatever the loss expects, N first.
        loss: a name from `losses.LOSSES` or a callable (outputs, targets) -> losses_N. Outputs that are a tuple or a
            mapping need a callable that takes them.
        chunk_size: how many examples go through the network at once. With fewer than N the sum is taken
            chunk by chunk; results change by rounding only, and each call of `Point.hvp` repeats the forward pass.

    Attributes:
        module: the network, or the first of them.
        examples, parameters: N and P; ``shapes`` and ``sizes`` are those of the parameter tensors.
        derivatives: the orders, of 2 and 3, that have been compared with finite differences.

    Raises:
        ValueError: in one sentence that names the submodule, the shapes or the dtypes: for a module that is random or
            changes its buffers when evaluated, for one that couples the examples of a batch with several chunks,
            for a loss that does not give one value per example, for targets that do not fit it, for data of unequal
            length, for parameters of several dtypes or devices, or for an unknown loss.
    """

    def __init__(
        self,
        module: nn.Module | Sequence[nn.Module],
        inputs: Tensor,
        targets: Tensor,
        loss: str | Loss,
        chunk_size: int | None = None,
    ):
        if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
            raise ValueError("inputs and targets must each be one tensor, N first: wrap a network that takes several")
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise ValueError(f"{len(inputs)} inputs but {len(targets)} targets")
        if isinstance(loss, str):
            if loss not in LOSSES:
                raise ValueError(f"unknown loss {loss!r}: known are {', '.join(sorted(LOSSES))}")
            loss = LOSSES[loss]
        modules = [module] if isinstance(module, nn.Module) else list(module)
        if not modules:
            raise ValueError("a problem needs a network, got an empty list")
        if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
            raise ValueError(f"chunk_size must be a positive whole number, got {chunk_size}")
        self.examples = len(inputs)
        self.chunk_size = min(chunk_size or self.examples, self.examples)
        self.module = modules[0]
        self.loss = loss
        self._inputs = inputs
        self._targets = targets
        named = trainable(self.module)
        contract.require_uniform(modules, named, inputs)
        self._names = list(named)
        self.shapes = [p.shape for p in named.values()]
        self.sizes = [p.numel() for p in named.values()]
        self.parameters = sum(self.sizes)
        self.derivatives: set[int] = set()
        self._vmap: bool | None = None
        self._modules = modules
        self._own_RxX = _differing(modules)
        self._counts_N = None
        self._kernels = attention_kernels(self.module, inputs)
        with self._kernels():
            for one in modules:
                contract.require_deterministic(one, inputs, targets, loss)
            contract.require_alike(modules, inputs)
            if self.chunk_size < self.examples:
                contract.require_separate(self.module, inputs, targets, loss)
        if hasattr(loss, "counts"):
            counts_N = loss.counts(targets)
            # A count that is everywhere the same is a number, and costs nothing at a step.
            self._counts_N = counts_N if bool((counts_N != counts_N[0]).any()) else counts_N[0].item()

    @property
    def module(self) -> nn.Module:
        return self._functional.module

    @module.setter
    def module(self, module: nn.Module) -> None:
        self._functional = Functional(module)

    def only(self, run: int) -> "Problem":
        """The problem of one run of the stack, for parameters of one row."""
        if not self._own_RxX:
            return self
        one = copy(self)
        one._own_RxX = {name: values[run : run + 1] for name, values in self._own_RxX.items()}
        return one

    def sample(self, examples: int, runs: int | None = None) -> "Problem":
        """The same problem on a few examples that count (`contract.spread`), for its first runs."""
        rows = contract.spread(self._targets, self.loss, examples)
        few = copy(self)
        few.examples = few.chunk_size = len(rows)
        few._inputs, few._targets = self._inputs[rows], self._targets[rows]
        few._own_RxX = {name: values[:runs] for name, values in self._own_RxX.items()}
        if isinstance(self._counts_N, Tensor):
            few._counts_N = self._counts_N[rows]
        return few

    def initial_RxP(self) -> Tensor:
        """The parameters of the networks that the problem was made from, one row per network."""
        return _stacked(self._modules)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, self.examples, self.chunk_size):
            stop = start + self.chunk_size
            yield self._inputs[start:stop], self._targets[start:stop]

    def views(self, params_RxP: Tensor, run: int) -> list[Tensor]:
        """One run's parameters, each in its layer's shape, sharing memory with the stack."""
        parts = params_RxP[run].split(self.sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes)]

    def all_views(self, params_RxP: Tensor) -> list[Sequence[Tensor]]:
        """Every run's `views`."""
        if len(params_RxP) == 1:
            return [self.views(params_RxP, 0)]
        parts = zip(params_RxP.split(self.sizes, dim=1), self.shapes)
        return list(zip(*(part.view(-1, *shape).unbind() for part, shape in parts)))

    def at(self, params_RxP: Tensor, *, curvature: bool = False, rows_RxB: Tensor | None = None) -> "Point":
        """Losses and gradients at a point of parameter space; with ``curvature``, also Hessian-vector products.

        Args:
            rows_RxB: the examples of each run's minibatch, over which the loss is the mean; all examples if not given.

        Raises:
            ValueError: if ``params_RxP`` is not R x P, or ``rows_RxB`` has not one row per run; with ``curvature``, if
                PyTorch's second derivative of the network is wrong or missing.
        """
        if params_RxP.ndim != 2 or params_RxP.shape[1] != self.parameters:
            raise ValueError(f"parameters must be R x {self.parameters}, got {tuple(params_RxP.shape)}")
        if rows_RxB is not None and len(rows_RxB) != len(params_RxP):
            raise ValueError(f"{len(params_RxP)} runs but minibatches for {len(rows_RxB)}")
        for name, values in self._own_RxX.items():
            if len(values) != len(params_RxP):
                raise ValueError(
                    f"{len(params_RxP)} rows of parameters for {len(values)} networks, each with its own {name!r}: "
                    "for one of them use problem.only(run)"
                )
        try:
            return Point(self, params_RxP, curvature, rows_RxB)
        except RuntimeError as error:
            if self._inputs.is_floating_point() and self._inputs.dtype != params_RxP.dtype:
                raise ValueError(
                    f"parameters of {params_RxP.dtype} on inputs of {self._inputs.dtype}: give both the same dtype"
                ) from error
            raise

    def losses(self, params_RxP: Tensor) -> Tensor:
        """The full-data losses_R alone, without a graph: a forward pass."""
        with torch.no_grad():
            shares = [self._chunk_losses(params_RxP, *chunk)[0] for chunk in self.chunks()]
        return shares[0] if len(shares) == 1 else torch.stack(shares).sum(0)

    def outputs(self, params_RxP: Tensor, inputs: Tensor) -> Tensor:
        """The networks' outputs for any inputs, without a graph: R x N x C."""
        with torch.no_grad(), self._kernels():
            return self._each_run(self._functional, params_RxP, inputs)

    def _total(self, rows_RxB: Tensor | None) -> float | Tensor:
        """What the sum of the losses is divided by: one number, or one per run."""
        if self._counts_N is None or not isinstance(self._counts_N, Tensor):
            examples = self.examples if rows_RxB is None else rows_RxB.shape[1]
            return examples if self._counts_N is None else self._counts_N * examples
        total = self._counts_N.sum() if rows_RxB is None else self._counts_N[rows_RxB].sum(1)
        if not bool((total > 0).all()):
            raise ValueError("a minibatch has no target that counts (all are padding), so it has no mean loss")
        return total

    def _chunk_losses(
        self, params_RxP: Tensor, inputs: Tensor, targets: Tensor, rows_RxB: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """This chunk's share of the mean loss of each run, and the outputs: losses_R, outputs_RxNxC.

        With ``rows_RxB``, inputs and targets are those of a minibatch for each run, R first.
        """

        def one_run(layers: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            outputs = self._functional(layers, inputs)
            return self.loss(outputs, targets).sum(), outputs

        with self._kernels():
            sums_R, outputs = self._each_run(one_run, params_RxP, inputs, targets, batched=rows_RxB is not None)
        return sums_R / self._total(rows_RxB), outputs

    def _each_run(self, function: Callable, params_RxP: Tensor, *data: Tensor, batched: bool = False):
        """The function applied to each run's layers, results stacked: by vmap, or one run after the other.

        Args:
            batched: whether the data have an axis for the runs, R first; if not, the runs share them.
        """
        R = len(params_RxP)
        if R > 1 and self._vmap is None:
            self._vmap = contract.can_vmap(self, params_RxP[:2])
        # Split, not one slice per layer or run: its backward is a single concatenation.
        if R > 1 and self._vmap:
            parts = zip(self._names, params_RxP.split(self.sizes, dim=1), self.shapes)
            layers = {name: part.reshape(-1, *shape) for name, part, shape in parts} | self._own_RxX
            return torch.vmap(function, in_dims=(0, *[0 if batched else None] * len(data)))(layers, *data)
        results = []
        for r, params_1xP in enumerate(params_RxP.split(1) if R > 1 else [params_RxP]):
            parts = zip(self._names, params_1xP.split(self.sizes, dim=1), self.shapes)
            layers = {name: part.view(shape) for name, part, shape in parts}
            layers |= {name: values[r] for name, values in self._own_RxX.items()}
            results.append(function(layers, *(d[r] if batched else d for d in data)))
        if R == 1:
            return _each_leaf(lambda leaf: leaf[None], results[0])
        return tree_map(lambda *leaves: torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *results)


class Point:
    """A problem seen from one point of parameter space: losses_R, grads_RxP, outputs_RxNxC, `hvp`.

    With one chunk the graph of the gradient is kept while the point lives, so that each Hessian-vector product is a
    single backward pass through it; with several, each product rebuilds the graph chunk by chunk.

    Attributes:
        problem, params_RxP: what it was made from; the parameters share memory with those it was given.
        curvature: whether it has Hessian-vector products.
        outputs_RxNxC: the networks' outputs; any shape may follow N, and they may be a tuple or mapping of tensors.
    """

    def __init__(self, problem: Problem, params_RxP: Tensor, curvature: bool, rows_RxB: Tensor | None = None):
        self.problem = problem
        self.params_RxP = params_RxP.detach()
        self._rows_RxB = rows_RxB
        self.curvature = curvature
        if curvature:
            contract.require_derivative(problem, order=2)
        self._params = params_RxP.detach().requires_grad_()
        self._graph: Tensor | None = None
        keep = curvature and (rows_RxB is not None or problem.chunk_size == problem.examples)
        losses, grads, outputs = [], [], []
        for losses_R, outputs_RxNxC in self._chunks():
            (grads_RxP,) = torch.autograd.grad(losses_R, self._params, torch.ones_like(losses_R), create_graph=keep)
            if keep:
                self._graph = grads_RxP
            losses.append(losses_R.detach())
            grads.append(grads_RxP.detach())
            outputs.append(_each_leaf(Tensor.detach, outputs_RxNxC))
        self.losses_R = losses[0] if len(losses) == 1 else torch.stack(losses).sum(0)
        self.grads_RxP = grads[0] if len(grads) == 1 else torch.stack(grads).sum(0)
        whole = len(outputs) == 1
        self.outputs_RxNxC = outputs[0] if whole else tree_map(_joined, *outputs)

    def hvp(self, vecs: Tensor) -> Tensor:
        """Hessian-vector products: R x P gives R x P; R x P x K gives R x P x K, one backward pass per vector.

        Raises:
            RuntimeError: if the point was made without ``curvature=True``.
        """
        columns = [vecs] if vecs.ndim == 2 else list(vecs.unbind(-1))
        products: list[Tensor] = []
        for graph, kept in self._gradient_graphs():
            shares = [self._backward(graph, v, retain=kept or k < len(columns)) for k, v in enumerate(columns, 1)]
            products = [total + share for total, share in zip(products, shares)] if products else shares
        return products[0] if vecs.ndim == 2 else torch.stack(products, dim=-1)

    def curvature_gradient(self, u_RxP: Tensor, v_RxP: Tensor) -> Tensor:
        """The gradient of u'H(w)v in w at fixed u and v, R x P; for u = v a unit top eigenvector, the sharpness's.

        Raises:
            RuntimeError: if the point was made without ``curvature=True``.
            ValueError: if PyTorch's third derivative of the network is wrong (a native LayerNorm) or missing (a
                BatchNorm or InstanceNorm that uses statistics of its input); see docs/explanation/curvature.md.
        """
        if self.curvature:
            contract.require_derivative(self.problem, order=3)
        total = torch.zeros_like(self.params_RxP)
        for graph, kept in self._gradient_graphs():
            if not graph.requires_grad:
                continue
            (product,) = torch.autograd.grad(
                graph, self._params, v_RxP, create_graph=True, retain_graph=True, materialize_grads=True
            )
            if product.requires_grad:
                (gradient,) = torch.autograd.grad(
                    product, self._params, u_RxP, retain_graph=kept, materialize_grads=True
                )
                total = total + gradient
        return total

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        problem = self.problem
        if self._rows_RxB is not None:
            inputs, targets = problem._inputs[self._rows_RxB], problem._targets[self._rows_RxB]
            yield problem._chunk_losses(self._params, inputs, targets, self._rows_RxB)
            return
        for inputs, targets in problem.chunks():
            yield problem._chunk_losses(self._params, inputs, targets)

    def _gradient_graphs(self) -> Iterator[tuple[Tensor, bool]]:
        """Each chunk's gradient with its graph, and whether that graph is kept for later products."""
        if not self.curvature:
            raise RuntimeError("this point has no curvature: make it with problem.at(params_RxP, curvature=True)")
        if self._graph is not None:
            yield self._graph, True
            return
        for losses_R, _ in self._chunks():
            (graph,) = torch.autograd.grad(losses_R.sum(), self._params, create_graph=True)
            yield graph, False

    def _backward(self, graph: Tensor, vecs_RxP: Tensor, retain: bool) -> Tensor:
        if not graph.requires_grad:  # the loss is linear in the parameters
            return torch.zeros_like(vecs_RxP)
        (product,) = torch.autograd.grad(graph, self._params, vecs_RxP, retain_graph=retain, materialize_grads=True)
        return product


def attention_kernels(module: nn.Module, inputs: Tensor) -> Callable[[], AbstractContextManager]:
    """The context to call the network in: if it uses attention, one whose kernel has second derivatives."""
    return _plain_attention if contract.needs_plain_attention(module, inputs) else nullcontext


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention by matrix products: PyTorch's fused kernels have neither second derivatives nor vmap."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _each_leaf(function: Callable, tree):
    """`tree_map_only` of tensors, without its cost where there is only a tensor or a tuple of them."""
    if isinstance(tree, Tensor):
        return function(tree)
    if type(tree) is tuple:
        return tuple(_each_leaf(function, leaf) for leaf in tree)
    return tree_map_only(Tensor, function, tree)


def _joined(*parts):
    """Chunks of outputs, concatenated; of what is not a tensor, the first chunk's."""
    return torch.cat(parts, dim=1) if isinstance(parts[0], Tensor) else parts[0]


def _stacked(modules: Sequence[nn.Module]) -> Tensor:
    return torch.stack([flatten_parameters(module) for module in modules])


def _differing(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The buffers and frozen parameters that are not the same in all networks, stacked, by name."""
    each = [untrained(module) for module in modules]
    return {
        name: torch.stack([values[name] for values in each])
        for name, first in each[0].items()
        if any(not torch.equal(first, values[name]) for values in each[1:])
    }
