"""What trains on a device has the CPU's history, byte for byte; and the pretended device raises where a GPU would."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks.lab import datasets
from benchmarks.lab.losses import CrossEntropy
from benchmarks.lab.measurements import eigensolvers
from benchmarks.lab.ntk import tangent_kernel
from benchmarks.lab.pretend_device import NAME, PENDING
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import Outcome, train
from benchmarks.studies import entries
from benchmarks.studies.progressive_sharpening import training
from benchmarks.studies.progressive_sharpening.study import Settings, Sharpening
from benchmarks.studies.schema import Compute
from benchmarks.studies.table import Runs
from pipelines import checkpoints, parameters

pytestmark = pytest.mark.usefixtures("deterministic")

QUICK = parameters.profile("quick")
STUDY = Sharpening.model_validate({name: QUICK["progressive_sharpening"][name] for name in Sharpening.model_fields})
CONFIGURATIONS = {name: STUDY.resolved(layer, name) for layer in STUDY.layers for name in STUDY.overrides(layer)}
HERE = Compute.model_validate(QUICK["compute"])
THERE = HERE.model_copy(update={"device": NAME})
# Beside those of the quick configurations.
ARCHITECTURES = [
    dict(name="cnn", channels=[2, 2], activation="gelu"),
    dict(name="transformer", width=8, heads=2, layers=1, patch=4),
    dict(name="residual_mlp", width=6, blocks=1, activation="relu"),
    dict(name="ntk_mlp", hidden=[6], activation="tanh"),
]
NEEDED = {"sam": {"rho": 0.05}, "adamw": {"weight_decay": 0.1}, "sgdw": {"weight_decay": 0.1}}
OPTIMIZERS = {name: NEEDED.get(name, {}) for name in entries.names("benchmarks.lab.optimizers")}


@pytest.fixture(scope="module")
def images():
    generator, labels = np.random.default_rng(0), np.arange(300) % 10
    pixels = generator.integers(0, 255, (300, 1, 8, 8), dtype=np.uint8)
    arrays = dict(x_train=pixels[:200], y_train=labels[:200], x_test=pixels[200:], y_test=labels[200:])
    return datasets.images(**arrays, dtype=torch.float32)


def few(name: str, **changes) -> Settings:
    """A configuration's settings with few images and steps, and readings and cold checks among these."""
    settings = CONFIGURATIONS[name].model_dump()
    for options in filter(None, settings["measure"].values()):
        options |= {key: 2 for key in ("every", "cold_every") if key in options}
    return Settings.model_validate(settings | {"images": min(settings["images"], 20), "steps": 3} | changes)


@pytest.fixture
def outcomes(monkeypatch) -> list[Outcome]:
    """What the loop leaves of each run that the study makes."""
    made = []

    def spy(*args, **options):
        made.append(train(*args, **options))
        return made[-1]

    monkeypatch.setattr(training, "train", spy)
    return made


def assert_same_on_the_device(settings: Settings, images, outcomes, tolerance: float = 0.0) -> None:
    runs = [training.run(settings, [1, 2], images, compute) for compute in (HERE, THERE)]
    here, there = outcomes
    assert there.params_RxP.device.type == NAME and runs[0].facts == runs[1].facts
    torch.testing.assert_close(there.params_RxP.cpu(), here.params_RxP, rtol=tolerance, atol=tolerance)
    pd.testing.assert_frame_equal(runs[1].curves, runs[0].curves, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_has_the_same_history_on_the_device(name, images, outcomes):
    assert_same_on_the_device(few(name), images, outcomes)


@pytest.mark.parametrize("spec", ARCHITECTURES, ids=lambda spec: spec["name"])
def test_an_architecture_has_the_same_history_on_the_device(spec, images, outcomes):
    assert_same_on_the_device(few("lr-high", architecture=spec, loss="cross_entropy"), images, outcomes)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_has_the_same_history_on_the_device(name, images, outcomes):
    small = {"name": "mlp", "hidden": [6], "activation": "tanh"}
    settings = few("sgd-b8", architecture=small, optimizer={"name": name, "lr": 0.01, **OPTIMIZERS[name]}, measure={})
    # On a device torch updates all tensors at once, and rounds NAdam's step otherwise.
    assert_same_on_the_device(settings, images, outcomes, tolerance=1e-6 if name == "nadam" else 0.0)


def test_a_run_that_diverges_leaves_the_same_history_on_the_device(images, outcomes):
    assert_same_on_the_device(few("lr-high", optimizer={"name": "sgd", "lr": 1e4}, steps=20), images, outcomes)


def test_a_killed_run_goes_on_from_its_checkpoint_on_the_device(images, outcomes, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "STATE", tmp_path)
    settings = few("linear-small", steps=4)

    def resumable(compute: Compute, until: int | None = None) -> tuple[Runs, bool]:
        kept = checkpoints.Checkpoints(compute.device, {"settings": settings.model_dump()})

        def observe(step: int, checkpoint) -> None:
            if step == until:
                raise KeyboardInterrupt
            kept.observe(step, checkpoint)

        made = training.run(settings, [1, 2], images, compute, resume=kept.resume(), observe=observe)
        return made, kept.resumed

    with pytest.raises(KeyboardInterrupt):
        resumable(THERE, until=3)
    made, resumed = resumable(THERE)
    assert resumed and outcomes[-1].params_RxP.device.type == NAME
    assert made.curves.equals(resumable(HERE)[0].curves)


def test_the_tangent_kernel_is_the_same_on_the_device():
    network, inputs = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3)
    here = tangent_kernel(network, inputs)
    there = tangent_kernel(network.to(NAME), inputs.to(NAME))
    assert there.device.type == NAME and torch.equal(here, there.cpu())


