"""The solvers on plain matrices of known spectrum, and on a Hessian against its dense eigenvalues."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.lab import architectures
from benchmarks.lab.measurements import Reading
from benchmarks.lab.measurements.eigensolvers import block_rayleigh_ritz, dense_matrix, lanczos
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.problem import Problem, stack_parameters

P = 120


def matrices(spectra, seed=0):
    """Symmetric matrices with the given eigenvalues in random bases, as an operator on vecs_RxP."""
    generator = torch.Generator().manual_seed(seed)
    stack = []
    for spectrum in spectra:
        basis = torch.linalg.qr(torch.randn(P, P, generator=generator, dtype=torch.float64)).Q
        stack.append(basis @ torch.diag(spectrum) @ basis.T)
    matrices_RxPxP = torch.stack(stack)
    return lambda vecs_RxP: (matrices_RxPxP @ vecs_RxP[:, :, None])[:, :, 0]


def spectrum(*top, lowest=-0.5):
    """Chosen top eigenvalues over a bulk, with a negative tail larger than nothing but the bulk."""
    bulk = torch.linspace(lowest, 1.0, P - len(top), dtype=torch.float64)
    return torch.cat([torch.tensor(top, dtype=torch.float64), bulk])


def start(runs, columns=1, seed=9):
    return torch.randn(runs, P, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SPECTRA = {
    "separated": spectrum(10.0, 6.0, 3.0),
    "clustered": spectrum(2.66, 2.59, 2.57, 2.51),
    "dominated by a negative one": spectrum(3.0, 2.0, -50.0),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("k", [1, 3])
def test_top_eigenvalues_of_a_known_spectrum_cold(name, k):
    wanted = SPECTRA[name].sort(descending=True).values[:k]
    apply = matrices([SPECTRA[name]])
    for result in (
        block_rayleigh_ritz(apply, start(1), k, tolerance=1e-9),
        lanczos(apply, start(1)[:, :, 0], k, tolerance=1e-9),
    ):
        assert bool(result.converged_R.all())
        torch.testing.assert_close(result.eigenvalues_RxK[0], wanted, rtol=1e-8, atol=0)
        vectors = result.vectors_RxPxB[:, :, :k]
        residual = torch.stack([apply(v) for v in vectors.unbind(-1)], -1) - vectors * result.eigenvalues_RxK[:, None]
        assert float(residual.norm(dim=1).max()) < 1e-3 * float(wanted.max())


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
def test_the_estimate_bounds_the_error_of_a_warm_start(tolerance):
    truth = SPECTRA["separated"]
    before = block_rayleigh_ritz(matrices([truth]), start(1), 1, tolerance=1e-6)
    moved = matrices([truth])
    generator = torch.Generator().manual_seed(4)
    noise = 0.2 * torch.randn(P, P, generator=generator, dtype=torch.float64) / P**0.5
    noise = noise + noise.T

    def apply(vecs_RxP):
        return moved(vecs_RxP) + vecs_RxP @ noise

    exact = torch.linalg.eigvalsh(dense_matrix(apply, 1, P)[0])[-1]
    warm = block_rayleigh_ritz(apply, before.vectors_RxPxB, 1, tolerance=tolerance, spectrum_RxB=before.spectrum_RxB)
    cold = block_rayleigh_ritz(apply, start(1, seed=1), 1, tolerance=tolerance)
    assert abs(float(warm.eigenvalues_RxK[0, 0] / exact) - 1) <= tolerance
    assert warm.products < cold.products


def test_runs_of_a_stack_are_solved_as_if_alone():
    spectra = [SPECTRA["separated"], SPECTRA["clustered"], spectrum(40.0)]
    together = block_rayleigh_ritz(matrices(spectra), start(3), 2, tolerance=1e-8)
    for r, wanted in enumerate(spectra):
        top = wanted.sort(descending=True).values[:2]
        torch.testing.assert_close(together.eigenvalues_RxK[r], top, rtol=1e-7, atol=0)


def test_the_whole_space_gives_exact_eigenvalues():
    small = torch.diag(torch.tensor([3.0, -1.0], dtype=torch.float64))

    def apply(v):
        return v @ small

    for result in (
        block_rayleigh_ritz(apply, start(1)[:, :2], 1, tolerance=1e-14),
        lanczos(apply, start(1)[:, :2, 0], 1, tolerance=1e-14),
    ):
        assert bool(result.converged_R.all())
        assert float(result.eigenvalues_RxK[0, 0]) == pytest.approx(3.0, rel=1e-12)
        assert result.products == 2


def test_a_budget_that_is_too_small_is_told_as_not_converged():
    apply = matrices([SPECTRA["clustered"]])
    block = block_rayleigh_ritz(apply, start(1), 1, tolerance=1e-10, max_products=5)
    assert (block.products, bool(block.converged_R.any())) == (5, False)
    plain = lanczos(apply, start(1)[:, :, 0], 1, tolerance=1e-10, max_products=5)
    assert (plain.products, bool(plain.converged_R.any())) == (5, False)


def test_products_are_counted_as_applied():
    calls = 0
    inner = matrices([SPECTRA["separated"]])

    def apply(v):
        nonlocal calls
        calls += 1
        return inner(v)

    assert block_rayleigh_ritz(apply, start(1, 3), 1, tolerance=1e-6).products == calls
    calls = 0
    assert lanczos(apply, start(1)[:, :, 0], 1, tolerance=1e-6).products == calls


def test_a_warm_solve_beyond_the_rank_stays_below_the_largest_eigenvalue():
    apply = matrices([torch.tensor([2.0, 2.0] + [0.0] * (P - 2), dtype=torch.float64)], seed=4)
    result = block_rayleigh_ritz(apply, start(1), 3, tolerance=1e-3, max_products=60)
    for _ in range(4):
        result = block_rayleigh_ritz(
            apply, result.vectors_RxPxB, 3, tolerance=1e-3, max_products=60, spectrum_RxB=result.spectrum_RxB
        )
    assert result.eigenvalues_RxK[0].tolist() == pytest.approx([2.0, 2.0, 0.0], abs=1e-9)


def test_non_finite_curvature_is_refused():
    for solve in (
        lambda f: block_rayleigh_ritz(f, start(1), 1, tolerance=1e-3),
        lambda f: lanczos(f, start(1)[:, :, 0], 1, tolerance=1e-3),
    ):
        with pytest.raises(ValueError, match="non-finite curvature"):
            solve(lambda v: v * torch.nan)
    with pytest.raises(ValueError, match="121 eigenpairs of a 120 x 120"):
        block_rayleigh_ritz(matrices([SPECTRA["separated"]]), start(1), 121, tolerance=1e-3)


def problem(runs):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=generator)
    modules = [
        m.double() for m in architectures.build_stack("mlp", (6,), 3, range(runs), hidden=[8, 8], activation="tanh")
    ]
    return Problem(modules[0], inputs, F.one_hot(labels, 3).double(), "mse"), stack_parameters(modules)


def test_sharpness_along_gradient_descent_is_the_dense_top_eigenvalue():
    mse, params_RxP = problem(2)
    sharpness = Sharpness([0, 1], every=1, tolerance=1e-5, cold_every=4)
    hvps = []
    for step in range(12):
        point = mse.at(params_RxP, curvature=True)
        metrics = sharpness.measure(Reading(step, point, lambda: None))
        exact = torch.linalg.eigvalsh(dense_matrix(point.hvp, 2, mse.parameters))[:, -1]
        torch.testing.assert_close(metrics["sharpness"], exact, rtol=2e-5, atol=0)
        assert ("sharpness_cold" in metrics) == (step % 4 == 3)
        hvps.append(int(metrics["sharpness_hvps"][0]))
        params_RxP = params_RxP - 0.2 * point.grads_RxP
    assert max(hvps[1:]) < hvps[0]


def test_a_cold_check_finds_what_a_warm_start_cannot_see():
    mse, params_RxP = problem(1)
    point = mse.at(params_RxP, curvature=True)
    values, vectors = torch.linalg.eigh(dense_matrix(point.hvp, 1, mse.parameters)[0])
    sharpness = Sharpness([0], every=1, tolerance=1e-6, cold_every=2)
    # Warm vectors that are exact eigenvectors, but not the top one: every residual vanishes.
    kept = [-3, -4]
    sharpness.load_state_dict({"readings": 0, "warm": vectors[:, kept][None], "spectrum": values[kept][None]})
    misled = sharpness.measure(Reading(0, point, lambda: None))["sharpness"]
    torch.testing.assert_close(misled[0], values[-3])
    found = sharpness.measure(Reading(1, point, lambda: None))
    torch.testing.assert_close(found["sharpness"][0], values[-1], rtol=1e-5, atol=0)
    after = sharpness.measure(Reading(2, point, lambda: None))
    torch.testing.assert_close(after["sharpness"][0], values[-1], rtol=1e-5, atol=0)
