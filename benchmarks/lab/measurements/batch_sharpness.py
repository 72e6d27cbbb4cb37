"""Batch sharpness: the curvature that stochastic gradient descent encounters along its own gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.lab.measurements import Reading, Setup, Stateless
from benchmarks.lab.minibatches import Minibatches


class BatchSharpness(Stateless):
    """With g and H of one batch's loss, over ``batches`` batches that the run does not train on at that step:

    ``batch_sharpness``: E[g'Hg] / E[g'g], which is 2/lr where a step leaves the loss of its own batch unchanged on
    average, E[L_B(w - lr g)] = E[L_B(w)], up to third order;
    ``batch_sharpness_mean_ratio``: E[g'Hg / g'g] (Andreyev and Beneventano 2024).

    Units: loss / parameter^2.
    """

    curvature = False

    def __init__(self, seeds: Sequence[int], *, examples: int, batch_size: int, batches: int, every: int):
        self.every = every
        self.batches = batches
        self._draw = Minibatches(seeds, examples=examples, size=batch_size, stream=1)

    def measure(self, reading: Reading) -> dict[str, Tensor]:
        problem, params_RxP = reading.point.problem, reading.point.params_RxP
        curvatures, squares = [], []
        for batch in range(self.batches):
            rows_RxB = self._draw(reading.step * self.batches + batch)
            point = problem.at(params_RxP, curvature=True, rows_RxB=rows_RxB)
            curvatures.append((point.grads_RxP * point.hvp(point.grads_RxP)).sum(1).cpu().double())
            squares.append(point.grads_RxP.square().sum(1).cpu().double())
        curvatures_BxR, squares_BxR = torch.stack(curvatures), torch.stack(squares)
        return {
            "batch_sharpness": curvatures_BxR.mean(0) / squares_BxR.mean(0),
            "batch_sharpness_mean_ratio": (curvatures_BxR / squares_BxR).mean(0),
        }


def build(setup: Setup, *, every: int, batches: int) -> BatchSharpness:
    examples = setup.problem.examples
    size = setup.batch_size or examples
    return BatchSharpness(setup.seeds, examples=examples, batch_size=size, batches=batches, every=every)
