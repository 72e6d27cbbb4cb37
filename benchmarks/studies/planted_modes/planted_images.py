"""Planted modes in images (T9): K small tiles, repeated over the image, each of which tells one class from another.

Class 2k - 1 of a random order of the classes has +s_k v_k added to its images, class 2k has -s_k v_k: the contrasts are
orthogonal and balanced, and no stronger pattern makes a weaker one needless. The v_k are unit vectors and orthogonal;
each is a tile of side 4 without a mean, repeated, so that convolutions and patches can see it anywhere.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab import datasets
from benchmarks.lab.augmentation import Augmented, ViewMinibatches, views
from benchmarks.lab.datasets import Images
from benchmarks.lab.minibatches import Minibatches
from benchmarks.studies.carry_over.task import Task
from benchmarks.studies.planted_modes.planted import Planted, planned, ranks, results, strengths
from benchmarks.studies.table import Result, tidy

SIDE = 4
# Of the largest amplitude that there is, one: a mode with less has not been learned.
LEAST = 0.05


@tidy
def run(settings, seeds: Sequence[int], images: Images, compute, tick: Callable[[int, int], None]) -> Iterator[Result]:
    """Networks by their names in the settings, on falling strengths; ``NAME/swap``, ``/equal``, ``/level`` on other
    data; ``/layer`` and ``/layer-level``, a single layer under the network's recipe, ``/lazy``, the network to first
    order, and ``/small``, its linear twin from small weights, beside it. Quantities: see the data card.

    Raises:
        ValueError: for more modes than pairs of classes or than tiles, or images that tiles do not fill.
    """
    dtype = getattr(torch, compute.dtype)
    subset = datasets.subset(images, settings.images)
    total = sum(
        len(_of(network, seeds)) * sum(planned(network, True).values()) for network in settings.networks.values()
    )
    before = 0
    for name, network in settings.networks.items():

        def along(done: int, before: int = before) -> None:
            tick(before + done, total)

        make = partial(plant, settings, network, subset, dtype=dtype)
        mine = _of(network, seeds)
        yield from results(name, network, settings, mine, make, compute, along, level=True)
        before += len(mine) * sum(planned(network, True).values())


def _of(network, seeds: Sequence[int]) -> Sequence[int]:
    return seeds[: network.seeds]


class Replanted(Augmented):
    """Looks up views of images, and adds to each what is planted in it, which crops and flips leave alone."""

    def __init__(self, network: torch.nn.Module, images: Tensor, added: Tensor):
        super().__init__(network, images)
        self.register_buffer("added", added, persistent=False)

    def look_up(self, rows_Bx4: Tensor) -> Tensor:
        return super().look_up(rows_Bx4) + self.added[rows_Bx4[:, 0].long()]


def plant(settings, network, images: Images, data: str, seed: int, *, dtype: torch.dtype) -> Planted:
    """Classification of images with a seed's tiles planted in them.

    Args:
        data: falling, swap, equal; or level, falling with noise along each pattern so that all have the variance of
            the strongest.
    """
    generator = torch.Generator().manual_seed(seed)
    s_K = strengths(settings, network, data)
    shape = tuple(images.train_inputs.shape[1:])
    patterns = tiles(shape, settings.modes, generator).to(dtype)
    signs = contrasts(images.classes, settings.modes, generator).to(dtype)

    def added(labels: Tensor) -> Tensor:
        along_NxK = torch.from_numpy(s_K).to(dtype) * signs[labels]
        noise = torch.randn(along_NxK.shape, generator=generator).to(dtype)
        if data == "level":
            along_NxK += torch.from_numpy(np.sqrt(2 / images.classes * (s_K.max() ** 2 - s_K**2))).to(dtype) * noise
        return torch.einsum("nk,kchw->nchw", along_NxK, patterns)

    train, test = images.train_inputs, images.test_inputs
    planted, tested = added(images.train_labels), test + added(images.test_labels)
    inputs, targets, dress = train + planted, images.train_labels, lambda module: module
    batches: Callable[[int], Tensor] = Minibatches([seed], examples=len(train), size=network.batch_size)
    if network.augment:
        inputs, targets = views(images.train_labels)
        batches = ViewMinibatches([seed], images=len(train), size=network.batch_size)

        def dress(module):
            return Replanted(module, train, planted)

    # Each image with every pattern next to the same with the opposite, so that a batch's statistics cancel neither.
    dose = float(np.exp(np.log(s_K).mean())) * torch.stack([patterns, -patterns], dim=1)
    read = test[torch.arange(settings.read) * len(test) // settings.read]
    intervened = (read[:, None, None] + dose).flatten(0, 2)
    told = signs.argmax(0), signs.argmin(0)
    classes = torch.stack(told, dim=1).flatten().repeat(settings.read)
    scale = torch.from_numpy(s_K).to(dtype)
    return Planted(
        Task(
            inputs=inputs,
            targets=targets,
            batches=batches,
            dress=dress,
            shape=shape,
            outputs=images.classes,
            read_inputs=intervened,
            read_targets=classes,
            maps=lambda probabilities_NxC: amplitudes(probabilities_NxC, signs),
            modes=ranks(settings.modes),
            floor=0.0,
            test_inputs=tested,
            test_targets=images.test_labels,
            linear=(tested.flatten(1) @ patterns.flatten(1).T * scale @ signs.T).argmax(1),
        ),
        s_K,
        np.full(settings.modes, LEAST),
    )


def tiles(shape: tuple[int, ...], modes: int, generator: torch.Generator) -> Tensor:
    """Orthogonal unit vectors of the shape of an image, K x C x H x W, each a random tile without a mean in any channel
    that is repeated over the image.

    Raises:
        ValueError: if tiles do not fill an image, or there are fewer orthogonal ones than modes.
    """
    channels, height, width = shape
    if height % SIDE or width % SIDE:
        raise ValueError(f"images of {height} x {width} pixels are not filled by tiles of {SIDE} x {SIDE}")
    if modes > channels * (SIDE**2 - 1):
        raise ValueError(f"there are {channels * (SIDE**2 - 1)} orthogonal tiles, not {modes}: set fewer modes")
    drawn = torch.randn(modes, channels, SIDE, SIDE, generator=generator, dtype=torch.float64)
    drawn -= drawn.mean((2, 3), keepdim=True)
    orthogonal = torch.linalg.qr(drawn.flatten(1).T)[0].T.reshape(drawn.shape)
    rows, columns = height // SIDE, width // SIDE
    return orthogonal.repeat(1, 1, rows, columns) / math.sqrt(rows * columns)


def contrasts(classes: int, modes: int, generator: torch.Generator) -> Tensor:
    """The sign of each mode in each class, C x K: one class has it, one its opposite, the others nothing.

    Raises:
        ValueError: if there are fewer pairs of classes than modes.
    """
    if 2 * modes > classes:
        raise ValueError(f"{modes} modes need {2 * modes} classes, there are {classes}: set fewer modes")
    order = torch.randperm(classes, generator=generator)
    signs = torch.zeros(classes, modes)
    signs[order[:modes], torch.arange(modes)] = 1
    signs[order[modes : 2 * modes], torch.arange(modes)] = -1
    return signs


def amplitudes(probabilities_NxC: Tensor, signs_CxK: Tensor) -> np.ndarray:
    """K x 1, in float64: 1 where a pattern decides between its two classes, 0 where it says nothing.

    Args:
        probabilities_NxC: of held-out images, each with every pattern and its opposite: image, mode, sign.
    """
    signs = signs_CxK.double()
    by_sign = probabilities_NxC.double().reshape(-1, signs.shape[1], 2, len(signs)).mean(0)
    differences_KxC = (by_sign[:, 0] - by_sign[:, 1]) / 2
    return (differences_KxC * signs.T).sum(1, keepdim=True).numpy()
