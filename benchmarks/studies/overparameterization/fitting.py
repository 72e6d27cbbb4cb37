"""Training by the lab's loop until a network fits its data."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.lab import optimizers
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import train

# Times the first loss, which is nearly zero where training goes on from weights that fit: not finite is what counts.
DIVERGENCE = 1e30


@dataclass
class Fit:
    """How one run went.

    Attributes:
        params_1xP: where it ended.
        reached: whether it was done before its steps were.
        steps, losses, accuracies: at the readings: full-data loss, and share of examples whose largest output is their
            label.
    """

    params_1xP: Tensor
    reached: bool = False
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    def first(self, accuracy: float) -> float:
        """The step at which the accuracy first comes up to a level, straight between readings; nan if never."""
        above = np.flatnonzero(np.array(self.accuracies) >= accuracy)
        if not len(above):
            return float("nan")
        i = above[0]
        if i == 0:
            return float(self.steps[0])
        return float(np.interp(accuracy, self.accuracies[i - 1 : i + 1], self.steps[i - 1 : i + 1]))


class _Done(Exception):
    """The network fits its data."""


def fit(
    problem: Problem,
    params_P: Tensor,
    labels_N: Tensor,
    *,
    seed: int,
    optimizer: dict,
    batch_size: int,
    steps: int,
    every: int,
    done: Callable[[float, float], bool],
) -> Fit:
    """Train one run on fresh minibatches until it is done, at most ``steps`` updates.

    A reading is a forward pass over all the data: at the start, every so many steps and at the end.

    Args:
        labels_N: the class of each example, for the accuracy.
        seed: of the minibatches.
        done: from loss and accuracy of a reading to whether to stop there.
    """
    found = Fit(params_P.detach().clone()[None])
    parameters: list[nn.Parameter] = []

    def read(step: int, params_1xP: Tensor) -> None:
        ((inputs, targets),) = problem.chunks()
        outputs_NxC = outputs(problem, params_1xP, inputs)
        loss = float(problem.loss(outputs_NxC, targets).mean())
        accuracy = share(outputs_NxC.argmax(-1) == labels_N)
        found.params_1xP = params_1xP
        found.steps.append(step)
        found.losses.append(loss)
        found.accuracies.append(accuracy)
        if done(loss, accuracy):
            found.reached = True
            raise _Done

    def build(tensors: list[nn.Parameter]) -> list[torch.optim.Optimizer]:
        parameters.extend(tensors)
        return optimizers.build(tensors, **optimizer)

    def observe(step: int, _) -> None:
        if step % every == 0 or step == steps:
            read(step, torch.cat([p.detach().reshape(-1) for p in parameters])[None])

    try:
        read(0, found.params_1xP)
        train(
            problem,
            found.params_1xP,
            build,
            seeds=[seed],
            steps=steps,
            divergence=DIVERGENCE,
            minibatches=Minibatches([seed], examples=problem.examples, size=batch_size),
            observe=observe,
        )
    except _Done:
        pass
    return found


def outputs(problem: Problem, params_1xP: Tensor, inputs: Tensor) -> Tensor:
    """What the problem's network says of any inputs, without a graph: N x C."""
    names = [name for name, _ in problem.module.named_parameters()]
    with torch.no_grad():
        return functional_call(problem.module, dict(zip(names, problem.views(params_1xP, 0))), (inputs,))


def share(flags: Tensor) -> float:
    """Of true ones."""
    return float(flags.double().mean())
