"""What scale-invariance implies for gradient and Hessian, and how a normaliser's eps breaks it (U1)."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import log10
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import scale_invariance as theory
from benchmarks.theory.exponents import log_slope

SCALES = (0.3, 2.7, 30.0)


@tidy
def run(settings, seeds: Iterable[int]) -> Iterator[Result]:
    """Gradient and dense Hessian where training starts. ``gradient`` scales one layer at a time, by which its own
    gradient becomes 1/c times what it was and the others' stay; ``hessian`` scales all layers. A seed draws data and
    weights.

    Systems: ``network`` (normalised); ``rayleigh``, w'Aw / 2|w|^2, whose deviations are those from its closed forms;
    ``bare``, the control, without normalisers. ``eps-R`` has an eps of R times the mean variance of the last layer, and
    ``eps`` has the slope over R and the largest deviation.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.

    Quantities: see the data card.
    """
    for seed in seeds:
        normalised, bare = networks.on_gaussian_data(settings, seed)
        weights_1xP = networks.start(normalised.module, [seed])
        for system, deviations in (
            ("network", _deviations(normalised, weights_1xP)),
            ("bare", _deviations(bare, weights_1xP)),
            ("rayleigh", _closed_forms(settings, seed)),
        ):
            yield system, seed, {name: log10(value) for name, value in deviations.items()}
        inputs, targets = next(normalised.chunks())
        for system, scores in _with_eps(settings, inputs, targets, weights_1xP):
            yield system, seed, scores


def _derivatives(problem: Problem, weights_1xP: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and dense Hessian: P and P x P."""
    point = problem.at(weights_1xP, curvature=True)
    identity = torch.eye(problem.parameters, dtype=weights_1xP.dtype)
    return point.grads_RxP[0], point.hvp(identity[None])[0]


def _deviations(problem: Problem, weights_1xP: Tensor) -> dict[str, float]:
    gradient_P, hessian_PxP = _derivatives(problem, weights_1xP)
    weights = weights_1xP[0].split(problem.sizes)
    gradient = gradient_P.split(problem.sizes)
    of_gradient, of_hessian = [], []
    for c in SCALES:
        for layer in range(len(weights)):
            scaled = [w * c if k == layer else w for k, w in enumerate(weights)]
            scaled_gradient = problem.at(torch.cat(scaled)[None]).grads_RxP[0].split(problem.sizes)
            for k, (g, old) in enumerate(zip(scaled_gradient, gradient)):
                of_gradient.append(float(((c if k == layer else 1) * g - old).norm() / old.norm()))
        _, scaled_PxP = _derivatives(problem, c * weights_1xP)
        of_hessian.append(float((c**2 * scaled_PxP - hessian_PxP).norm() / hessian_PxP.norm()))
    return {
        "orthogonality": _orthogonality(weights, gradient),
        "gradient": max(of_gradient),
        "hessian": max(of_hessian),
        "euler": float((hessian_PxP @ weights_1xP[0] + gradient_P).norm() / gradient_P.norm()),
    }


def _orthogonality(weights: Sequence[Tensor], gradient: Sequence[Tensor]) -> float:
    return max(float((w @ g).abs() / (w.norm() * g.norm())) for w, g in zip(weights, gradient))


def _closed_forms(settings, seed: int) -> dict[str, float]:
    """The same of w'Aw / 2|w|^2, from formulas and not by autograd: with n = w/|w| and q = n'An, g = (A - q) n / |w|
    and H = (A - q - 2 n a' - 2 a n') / |w|^2 with a = (A - q) n."""
    problem = networks.rayleigh(settings.inputs)
    matrix = problem.module.matrix
    weights_1xP = networks.start(problem.module, [seed])
    deviations = {"orthogonality": 0.0, "gradient": 0.0, "hessian": 0.0, "euler": 0.0}
    for c in (1.0, *SCALES):
        w = c * weights_1xP[0]
        n = w / w.norm()
        shifted = matrix - (n @ matrix @ n) * torch.eye(len(w), dtype=w.dtype)
        a = shifted @ n
        g, H = a / w.norm(), (shifted - 2 * torch.outer(n, a) - 2 * torch.outer(a, n)) / w.norm() ** 2
        gradient, hessian = _derivatives(problem, w[None])
        errors = {
            "orthogonality": (w @ gradient).abs() / (w.norm() * gradient.norm()),
            "gradient": (gradient - g).norm() / g.norm(),
            "hessian": (hessian - H).norm() / H.norm(),
            "euler": (H @ w + g).norm() / g.norm(),
        }
        deviations = {name: max(value, float(errors[name])) for name, value in deviations.items()}
    return deviations


def _with_eps(settings, inputs: Tensor, targets: Tensor, weights_1xP: Tensor) -> Iterator[tuple[str, dict[str, float]]]:
    sizes = settings.inputs, settings.outputs, settings.hidden
    first = networks.build(*sizes)
    variance = float(_passes(first, inputs, weights_1xP)[-1][0].detach().var(1, unbiased=False).mean())
    radials, worst = [], []
    for ratio in settings.ratios:
        eps = ratio * variance
        module = networks.build(*sizes, eps=eps)
        problem = Problem(module, inputs, targets, "mse")
        weights = weights_1xP[0].split(problem.sizes)
        gradient = problem.at(weights_1xP).grads_RxP[0].split(problem.sizes)
        radials.append(_orthogonality(weights, gradient))
        passes = _passes(module, inputs, weights_1xP)
        outputs = [y for _, y in passes]
        after_normaliser = module[-2:]  # the last activation and the readout
        loss = problem.loss(after_normaliser(outputs[-1]), targets).mean()
        deviations = []
        for w, g, (z, y), in_y in zip(weights, gradient, passes, torch.autograd.grad(loss, outputs)):
            arrays = (in_y, y.detach(), z.detach().var(1, unbiased=False))
            radial = theory.radial_gradient(*(array.numpy() for array in arrays), eps)
            deviations.append(abs(float(w @ g) - radial) / float(w.norm() * g.norm()))
        worst.append(max(deviations))
        yield f"eps-{ratio:g}", {"orthogonality": log10(radials[-1]), "closed_form": log10(worst[-1])}
    yield "eps", {"slope": log_slope(settings.ratios, radials), "closed_form": log10(max(worst))}


def _passes(module: nn.Sequential, inputs: Tensor, weights_1xP: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What goes into each normaliser and what comes out, with the graph."""
    vector_to_parameters(weights_1xP[0], module.parameters())
    layers, x = [], inputs
    for layer in module:
        before, x = x, layer(x)
        if isinstance(layer, networks.Normaliser):
            layers.append((before, x))
    return layers
