"""SGD of a stack of runs, whose norms are watched at every step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lab import optimizers
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Point, Problem
from benchmarks.theory import scale_invariance as theory

FLOOR = 1e-17  # of the logarithm of what may be zero


def log10(deviation: float) -> float:
    return float(np.log10(max(deviation, FLOOR)))


@dataclass(frozen=True)
class Rule:
    """Stochastic gradient descent with what can be added to it.

    Attributes:
        decoupled: (1 - lr decay) w, in place of a gradient g + decay w.
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

    def build(self, block: nn.Parameter) -> torch.optim.Optimizer:
        (optimizer,) = optimizers.build([block], name="sgd", lr=self.lr, momentum=self.momentum)
        if self.decay and not self.decoupled:
            optimizer.param_groups[0]["weight_decay"] = self.decay  # the entry with decay takes no momentum
        if self.buffer:
            optimizer.state[block]["momentum_buffer"] = self.buffer * block.detach()
        return optimizer

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
    point: Point


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
        momenta: whether a step tells its buffers, which takes a copy.
    """
    blocks = [nn.Parameter(rule.start * start_SxP) for rule in rules]
    built = [rule.build(block) for rule, block in zip(rules, blocks)]
    rows_RxB = None
    after_RxP = torch.cat([block.detach() for block in blocks])
    for number in range(steps):
        before_RxP = after_RxP
        if batches is not None:
            rows_RxB = batches(number).repeat(len(rules), 1)
        point = problem.at(before_RxP, rows_RxB=rows_RxB)
        buffers_RxP = torch.cat([_buffer(o, b) for o, b in zip(built, blocks)]) if momenta else before_RxP[:0]
        with torch.no_grad():
            for rule, block, optimizer, grads_SxP in zip(rules, blocks, built, point.grads_RxP.chunk(len(rules))):
                block.grad = grads_SxP
                if rule.decoupled:
                    block.mul_(1 - rule.lr * rule.decay)
                optimizer.param_groups[0]["lr"] = rule.lr * rule.growth**number
                optimizer.step()
        after_RxP = torch.cat([block.detach() for block in blocks])
        yield Step(number, before_RxP, point.grads_RxP, after_RxP, buffers_RxP, point)


def minibatches(problem: Problem, seeds: Sequence[int], size: int) -> Minibatches | None:
    """A stream a seed; None where a batch would hold all examples."""
    return Minibatches(seeds, examples=problem.examples, size=size) if size < problem.examples else None


def _buffer(optimizer: torch.optim.Optimizer, block: nn.Parameter) -> Tensor:
    held = optimizer.state[block].get("momentum_buffer")
    return torch.zeros_like(block) if held is None else held.clone()
