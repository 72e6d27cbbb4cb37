"""The estimate of a profile's cost: FLOP against closed forms, and what it says of what it does not know."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from workspaces import ROOT

from benchmarks.lab import architectures, optimizers
from pipelines import cost, parameters, stages


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def linear(inputs: int, outputs: int) -> cost.Network:
    module = nn.Linear(inputs, outputs, bias=False)
    return cost._classifier(module, (inputs,), 0, (), outputs)


def test_a_linear_layers_flop_are_those_of_its_products():
    network = linear(30, 7)
    assert network.parameters == 210
    # Forward, and the weights' gradient: 2 x examples x inputs x outputs each.
    assert network.forward.on(500, 500).flop == 2 * 500 * 210
    assert network.gradient.on(500, 500).flop == 2 * 2 * 500 * 210
    chunks, whole = (network.gradient.on(500, chunk) for chunk in (100, 500))
    assert chunks.launches == 5 * whole.launches and chunks.flop == whole.flop


def test_an_optimizers_step_takes_its_tensors_together():
    module = nn.Sequential(*[nn.Linear(4, 4) for _ in range(10)])
    many, few = (
        cost._classifier(one, (4,), 0, (), 4).update(optimizers.named("sgd", lr=0.1)).launches
        for one in (module, module[:1])
    )
    assert many == few > 0


def test_seconds_are_bound_by_launches_or_by_work():
    machine = cost.Machine(flop_per_s=1e12, bytes_per_s=1e12, launch_s=1e-6)
    assert cost.Work(launches=10, flop=1).seconds(machine) == pytest.approx(1e-5)
    assert cost.Work(launches=10, flop=1e12, bytes=1e12, host_s=3).seconds(machine) == pytest.approx(5)


def test_networks_of_the_papers_have_their_sizes_and_flop():
    sizes = {"vgg": (9_750_922, {}), "deep_resnet": (272_474, {"blocks": 3})}
    for name, (parameters_, options) in sizes.items():
        module = architectures.build(name, (3, 32, 32), 10, **options)
        assert sum(p.numel() for p in module.parameters()) == parameters_
        assert module(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    resnet_20 = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in module.modules()) + 1
    assert resnet_20 == 20  # and the readout
    vgg = cost._classifier(architectures.build("vgg", (3, 32, 32), 10), (3, 32, 32), 0, (), 10)
    assert vgg.forward.each.flop / 2 == pytest.approx(153e6, rel=0.01)  # 153 million multiplications an image


def test_new_systems_are_counted_and_say_that_their_protocol_is_a_papers(monkeypatch):
    monkeypatch.setattr(cost, "_ranks_s", lambda module: 0.0)
    asked = parameters.checked(parameters.profile("paper"), "paper")
    known = {stage.path for stage in stages.training(parameters.load())}
    new = [
        stage for stage in stages.training(asked) if stage.path not in known and stage.study != "optimizer_comparison"
    ]
    assert {stage.name for stage in new} == {"fc-tanh", "vgg", "resnet-20", "gpt-10m"}
    assert all(stage.settings.model_dump()["fidelity"] == "paper-protocol" for stage in new)
    for stage in new:
        size, work = cost._counted(stage, asked)
        assert work.flop > 0 and (stage.name != "gpt-10m" or 10e6 < size < 11e6)


def test_a_reference_without_the_label_keeps_its_settings():
    for stage in stages.training(parameters.load()):
        assert "fidelity" not in stage.settings.model_dump()


def test_a_products_flop_exceed_a_gradients():
    module = architectures.build("gpt", (8,), 5, width=8, heads=2, layers=1, vocabulary=5)
    network = cost._classifier(module, (8,), 5, (8,), 5)
    assert network.product.on(4, 4).flop > network.gradient.on(4, 4).flop > network.forward.on(4, 4).flop > 0


def test_wall_time_falls_with_workers_to_the_longest_stage():
    def one(seconds, alone=False):
        stage = SimpleNamespace(alone=alone, compute=SimpleNamespace(threads=2))
        return cost.Estimate(stage, None, None, seconds)

    found = [one(10.0), one(4.0), one(3.0), one(3.0), one(2.0, alone=True), one(None)]
    whole, start = 20.0, cost.START_S
    assert cost.wall_s(found, 1) == pytest.approx(whole + 4 * start + 1)
    assert cost.wall_s(found, 2) == pytest.approx(10 + 3 * start + 1)
    assert cost.wall_s(found, 100) == pytest.approx(10 + start + 1)
