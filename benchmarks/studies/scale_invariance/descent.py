"""SGD on a stack of runs whose norms are recorded at every step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab import loop
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.theory import scale_invariance as theory

FLOOR = 1e-17  # of the logarithm of what may be zero


def log10(deviation: float) -> float:
    return float(np.log10(max(deviation, FLOOR)))


@dataclass(frozen=True)
class Rule:
    """Stochastic gradient descent with its optional extensions.

    Attributes:
        decoupled: use (1 - lr decay) w instead of a gradient g + decay w.
        growth: the learning rate is multiplied by it from step to step.
        buffer: momentum's first buffer, in units of the first weights.
        start: the first weights, in units of those given.
    """

    lr: float
    decay: float = 0.0
    momentum: float = 0.0
    decoupled: bool = False
    growth: float = 1.0
    buffer: float = 0.0
    start: float = 1.0

    def exponential(self) -> "Rule":
        """Its equivalent without weight decay (Li and Arora 2020, arXiv:1910.07454): rates lr alpha^(-2t - 1)."""
        alpha = theory.growth_root(self.lr, self.decay, self.momentum, self.decoupled)
        coupled = self.momentum and not self.decoupled
        return Rule(
            lr=self.lr / alpha,
            momentum=self.momentum * alpha if self.decoupled else self.momentum,
            growth=alpha**-2,
            buffer=theory.initial_buffer(self.lr, self.decay, self.momentum) if coupled else 0.0,
        )


@dataclass(frozen=True)
class Step:
    """A step of R = rules x seeds runs, rule by rule: weights and gradient (with no decay in it) before, weights after.

    Attributes:
        buffers_RxP: momentum before the step; zero where there is none.
    """

    number: int
    before_RxP: Tensor
    grads_RxP: Tensor
    after_RxP: Tensor
    buffers_RxP: Tensor


def descend(
    problem: Problem,
    start_SxP: Tensor,
    rules: Sequence[Rule],
    steps: int,
    batches: Callable[[int], Tensor] | None = None,
    momenta: bool = False,
) -> Iterator[Step]:
    """Train every rule from every start.

    Args:
        batches: from the step to rows_SxB, the same for each rule; all examples if not given.
        momenta: whether a step has its buffers, which takes a copy.
    """
    each = [rule for rule in rules for _ in start_SxP]
    start_RxP = torch.cat([rule.start * start_SxP for rule in rules])
    buffers_RxP = start_RxP.new_tensor([[rule.buffer] for rule in each]) * start_RxP
    before: tuple[Tensor, Tensor, Tensor] | None = None
    for step in loop.descend(
        problem,
        start_RxP,
        [sgd(lr=rule.lr, momentum=rule.momentum) for rule in each],
        steps=steps,
        minibatches=batches and (lambda number: batches(number).repeat(len(rules), 1)),
    ):
        weights_RxP = step.params_RxP.clone()
        if before is not None:
            grads_RxP, were_RxP, kept_RxP = before
            yield Step(step.number - 1, were_RxP, grads_RxP, weights_RxP, kept_RxP)
        before = step.point.grads_RxP, weights_RxP, buffers_RxP.clone() if momenta else buffers_RxP[:0]
        for r, (rule, (optimizer,)) in enumerate(zip(each, step.optimizers)):
            (group,) = optimizer.param_groups
            group["lr"] = rule.lr * rule.growth**step.number
            if rule.decoupled:
                step.params_RxP[r].mul_(1 - rule.lr * rule.decay)
            else:
                group["weight_decay"] = rule.decay
            if rule.momentum and step.number == 0:
                for parameter, buffer in zip(step.parameters[r], problem.views(buffers_RxP, r)):
                    optimizer.state[parameter]["momentum_buffer"] = buffer


def output_differences(
    problem: Problem, rules: Sequence[Rule], seeds: Sequence[int], steps: int, settings
) -> dict[int, Tensor]:
    """The largest difference of any output from that of the first rule's run, by step at a reading: other rules x
    seeds."""
    batches = minibatches(problem, seeds, settings.batch_size)
    readings = {}
    for step in descend(problem, networks.start(problem.module, seeds), rules, steps, batches):
        after = step.number + 1
        if after % settings.every == 0 or after == steps:
            first, *rest = problem.at(step.after_RxP).outputs_RxNxC.chunk(len(rules))
            readings[after] = torch.stack([(outputs - first).abs().flatten(1).amax(1) for outputs in rest])
    return readings


def minibatches(problem: Problem, seeds: Sequence[int], size: int) -> Minibatches | None:
    """One stream per seed; None if a batch would hold all examples."""
    return Minibatches(seeds, examples=problem.examples, size=size) if size < problem.examples else None
