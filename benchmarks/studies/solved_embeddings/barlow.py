"""Barlow Twins on unlabelled images beside the linear model of it whose learning is solved (T12).

The loss is |C - I|^2, C being the symmetric cross-covariance of the embeddings of two views of the same images, centred
over the batch. Simon et al. 2023 (arXiv:2303.15438) also leave out the normalization that makes it a correlation.

Systems:
    aligned        the linear model on principal components of the views, aligned small start
    barlow         two convolutions and a projector of two layers, SGD on crops and flips, default start
    barlow-small   the same from small weights
and beside them, by the roles of the study carry_over:
    /small    the linear model from small random weights, gradient descent
    /flat     the same on components whose cross-covariance has equal eigenvalues
    /random   the network on views of two different images

An embedding's modes are the eigenvalues of C in order of their size, read on pairs of views that are not those of the
batches; each ends at one. Those of the linear model have strengths too, the eigenvalues of the views' cross-covariance.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import datasets
from benchmarks.lab.augmentation import Augmented, views
from benchmarks.lab.datasets import Images
from benchmarks.lab.minibatches import Minibatches
from benchmarks.studies.carry_over import weights
from benchmarks.studies.solved_embeddings.scores import Path, foretold, scores
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import embeddings, predictions
from benchmarks.theory import modes as observables
from benchmarks.theory.modes import Modes

DIVERGENCE = 20.0


@dataclass(frozen=True)
class Views:
    """Pairs of views of images: two independent crops and flips of each.

    Attributes:
        augmented: looks views up.
        images: N.
        padding: of the crops.
    """

    augmented: Augmented
    images: int
    padding: int

    @classmethod
    def of(cls, images: Tensor, padding: int) -> "Views":
        return cls(Augmented(nn.Identity(), images, padding), len(images), padding)

    def pair(self, image_B: Tensor, other_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A view of each image and one of its partner; the partner is the image itself, or another."""
        rows, _ = views(torch.zeros(1), self.padding)
        each = []
        for which in (image_B, other_B):
            chosen = rows[torch.randint(len(rows), (len(which),), generator=generator)].clone()
            chosen[:, 0] = which
            each.append(self.augmented.look_up(chosen))
        return each[0], each[1]


@tidy
def run(settings, seeds: Sequence[int], images: Images, tick: Callable[[int, int], None]) -> Iterator[Result]:
    """Train the encoder and the linear model, and score them. Quantities: see the data card.

    Raises:
        ValueError: for more components than pixels, or an embedding wider than the modes of the views.
    """
    data = datasets.subset(images, settings.images, pool=settings.pool)
    of = Views.of(data.train_inputs.float(), settings.padding)
    every = torch.arange(of.images)
    whole = of.pair(every, every, torch.Generator().manual_seed(0))
    read = tuple(view[: settings.read] for view in whole)
    gamma_P = spectrum(*whole, settings.components, settings.width)
    aligned = torch.zeros(settings.width, len(gamma_P), dtype=torch.float64)
    aligned.diagonal().copy_(settings.linear.small / torch.from_numpy(gamma_P[: settings.width]).sqrt())
    yield "aligned", None, _linear(gamma_P, aligned, settings)
    for done, seed in enumerate(seeds):

        def along(role: int, step: int, done: int = done) -> None:
            tick((4 * done + role) * settings.steps + step, 4 * len(seeds) * settings.steps)

        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(settings.width, len(gamma_P), generator=generator, dtype=torch.float64)
        start *= settings.linear.small / (gamma_P[0] * len(gamma_P)) ** 0.5
        yield "barlow/small", seed, _linear(gamma_P, start, settings)
        flat_P = np.full_like(gamma_P, gamma_P[: settings.width].mean())
        yield "barlow/flat", seed, _linear(flat_P, start, settings)
        torch.manual_seed(seed)
        net = encoder(data.train_inputs.shape[1:], settings.channels, settings.width)
        small = scaled(net, settings.small)
        runs = {
            "barlow": (net, True),
            "barlow/random": (net, False),
            "barlow-small": (small, True),
            "barlow-small/random": (small, False),
        }
        for number, (name, (module, same)) in enumerate(runs.items()):
            path = train(module, of, read, settings, seed, same, lambda step, number=number: along(number, step))
            yield name, seed, embedding_scores(path, settings.width)


def encoder(shape: Sequence[int], channels: Sequence[int], width: int) -> nn.Sequential:
    """Two convolutions of stride two, the mean over quarters of the image, and a projector with one hidden layer.

    Weights are drawn as by He et al. 2015.
    """
    first, second = channels
    module = nn.Sequential(
        nn.Conv2d(shape[0], first, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * second, 2 * second),
        nn.ReLU(),
        nn.Linear(2 * second, width),
    )
    for layer in module:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return module


def scaled(module: nn.Module, factor: float) -> nn.Module:
    copy = deepcopy(module)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.mul_(factor)
    return copy


def cross_covariance(one_NxD: Tensor, other_NxD: Tensor) -> Tensor:
    """Symmetric, of views centred over their batch: D x D."""
    one, other = (view - view.mean(0) for view in (one_NxD, other_NxD))
    both = one.T @ other / len(one)
    return (both + both.T) / 2


