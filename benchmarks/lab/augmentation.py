"""Random crops and flips as part of the data set: every view of every image is an example, and none is ever stored.

The usual augmentation of CIFAR-10 pads an image with 4 pixels of zeros, crops it to its size at a random place, and
flips it from left to right with probability 1/2 (He et al. 2016, section 4.2). That makes 9 x 9 x 2 = 162 views of an
image, all equally likely. Here they are the examples of a `Problem`, which draws no random numbers: its inputs are rows
of four integers that name a view, its network holds the images and looks them up, and the minibatches are drawn from
the rows.

    rows_Mx4, labels_M = views(labels_N)
    problem = Problem(Augmented(network, images), rows_Mx4, labels_M, "cross_entropy")
    for step in descend(problem, problem.initial_RxP(), sgd(lr=0.1), steps=1000,
                        minibatches=ViewMinibatches([1], images=len(images), size=128)):
        ...

`Minibatches` of ``examples=len(rows_Mx4)`` work too, but sort all the views into random order at every step: 7 ms for
5,000 images and 260 ms for 50,000, and an image may then occur twice in a batch.

The full-data loss of such a problem is the mean over all views, at the cost of 162 passes over the images. Readings
of the images as they are take a problem of their own: of the bare network and the images, or of the augmented one and
`originals`. Its parameters are the same, in the same order. A linear twin is made of the bare network, and then
augmented.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.lab.minibatches import Minibatches

PADDING = 4


class Augmented(nn.Module):
    """A network whose inputs name views of images, rows_Bx4: image, top, left, flip.

    ``top`` and ``left`` are where the crop begins in the padded image, 0 to 2 * padding pixels; a ``flip`` other than 0
    mirrors the crop. A batch is one lookup; it works under ``torch.vmap`` over runs, each with its own batch, and under
    ``torch.func.jvp``.

    The padded images are a buffer, so they move and change dtype with the module; a new `Problem` makes a few copies of
    them for a moment. Give all the networks of a stack the same tensor ``images``.

    Args:
        network: takes N x C x H x W.
        images: N x C x H x W, already standardised: zero is then the mean of the data, as in He et al.
        padding: pixels of zeros on each side.

    Raises:
        ValueError: for images that are not N x C x H x W of floating point, or a negative padding.
    """

    def __init__(self, network: nn.Module, images: Tensor, padding: int = PADDING):
        super().__init__()
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                f"images must be N x C x H x W of floating point, got {tuple(images.shape)}, {images.dtype}"
            )
        if padding < 0:
            raise ValueError(f"padding must not be negative, got {padding}")
        self.network = network
        self.padding = padding
        self.register_buffer("padded", F.pad(images, [padding] * 4), persistent=False)

    def look_up(self, rows_Bx4: Tensor) -> Tensor:
        """The views, B x C x H x W.

        Raises:
            IndexError: for an image or a place that there is not (on a GPU, an error of the device).
        """
        image, top, left, flip = rows_Bx4.long().unbind(1)
        height, width = (side - 2 * self.padding for side in self.padded.shape[2:])
        crops = self.padded.unfold(2, height, 1).unfold(3, width, 1)  # N x C x top x left x H x W, a view of the buffer
        crops_BxCxHxW = crops[image, :, top, left]
        return torch.where(flip.bool()[:, None, None, None], crops_BxCxHxW.flip(-1), crops_BxCxHxW)

    def forward(self, rows_Bx4: Tensor) -> Tensor:
        return self.network(self.look_up(rows_Bx4))


def views(labels_N: Tensor, padding: int = PADDING) -> tuple[Tensor, Tensor]:
    """All views of N images and their labels: rows_Mx4 (int32) and labels_M, with M = N (2 padding + 1)^2 2.

    The views of an image follow one another. For 50,000 images and the usual padding the rows take 130 MB, the labels
    as much as 8.1 million of their dtype.
    """
    places = 2 * padding + 1
    each = [torch.arange(n, dtype=torch.int32, device=labels_N.device) for n in (len(labels_N), places, places, 2)]
    return torch.cartesian_prod(*each), labels_N.repeat_interleave(2 * places**2)


def originals(examples: int, padding: int = PADDING, device: torch.device | str = "cpu") -> Tensor:
    """The rows of the images as they are, one each: rows_Nx4 (int32), in the order of the images."""
    rows_Nx4 = torch.zeros(examples, 4, dtype=torch.int32, device=device)
    rows_Nx4[:, 0] = torch.arange(examples)
    rows_Nx4[:, 1:3] = padding
    return rows_Nx4


class ViewMinibatches:
    """Calling it with a step gives rows_RxB into `views`: for each run B images without repetition, fresh at each step,
    and for each of them one of its views, all equally likely. Seed and step alone determine them.

    Args:
        seeds: one per run.
        images: N.
        stream: another value gives batches independent of these. The images are those that `Minibatches` of the same
            arguments draws.

    Raises:
        ValueError: if a batch is larger than the number of images.
    """

    def __init__(self, seeds: Sequence[int], *, images: int, size: int, padding: int = PADDING, stream: int = 0):
        self._images = Minibatches(seeds, examples=images, size=size, stream=stream)
        self.views = 2 * (2 * padding + 1) ** 2

    def __call__(self, step: int) -> Tensor:
        images_RxB = self._images(step)
        views = []
        for seed in self._images.seeds:
            (mixed,) = np.random.SeedSequence((seed, self._images.stream, step, 1)).generate_state(1)
            generator = torch.Generator().manual_seed(int(mixed))
            views.append(torch.randint(self.views, (self._images.size,), generator=generator))
        return images_RxB * self.views + torch.stack(views)
