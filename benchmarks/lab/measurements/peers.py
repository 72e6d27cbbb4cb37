"""Other packages' ways to the top Hessian eigenvalue, each called as its own documentation says.

A peer is a list of settings, cheapest first, and a function that solves at one of them; see `PEERS`. All work on a
plain module with its own parameters, in the module's dtype, and count the Hessian-vector products they make.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Peer:
    """``solve(module, criterion, inputs, targets, setting, seed)`` gives (top eigenvalue, products made)."""

    name: str
    version: str
    settings: tuple[tuple[str, float], ...]
    solve: Callable[[nn.Module, Criterion, Tensor, Tensor, float, int], tuple[float, int]]


def _pyhessian(module, criterion, inputs, targets, tolerance, seed):
    import pyhessian

    torch.manual_seed(seed)
    implementation = sys.modules["pyhessian.hessian"]  # the package's attribute of that name is the class
    product, count = implementation.hessian_vector_product, 0

    def counted(*arguments):
        nonlocal count
        count += 1
        return product(*arguments)

    implementation.hessian_vector_product = counted
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solver = pyhessian.hessian(module, criterion, data=(inputs, targets), cuda=False)
            values, _ = solver.eigenvalues(maxIter=1000, tol=tolerance, top_n=1)
    finally:
        implementation.hessian_vector_product = product
        module.zero_grad()
    return float(values[0]), count


def _hessian_eigenthings(module, criterion, inputs, targets, iterations, seed):
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.loss_fns import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model=module, dataloader=[(inputs, targets)], loss_fn=supervised_loss(criterion))
    result = lanczos(operator, k=1, max_iter=int(iterations), which="LA", reorthogonalize=True, seed=seed)
    return float(result.eigenvalues[0]), int(result.iterations)


def _curvlinops(module, criterion, inputs, targets, tolerance, seed):
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
    return _eigsh(operator.to_scipy(dtype=np.float32), tolerance, seed)


def _edge_of_stability(module, criterion, inputs, targets, tolerance, seed):
    """scipy's eigsh on products by double backward that rebuild the graph: the recipe of Cohen et al. 2021."""
    parameters = list(module.parameters())

    def matvec(vector):
        loss = criterion(module(inputs), targets)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([g.reshape(-1) for g in gradients])
        direction = torch.from_numpy(np.asarray(vector, dtype=np.float32)).reshape(-1)
        products = torch.autograd.grad(flat @ direction, parameters)
        return torch.cat([p.reshape(-1) for p in products]).numpy()

    size = sum(p.numel() for p in parameters)
    return _eigsh(LinearOperator((size, size), matvec=matvec, dtype=np.float32), tolerance, seed)


def _eigsh(operator, tolerance: float, seed: int) -> tuple[float, int]:
    count = 0

    def counted(vector):
        nonlocal count
        count += 1
        return operator.matvec(vector)

    start = np.random.default_rng(seed).standard_normal(operator.shape[0]).astype(np.float32)
    wrapped = LinearOperator(operator.shape, matvec=counted, dtype=np.float32)
    (value,) = eigsh(wrapped, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
    return float(value), count


PEERS = (
    Peer("PyHessian", version("pyhessian"), tuple((f"tol {t:g}", t) for t in (1e-2, 1e-3, 1e-4, 1e-5)), _pyhessian),
    Peer(
        "hessian-eigenthings",
        version("hessian-eigenthings"),
        tuple((f"max_iter {m}", m) for m in (8, 10, 12, 16, 20, 30, 50)),
        _hessian_eigenthings,
    ),
    Peer(
        "curvlinops + eigsh",
        version("curvlinops-for-pytorch"),
        tuple((f"tol {t:g}", t) for t in (1e-1, 1e-2, 1e-4)),
        _curvlinops,
    ),
    Peer(
        "eigsh, double backward",
        f"scipy {version('scipy')}",
        tuple((f"tol {t:g}", t) for t in (1e-1, 1e-2, 0.0)),
        _edge_of_stability,
    ),
)
