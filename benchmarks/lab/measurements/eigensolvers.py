"""Largest eigenvalues of R symmetric operators at once, from matrix-vector products only.

All solvers take ``apply``: vecs_RxP -> products_RxP, one product for each of the R operators, and report
relative residuals |A v - s v| / |s|, an estimated eigenvalue error, whether they converged, and how many products a run
cost. They know nothing about networks, so they are tested on plain matrices.

Vectors stay on the operator's device. Anything reduced to a few numbers per run (M x M matrices, norms) goes to the CPU
in float64: GPUs are slow on such small matrices, and MPS has no float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]

# A gap wider than this is not trusted: it is read off Ritz values, which underestimate the next eigenvalue.
_WIDEST_GAP = 0.25


@dataclass(frozen=True)
class EigenResult:
    """Ritz pairs, largest eigenvalue first; all but the vectors are on the CPU.

    Attributes:
        eigenvalues_RxK: in the operator's units, float64.
        vectors_RxPxB: unit Ritz vectors; possibly more columns than ``eigenvalues_RxK``: the rest is for a warm start.
        spectrum_RxB: estimated eigenvalues for all columns; beyond the first K no error is known.
        residuals_RxK: |A v - s v| / |s|.
        errors_RxK: estimated relative eigenvalue errors (`eigenvalue_errors`).
        converged_R: whether every pair of the run met the tolerance.
        products: operator applications, each to all R runs at once.
    """

    eigenvalues_RxK: Tensor
    vectors_RxPxB: Tensor
    spectrum_RxB: Tensor
    residuals_RxK: Tensor
    errors_RxK: Tensor
    converged_R: Tensor
    products: int


def eigenvalue_errors(ritz_RxM: Tensor, residuals_RxK: Tensor) -> Tensor:
    """Relative eigenvalue errors: the smaller of r and r^2 / gap, with r the relative residual.

    The first is a bound for a symmetric operator; the second is the Kato-Temple bound, with the relative gap to the
    first Ritz value outside the wanted K, capped at 1/4. Ritz values (descending, M >= K) are lower bounds: the gap is
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
    apply: Apply,
    start_RxPxB: Tensor,
    k: int,
    *,
    tolerance: float,
    spectrum_RxB: Tensor | None = None,
    guards: int = 1,
    keep: int = 8,
    max_products: int = 200,
) -> EigenResult:
    """Top-k eigenpairs from a warm start, by Rayleigh-Ritz on a growing block.

    The basis starts with the leading columns of ``start_RxPxB`` (the last solve's Ritz vectors; one random column for a
    cold start) and grows by one product for each unconverged pair; products are kept, so nothing is applied twice. It
    stops once every wanted pair has an estimated error below ``tolerance`` in every run.

    From a cold start the basis grows by residuals: block Davidson without a preconditioner, or LOBPCG with its whole
    history. With ``spectrum_RxB`` of a nearby operator it grows by the directions that a model expects to help most
    (`_Model`), and the gain that the model still expects is a second estimate of the error; the smaller counts. On
    fc-tanh at the edge of stability (5,000 images, a reading every ten steps, 21 readings) this took 4.1 products
    instead of 7.1 for the top eigenvalue, at the same largest error, 3e-4.

    A warm start cannot see an eigenvector orthogonal to all those it tracks: check with a cold `lanczos` now and then.

    Args:
        spectrum_RxB: the eigenvalues belonging to the start vectors, descending.
        guards: how many start vectors beyond k get a product immediately.
        keep: how many Ritz vectors to return for the next warm start.

    Raises:
        ValueError: if an operator application is not finite, ``k`` exceeds the dimension, or for a dtype below float32.
    """
    R, P, _ = start_RxPxB.shape
    _require(start_RxPxB.dtype, k, P)
    limit = min(max_products, P)
    leading = k + guards if spectrum_RxB is not None else start_RxPxB.shape[2]
    basis = torch.linalg.qr(start_RxPxB[:, :, : min(leading, limit)]).Q
    images = torch.stack([_finite(apply(v)) for v in basis.unbind(-1)], dim=-1)
    model = None
    while True:
        M = basis.shape[2]
        projected = (basis.mT @ images).cpu().double()
        ritz, coefficients = torch.linalg.eigh((projected + projected.mT) / 2)
        ritz, coefficients = ritz.flip(-1), coefficients.flip(-1).to(basis)
        K = min(k, M)
        vectors = basis @ coefficients[:, :, :K]
        residual_vectors = images @ coefficients[:, :, :K] - vectors * ritz[:, None, :K].to(basis)
        residuals = _relative(residual_vectors, ritz[:, :K])
        errors = eigenvalue_errors(ritz, residuals)
        if spectrum_RxB is not None and M < P:
            model = _Model(basis, images, ritz, start_RxPxB[:, :, leading:], spectrum_RxB[:, leading:])
            errors = torch.minimum(errors, model.gains_RxM[:, :K])
        # A basis no wider than k has no Ritz value to judge a gap by.
        converged = errors <= tolerance if (M > k or M == P) else torch.zeros_like(errors, dtype=torch.bool)
        if M == P or M >= limit or bool(converged.all()):
            break
        wanted = [j for j in range(K) if not bool(converged[:, j].all())][: limit - M]
        directions = residual_vectors[:, :, wanted] if model is None else model.directions(wanted)
        fresh = _orthonormal_columns(directions, basis)
        images = torch.cat([images, *(_finite(apply(v))[:, :, None] for v in fresh.unbind(-1))], dim=-1)
        basis = torch.cat([basis, fresh], dim=-1)
    # Once the whole space is spanned, only rounding is left of the residual.
    complete = M == P
    if model is not None and not complete:
        # The leading ones without the model's guesses: what has been measured is not mixed with what has not.
        beyond, spectrum = model.continuation(keep)
        vectors = torch.cat([vectors, beyond[:, :, K:]], dim=-1)
    else:
        kept = max(K, min(keep, M))
        vectors, spectrum = basis @ coefficients[:, :, :kept], ritz[:, :kept]
    return EigenResult(ritz[:, :K], vectors, spectrum, residuals, errors, converged.all(-1) | complete, products=M)


