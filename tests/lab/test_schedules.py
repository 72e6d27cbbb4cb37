"""Schedules against torch's own, and updates with known learning rates: of a loss whose gradient is constant."""

import pytest
import torch
from torch import nn

from benchmarks.lab import optimizers
from benchmarks.lab.loop import descend, last
from benchmarks.lab.optimizers.adamw import adamw
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem
from benchmarks.lab.schedules import constant, scheduled, warmup_cosine

STEPS, WARMUP = 12, 4


class Slope(nn.Module):
    """A loss of 3 a - 2 b (or 0 of it), whose gradient is the same everywhere."""

    def __init__(self, size):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.register_buffer("gradient", size * torch.tensor([3.0, -2.0], dtype=torch.float64))

    def forward(self, inputs_NxD):
        return (self.weights @ self.gradient).expand(len(inputs_NxD), 1)


def slope(size=1.0):
    inputs = torch.zeros(2, 1, dtype=torch.float64)
    return Problem(Slope(size), inputs, inputs, "objective")


def path(problem, optimizer, schedule, runs=1, **options):
    params_RxP = torch.ones(runs, 2, dtype=torch.float64)
    return [
        step.params_RxP.clone()
        for step in scheduled(descend(problem, params_RxP, optimizer, steps=STEPS, **options), schedule)
    ]


@pytest.mark.parametrize("warmup", [0, 1, 2, WARMUP])
def test_warm_up_and_cosine_are_torchs(warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    lr_scheduler = torch.optim.lr_scheduler
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - warmup)
    chain = cosine
    if warmup > 1:
        linear = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        chain = lr_scheduler.SequentialLR(optimizer, [linear, cosine], milestones=[warmup])
    if warmup == 1:
        hold = lr_scheduler.ConstantLR(optimizer, factor=1.0)
        chain = lr_scheduler.SequentialLR(optimizer, [hold, cosine], milestones=[1])
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        chain.step()
    factor = warmup_cosine(STEPS, warmup)
    assert [factor(step) for step in range(STEPS)] == pytest.approx(expected)
    assert factor(STEPS) == 0.0


@pytest.mark.parametrize("warmup", [-1, STEPS])
def test_a_warm_up_that_leaves_nothing_is_refused(warmup):
    with pytest.raises(ValueError, match=f"a warm-up of {warmup} leaves nothing of 12 steps"):
        warmup_cosine(STEPS, warmup)


def test_gradient_descent_moves_by_the_sum_of_the_rates():
    factor = warmup_cosine(STEPS, WARMUP)
    gradient = torch.tensor([3.0, -2.0], dtype=torch.float64)
    moved = path(slope(), sgd(lr=0.1), factor)
    assert len(moved) == STEPS + 1
    for number, params_RxP in enumerate(moved):
        rates = 0.1 * sum(factor(step) for step in range(number))
        torch.testing.assert_close(params_RxP[0], 1 - rates * gradient)
    plain = [step.params_RxP.clone() for step in descend(slope(), torch.ones(1, 2).double(), sgd(lr=0.1), steps=STEPS)]
    torch.testing.assert_close(torch.stack(path(slope(), sgd(lr=0.1), constant)), torch.stack(plain), rtol=0, atol=0)


def test_each_run_of_a_stack_keeps_its_own_rate():
    stack = path(slope(), [sgd(lr=0.1), sgd(lr=0.03)], warmup_cosine(STEPS, WARMUP), runs=2)
    for r, lr in enumerate((0.1, 0.03)):
        alone = path(slope(), sgd(lr=lr), warmup_cosine(STEPS, WARMUP))
        torch.testing.assert_close(stack[-1][r], alone[-1][0])


def test_decoupled_weight_decay_follows_the_rate():
    """Without a gradient nothing but the decay moves Adam."""
    factor = warmup_cosine(STEPS, WARMUP)
    moved = path(slope(0.0), adamw(lr=0.1, weight_decay=0.5), factor)
    expected = torch.tensor([1 - 0.05 * factor(step) for step in range(STEPS)], dtype=torch.float64).prod()
    torch.testing.assert_close(moved[-1], expected.expand(1, 2))


def test_every_group_of_every_optimizer_is_scheduled():
    def build(parameters, *, lr):
        (p,) = parameters
        extra, other = (nn.Parameter(torch.zeros(1)) for _ in range(2))
        groups = [{"params": [p]}, {"params": [extra], "lr": 10 * lr}]
        return [torch.optim.SGD(groups, lr=lr), torch.optim.SGD([other], lr=100 * lr)]

    several = optimizers.Optimizer(build, implementation="several")
    params_RxP = torch.ones(1, 2, dtype=torch.float64)
    factor = warmup_cosine(STEPS, WARMUP)
    for step in scheduled(descend(slope(), params_RxP, several(lr=0.1), steps=STEPS), factor):
        rates = [group["lr"] for built in step.optimizers[0] for group in built.param_groups]
        assert rates == pytest.approx([size * factor(step.number) for size in (0.1, 1.0, 10.0)])


@pytest.mark.parametrize("stop", [2, WARMUP, 9])
@pytest.mark.parametrize("optimizer", [sgd(lr=0.1, momentum=0.9), adamw(lr=0.1, weight_decay=0.5)])
def test_a_resumed_loop_goes_on_with_the_same_schedule(stop, optimizer):
    schedule = warmup_cosine(STEPS, WARMUP)
    whole = path(slope(), optimizer, schedule)
    start = torch.ones(1, 2, dtype=torch.float64)
    for step in scheduled(descend(slope(), start, optimizer, steps=STEPS), schedule):
        if step.number == stop:
            saved = step.state_dict()
            break
    rest = path(slope(), optimizer, schedule, resume=saved)
    torch.testing.assert_close(torch.stack(rest), torch.stack(whole[stop:]), rtol=0, atol=0)


def test_a_body_may_stop_the_loop():
    steps = scheduled(descend(slope(), torch.ones(1, 2).double(), sgd(lr=0.1), steps=STEPS), constant)
    assert last(step for step, _ in zip(steps, range(3))).number == 2
