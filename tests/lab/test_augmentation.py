"""Crops and flips against torchvision's; a problem on all views against one on their pixels."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp
from torchvision.transforms.functional import crop, hflip, pad

from benchmarks.lab.augmentation import Augmented, ViewMinibatches, originals, views
from benchmarks.lab.loop import descend
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem

N, C, H, W = 5, 2, 8, 6


def images(dtype=torch.float64):
    return torch.randn(N, C, H, W, dtype=dtype, generator=torch.Generator().manual_seed(0))


def labels():
    return torch.arange(N) % 3


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(C, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * (H - 2) * (W - 2), 3)).double()


def torchvisions(pixels, rows_Bx4, padding):
    seen = []
    for image, top, left, flip in rows_Bx4.tolist():
        cut = crop(pad(pixels[image], [padding] * 4), top, left, *pixels.shape[2:])
        seen.append(hflip(cut) if flip else cut)
    return torch.stack(seen)


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_views_are_torchvisions_crops_and_flips(padding):
    rows_Mx4, labels_M = views(labels(), padding)
    assert len(rows_Mx4) == len(labels_M) == N * 2 * (2 * padding + 1) ** 2
    assert torch.equal(labels_M, labels()[rows_Mx4[:, 0]])
    assert len(set(map(tuple, rows_Mx4.tolist()))) == len(rows_Mx4)
    augmented = Augmented(network(), images(), padding)
    assert torch.equal(augmented.look_up(rows_Mx4), torchvisions(images(), rows_Mx4, padding))
    assert torch.equal(augmented.look_up(originals(N, padding)), images())


def test_no_pixel_is_stored_for_a_view():
    rows_Mx4, labels_M = views(labels())
    assert len(rows_Mx4) == 162 * N
    assert rows_Mx4.nbytes == 16 * len(rows_Mx4) and labels_M.nbytes == 8 * len(rows_Mx4)
    buffers = dict(Augmented(network(), images()).named_buffers())
    assert {name: value.shape for name, value in buffers.items()} == {"padded": (N, C, H + 8, W + 8)}


def test_a_problem_on_views_is_the_one_on_their_pixels():
    rows_Mx4, labels_M = views(labels(), 1)
    augmented = Augmented(network(), images(), 1)
    problem = Problem(augmented, rows_Mx4, labels_M, "cross_entropy")
    pixels = Problem(network(), torchvisions(images(), rows_Mx4, 1), labels_M, "cross_entropy")
    vecs_1xP = torch.randn(1, pixels.parameters, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows_1xB = torch.tensor([[0, 17, 30, 89]])
    assert torch.equal(problem.initial_RxP(), pixels.initial_RxP())
    for rows in (None, rows_1xB):
        mine, expected = (p.at(p.initial_RxP(), curvature=True, rows_RxB=rows) for p in (problem, pixels))
        torch.testing.assert_close(mine.losses_R, expected.losses_R)
        torch.testing.assert_close(mine.grads_RxP, expected.grads_RxP)
        torch.testing.assert_close(mine.hvp(vecs_1xP), expected.hvp(vecs_1xP))
    plain = Problem(augmented, originals(N, 1), labels(), "cross_entropy")
    bare = Problem(network(), images(), labels(), "cross_entropy")
    torch.testing.assert_close(plain.losses(plain.initial_RxP()), bare.losses(plain.initial_RxP()))


def test_a_stack_under_vmap_is_its_single_runs_each_with_its_own_views():
    pixels = images()
    problem = Problem([Augmented(network(s), pixels) for s in (1, 2, 3)], *views(labels()), "cross_entropy")
    batches = ViewMinibatches([1, 2, 3], images=N, size=4)
    stack = list(descend(problem, problem.initial_RxP(), sgd(lr=0.1), steps=3, minibatches=batches))
    assert problem._vmap
    for r, seed in enumerate((1, 2, 3)):
        single = Problem(Augmented(network(seed), pixels), *views(labels()), "cross_entropy")
        batches = ViewMinibatches([seed], images=N, size=4)
        alone = list(descend(single, single.initial_RxP(), sgd(lr=0.1), steps=3, minibatches=batches))
        for whole, one in zip(stack, alone):
            torch.testing.assert_close(whole.losses_R[r : r + 1], one.losses_R)
        torch.testing.assert_close(stack[-1].params_RxP[r], alone[-1].params_RxP[0])


def test_forward_derivatives_go_through_to_the_network():
    rows_Mx4, _ = views(labels(), 1)
    augmented, bare = Augmented(network(), images(), 1), network()
    weights = {name: p.detach() for name, p in bare.named_parameters()}
    prefixed = {f"network.{name}": p for name, p in weights.items()}
    pixels = torchvisions(images(), rows_Mx4, 1)
    mine = jvp(lambda w: functional_call(augmented, w, (rows_Mx4,)), (prefixed,), (prefixed,))
    torch.testing.assert_close(mine, jvp(lambda w: functional_call(bare, w, (pixels,)), (weights,), (weights,)))


def test_minibatches_of_views_hold_the_images_of_plain_ones_and_each_view_equally_often():
    batches, plain = ViewMinibatches([3, 4], images=50, size=40), Minibatches([3, 4], examples=50, size=40)
    rows_RxB = batches(7)
    assert torch.equal(rows_RxB, ViewMinibatches([3, 4], images=50, size=40)(7))
    assert not torch.equal(rows_RxB, ViewMinibatches([3, 4], images=50, size=40, stream=1)(7))
    rows_Mx4, _ = views(torch.zeros(50, dtype=torch.long))
    assert torch.equal(rows_Mx4[rows_RxB][..., 0].long(), plain(7))
    drawn = torch.cat([batches(step).flatten() for step in range(500)])
    assert 0 <= int(drawn.min()) and int(drawn.max()) < len(rows_Mx4)
    counts = torch.bincount(drawn % 162, minlength=162).double()
    expected = len(drawn) / 162
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert 161 - 4 * 322**0.5 < chi_squared < 161 + 4 * 322**0.5  # its mean and standard deviation
    with pytest.raises(ValueError, match="a batch of 51 from 50 examples"):
        ViewMinibatches([3], images=50, size=51)


@pytest.mark.parametrize("row", [[N, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 1]])
def test_a_view_that_there_is_not_is_refused(row):
    with pytest.raises(IndexError):
        Augmented(network(), images()).look_up(torch.tensor([row]))


@pytest.mark.parametrize(
    ("given", "padding", "message"),
    [
        (images()[0], 4, "images must be N x C x H x W"),
        (images().to(torch.uint8), 4, "of floating point"),
        (images(), -1, "padding must not be negative"),
    ],
)
def test_what_are_no_images_is_refused(given, padding, message):
    with pytest.raises(ValueError, match=message):
        Augmented(network(), given, padding)
