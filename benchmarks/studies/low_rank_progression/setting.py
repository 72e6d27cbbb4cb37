"""What is learned: inputs, labels, the features on which a network's linear part is read, and the modes to learn.

Features are whitened: F'F / N is the identity. The map of outputs f_NxC is A = (f - mean f)' F / N, and the target is
that of the labels. With features of the inputs themselves this is the part of the outputs that a linear network on
them can have; the same reading is taken of every other basis.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lab import datasets, digits
from benchmarks.lab.datasets import Images, subset
from benchmarks.theory.modes import Modes

PERMUTATIONS = 200
FLOOR_QUANTILE = 0.95


@dataclass(frozen=True)
class Setting:
    """
    Attributes:
        inputs: N first.
        targets: N x C, or N class indices under cross-entropy.
        features_NxD: whitened.
        modes: of the labels' map on these features.
        noise_floor: the singular value that permuted labels exceed once in twenty times.
        loss: its name.
    """

    inputs: Tensor
    targets: Tensor
    features_NxD: Tensor
    modes: Modes
    noise_floor: float
    loss: str

    def to(self, device: str) -> "Setting":
        tensors = {name: getattr(self, name).to(device) for name in ("inputs", "targets", "features_NxD")}
        return replace(self, **tensors)

    def maps(self, outputs_RxNxC: Tensor) -> Tensor:
        """The map A of each run's outputs: R x C x D. Under cross-entropy of the class probabilities."""
        if self.loss == "cross_entropy":
            outputs_RxNxC = outputs_RxNxC.softmax(-1)
        centred = outputs_RxNxC - outputs_RxNxC.mean(1, keepdim=True)
        return centred.mT @ self.features_NxD.to(centred) / len(self.features_NxD)

    def residuals(self, outputs_RxNxC: Tensor) -> Tensor:
        """Minus the gradient of the loss in the outputs: R x N x C."""
        if self.loss == "cross_entropy":
            classes = outputs_RxNxC.shape[-1]
            return F.one_hot(self.targets, classes).to(outputs_RxNxC) - outputs_RxNxC.softmax(-1)
        return self.targets - outputs_RxNxC


