r"""From saddle to saddle in attention and convolution (T15): one head, one kernel at a time.

In both, a unit is a product of three things, v a b' (b = a in the convolution), and the network a sum of units, of
which the loss sees only the matrix M = sum_h v_h a_h b_h'. From small weights the unit that is ahead leaves the
others behind. Losses are those of the population, in closed form.

Attention (Zhang, Singh, Latham and Saxe 2025, arXiv:2501.16265): linear regression in context. A prompt has N examples
(x, w'x) with x ~ N(0, diag(lambda)) and w ~ N(0, I), and a query; linear attention answers beta' M query, where beta is
the mean of y x over the prompt, key and query have rank one, and v is the value. With E[S^2] = L (L + (L + tr L) / N)
for the sample covariance S, L = diag(lambda), the loss is tr L - 2 tr(L M L) + tr(M' E[S^2] M L). Merged, a head is
v U with a full matrix U in place of key and query.

Convolution (quadratic, after Zhang, Saxe and Latham 2025, arXiv:2512.20607): f(x) = sum_h v_h sum_p (w_h' x_p)^2, less
its mean, over patches x_p without overlap of inputs N(0, I). The teacher is the same with orthonormal kernels and
strengths s_k. The loss, over twice the number of patches, is |M - sum_k s_k c_k c_k'|^2 / 2.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.studies.table import Result, tidy
from benchmarks.theory.modes import half_times, timing_order
from benchmarks.theory.predictions import active_modes, straight_active_modes

# Readings of a run, evenly spaced in the logarithm of time: one in 0.7 %.
READINGS = 2000


class Model(Protocol):
    """A network and its loss, as functions of all parameters.

    Attributes:
        first_loss: of an output of zero.
        strengths_K: where the amplitudes of the modes end.
        gains_K: by how much each mode, once learned, lowers the loss. Whichever have been learned, and nothing else, is
            a saddle.
    """

    first_loss: float
    strengths_K: np.ndarray
    gains_K: np.ndarray

    def start(self, generator: np.random.Generator, scale: float) -> np.ndarray:
        """Gaussian parameters: P. At scale 1 the variance of each is one over its fan-in."""

    def loss(self, params_P: np.ndarray) -> float: ...

    def slope(self, params_P: np.ndarray) -> np.ndarray:
        """Minus the gradient of the loss: P."""

    def sizes(self, params_P: np.ndarray) -> np.ndarray:
        """How much each unit does, the norm of its part of M: H."""

    def amplitudes(self, params_P: np.ndarray) -> np.ndarray:
        """Of the modes in M: K."""


class Attention:
    """Heads with a key, a query and a value, or merged, where a value multiplies a full matrix."""

    def __init__(self, eigenvalues: Sequence[float], examples: int, heads: int, merged: bool = False):
        self.eigen_D = np.array(eigenvalues)
        self.heads, self.merged = heads, merged
        inflation_D = 1 + (1 + self.eigen_D.sum() / self.eigen_D) / examples
        self.second_D = self.eigen_D**2 * inflation_D
        self.strengths_K = 1 / (self.eigen_D * inflation_D)
        self.first_loss, self.gains_K = self.eigen_D.sum(), self.eigen_D / inflation_D

    def start(self, generator: np.random.Generator, scale: float) -> np.ndarray:
        size, heads = len(self.eigen_D), self.heads
        values = generator.standard_normal((heads, 1)) / heads**0.5
        others = generator.standard_normal((heads, size**2 if self.merged else 2 * size)) / size**0.5
        return scale * np.concatenate([values, others], axis=1).ravel()

    def parts(self, params_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, H, and products of key and query, H x D x D."""
        values, others = np.split(params_P.reshape(self.heads, -1), [1], axis=1)
        size = len(self.eigen_D)
        if self.merged:
            return values[:, 0], others.reshape(-1, size, size)
        return values[:, 0], others[:, :size, None] * others[:, None, size:]

    def loss(self, params_P: np.ndarray) -> float:
        values, products = self.parts(params_P)
        map_DxD = np.tensordot(values, products, 1)
        seen = -2 * (self.eigen_D**2 * np.diag(map_DxD)).sum()
        return float(self.eigen_D.sum() + seen + (self.second_D[:, None] * map_DxD**2 * self.eigen_D).sum())

    def slope(self, params_P: np.ndarray) -> np.ndarray:
        values, products = self.parts(params_P)
        map_DxD = np.tensordot(values, products, 1)
        pull_DxD = 2 * (np.diag(self.eigen_D**2) - self.second_D[:, None] * map_DxD * self.eigen_D)
        of_values = (products * pull_DxD).sum((1, 2))[:, None]
        if self.merged:
            of_others = (values[:, None, None] * pull_DxD).reshape(self.heads, -1)
        else:
            keys, queries = np.split(params_P.reshape(self.heads, -1)[:, 1:], 2, axis=1)
            of_others = values[:, None] * np.concatenate([queries @ pull_DxD.T, keys @ pull_DxD], axis=1)
        return np.concatenate([of_values, of_others], axis=1).ravel()

    def sizes(self, params_P: np.ndarray) -> np.ndarray:
        values, products = self.parts(params_P)
        return np.abs(values) * np.linalg.norm(products, axis=(1, 2))

    def amplitudes(self, params_P: np.ndarray) -> np.ndarray:
        return np.diag(np.tensordot(*self.parts(params_P), 1))