class _Model:
    """A model of the current operator, from a basis, its images and the stale eigenpairs of a nearby operator.

    On the span of basis and images the products with the basis are exact. The block outside the basis, which no product
    has touched, is guessed: stale eigenvalues on the stale eigenvectors, 0.3 of the top one on the rest. The parts of
    the model's top eigenvectors outside the basis are the next directions (generalized Davidson with the stale spectrum
    as preconditioner); the excess of its eigenvalues over the Ritz values is the gain still expected.

    Everything is done on Gram matrices in float64, so that the cost is one matrix product with P rows.
    """

    REST = 0.3
    # A direction outside the basis shorter than this, relatively, is rounding.
    DEPENDENT = 1e-5
    VANISHING = 1e-12

    def __init__(self, basis: Tensor, images: Tensor, ritz: Tensor, stale: Tensor, stale_values: Tensor):
        self._basis = basis
        self._outer = torch.cat([stale, images], dim=-1)  # spans, with the basis, all that is modelled
        S, M = stale.shape[2], basis.shape[2]
        inner_MxN = (basis.mT @ self._outer).cpu().double()
        gram_NxN = (self._outer.mT @ self._outer).cpu().double()
        outside_NxN = gram_NxN - inner_MxN.mT @ inner_MxN
        norms_N = gram_NxN.diagonal(dim1=1, dim2=2).clamp_min(0.0).sqrt()
        # An image that all but vanishes (an operator of low rank) spans nothing.
        scale_N = torch.where(norms_N > self.VANISHING * norms_N.amax(1, keepdim=True), 1 / norms_N, 0.0)
        lengths, mixes = torch.linalg.eigh(scale_N[:, :, None] * outside_NxN * scale_N[:, None, :])
        usable = lengths > self.DEPENDENT
        # Columns of zeros where a direction lies in the basis, so that all runs of a stack have as many.
        weights = torch.where(usable, lengths.clamp_min(self.DEPENDENT).rsqrt(), 0.0)
        self._mix_NxC = scale_N[:, :, None] * mixes * weights[:, None, :]
        self._inner_MxC = inner_MxN @ self._mix_NxC
        coupling_CxM = self._mix_NxC.mT @ outside_NxN[:, :, S:]
        overlap_SxC = outside_NxN[:, :S] @ self._mix_NxC
        rest = self.REST * ritz[:, :1]
        guess_CxC = overlap_SxC.mT @ ((stale_values.double() - rest)[:, :, None] * overlap_SxC)
        guess_CxC = guess_CxC + torch.diag_embed(torch.where(usable, rest, torch.zeros_like(rest)))
        projected_MxM = inner_MxN[:, :, S:]
        top = torch.cat([(projected_MxM + projected_MxM.mT) / 2, coupling_CxM.mT], dim=-1)
        whole = torch.cat([top, torch.cat([coupling_CxM, guess_CxC], dim=-1)], dim=1)
        values, vectors = torch.linalg.eigh(whole)
        self._values, self._vectors = values.flip(-1), vectors.flip(-1)
        self.gains_RxM = (self._values[:, :M] - ritz) / ritz.abs().clamp_min(1e-300)

    def directions(self, wanted: list[int]) -> Tensor:
        """The parts of the model's eigenvectors outside the basis, R x P x len(wanted)."""
        M = self._basis.shape[2]
        return self._outside(self._vectors[:, M:, wanted])

    def continuation(self, keep: int) -> tuple[Tensor, Tensor]:
        """The model's leading eigenpairs: vectors R x P x keep and values R x keep."""
        M = self._basis.shape[2]
        inside = self._basis @ self._vectors[:, :M, :keep].to(self._basis)
        return inside + self._outside(self._vectors[:, M:, :keep]), self._values[:, :keep]

    def _outside(self, coefficients_CxK: Tensor) -> Tensor:
        outer = self._outer @ (self._mix_NxC @ coefficients_CxK).to(self._basis)
        return outer - self._basis @ (self._inner_MxC @ coefficients_CxK).to(self._basis)


