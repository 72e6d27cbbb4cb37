"""What a step of each optimizer costs on each workload, and what the training loop adds to it."""

import time
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lab import datasets, optimizers
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import stack_parameters
from benchmarks.lab.training import train
from benchmarks.studies.optimizer_comparison import tasks
from benchmarks.studies.optimizer_comparison.contest import DIVERGENCE

STEPS = 20
COLUMNS = ["workload", "optimizer", "threads", "loop_seconds", "bare_seconds", "overhead", "over_sgd", "repeats"]


def run(
    workloads: dict[str, dict], contenders: dict[str, dict], images: datasets.Images, compute: dict, repeats: int
) -> pd.DataFrame:
    """Median seconds of a step of the training loop, and of the same by hand: batch, forward, backward, the library's
    own step. Timed in turn, so many times, at the middle of the search space.

    Args:
        workloads: by name, resolved.
        contenders: by name, ``optimizer`` and ``space``.

    Returns:
        `COLUMNS`: ``overhead`` is the loop's over the hand's, minus 1; ``over_sgd`` the loop's over that with the
        first contender.
    """
    torch.set_num_threads(compute["threads"])
    rows = []
    for workload, settings in workloads.items():
        task = tasks.build(settings, images, 0, compute)
        first = None
        for name, contender in contenders.items():
            spec = {**contender["optimizer"], **_middle(contender["space"])}
            samples: dict[str, list[float]] = {"loop": [], "bare": []}
            for _ in range(repeats + 1):
                for how, work in (("loop", _loop), ("bare", _bare)):
                    samples[how].append(work(task, settings, spec))
            loop, bare = (float(np.median(samples[how][1:])) for how in ("loop", "bare"))
            first = first or loop
            rows.append((workload, name, torch.get_num_threads(), loop, bare, loop / bare - 1, loop / first, repeats))
    return pd.DataFrame(rows, columns=COLUMNS)


def _middle(space: dict[str, dict]) -> dict[str, float]:
    middles = {}
    for option, spec in space.items():
        ((how, (low, high)),) = spec.items()
        value = float(np.sqrt(low * high))
        middles[option] = value if how == "log" else 1 - value
    return middles


def _batches(task: tasks.Task, settings: dict) -> Minibatches | None:
    size = settings["batch_size"]
    return Minibatches([0], examples=task.problem.examples, size=size) if size else None


def _loop(task: tasks.Task, settings: dict, spec: dict) -> float:
    params_1xP = stack_parameters([task.network])
    batches = _batches(task, settings)
    started = time.perf_counter()
    train(
        task.problem,
        params_1xP,
        partial(optimizers.build, **spec),
        seeds=[0],
        steps=STEPS - 1,  # n updates take n + 1 gradients
        divergence=DIVERGENCE,
        minibatches=batches,
        closures=optimizers.closures(spec["name"]),
    )
    return (time.perf_counter() - started) / STEPS


def _bare(task: tasks.Task, settings: dict, spec: dict) -> float:
    network = deepcopy(task.network)
    built = optimizers.build(list(network.parameters()), **spec)
    closures = optimizers.closures(spec["name"])
    inputs, labels = task.splits["train"]
    batches = _batches(task, settings)
    started = time.perf_counter()
    for step in range(STEPS):
        chosen = (inputs, labels)
        if batches is not None:
            (rows,) = batches(step)
            chosen = inputs[rows], labels[rows]
        _backward(network, *chosen)
        if step < STEPS - 1:
            again = partial(_backward, network, *chosen)
            for optimizer in built:
                optimizer.step(torch.enable_grad()(again)) if closures else optimizer.step()
    return (time.perf_counter() - started) / STEPS


def _backward(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    network.zero_grad()
    loss = F.cross_entropy(network(inputs), labels)
    loss.backward()
    return loss
