"""A training problem as a mathematical object: w -> L(w), for a stack of R independent runs.

Shape letters, used as suffixes in all numeric code:

    R  runs in the stack          N  training examples       C  outputs of the network
    P  parameters of one run      K  vectors or eigenpairs   T  training steps

The R losses share the data and the architecture but no parameter, so the Hessian of their sum is block
diagonal and one backward pass gives R gradients or R Hessian-vector products at once.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.lab.losses import LOSSES, Loss


def flatten_parameters(module: nn.Module) -> Tensor:
    """The parameters of a module as one detached vector, in the order of ``module.parameters()``: params_P."""
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def stack_parameters(modules: Iterable[nn.Module]) -> Tensor:
    """The flat parameters of several modules of one architecture, one row a run: params_RxP."""
    return torch.stack([flatten_parameters(m) for m in modules])


class Problem:
    """The mean loss of a network over a data set, as a function of a stack of flat parameters.

    Any ``nn.Module`` is accepted whose output is a deterministic function of its parameters and inputs.
    With R = 1 the module is called as it is; with R > 1 through ``torch.vmap`` over the runs.

    Args:
        module: the architecture; its own parameter values are not used.
        inputs_NxD: all training inputs, N first; any number of further axes.
        targets: what the loss wants, N first.
        loss: a name from `losses.LOSSES` or a callable (outputs_NxC, targets) -> losses_N.
        chunk_size: how many examples go through the network at once. With fewer than N the sum is taken
            chunk by chunk; results change by rounding only, and curvature costs a forward pass more a product.

    Raises:
        ValueError: for a module whose loss is not a function of its parameters alone (dropout, BatchNorm or
            InstanceNorm that updates running statistics), for BatchNorm over the batch with several chunks, for data
            of unequal length, or for an unknown loss.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs_NxD: Tensor,
        targets: Tensor,
        loss: str | Loss,
        chunk_size: int | None = None,
    ):
        if len(inputs_NxD) != len(targets) or len(inputs_NxD) == 0:
            raise ValueError(f"{len(inputs_NxD)} inputs but {len(targets)} targets")
        if isinstance(loss, str):
            if loss not in LOSSES:
                raise ValueError(f"unknown loss {loss!r}: known are {', '.join(sorted(LOSSES))}")
            loss = LOSSES[loss]
        self.examples = len(inputs_NxD)
        self.chunk_size = min(chunk_size or self.examples, self.examples)
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size must be positive, got {chunk_size}")
        _assert_deterministic(module, chunked=self.chunk_size < self.examples)
        self.module = module
        self.loss = loss
        self._inputs = inputs_NxD
        self._targets = targets
        named = list(module.named_parameters())
        self._names = [name for name, _ in named]
        self.shapes = [p.shape for _, p in named]
        self.sizes = [p.numel() for _, p in named]
        self.parameters = sum(self.sizes)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, self.examples, self.chunk_size):
            stop = start + self.chunk_size
            yield self._inputs[start:stop], self._targets[start:stop]

    def views(self, params_RxP: Tensor, run: int) -> list[Tensor]:
        """One run's parameters, each in its layer's shape, sharing memory with the stack."""
        parts = params_RxP[run].split(self.sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes)]

    def at(self, params_RxP: Tensor, *, curvature: bool = False, rows_RxB: Tensor | None = None) -> "Point":
        """Losses and gradients at a point of parameter space; with ``curvature``, also Hessian-vector products.

        Args:
            rows_RxB: the examples of each run's minibatch, whose mean loss is then meant; all examples if not given.

        Raises:
            ValueError: if ``params_RxP`` is not R x P, or ``rows_RxB`` has not a row a run.
        """
        if params_RxP.ndim != 2 or params_RxP.shape[1] != self.parameters:
            raise ValueError(f"parameters must be R x {self.parameters}, got {tuple(params_RxP.shape)}")
        if rows_RxB is not None and len(rows_RxB) != len(params_RxP):
            raise ValueError(f"{len(params_RxP)} runs but minibatches for {len(rows_RxB)}")
        return Point(self, params_RxP, curvature, rows_RxB)

    def losses(self, params_RxP: Tensor) -> Tensor:
        """The full-data losses_R alone, without a graph: a forward pass."""
        with torch.no_grad():
            shares = [self._chunk_losses(params_RxP, *chunk)[0] for chunk in self.chunks()]
        return shares[0] if len(shares) == 1 else torch.stack(shares).sum(0)

    def _chunk_losses(
        self, params_RxP: Tensor, inputs: Tensor, targets: Tensor, batched: bool = False
    ) -> tuple[Tensor, Tensor]:
        """This chunk's share of the mean loss of each run, and the outputs: losses_R, outputs_RxNxC.

        With ``batched``, inputs and targets are a minibatch for each run, R first.
        """
        # split, not one slice a layer: its backward is a single concatenation.
        parts = params_RxP.split(self.sizes, dim=1)
        examples = inputs.shape[1] if batched else self.examples

        def one_run(layers: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            outputs_NxC = functional_call(self.module, layers, (inputs,))
            return self.loss(outputs_NxC, targets).sum() / examples, outputs_NxC

        if len(params_RxP) == 1:
            layers = {n: p.view(s) for n, p, s in zip(self._names, parts, self.shapes)}
            loss, outputs_NxC = one_run(layers, *((inputs[0], targets[0]) if batched else (inputs, targets)))
            return loss[None], outputs_NxC[None]
        layers = {n: p.reshape(-1, *s) for n, p, s in zip(self._names, parts, self.shapes)}
        data = 0 if batched else None
        return torch.vmap(one_run, in_dims=(0, data, data))(layers, inputs, targets)


class Point:
    """A problem seen from one point of parameter space: losses_R, grads_RxP, outputs_RxNxC, `hvp`.

    With one chunk the graph of the gradient is kept while the point lives, so that each Hessian-vector product is a
    single backward pass through it; with several, each product rebuilds the graph chunk by chunk.

    Attributes:
        problem, params_RxP: where this is. The parameters share memory with those the point was made from.
    """

    def __init__(self, problem: Problem, params_RxP: Tensor, curvature: bool, rows_RxB: Tensor | None = None):
        self.problem = problem
        self.params_RxP = params_RxP.detach()
        self._rows_RxB = rows_RxB
        self._curvature = curvature
        self._params = params_RxP.detach().requires_grad_()
        self._graph: Tensor | None = None
        keep = curvature and (rows_RxB is not None or problem.chunk_size == problem.examples)
        losses, grads, outputs = [], [], []
        for losses_R, outputs_RxNxC in self._chunks():
            (grads_RxP,) = torch.autograd.grad(losses_R.sum(), self._params, create_graph=keep)
            if keep:
                self._graph = grads_RxP
            losses.append(losses_R.detach())
            grads.append(grads_RxP.detach())
            outputs.append(outputs_RxNxC.detach())
        self.losses_R = losses[0] if len(losses) == 1 else torch.stack(losses).sum(0)
        self.grads_RxP = grads[0] if len(grads) == 1 else torch.stack(grads).sum(0)
        self.outputs_RxNxC = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def hvp(self, vecs: Tensor) -> Tensor:
        """Hessian-vector products: R x P gives R x P; R x P x K gives R x P x K, one backward pass a vector.

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
        """The gradient of u'H(w)v in w at fixed u and v, R x P: for u = v a unit top eigenvector, of the sharpness.

        Raises:
            RuntimeError: if the point was made without ``curvature=True``.
            ValueError: for a network with a native LayerNorm, whose third derivative PyTorch gets wrong, or a BatchNorm
                or InstanceNorm by statistics of its input, of which it has none (docs/curvature.md).
        """
        for name, child in self.problem.module.named_modules():
            wrong = isinstance(child, nn.LayerNorm)
            if wrong or _normalizes_by_its_input(child):
                raise ValueError(
                    f"{type(child).__name__} {name!r}: the gradient of a curvature is a third derivative, and "
                    f"PyTorch's of this layer is {'wrong' if wrong else 'missing'}; "
                    "write the normalization out, or use GroupNorm"
                )
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
            yield problem._chunk_losses(self._params, inputs, targets, batched=True)
            return
        for inputs, targets in problem.chunks():
            yield problem._chunk_losses(self._params, inputs, targets)

    def _gradient_graphs(self) -> Iterator[tuple[Tensor, bool]]:
        """Each chunk's gradient with its graph, and whether that graph is kept for later products."""
        if not self._curvature:
            raise RuntimeError("this point has no curvature: ask for problem.at(params_RxP, curvature=True)")
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


def _normalizes_by_its_input(module: nn.Module) -> bool:
    """Whether this is a BatchNorm or InstanceNorm that normalizes by statistics of its input, not by running ones."""
    return isinstance(module, nn.modules.batchnorm._NormBase) and (module.training or module.running_mean is None)


def _assert_deterministic(module: nn.Module, chunked: bool) -> None:
    for name, child in module.named_modules():
        kind = type(child).__name__
        if isinstance(child, nn.modules.dropout._DropoutNd) and child.training and child.p > 0:
            raise ValueError(
                f"{kind} {name!r} is random, so the loss is no function of the parameters: call .eval() or set p=0"
            )
        if not _normalizes_by_its_input(child):
            continue
        if child.running_mean is not None:
            raise ValueError(
                f"{kind} {name!r} changes its running statistics as it is measured: "
                "build it with track_running_stats=False or call .eval()"
            )
        if chunked and isinstance(child, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"{kind} {name!r} couples the examples of a batch: it needs a chunk_size of all of them")