class Convolution:
    """Kernels on patches without overlap, and a readout weight for each."""

    def __init__(self, strengths: Sequence[float], teacher_CxK: np.ndarray, kernels: int):
        self.strengths_K = np.array(strengths)
        self.teacher_CxK, self.kernels = teacher_CxK, kernels
        self.target_CxC = (teacher_CxK * self.strengths_K) @ teacher_CxK.T
        self.gains_K = 0.5 * np.square(self.strengths_K)
        self.first_loss = self.gains_K.sum()

    def start(self, generator: np.random.Generator, scale: float) -> np.ndarray:
        values = generator.standard_normal((self.kernels, 1)) / self.kernels**0.5
        kernels = generator.standard_normal((self.kernels, len(self.target_CxC))) / len(self.target_CxC) ** 0.5
        return scale * np.concatenate([values, kernels], axis=1).ravel()

    def error(self, params_P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, H; kernels, H x C; the target less M, C x C."""
        values, kernels = np.split(params_P.reshape(self.kernels, -1), [1], axis=1)
        return values[:, 0], kernels, self.target_CxC - (kernels.T * values[:, 0]) @ kernels

    def loss(self, params_P: np.ndarray) -> float:
        return 0.5 * float(np.square(self.error(params_P)[2]).sum())

    def slope(self, params_P: np.ndarray) -> np.ndarray:
        values, kernels, error = self.error(params_P)
        pulled = kernels @ error
        return np.concatenate([(pulled * kernels).sum(1)[:, None], 2 * values[:, None] * pulled], axis=1).ravel()

    def sizes(self, params_P: np.ndarray) -> np.ndarray:
        values, kernels, _ = self.error(params_P)
        return np.abs(values) * np.square(kernels).sum(1)

    def amplitudes(self, params_P: np.ndarray) -> np.ndarray:
        learned = self.target_CxC - self.error(params_P)[2]
        return np.einsum("ck,cd,dk->k", self.teacher_CxK, learned, self.teacher_CxK)


@dataclass(frozen=True)
class Run:
    """Readings of gradient flow, at times T."""

    times_T: np.ndarray
    losses_T: np.ndarray
    sizes_TxH: np.ndarray
    amplitudes_TxK: np.ndarray


@tidy
def run(
    settings, seeds: Sequence[int], tick: Callable[[int, int], None] = lambda done, planned: None
) -> Iterator[Result]:
    """Gradient flow of ``attention`` and ``convolution`` from small weights; with ``-default``, from weights whose
    variance is one over their fan-in. ``attention-merged`` has no head to single out, from weights as small;
    ``convolution-equal`` is to learn strengths that are all the same. Quantities: see the data card.
    """
    for number, seed in enumerate(seeds):
        tick(number, len(seeds))
        for system, model, scale, time in systems(settings, seed):
            start = model.start(np.random.default_rng([seed, 1]), scale)
            yield system, seed, scores(flow(model, start, time), model)
    tick(len(seeds), len(seeds))


def systems(settings, seed: int) -> Iterator[tuple[str, Model, float, float]]:
    """Name, model, scale of the weights, time of the flow."""
    options = settings.attention
    separate, merged = (
        Attention(options.eigenvalues, options.examples, options.heads, merged) for merged in (False, True)
    )
    yield "attention", separate, options.scale, options.time
    yield "attention-default", separate, 1.0, options.time
    yield "attention-merged", merged, options.scale, options.time
    options = settings.convolution
    shape = (options.size, len(options.strengths))
    teacher = np.linalg.qr(np.random.default_rng(seed).standard_normal(shape))[0]
    distinct = Convolution(options.strengths, teacher, options.kernels)
    equal = Convolution([options.strengths[0]] * len(options.strengths), teacher, options.kernels)
    yield "convolution", distinct, options.scale, options.time
    yield "convolution-default", distinct, 1.0, options.time
    yield "convolution-equal", equal, options.scale, options.time


def flow(model: Model, start_P: np.ndarray, time: float) -> Run:
    """Gradient flow to this time, or as far as it can be integrated."""
    times = np.concatenate([[0.0], np.geomspace(1e-6 * time, time, READINGS)])
    solved = solve_ivp(
        lambda _, params: model.slope(params), (0, time), start_P, method="LSODA", t_eval=times, rtol=1e-7, atol=1e-10
    )
    read = [[f(params) for params in solved.y.T] for f in (model.loss, model.sizes, model.amplitudes)]
    return Run(solved.t, *map(np.array, read))


def scores(run: Run, model: Model) -> dict[str, float]:
    """Of one run; without plateaus where a mode was never learned. A plateau is read in the geometric middle between
    the half times of two modes, its closed form is that of the modes learned by then."""
    halves_K = half_times(run.times_T, run.amplitudes_TxK, model.strengths_K)
    active, straight = active_modes(run.sizes_TxH), straight_active_modes(run.sizes_TxH[0], run.sizes_TxH[-1])
    found = {
        "learned": float(np.isfinite(halves_K).sum()),
        "active_modes": active,
        "active_modes_straight": straight,
        "sequentiality": 1 - (active - 1) / (straight - 1) if straight > 1 else np.nan,
    }
    if np.isfinite(halves_K).all():
        order = np.argsort(halves_K)
        foretold = (model.first_loss - np.cumsum(model.gains_K[order]))[:-1]
        halves = halves_K[order]
        read = np.interp(np.sqrt(halves[:-1] * halves[1:]), run.times_T, run.losses_T)
        found["plateau_error"] = float(np.abs(read / foretold - 1).max())
        found["timing_order"] = timing_order(halves_K, model.gains_K)[0]
        for number, pair in enumerate(zip(read, foretold), start=1):
            found |= dict(zip((f"plateau_{number}", f"predicted_plateau_{number}"), map(float, pair)))
    return {name: value for name, value in found.items() if np.isfinite(value)}