def lanczos(apply: Apply, start_RxP: Tensor, k: int, *, tolerance: float, max_products: int = 200) -> EigenResult:
    """Top-k eigenpairs by Lanczos's three-term recurrence with full reorthogonalization, from any start vector.

    Its algebra is independent of `block_rayleigh_ritz` (a tridiagonal matrix, residuals from its last entry: Paige
    1971), and it never starts warm: it serves as the check on the warm solver.

    A single start vector sees one direction of each eigenspace. So if more than one eigenpair is requested, the
    recurrence restarts from random vectors orthogonal to the pairs found, until it finds none larger than the last of
    them; only then have they converged.

    Raises:
        ValueError: if an operator application is not finite, ``k`` exceeds the dimension, or for a dtype below float32.
    """
    R, P = start_RxP.shape
    _require(start_RxP.dtype, k, P)
    result = krylov(apply, start_RxP, k, tolerance=tolerance, max_products=max_products)
    generator = torch.Generator().manual_seed(k)
    # A start vector within an invariant subspace sees nothing beyond it.
    whole = result.products == P
    verified = whole or (k == 1 and bool((result.residuals_RxK > _invariant(start_RxP.dtype)).all()))
    while not verified and result.products < max_products and result.vectors_RxPxB.shape[2] < P:
        drawn = torch.randn(R, P, generator=generator, dtype=torch.float64).to(start_RxP)
        left = max_products - result.products
        more = krylov(apply, drawn, 1, tolerance=tolerance, max_products=left, known=result)
        full = result.eigenvalues_RxK.shape[1] == k
        last_R, next_R = result.eigenvalues_RxK[:, -1], more.eigenvalues_RxK[:, 0]
        verified = full and bool((next_R <= last_R + 2 * tolerance * last_R.abs()).all())
        result = _merged(result, more, k)
    converged_R = result.converged_R & (verified or result.vectors_RxPxB.shape[2] == P)
    return replace(result, converged_R=converged_R)


def _merged(result: EigenResult, more: EigenResult, k: int) -> EigenResult:
    """The k largest of the pairs of two results."""
    names = ("eigenvalues_RxK", "residuals_RxK", "errors_RxK")
    joined = {name: torch.cat([getattr(result, name), getattr(more, name)], dim=1) for name in names}
    order = joined["eigenvalues_RxK"].argsort(dim=1, descending=True)[:, :k]
    joined = {name: values.gather(1, order) for name, values in joined.items()}
    vectors = torch.cat([result.vectors_RxPxB, more.vectors_RxPxB], dim=2)
    vectors = vectors.gather(2, order.to(vectors.device)[:, None, :].expand(-1, vectors.shape[1], -1))
    return EigenResult(
        vectors_RxPxB=vectors,
        spectrum_RxB=joined["eigenvalues_RxK"],
        converged_R=result.converged_R & more.converged_R,
        products=result.products + more.products,
        **joined,
    )


