"""What scale-invariance says of gradient and Hessian, and what a normaliser's eps takes from it (U1)."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import COLUMNS, networks
from benchmarks.studies.scale_invariance.descent import log10
from benchmarks.theory import scale_invariance as theory

SCALES = (0.3, 2.7, 30.0)


def run(settings: dict, seeds: Iterable[int]) -> pd.DataFrame:
    """Quantities by seed, which draws data and weights; deviations as log10, the largest over layers and scalings.

        orthogonality   |<w, g>| / (|w| |g|) of a layer
        gradient        |c g(cw) - g(w)| / |g|, each layer scaled alone: its own gradient by 1/c, the others' not at all
        hessian         |c^2 H(cw) - H(w)| / |H|, all layers scaled, the dense Hessian
        euler           |H w + g| / |g|: the gradient is homogeneous of degree -1

    Systems: ``network`` (normalised), ``rayleigh`` (w'Aw / 2|w|^2, by its closed forms: deviations are from those) and
    ``bare``, the network without normalisers. Those of eps: ``eps-R``, with eps R times the mean variance of the last
    layer: ``orthogonality`` and ``closed_form``, the deviation of <w, g> from its closed form over |w| |g|, as log10;
    and ``eps``: ``slope`` of ln orthogonality on ln R, and ``closed_form``, the largest.

    Args:
        settings: ``inputs``, ``outputs``, ``hidden``, ``examples``, ``eps``: those of the network; ``ratios`` R.

    Raises:
        ValueError: if a layer of the network is not scale-invariant: ``eps`` must be zero.
    """
    rows: list[tuple] = []
    for seed in seeds:
        inputs, targets = networks.gaussian_data(seed, *(settings[key] for key in ("examples", "inputs", "outputs")))
        module = _network(settings, eps=settings["eps"])
        networks.require_invariant(module, inputs)
        bare = _network(settings, normalise=False)
        weights = networks.start(module, [seed])
        for system, net in (("network", module), ("bare", bare)):
            problem = Problem(net, inputs, targets, "mse")
            rows += [(system, seed, name, log10(value)) for name, value in _deviations(problem, weights).items()]
        rows += [("rayleigh", seed, name, log10(value)) for name, value in _closed_forms(settings, seed).items()]
        rows += [(system, seed, *rest) for system, *rest in _with_eps(settings, inputs, targets, weights)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _network(settings: dict, **options) -> nn.Sequential:
    return networks.build(settings["inputs"], settings["outputs"], settings["hidden"], **options)


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
            found = problem.at(torch.cat(scaled)[None]).grads_RxP[0].split(problem.sizes)
            for k, (g, old) in enumerate(zip(found, gradient)):
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


def _closed_forms(settings: dict, seed: int) -> dict[str, float]:
    """The same of w'Aw / 2|w|^2, from formulas and not by autograd: with n = w/|w| and q = n'An, g = (A - q) n / |w|
    and H = (A - q - 2 n a' - 2 a n') / |w|^2 with a = (A - q) n."""
    problem = networks.rayleigh(settings["inputs"])
    matrix = problem.module.matrix
    weights_1xP = networks.start(problem.module, [seed])
    found = {"orthogonality": 0.0, "gradient": 0.0, "hessian": 0.0, "euler": 0.0}
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
        found = {name: max(value, float(errors[name])) for name, value in found.items()}
    return found


def _with_eps(settings: dict, inputs: Tensor, targets: Tensor, weights_1xP: Tensor) -> list[tuple]:
    first = _network(settings)
    variance = float(_passes(first, inputs, weights_1xP)[-1][0].detach().var(1, unbiased=False).mean())
    rows, sizes, worst = [], [], []
    for ratio in settings["ratios"]:
        eps = ratio * variance
        module = _network(settings, eps=eps)
        problem = Problem(module, inputs, targets, "mse")
        weights = weights_1xP[0].split(problem.sizes)
        gradient = problem.at(weights_1xP).grads_RxP[0].split(problem.sizes)
        sizes.append(_orthogonality(weights, gradient))
        passes = _passes(module, inputs, weights_1xP)
        outputs = [y for _, y in passes]
        loss = problem.loss(_after(module, outputs[-1]), targets).mean()
        deviations = []
        for w, g, (z, y), in_y in zip(weights, gradient, passes, torch.autograd.grad(loss, outputs)):
            arrays = (in_y, y.detach(), z.detach().var(1, unbiased=False))
            radial = theory.radial_gradient(*(array.numpy() for array in arrays), eps)
            deviations.append(abs(float(w @ g) - radial) / float(w.norm() * g.norm()))
        worst.append(max(deviations))
        rows.append((f"eps-{ratio:g}", "orthogonality", log10(sizes[-1])))
        rows.append((f"eps-{ratio:g}", "closed_form", log10(worst[-1])))
    slope = np.polyfit(np.log(settings["ratios"]), np.log(sizes), 1)[0]
    return [*rows, ("eps", "slope", float(slope)), ("eps", "closed_form", log10(max(worst)))]


def _passes(module: nn.Sequential, inputs: Tensor, weights_1xP: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What goes into each normaliser and what comes out, with the graph."""
    with torch.no_grad():
        for parameter, values in zip(module.parameters(), networks.layers(module, weights_1xP)):
            parameter.copy_(values.view_as(parameter))
    found, x = [], inputs
    for layer in module:
        before, x = x, layer(x)
        if isinstance(layer, networks.Normaliser):
            found.append((before, x))
    return found


def _after(module: nn.Sequential, last: Tensor) -> Tensor:
    """The outputs, from what the last normaliser gives."""
    for layer in module[-2:]:
        last = layer(last)
    return last
