"""Largest eigenvalues of R symmetric operators at once, from matrix-vector products only.

All solvers take ``apply``: vecs_RxP -> products_RxP, one product for each of the R operators, and report
what they know: relative residuals |A v - s v| / |s|, an estimated eigenvalue error, whether they converged, and
how many products a run cost. They know nothing of networks, so they are tested on plain matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]

# A gap wider than this is not trusted: it is read off Ritz values, which underestimate the next eigenvalue.
_WIDEST_GAP = 0.25


@dataclass(frozen=True)
class EigenResult:
    """Ritz pairs, largest eigenvalue first.

    Attributes:
        eigenvalues_RxK: in the operator's units, float64.
        vectors_RxPxK: unit Ritz vectors; possibly more columns than ``eigenvalues_RxK``: the extra ones are guards,
            kept for a warm start.
        residuals_RxK: |A v - s v| / |s|.
        errors_RxK: estimated relative eigenvalue errors (`eigenvalue_errors`).
        converged_R: whether every pair of the run met the tolerance.
        products: operator applications, each to all R runs at once.
    """

    eigenvalues_RxK: Tensor
    vectors_RxPxK: Tensor
    residuals_RxK: Tensor
    errors_RxK: Tensor
    converged_R: Tensor
    products: int


def eigenvalue_errors(ritz_RxM: Tensor, residuals_RxK: Tensor) -> Tensor:
    """Relative eigenvalue errors: the smaller of r and r^2 / gap, with r the relative residual.

    The first is a bound for a symmetric operator; the second is Kato and Temple's, with the relative gap to the first
    Ritz value outside the wanted K, cut at 1/4. Ritz values (descending, M >= K) are lower bounds, so the gap is
    optimistic: on fc-tanh at the edge of stability the true error was up to twice the estimate.
    """
    K = residuals_RxK.shape[1]
    if ritz_RxM.shape[1] <= K:
        return residuals_RxK
    wanted_RxK = ritz_RxM[:, :K]
    gaps_RxK = (wanted_RxK - ritz_RxM[:, K : K + 1]) / wanted_RxK.abs().clamp_min(1e-300)
    gaps_RxK = gaps_RxK.clamp(min=1e-12, max=_WIDEST_GAP)
    return torch.minimum(residuals_RxK, residuals_RxK.square() / gaps_RxK)


def block_rayleigh_ritz(
    apply: Apply, start_RxPxB: Tensor, k: int, *, tolerance: float, guards: int = 1, max_products: int = 200
) -> EigenResult:
    """Top-k eigenpairs from a warm start, by Rayleigh-Ritz on a growing block.

    The basis starts as the span of ``start_RxPxB`` (the last refresh's Ritz vectors; one random column for a cold
    start) and grows by the residuals of unconverged pairs, one product each; the products of the basis are
    kept, so nothing is applied twice. This is block Davidson without a preconditioner, or LOBPCG with its whole
    history. It stops once every wanted pair has an estimated error below ``tolerance`` in every run.

    A warm start cannot see an eigenvector orthogonal to all it tracks: check with a cold `lanczos` now and then.

    Args:
        guards: how many further Ritz vectors to return for the next warm start.

    Raises:
        ValueError: if an operator application is not finite, or ``k`` exceeds the dimension.
    """
    R, P, _ = start_RxPxB.shape
    if not 1 <= k <= P:
        raise ValueError(f"cannot find {k} eigenpairs of a {P} x {P} operator")
    limit = min(max_products, P)
    basis = torch.linalg.qr(start_RxPxB[:, :, :limit]).Q
    images = torch.stack([_finite(apply(v)) for v in basis.unbind(-1)], dim=-1)
    while True:
        M = basis.shape[2]
        projected = (basis.mT @ images).double()
        ritz, coefficients = torch.linalg.eigh((projected + projected.mT) / 2)
        ritz, coefficients = ritz.flip(-1), coefficients.flip(-1).to(basis.dtype)
        K = min(k, M)
        vectors = basis @ coefficients[:, :, : K + guards]
        residual_vectors = images @ coefficients[:, :, :K] - vectors[:, :, :K] * ritz[:, None, :K].to(basis.dtype)
        residuals = _relative(residual_vectors, ritz[:, :K])
        errors = eigenvalue_errors(ritz, residuals)
        # A basis no wider than k has no Ritz value to judge a gap by.
        converged = errors <= tolerance if (M > k or M == P) else torch.zeros_like(errors, dtype=torch.bool)
        if M == P or M >= limit or bool(converged.all()):
            break
        wanted = [j for j in range(K) if not bool(converged[:, j].all())][: limit - M]
        fresh = _orthonormal_columns(residual_vectors[:, :, wanted], basis)
        images = torch.cat([images, *(_finite(apply(v))[:, :, None] for v in fresh.unbind(-1))], dim=-1)
        basis = torch.cat([basis, fresh], dim=-1)
    # With the whole space spanned, rounding is all that is left of the residual.
    complete = M == P
    return EigenResult(ritz[:, :K], vectors, residuals, errors, converged.all(-1) | complete, products=M)


def lanczos(apply: Apply, start_RxP: Tensor, k: int, *, tolerance: float, max_products: int = 200) -> EigenResult:
    """Top-k eigenpairs by Lanczos's three-term recurrence with full reorthogonalization, from any start vector.

    Independent of `block_rayleigh_ritz` in its algebra (a tridiagonal matrix, residuals from its last entry: Paige
    1971), and never warm: this is the check on the warm solver.

    Raises:
        ValueError: if an operator application is not finite, or ``k`` exceeds the dimension.
    """
    R, P = start_RxP.shape
    if not 1 <= k <= P:
        raise ValueError(f"cannot find {k} eigenpairs of a {P} x {P} operator")
    limit = min(max_products, P)
    v = start_RxP / start_RxP.norm(dim=1, keepdim=True)
    basis, alphas, betas = [v], [], []
    while True:
        w = _finite(apply(basis[-1]))
        alphas.append((w * basis[-1]).sum(1).double())
        Q = torch.stack(basis, dim=-1)
        for _ in range(2):
            w = w - (Q @ (Q.mT @ w[:, :, None]))[:, :, 0]
        betas.append(w.norm(dim=1).double())
        M = len(basis)
        T = torch.diag_embed(torch.stack(alphas, -1))
        if M > 1:
            off = torch.stack(betas[:-1], -1)
            T = T + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
        ritz, S = torch.linalg.eigh(T)
        ritz, S = ritz.flip(-1), S.flip(-1)
        K = min(k, M)
        residuals = (betas[-1][:, None] * S[:, -1, :K].abs()) / ritz[:, :K].abs().clamp_min(1e-300)
        errors = eigenvalue_errors(ritz, residuals)
        converged = (errors <= tolerance).all(-1) if M > k else torch.zeros(R, dtype=torch.bool)
        # A vanished residual means an invariant subspace: its Ritz values are exact, and nothing is left to add.
        exhausted = bool((betas[-1] <= 1e-10 * ritz.abs().amax(-1)).all()) or M == P
        if bool(converged.all()) or exhausted or M >= limit:
            vectors = Q @ S[:, :, :K].to(Q.dtype)
            return EigenResult(ritz[:, :K], vectors, residuals, errors, converged | exhausted, products=M)
        basis.append(w / betas[-1][:, None].clamp_min(1e-300).to(w.dtype))


def dense_matrix(apply: Apply, runs: int, parameters: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The operators as dense matrices, R x P x P, column by column: the oracle for small P."""
    columns = []
    for i in range(parameters):
        unit_RxP = torch.zeros(runs, parameters, dtype=dtype)
        unit_RxP[:, i] = 1
        columns.append(apply(unit_RxP))
    return torch.stack(columns, dim=-1)


def _relative(residual_vectors_RxPxK: Tensor, ritz_RxK: Tensor) -> Tensor:
    return residual_vectors_RxPxK.norm(dim=1).double() / ritz_RxK.abs().clamp_min(1e-300)


def _finite(products_RxP: Tensor) -> Tensor:
    if not bool(torch.isfinite(products_RxP).all()):
        raise ValueError("non-finite curvature: a Hessian-vector product holds inf or nan")
    return products_RxP


def _orthonormal_columns(vectors_RxPxK: Tensor, basis_RxPxM: Tensor) -> Tensor:
    """Orthonormal columns spanning ``vectors`` orthogonally to ``basis``: twice is enough (Parlett 1980)."""
    for _ in range(2):
        # Scaled first, or the rounding of a small residual against a unit basis is all that QR sees.
        vectors_RxPxK = vectors_RxPxK / vectors_RxPxK.norm(dim=1, keepdim=True).clamp_min(1e-30)
        vectors_RxPxK = vectors_RxPxK - basis_RxPxM @ (basis_RxPxM.mT @ vectors_RxPxK)
        vectors_RxPxK = torch.linalg.qr(vectors_RxPxK).Q
    return vectors_RxPxK
