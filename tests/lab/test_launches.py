"""Counts of kernels, waits, copies and FLOP, against torch's own counter and by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lab import architectures
from benchmarks.lab.launches import Counted
from benchmarks.lab.pretend_device import NAME
from benchmarks.lab.problem import Problem
from benchmarks.studies.timings import launches
from benchmarks.studies.timings.study import LAUNCHES, Launches

NETWORK = {
    "architecture": {"name": "mlp", "hidden": [4], "activation": "tanh"},
    "inputs": [3],
    "outputs": 2,
    "tokens": False,
}


def counts(seen):
    return seen.launches.total(), seen.waits.total(), seen.transfers.total()


def test_by_hand():
    a_3x4, b_4x5 = torch.ones(3, 4).to(NAME), torch.ones(4, 5).to(NAME)
    with Counted(NAME) as seen:
        product = (a_3x4 @ b_4x5).view(-1)  # a kernel and a view
        product.add_(1)
    assert counts(seen) == (2, 0, 0) and seen.flop == 2 * 3 * 4 * 5
    assert seen.bytes == 4 * (12 + 20 + 15) + 4 * (15 + 15)  # each operand and result once
    with Counted(NAME) as seen:
        product.sum().item()
    assert counts(seen) == (1, 1, 0)
    with Counted(NAME) as seen:
        product.cpu()
    assert counts(seen) == (0, 1, 1)
    with Counted(NAME) as seen:
        torch.ones(3).to(NAME)  # made on the CPU: nothing of the device but the copy
    assert counts(seen) == (0, 0, 1)
    with Counted(NAME) as seen:
        product[product > 1]
    assert seen.waits.total() == 1


@pytest.mark.parametrize(
    "architecture",
    [
        {"name": "cnn", "channels": [2, 2], "activation": "gelu"},
        {"name": "transformer", "width": 8, "heads": 2, "layers": 1, "patch": 4},
    ],
)
def test_flop_is_torchs_and_launches_are_those_of_the_pretended_device(architecture):
    module = architectures.build(input_shape=(3, 8, 8), outputs=2, **architecture)
    problem = Problem(module, torch.randn(6, 3, 8, 8), torch.arange(6) % 2, "cross_entropy")
    params_RxP = problem.initial_RxP()
    with FlopCounterMode(display=False) as torchs:
        problem.at(params_RxP)
    with Counted("cpu") as here:
        problem.at(params_RxP)
    inputs, targets = (torch.cat(parts) for parts in zip(*problem.chunks()))
    problem = Problem(module.to(NAME), inputs.to(NAME), targets.to(NAME), "cross_entropy")
    params_RxP = problem.initial_RxP()
    with Counted(NAME) as there:
        problem.at(params_RxP)
    assert here.flop == there.flop == torchs.get_total_flops()
    assert here.launches == there.launches


def test_the_table_has_each_network_and_a_stack_starts_fewer_kernels_than_its_runs(monkeypatch):
    optimizers = {"sgd": {"name": "sgd", "lr": 0.1}, "adam": {"name": "adam", "lr": 0.01}}
    settings = {"networks": {"mlp": NETWORK}, "optimizers": optimizers, "stacks": [1, 4], "examples": 4}
    table = launches.run(Launches.model_validate(settings | {"tolerance": 1e-2}))
    LAUNCHES.require(table, "timings/launches")
    by_work = {
        name: table.pivot(index="what", columns="stack", values=name) for name in ("launches", "waits", "transfers")
    }
    assert set(table["what"]) == {"gradient", "step of sgd", "step of adam", "product", "warm reading"}
    launched = by_work["launches"]
    assert (by_work["transfers"].loc["gradient"] == 0).all()
    assert launched.loc["warm reading", 1] > launched.loc["product", 1]
    assert launched.loc["gradient", 4] < 4 * launched.loc["gradient", 1]
    # Whether a run has diverged is read at each step, once.
    assert (by_work["waits"].loc["step of sgd"] == 1).all()


def test_views_and_empty_tensors_start_nothing():
    x = torch.ones(4, 4).to(NAME)
    with Counted(NAME) as seen:
        nn.Flatten()(x[None]).unbind(1)
        torch.empty_like(x)
        x.detach()
    assert counts(seen) == (0, 0, 0)