def spectrum(one: Tensor, other: Tensor, components: int, width: int) -> np.ndarray:
    """The eigenvalues of the views' cross-covariance on their leading principal components, descending.

    Raises:
        ValueError: for more components than pixels, or fewer positive eigenvalues than ``width``.
    """
    first, second = (view.flatten(1).double() for view in (one, other))
    if components > first.shape[1]:
        raise ValueError(f"{components} components of {first.shape[1]} pixels")
    both = torch.cat([first, second])
    basis = torch.linalg.eigh(both.T @ both)[1][:, -components:]
    gamma_P = np.linalg.eigvalsh(cross_covariance(first @ basis, second @ basis).numpy())[::-1]
    positive = int((gamma_P > 0).sum())
    if positive < width:
        raise ValueError(f"an embedding of width {width} needs as many modes of the views, which have {positive}")
    return gamma_P.copy()


def train(
    module: nn.Module,
    of: Views,
    read: tuple[Tensor, Tensor],
    settings,
    seed: int,
    same: bool,
    along: Callable[[int], None],
) -> Path:
    """Stochastic gradient descent on views of the same images, or of different ones; it ends where it diverges."""
    module = deepcopy(module)
    batches = Minibatches([seed], examples=of.images, size=settings.batch)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(module.parameters(), lr=settings.rate, momentum=settings.momentum)
    start = _matrices(module)
    path = Path()
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            with torch.no_grad():
                c = cross_covariance(*(module(view) for view in read)).double().numpy()
            change = weights.change(start, _matrices(module))
            path.read(step, ordered(c), weights.mean_rank(change) if step else np.nan, _loss(c))
            along(step)
            if not path.losses[-1] < DIVERGENCE * path.losses[0]:
                break
        image_B = batches(step)[0]
        one, other = of.pair(image_B, image_B if same else image_B.roll(1), generator)
        c = cross_covariance(*module(torch.cat([one, other])).chunk(2))
        optimizer.zero_grad()
        (c - torch.eye(len(c))).square().sum().backward()
        optimizer.step()
    return path


def ordered(c: np.ndarray) -> np.ndarray:
    """The eigenvalues in order of their size, as a diagonal matrix."""
    return np.diag(np.linalg.eigvalsh(c)[::-1])


def advances(path: Path) -> np.ndarray:
    """The largest that each eigenvalue has been so far, at most one: T x K.

    Minibatches move the eigenvalues around one for as long as training goes on, all at once; that is not learning.
    """
    eigenvalues_TxK = np.diagonal(path.maps_TxKxK, axis1=1, axis2=2)
    return np.maximum.accumulate(np.minimum(eigenvalues_TxK, 1), axis=0)


def embedding_scores(path: Path, width: int) -> dict[str, float]:
    """The scores of the eigenvalues on their way to one, of which only advances count as moves."""
    found = scores(path, Modes.of(np.eye(width), width))
    return found | {"active_modes": predictions.active_modes(advances(path))}


def _loss(c: np.ndarray) -> float:
    return float(np.square(c - np.eye(len(c))).sum())


def _matrices(module: nn.Module) -> weights.Matrices:
    return weights.matrices(module, [parameter.detach() for parameter in module.parameters()])


def _linear(gamma_P: np.ndarray, start_DxP: Tensor, settings) -> dict[str, float]:
    """Gradient descent on the linear model in the basis in which the views' cross-covariance is diagonal, and its
    scores: half times against the closed form and strengths by mode, the rest by eigenvalue, as in the network.

    The step is a fraction of the time in which the strongest mode grows by a factor e.
    """
    linear, width = settings.linear, len(start_DxP)
    gamma = torch.from_numpy(gamma_P)
    rate = linear.step / (8 * gamma_P[0])
    now = start_DxP.clone()
    path, held = Path(), []
    for step in range(linear.steps + 1):
        c = (now * gamma) @ now.T
        if step % linear.every == 0:
            rank = predictions.effective_rank((now - start_DxP).numpy()) if step else np.nan
            path.read(step, ordered(c.numpy()), rank, _loss(c.numpy()))
            held.append((gamma * now.square().sum(0)).numpy()[:width])
        now = now - 4 * rate * (c - torch.eye(width, dtype=c.dtype)) @ (now * gamma)
    found = embedding_scores(path, width)
    s_K = gamma_P[:width]
    ones_K = np.ones(width)
    halves_K = predictions.half_times(path.steps_T, np.stack(held), ones_K)
    first_K = s_K * embeddings.aligned_start(start_DxP.numpy().T[:width])
    predicted_K = embeddings.view_half_times(s_K, first_K) / rate
    timed = {
        "timing_slope": observables.timing_slope(halves_K, s_K) if np.isfinite(halves_K).all() else np.nan,
        **{f"half_time_{k}": half for k, half in enumerate(halves_K, start=1)},
        **{f"strength_{k}": s for k, s in enumerate(s_K, start=1)},
    }
    timed = {name: float(value) for name, value in timed.items() if np.isfinite(value)}
    return found | timed | foretold(halves_K, predicted_K)
