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
        ValueError: for a module whose loss is not a function of its parameters alone (dropout, BatchNorm
            that updates running statistics), for BatchNorm in training mode with several chunks, for data of unequal
            length, or for an unknown loss.
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

    def at(self, params_RxP: Tensor, *, curvature: bool = False) -> "Point":
        """Losses and gradients at a point of parameter space; with ``curvature``, also Hessian-vector products.

        Raises:
            ValueError: if ``params_RxP`` is not R x P.
        """
        if params_RxP.ndim != 2 or params_RxP.shape[1] != self.parameters:
            raise ValueError(f"parameters must be R x {self.parameters}, got {tuple(params_RxP.shape)}")
        return Point(self, params_RxP, curvature)

    def _chunk_losses(self, params_RxP: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """This chunk's share of the mean loss of each run, and the outputs: losses_R, outputs_RxNxC."""
        # split, not one slice a layer: its backward is a single concatenation.
        parts = params_RxP.split(self.sizes, dim=1)

        def one_run(layers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            outputs_NxC = functional_call(self.module, layers, (inputs,))
            return self.loss(outputs_NxC, targets).sum() / self.examples, outputs_NxC

        if len(params_RxP) == 1:
            layers = {n: p.view(s) for n, p, s in zip(self._names, parts, self.shapes)}
            loss, outputs_NxC = one_run(layers)
            return loss[None], outputs_NxC[None]
        layers = {n: p.reshape(-1, *s) for n, p, s in zip(self._names, parts, self.shapes)}
        return torch.vmap(one_run)(layers)


class Point:
    """A problem seen from one point of parameter space: losses_R, grads_RxP, outputs_RxNxC, `hvp`.

    With one chunk the graph of the gradient is kept while the point lives, so that each Hessian-vector product is a
    single backward pass through it; with several, each product rebuilds the graph chunk by chunk.
    """

    def __init__(self, problem: Problem, params_RxP: Tensor, curvature: bool):
        self._problem = problem
        self._curvature = curvature
        self._params = params_RxP.detach().requires_grad_()
        self._graph: Tensor | None = None
        keep = curvature and problem.chunk_size == problem.examples
        losses, grads, outputs = [], [], []
        for inputs, targets in problem.chunks():
            losses_R, outputs_RxNxC = problem._chunk_losses(self._params, inputs, targets)
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
        if not self._curvature:
            raise RuntimeError("this point has no curvature: ask for problem.at(params_RxP, curvature=True)")
        columns = [vecs] if vecs.ndim == 2 else list(vecs.unbind(-1))
        if self._graph is not None:
            products = [self._backward(self._graph, column, retain=True) for column in columns]
        else:
            products = [torch.zeros_like(column) for column in columns]
            for inputs, targets in self._problem.chunks():
                losses_R, _ = self._problem._chunk_losses(self._params, inputs, targets)
                (graph,) = torch.autograd.grad(losses_R.sum(), self._params, create_graph=True)
                for k, column in enumerate(columns):
                    products[k] += self._backward(graph, column, retain=k + 1 < len(columns))
        return products[0] if vecs.ndim == 2 else torch.stack(products, dim=-1)

    def _backward(self, graph: Tensor, vecs_RxP: Tensor, retain: bool) -> Tensor:
        if not graph.requires_grad:  # the loss is linear in the parameters
            return torch.zeros_like(vecs_RxP)
        (product,) = torch.autograd.grad(graph, self._params, vecs_RxP, retain_graph=retain, materialize_grads=True)
        return product


def _assert_deterministic(module: nn.Module, chunked: bool) -> None:
    for name, child in module.named_modules():
        kind = type(child).__name__
        if not child.training:
            continue
        if isinstance(child, nn.modules.dropout._DropoutNd) and child.p > 0:
            raise ValueError(
                f"{kind} {name!r} is random, so the loss is no function of the parameters: call .eval() or set p=0"
            )
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            if child.track_running_stats:
                raise ValueError(
                    f"{kind} {name!r} changes its running statistics as it is measured: "
                    "build it with track_running_stats=False or call .eval()"
                )
            if chunked:
                raise ValueError(
                    f"{kind} {name!r} couples the examples of a batch: it needs a chunk_size of all of them"
                )
