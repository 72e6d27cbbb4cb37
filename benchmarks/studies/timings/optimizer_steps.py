"""What a step of each optimizer costs on each workload, and what the training loop adds to it."""

from copy import deepcopy
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lab import datasets, optimizers
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.problem import stack_parameters
from benchmarks.studies.optimizer_comparison import contest, tasks
from benchmarks.studies.timings.clock import clock, loop_seconds, medians

STEPS = 20


def run(settings, images: datasets.Images, compute) -> pd.DataFrame:
    """Median seconds of a step of the training loop, and of the same by hand: the library's own step, then batch,
    forward and backward. Timed in turn, ``settings.repeats`` times, at the middle of the search space.

    Args:
        settings: `TimedOptimizers` of study.py; the first of its contenders is SGD.

    Quantities: see the data card.
    """
    rows = []
    for name, workload in settings.workloads.items():
        task = tasks.build(workload, images, 0, compute)
        first = None
        for optimizer_name, contender in settings.contenders.items():
            middle = contest.setting(contender.space, [0.5] * len(contender.space))
            optimizer = optimizers.named(**contender.optimizer, **middle)
            works = {
                "loop": partial(_loop, task, workload.batch_size, optimizer),
                "bare": partial(_bare, task, workload.batch_size, optimizer),
            }
            loop, bare = medians(works, settings.repeats).values()
            first = first or loop
            row = {"workload": name, "optimizer": optimizer_name, "threads": torch.get_num_threads()}
            row |= {"loop_seconds": loop, "bare_seconds": bare, "overhead": loop / bare - 1, "over_sgd": loop / first}
            rows.append(row | {"repeats": settings.repeats})
    return pd.DataFrame(rows)


def _loop(task: tasks.Task, batch_size: int | None, optimizer: Optimizer) -> float:
    return loop_seconds(
        descend(
            task.problem,
            stack_parameters([task.network]),
            optimizer,
            steps=STEPS,
            minibatches=task.minibatches(batch_size, 0),
            divergence=contest.DIVERGENCE,
        )
    )


def _bare(task: tasks.Task, batch_size: int | None, optimizer: Optimizer) -> float:
    network = deepcopy(task.network)
    built = optimizer.build(network.parameters())
    inputs, labels = task.splits["train"]
    batches = task.minibatches(batch_size, 0)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        if batches is None:
            return inputs, labels
        (rows,) = batches(step)
        return inputs[rows], labels[rows]

    chosen = batch(0)
    _backward(network, *chosen)
    started = clock()
    for step in range(1, STEPS + 1):
        for one in built:
            one.step(torch.enable_grad()(partial(_backward, network, *chosen))) if optimizer.closures else one.step()
        chosen = batch(step)
        _backward(network, *chosen)
    return (clock() - started) / STEPS


def _backward(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    network.zero_grad()
    loss = F.cross_entropy(network(inputs), labels)
    loss.backward()
    return loss