def test_lanczos_finds_multiple_eigenvalues_on_the_device():
    matrix = torch.diag(torch.tensor([3.0, 3.0, 1.0, 0.5, 0.1], dtype=torch.float64))
    start = torch.ones(1, 5, dtype=torch.float64)
    here, there = (
        eigensolvers.lanczos(lambda v, m=m: v @ m, start.to(m.device), 2, tolerance=1e-9)
        for m in (matrix, matrix.to(NAME))
    )
    assert there.eigenvalues_RxK.device.type == "cpu" and there.vectors_RxPxB.device.type == NAME
    assert torch.equal(here.eigenvalues_RxK, there.eigenvalues_RxK)


def test_weights_of_classes_follow_the_outputs_to_the_device():
    loss, inputs, labels = CrossEntropy(weight=torch.tensor([1.0, 2.0])), torch.randn(6, 3), torch.arange(6) % 2
    losses = [
        Problem(network, inputs.to(place), labels.to(place), loss).at(torch.ones(1, 8, device=place)).losses_R.cpu()
        for place in ("cpu", NAME)
        for network in [nn.Linear(3, 2).to(place)]
    ]
    assert torch.equal(*losses)


WRONG = {
    "a sum over two places": lambda x: x + torch.ones(3, 4),
    "a product over two places": lambda x: x @ torch.ones(4, 2),
    "a mask that is elsewhere": lambda x: torch.where(torch.ones(3, 4) > 0, x, x),
    "a list over two places": lambda x: torch.cat([x, torch.zeros(1, 4)]),
    "an update from elsewhere": lambda x: x.mul_(torch.ones(4)),
    "indices there of what is here": lambda x: torch.ones(4)[torch.zeros(2, dtype=torch.long, device=NAME)],
    "an entry there into what is here": lambda x: torch.ones(4).index_put_((torch.tensor([0, 1]),), x[0, :2]),
    "numpy": lambda x: x.numpy(),
    "a function of numpy": lambda x: np.linalg.norm(x),
    "numbers from a CPU generator": lambda x: torch.randn(3, device=NAME, generator=torch.Generator()),
    "numbers from the device": lambda x: torch.rand_like(x),
    "a module that draws": lambda x: nn.functional.dropout(x),
    "a pooling without a deterministic kernel": lambda x: (
        nn.functional.adaptive_avg_pool2d(x.view(1, 3, 2, 2).requires_grad_(), (2, 1)).sum().backward()
    ),
    "a histogram": lambda x: torch.histc(x),
}
RIGHT = {
    "a CPU number": lambda x: x * torch.tensor(2.0) + 1.0,
    "a choice between it and a number": lambda x: torch.where(x > 0, x, 0.0),
    "CPU indices": lambda x: (x[torch.tensor([0, 1])], x[torch.tensor([True, False, True])]),
    "a copy here": lambda x: x.cpu().numpy(),
    "a copy there": lambda x: (x.copy_(torch.ones(3, 4)), torch.ones(3, 4).to(x), torch.tensor([1, 2], device=NAME)),
    "numbers for Python": lambda x: (float(x.sum()), x.tolist(), bool((x > 0).all())),
    "pieces in place": lambda x: x[0].zero_().unsqueeze_(0).shape == (1, 4),
    "numbers drawn here": lambda x: torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(x),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_device_raises(wrong):
    with pytest.raises((RuntimeError, TypeError)):
        wrong(torch.ones(3, 4, device=NAME))
        torch.ones(1, device=NAME)  # what was found in a backward pass is raised by the next operation
    assert not PENDING


@pytest.mark.parametrize("right", RIGHT.values(), ids=RIGHT)
def test_the_device_allows(right):
    assert right(torch.ones(3, 4, device=NAME)) is not False


def test_the_device_wants_deterministic_products_to_have_their_workspace(monkeypatch):
    x = torch.ones(2, 2, device=NAME)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with pytest.raises(RuntimeError, match="CUBLAS_WORKSPACE_CONFIG"):
        x @ x
    torch.use_deterministic_algorithms(False)
    assert (x @ x).tolist() == [[2, 2], [2, 2]]
    torch.histc(x)
