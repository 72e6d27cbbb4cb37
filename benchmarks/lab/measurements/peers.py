"""Other packages' methods for the top Hessian eigenvalues, each called as its documentation recommends.

A peer is a list of settings, cheapest first, and a function that solves at one of them; see `PEERS`. All work on a
plain module with its own parameters, in the module's dtype, and count the Hessian-vector products they make.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

Criterion = Callable[[Tensor, Tensor], Tensor]
# The top eigenvalues, largest first; products made; what the next solve nearby can start from, or None.
Solution = tuple[list[float], int, np.ndarray | None]


@dataclass(frozen=True)
class Peer:
    """One package's solver.

    Attributes:
        warm: whether its interface takes a start vector.
        settings: from k to (label, setting) pairs, from the cheapest to the most exact.
        solve: ``solve(module, criterion, inputs, targets, setting, seed, k, start=None)`` gives a `Solution`; the seed
            is that of the random start, where there is no other.
    """

    name: str
    version: str
    warm: bool
    settings: Callable[[int], list[tuple[str, Any]]]
    solve: Callable[..., Solution]


def _pyhessian(module, criterion, inputs, targets, tolerance, seed, k, start=None) -> Solution:
    """Power iteration with deflation: eigenvalues of largest size, which at the edge of stability are the largest."""
    import pyhessian

    torch.manual_seed(seed)
    implementation = sys.modules["pyhessian.hessian"]  # the package's attribute of that name is the class
    product, count = implementation.hessian_vector_product, 0

    def counted(*arguments):
        nonlocal count
        count += 1
        return product(*arguments)

    implementation.hessian_vector_product = counted
    module.zero_grad()  # the constructor adds its gradient to what is there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solver = pyhessian.hessian(module, criterion, data=(inputs, targets), cuda=inputs.is_cuda)
            values, _ = solver.eigenvalues(maxIter=1000, tol=tolerance, top_n=k)
    finally:
        implementation.hessian_vector_product = product
        module.zero_grad()
    return sorted(map(float, values), reverse=True), count, None


def _hessian_eigenthings(module, criterion, inputs, targets, iterations, seed, k, start=None) -> Solution:
    """Lanczos for a fixed number of steps; the start vector is drawn inside."""
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.loss_fns import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model=module, dataloader=[(inputs, targets)], loss_fn=supervised_loss(criterion))
    result = lanczos(operator, k=k, max_iter=iterations, which="LA", reorthogonalize=True, seed=seed)
    return result.eigenvalues.tolist(), int(result.iterations), None


def _curvlinops(module, criterion, inputs, targets, setting, seed, k, start=None) -> Solution:
    from curvlinops import HessianLinearOperator

    class Criterion(nn.Module):
        reduction = "mean"

        def forward(self, outputs, targets):
            return criterion(outputs, targets)

    operator = HessianLinearOperator(
        module,
        Criterion(),
        list(module.parameters()),
        [(inputs, targets)],
        check_deterministic=False,
        num_data=len(inputs),
    )
    return _eigsh(operator.to_scipy(dtype=np.float32), setting, seed, k, start)


def _double_backward(module, criterion, inputs, targets, setting, seed, k, start=None, *, keep_graph: bool) -> Solution:
    """eigsh on products by double backward: rebuilding the graph is the recipe of Cohen et al. 2021."""
    parameters = list(module.parameters())

    def gradient() -> Tensor:
        gradients = torch.autograd.grad(criterion(module(inputs), targets), parameters, create_graph=True)
        return torch.cat([g.reshape(-1) for g in gradients])

    kept = gradient() if keep_graph else None

    def matvec(vector):
        direction = torch.from_numpy(np.asarray(vector)).to(parameters[0]).reshape(-1)
        products = torch.autograd.grad(
            gradient() if kept is None else kept, parameters, direction, retain_graph=keep_graph
        )
        return torch.cat([p.reshape(-1) for p in products]).cpu().numpy()

    size = sum(p.numel() for p in parameters)
    return _eigsh(LinearOperator((size, size), matvec=matvec, dtype=np.float32), setting, seed, k, start)


def _eigsh(operator, setting: tuple[int, float], seed: int, k: int, start: np.ndarray | None) -> Solution:
    """scipy's ARPACK; warm-started from the sum of the last eigenvectors, because it takes one start vector."""
    ncv, tolerance = setting
    count = 0

    def counted(vector):
        nonlocal count
        count += 1
        return operator.matvec(vector)

    if start is None:
        start = np.random.default_rng(seed).standard_normal(operator.shape[0]).astype(np.float32)
    wrapped = LinearOperator(operator.shape, matvec=counted, dtype=np.float32)
    values, vectors = eigsh(wrapped, k=k, which="LA", ncv=ncv, tol=tolerance, v0=start)
    return sorted(map(float, values), reverse=True), count, vectors.sum(axis=1)


def _tolerances(k: int) -> list[tuple[str, float]]:
    return [(f"tol {t:g}", t) for t in (1e-2, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 1e-6)]


def _iterations(k: int) -> list[tuple[str, int]]:
    return [(f"max_iter {m}", m) for m in (*range(k + 4, 24), 26, 28, 30, 34, 38, 44, 50)]


def _arpack(k: int) -> list[tuple[str, tuple[int, float]]]:
    # scipy advises ncv > 2 k; its default is 20. At 1e-2 the eigenvalue error, quadratic in it, is 1e-4.
    pairs = [(k + extra, 1e-2) for extra in (4, 5, 7, 9, 11, 15, 21)]
    return [(f"ncv {ncv}, tol {t:g}", (ncv, t)) for ncv, t in (*pairs, (k + 21, 1e-4))]


SCIPY = f"scipy {version('scipy')}"
PEERS = (
    Peer("PyHessian", version("pyhessian"), False, _tolerances, _pyhessian),
    Peer("hessian-eigenthings", version("hessian-eigenthings"), False, _iterations, _hessian_eigenthings),
    Peer("curvlinops + eigsh", version("curvlinops-for-pytorch"), True, _arpack, _curvlinops),
    Peer("eigsh, graph rebuilt", SCIPY, True, _arpack, partial(_double_backward, keep_graph=False)),
    Peer("eigsh, graph kept", SCIPY, True, _arpack, partial(_double_backward, keep_graph=True)),
)
