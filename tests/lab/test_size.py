"""How much memory a network of one's own takes: in parts it is the same function, and what is kept is counted."""

import pytest
import torch
from torch import nn

from benchmarks.lab import architectures
from benchmarks.lab.problem import Problem
from benchmarks.studies.carry_over import size
from benchmarks.studies.carry_over.networks import Linearized


def convolutional():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5))


def attentive():
    return architectures.build("gpt", (8,), 5, width=8, heads=2, layers=1, vocabulary=5)


def images():
    return torch.randn(11, 3, 8, 8), torch.randint(5, (11,))


def tokens():
    return torch.randint(5, (11, 8)), torch.randint(5, (11, 8))


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize(("build", "data"), [(convolutional, images), (attentive, tokens)])
def test_losses_gradients_and_outputs_in_parts_are_those_of_the_whole(build, data, first_order):
    torch.manual_seed(0)
    network, (inputs, targets) = build().double(), data()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    if first_order:
        network = Linearized(network)
        with torch.no_grad():
            for move in network.moves:
                move.normal_(0, 0.1)
    rows = torch.randperm(11)[None, :9]
    whole, parts = (Problem(one, inputs, targets, "cross_entropy") for one in (network, size.Parts(network, 4)))
    params = whole.initial_RxP()
    torch.testing.assert_close(parts.initial_RxP(), params)
    for shift in (0.0, 0.1):  # the parameters that it is given, not those that it has
        one, other = (problem.at(params + shift, rows_RxB=rows) for problem in (whole, parts))
        torch.testing.assert_close(other.losses_R, one.losses_R)
        torch.testing.assert_close(other.grads_RxP, one.grads_RxP)
        torch.testing.assert_close(other.outputs_RxNxC, one.outputs_RxNxC)


def test_what_is_kept_of_an_example_is_counted():
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3), nn.Tanh())
    inputs = torch.randn(4, 5)
    assert size.activations(network, inputs) == 4 * (7 + 3)
    assert size.activations(Linearized(network), inputs) >= 4 * (7 + 3)


def test_only_what_does_not_fit_is_taken_in_parts(monkeypatch):
    network, inputs = nn.Sequential(nn.Linear(5, 100), nn.Tanh(), nn.Linear(100, 3)), torch.randn(4, 5)
    assert size.in_parts(network, inputs, batch=10) is network
    monkeypatch.setattr(size, "ACTIVATIONS", 1200)
    assert size.in_parts(network, inputs, batch=10).size == 3
    coupled = nn.Sequential(nn.Linear(5, 100), nn.BatchNorm1d(100, track_running_stats=False), nn.Linear(100, 3))
    assert size.in_parts(coupled, inputs, batch=10) is coupled


def test_what_is_free_is_the_least_of_the_machine_and_its_container(tmp_path):
    assert size.available(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4096 kB\n")
    assert size.available(tmp_path) == 2**22
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100\n")
    assert size.available(tmp_path) == 2**22
    (group / "memory.max").write_text("1000\n")
    assert size.available(tmp_path) == 900


def test_what_takes_the_most_is_named():
    need = size.Need(weights=2**30, activations=3 * 2**30, data=0)
    size.require_room(need, {}, None)
    size.require_room(need, {}, 2.0**33)
    advice = {"weights": "A", "activations": "B: lower C", "data": "D"}
    said = r"about 4\.0 GiB of memory, and 2\.0 GiB are free: 3\.0 GiB are for B: lower C"
    with pytest.raises(ValueError, match=said):
        size.require_room(need, advice, 2.0**31)
