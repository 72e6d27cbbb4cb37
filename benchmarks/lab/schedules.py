"""Learning-rate schedules: functions from the step to what the learning rate is multiplied by, and how to apply them.

    for step in scheduled(descend(problem, params_RxP, sgd(lr=0.1), steps=1000), warmup_cosine(1000, warmup=50)):
        ...

A factor is set before each update; the loop itself knows no schedules.
"""

from collections.abc import Callable, Iterable, Iterator
from math import cos, pi

from benchmarks.lab.loop import Step

# From the number of updates made so far to the factor of the next one's learning rate.
Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """1 at every step."""
    return 1.0


def warmup_cosine(steps: int, warmup: int = 0) -> Schedule:
    """Linear warm-up to 1 at update number ``warmup``, then half a cosine down to 0 after ``steps`` updates (Goyal et
    al. 2017; Loshchilov and Hutter 2017).

    The first update has 1 / warmup, so that none is made with a rate of 0; the last has what is left of the cosine one
    step before its end. The same as torch's ``LinearLR(start_factor=1 / warmup, total_iters=warmup - 1)`` followed at
    step ``warmup`` by ``CosineAnnealingLR(T_max=steps - warmup)``.

    Args:
        steps: updates in all.
        warmup: how many of them belong to the warm-up.

    Raises:
        ValueError: unless 0 <= warmup < steps.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"a warm-up of {warmup} leaves nothing of {steps} steps")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + cos(pi * min((step - warmup) / (steps - warmup), 1.0)))

    return factor


def scheduled(steps: Iterable[Step], schedule: Schedule) -> Iterator[Step]:
    """The loop's steps, each with the learning rates of its optimizers set for the update that follows.

    All optimizers of all runs, and all their parameter groups, are multiplied by the same factor; decoupled weight
    decay, which AdamW multiplies by the learning rate, follows it. The rate that a group had at first stands in the
    group as ``initial_lr``, as torch's own schedulers keep it, so that it is in ``Step.state_dict`` and a loop that
    resumes from there goes on with the same schedule. What the loop's body sets as ``lr`` holds for one update.

    Args:
        steps: what `descend` gives.
        schedule: called with ``Step.number``.
    """
    for step in steps:
        factor = schedule(step.number)
        for run in step.optimizers:
            for optimizer in run:
                for group in optimizer.param_groups:
                    group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
        yield step