def whiten(matrix_NxD: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project on the leading principal components: whitened scores (N x components), standard deviations, axes.

    Raises:
        ValueError: if the data have fewer components.
    """
    N = len(matrix_NxD)
    centred = matrix_NxD - matrix_NxD.mean(0)
    # By the covariance: a tenth of the time of a singular value decomposition, and as good for the leading components.
    variances, axes = np.linalg.eigh(centred.T @ centred / N)
    variances, axes = variances[::-1], axes.T[::-1]
    there = int((variances > 1e-10 * variances[0]).sum())
    if components > there:
        raise ValueError(f"{components} components asked for, the data have {there}")
    deviations, axes = np.sqrt(variances[:components]), axes[:components]
    # The sign of a component is arbitrary: make its largest entry positive.
    axes = axes * np.sign(axes[np.arange(components), np.abs(axes).argmax(1)])[:, None]
    return centred @ axes.T / deviations, deviations, axes


def one_hot(labels_N: Tensor, classes: int) -> np.ndarray:
    """Labels as rows that sum to one: N x C, float64.

    Raises:
        ValueError: if they are not class indices.
    """
    if labels_N.ndim != 1 or labels_N.is_floating_point():
        raise ValueError(f"labels must be N class indices, got {tuple(labels_N.shape)} of {labels_N.dtype}")
    return F.one_hot(labels_N.long(), classes).double().numpy()


def target_map(targets_NxC: np.ndarray, features_NxD: np.ndarray) -> np.ndarray:
    """The labels' map T = (y - mean y)' F / N: C x D."""
    return (targets_NxC - targets_NxC.mean(0)).T @ features_NxD / len(features_NxD)


def noise_floor(targets_NxC: np.ndarray, features_NxD: np.ndarray) -> float:
    """The 95th percentile of the top singular value of the map of permuted labels."""
    generator = np.random.default_rng(0)
    tops = [
        np.linalg.norm(target_map(targets_NxC[generator.permutation(len(targets_NxC))], features_NxD), 2)
        for _ in range(PERMUTATIONS)
    ]
    return float(np.quantile(tops, FLOOR_QUANTILE))


def modes_above(target_CxD: np.ndarray, floor: float, wanted: int | None, merge: float) -> Modes:
    """The modes above the noise floor, or the ``wanted`` leading ones of them, merged where they are too close.

    Args:
        merge: u0 / s_1 in the merging rule, the same for every rung: with each rung's own value, the default
            initialization would merge them all.

    Raises:
        ValueError: if fewer than two are above it, or fewer than wanted.
    """
    s = np.linalg.svd(target_CxD, compute_uv=False)
    above = int((s > max(floor, 1e-10 * s[0])).sum())
    if wanted is not None and wanted > above:
        raise ValueError(f"{wanted} modes asked for, {above} stand above the noise floor of {floor:.3g}: {s.round(3)}")
    if above < 2:
        raise ValueError(f"{above} modes stand above the noise floor of {floor:.3g}: there is no order to see")
    return Modes.of(target_CxD, wanted or above, merge_from=merge * s[0])


def drawn(images: Images, count: int, place: int) -> Images:
    """One of as many disjoint draws of ``count`` training images as there are, each spread evenly over the file.

    Args:
        place: which, from 1.

    Raises:
        ValueError: if there are fewer.
    """
    draws = len(images.train_inputs) // count
    if not 1 <= place <= draws:
        raise ValueError(f"{draws} disjoint draws of {count} images can be had, and seed {place} asks for another")
    rows = slice(place - 1, draws * count, draws)
    return replace(images, train_inputs=images.train_inputs[rows], train_labels=images.train_labels[rows])


def from_images(settings, images: Images, seed: int, loss: str, dtype: torch.dtype) -> Setting:
    """CIFAR-10, or whatever the images are. The seed is that of the draw, the rotation and the permutation."""
    if settings.source == "digits":
        images = datasets.images(**digits.arrays(), dtype=torch.float64)
    if settings.draw:
        images = drawn(images, settings.images, seed)
    data = subset(images, settings.images, pool=settings.pool)
    pixels = data.train_inputs.double().reshape(len(data.train_inputs), -1).numpy()
    scores, deviations, axes = whiten(pixels, settings.components)
    generator = np.random.default_rng([seed, 1])
    real = one_hot(data.train_labels, data.classes)
    real = real - real.mean(0)
    if settings.labels == "random":
        real = real[generator.permutation(len(real))]
    natural = target_map(real, scores)
    floor = noise_floor(real, scores)
    # Of permuted labels all modes are noise, and those are what is asked for.
    least = 0.0 if settings.labels == "random" else floor
    modes = modes_above(natural, least, settings.modes, settings.merge)
    changed = _changed(natural, modes, settings)
    if changed is not natural:
        # Equal strengths would all be one mode.
        merge = settings.merge * np.linalg.norm(changed, 2) if settings.spectrum == "natural" else None
        modes = Modes.of(changed, int(modes.sizes_K.sum()), merge_from=merge)
    linear = scores @ changed.T
    targets = {
        "linear": linear,
        "real": real + scores @ (changed - natural).T,
        "random": real,
        "residual": real - linear,
    }[settings.labels]
    if settings.inputs == "images":
        white = scores @ axes
        inputs = (white / white.std()).reshape(-1, *data.train_inputs.shape[1:])
    else:
        inputs = scores if settings.inputs == "whitened" else scores * deviations / (deviations**2).mean() ** 0.5
        if settings.rotate:
            inputs = inputs @ np.linalg.qr(generator.standard_normal((scores.shape[1],) * 2))[0]
    if loss == "cross_entropy":
        if settings.labels not in ("real", "random") or changed is not natural:
            raise ValueError(f"cross-entropy needs classes, not {settings.labels!r} labels")
        goal = torch.from_numpy(real).argmax(1)
    else:
        goal = torch.from_numpy(targets).to(dtype)
    return Setting(torch.from_numpy(inputs).to(dtype), goal, torch.from_numpy(scores).to(dtype), modes, floor, loss)


def _changed(natural: np.ndarray, modes: Modes, settings) -> np.ndarray:
    """The target with two singular values swapped, or with all of the modes' equal and no others."""
    if settings.swap is None and settings.spectrum == "natural":
        return natural
    left, s, right = np.linalg.svd(natural, full_matrices=False)
    if settings.spectrum == "flat":
        count = int(modes.sizes_K.sum())
        return np.sqrt(np.square(s[:count]).mean()) * left[:, :count] @ right[:count]
    first, second = (k - 1 for k in settings.swap)
    s[[first, second]] = s[[second, first]]
    return (left * s) @ right


HERMITE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "he1": lambda x: x,
    "he2": lambda x: (x**2 - 1) / 2**0.5,
}


def planted(settings, seed: int, dtype: torch.dtype) -> Setting:
    """y = sum s_k u_k h_k(v_k x) on Gaussian x, with orthonormal u_k and v_k drawn by the seed.

    The features are the functions h_k(v_k x) themselves, made orthonormal on the sample in the order of s; with h the
    second Hermite polynomial no linear network can learn any.
    """
    generator = np.random.default_rng([seed, 2])
    D, strengths = settings.components, np.array(settings.spectrum)
    K, N = len(strengths), settings.examples
    gaussian = generator.standard_normal((N, D))
    inputs, _, _ = whiten(gaussian, D)
    right, left = np.linalg.qr(generator.standard_normal((D, K)))[0], np.linalg.qr(generator.standard_normal((K, K)))[0]
    raw = np.stack([HERMITE[name](inputs @ v) for name, v in zip(settings.functions, right.T)], axis=1)
    q, r = np.linalg.qr(raw - raw.mean(0))
    features = N**0.5 * q * np.sign(np.diag(r))
    targets = (features * strengths) @ left.T
    modes = Modes.of(target_map(targets, features), K)
    return Setting(
        torch.from_numpy(inputs).to(dtype),
        torch.from_numpy(targets).to(dtype),
        torch.from_numpy(features).to(dtype),
        modes,
        0.0,
        "mse",
    )