def krylov(
    apply: Apply,
    start_RxP: Tensor,
    k: int,
    *,
    tolerance: float,
    max_products: int,
    known: EigenResult | None = None,
) -> EigenResult:
    """The k largest Ritz pairs of the Krylov space of a start vector: one direction of each eigenspace.

    Multiple eigenvalues count once, as quadrature with the start vector's weights requires; for the operator's own
    eigenvalues see `lanczos`. If one run of the stack has spanned an invariant subspace and another has not, the former
    continues from a random vector outside it.

    Args:
        known: pairs to which all vectors are kept orthogonal.
    """
    R, P = start_RxP.shape
    size_R = torch.zeros(R, dtype=torch.float64)  # of the operator, as far as it has been seen
    v, apart = start_RxP, start_RxP.new_zeros(R, P, 0)
    if known is not None:
        apart, size_R = known.vectors_RxPxB, known.eigenvalues_RxK.abs().amax(1)
        v = _outside(v, apart)
    P = P - apart.shape[2]
    limit = min(max_products, P)
    v = v / v.norm(dim=1, keepdim=True)
    basis, alphas, betas = [v], [], []
    ended_R = torch.zeros(R, dtype=torch.bool)
    while True:
        w = _finite(apply(basis[-1]))
        alphas.append((w * basis[-1]).sum(1).cpu().double())
        Q = torch.stack(basis, dim=-1)
        size_R = torch.maximum(size_R, w.norm(dim=1).cpu().double())
        whole = torch.cat([apart, Q], dim=-1)
        w = _outside(w, whole)
        betas.append(w.norm(dim=1).cpu().double())
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
        converged = (errors <= tolerance).all(-1) & (M > k)
        # A vanished residual means an invariant subspace: its Ritz values are exact, and nothing is left to add.
        vanished_R = betas[-1] <= _invariant(w.dtype) * size_R
        ended_R = ended_R | vanished_R | (M == P)
        if bool((converged | ended_R).all()) or M >= limit:
            vectors = Q @ S[:, :, :K].to(Q)
            spectrum = ritz[:, :K]
            return EigenResult(spectrum, vectors, spectrum, residuals, errors, converged | ended_R, products=M)
        betas[-1] = torch.where(vanished_R, 0.0, betas[-1])
        after = w / betas[-1][:, None].to(w).clamp_min(torch.finfo(w.dtype).tiny)
        if bool(vanished_R.any()):
            fresh = torch.randn(w.shape, generator=torch.Generator().manual_seed(M), dtype=torch.float64).to(w)
            fresh = _outside(fresh, whole)
            fresh = fresh / fresh.norm(dim=1, keepdim=True)
            after = torch.where(vanished_R[:, None].to(w.device), fresh, after)
        basis.append(after)


def _outside(vecs_RxP: Tensor, basis_RxPxM: Tensor) -> Tensor:
    """The vectors without their part in the span of orthonormal columns: twice is enough (Parlett 1980)."""
    for _ in range(2):
        vecs_RxP = vecs_RxP - (basis_RxPxM @ (basis_RxPxM.mT @ vecs_RxP[:, :, None]))[:, :, 0]
    return vecs_RxP


def _invariant(dtype: torch.dtype) -> float:
    """The relative residual below which a subspace counts as invariant: the rest is rounding."""
    return max(1e-10, 10 * torch.finfo(dtype).eps)


def _require(dtype: torch.dtype, k: int, dimension: int) -> None:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the eigensolvers work in float32 or float64, not in {dtype}: measure a copy, module.float(), on "
            "inputs of that dtype"
        )
    if not 1 <= k <= dimension:
        raise ValueError(f"cannot find {k} eigenpairs of a {dimension} x {dimension} operator")


def dense_matrix(apply: Apply, runs: int, parameters: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The operators as dense matrices, R x P x P, column by column: the oracle for small P."""
    columns = []
    for i in range(parameters):
        unit_RxP = torch.zeros(runs, parameters, dtype=dtype)
        unit_RxP[:, i] = 1
        columns.append(apply(unit_RxP))
    return torch.stack(columns, dim=-1)


def _relative(residual_vectors_RxPxK: Tensor, ritz_RxK: Tensor) -> Tensor:
    return residual_vectors_RxPxK.norm(dim=1).cpu().double() / ritz_RxK.abs().clamp_min(1e-300)


def _finite(products_RxP: Tensor) -> Tensor:
    if not bool(torch.isfinite(products_RxP).all()):
        raise ValueError(
            "non-finite curvature: a Hessian-vector product holds inf or nan; with a lower `divergence` a run that is "
            "about to diverge ends before it is measured"
        )
    return products_RxP


def _orthonormal_columns(vectors_RxPxK: Tensor, basis_RxPxM: Tensor) -> Tensor:
    """Orthonormal columns spanning ``vectors`` orthogonally to ``basis``: twice is enough (Parlett 1980).

    A column that vanishes is replaced by a random one: QR would make it a unit vector, which may lie in the basis.
    """
    vanished_Rx1xK = vectors_RxPxK.norm(dim=1, keepdim=True) <= 1e-30
    if bool(vanished_Rx1xK.any()):
        generator = torch.Generator().manual_seed(basis_RxPxM.shape[2])
        random = torch.randn(vectors_RxPxK.shape, generator=generator, dtype=torch.float64).to(vectors_RxPxK)
        vectors_RxPxK = torch.where(vanished_Rx1xK, random, vectors_RxPxK)
    for _ in range(2):
        # Scaled first, or the rounding of a small residual against a unit basis is all that QR sees.
        vectors_RxPxK = vectors_RxPxK / vectors_RxPxK.norm(dim=1, keepdim=True).clamp_min(1e-30)
        vectors_RxPxK = vectors_RxPxK - basis_RxPxM @ (basis_RxPxM.mT @ vectors_RxPxK)
        vectors_RxPxK = torch.linalg.qr(vectors_RxPxK).Q
    return vectors_RxPxK
