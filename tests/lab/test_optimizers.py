"""Every optimizer entry on a quadratic, and the preconditioners against the steps that the library makes with them."""

from functools import partial

import pytest
import torch
from torch import nn

from benchmarks.lab import architectures, optimizers, registry
from benchmarks.lab.measurements import Stateless
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.lab.training import train
from benchmarks.theory import stability

# A learning rate at which each descends; an entry that is missing here fails the test that reads the package.
ENTRIES = {
    "adagrad": dict(lr=0.1),
    "adam": dict(lr=0.02),
    "adamw": dict(lr=0.02, weight_decay=1e-3),
    "lion": dict(lr=0.01),
    "muon": dict(lr=0.02, vector_lr=0.02),
    "nadam": dict(lr=0.02),
    "rmsprop": dict(lr=0.01),
    "sam": dict(lr=0.2, rho=0.01),
    "scalar_rmsprop": dict(lr=0.02),
    "sgd": dict(lr=0.2),
    "sgdw": dict(lr=0.2, weight_decay=1e-3),
    "signum": dict(lr=0.01),
    "soap": dict(lr=0.02),
}
PRECONDITIONED = {
    "adam, no momentum": dict(name="adam", lr=0.01, beta1=0.0, beta2=0.9, eps=1e-2),
    "adam, half momentum": dict(name="adam", lr=0.01, beta1=0.5, beta2=0.99, eps=1e-2),
    "adam": dict(name="adam", lr=0.01, beta1=0.9, beta2=0.9, eps=1e-2),
    "rmsprop": dict(name="rmsprop", lr=0.01, beta2=0.9, eps=1e-2),
    "scalar_rmsprop": dict(name="scalar_rmsprop", lr=0.05, beta2=0.9),
}


class Spy(Stateless):
    """Keeps the parameters, the gradients and the preconditioner of every step."""

    every, curvature = 1, False

    def __init__(self):
        self.params, self.grads, self.preconditioners = [], [], []

    def measure(self, reading):
        self.params.append(reading.point.params_RxP.clone())
        self.grads.append(reading.point.grads_RxP.clone())
        self.preconditioners.append(reading.preconditioner())
        return {}


def spied(spec, steps=6, runs=2):
    """Training of a small network from its seeds, and what a spy saw of it."""
    modules = [
        m.double() for m in architectures.build_stack("mlp", (4,), 2, range(runs), hidden=[5], activation="tanh")
    ]
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(2, 12, 4, dtype=torch.float64, generator=generator).unbind()
    spy = Spy()
    train(
        Problem(modules[0], inputs, targets[:, :2], "mse"),
        stack_parameters(modules),
        partial(optimizers.build, **spec),
        seeds=list(range(runs)),
        steps=steps,
        divergence=1e6,
        measurements=[spy],
        preconditioner=partial(optimizers.preconditioner, name=spec["name"]),
    )
    return spy


@pytest.mark.parametrize("name", registry.entries("benchmarks.lab.optimizers"))
def test_every_entry_descends_a_quadratic_and_says_what_it_is(name):
    curvatures = torch.tensor([[1.0, 0.5], [2.0, 0.1]], dtype=torch.float64)
    matrix, vector = nn.Parameter(torch.ones_like(curvatures)), nn.Parameter(torch.ones(2, dtype=torch.float64))

    def loss():
        return 0.5 * (curvatures * matrix**2).sum() + 0.5 * (vector**2).sum()

    def closure():
        with torch.enable_grad():
            value = loss()
        matrix.grad, vector.grad = torch.autograd.grad(value, [matrix, vector])
        return value

    built = optimizers.build([matrix, vector], name=name, **ENTRIES[name])
    first = loss().item()
    for _ in range(100):
        closure()
        for optimizer in built:
            optimizer.step(closure) if optimizers.closures(name) else optimizer.step()
    assert loss().item() < 0.5 * first
    assert (matrix < 1).all() and (vector < 1).all()
    assert "." in optimizers.implementation(name)
    assert registry.load("benchmarks.lab.optimizers", name, "SOURCE")


def test_what_the_entries_declare():
    names = registry.entries("benchmarks.lab.optimizers")
    assert names == list(ENTRIES)
    assert [n for n in names if optimizers.has_preconditioner(n)] == ["adam", "rmsprop", "scalar_rmsprop"]
    assert [n for n in names if optimizers.closures(n)] == ["sam"]
    thresholds = {n: optimizers.stability_threshold(n, **ENTRIES[n]) for n in names if n != "muon"}
    assert {n: value for n, value in thresholds.items() if value is not None} == pytest.approx(
        {"adam": 38 / 0.02, "rmsprop": 2 / 0.01, "scalar_rmsprop": 2 / 0.02, "sgd": 2 / 0.2}
    )
    assert optimizers.stability_threshold("rmsprop", lr=0.01, momentum=0.5) == pytest.approx(3 / 0.01)


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_a_step_is_the_averaged_gradient_over_the_preconditioner(name):
    spec = PRECONDITIONED[name]
    spy = spied(spec)
    beta1 = spec.get("beta1", 0.0)
    average_RxP = torch.zeros_like(spy.params[0])
    assert spy.preconditioners[0] is None
    for t in range(1, len(spy.params)):
        average_RxP = beta1 * average_RxP + (1 - beta1) * spy.grads[t - 1]
        moved_RxP = spy.params[t - 1] - spy.params[t]
        assert bool((spy.preconditioners[t] > 0).all())
        torch.testing.assert_close(spec["lr"] * average_RxP / spy.preconditioners[t], moved_RxP, rtol=1e-10, atol=1e-14)


def test_scalar_rmsprop_is_its_recursion():
    spec = PRECONDITIONED["scalar_rmsprop"]
    spy = spied(spec)
    params_RxP, moment_R = spy.params[0], None
    for t in range(1, len(spy.params)):
        squares_R = spy.grads[t - 1].square().sum(1)
        moment_R = squares_R if moment_R is None else 0.9 * moment_R + 0.1 * squares_R
        params_RxP = params_RxP - spec["lr"] * spy.grads[t - 1] / moment_R.sqrt()[:, None]
        torch.testing.assert_close(spy.params[t], params_RxP, rtol=1e-12, atol=1e-14)
        expected_RxP = moment_R.sqrt()[:, None].expand_as(params_RxP)
        torch.testing.assert_close(spy.preconditioners[t], expected_RxP, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["sgd", "sam", "muon", "torch.optim:SGD"])
def test_an_entry_without_a_preconditioner_says_so(name):
    assert not optimizers.has_preconditioner(name)
    with pytest.raises(ValueError, match=f"optimizer {name!r} has no diagonal preconditioner"):
        optimizers.preconditioner([], name=name)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "scalar_rmsprop"])
def test_before_the_first_step_there_is_no_preconditioner(name):
    built = optimizers.build([nn.Parameter(torch.ones(3))], name=name, lr=0.1)
    assert optimizers.preconditioner(built, name=name) is None


@pytest.mark.parametrize("gradient", [0.02, 0.3, 5.0])
def test_at_its_edge_sharpness_aware_minimization_returns_to_the_other_side(gradient):
    lr, rho = 0.1, 0.05
    curvature = stability.sam_edge(lr, rho, gradient)
    w = nn.Parameter(torch.tensor([gradient / curvature], dtype=torch.float64))
    (optimizer,) = optimizers.build([w], name="sam", lr=lr, rho=rho)

    def closure():
        w.grad = curvature * w.detach()
        return 0.5 * curvature * w.detach() ** 2

    closure()
    optimizer.step(closure)
    assert w.item() == pytest.approx(-gradient / curvature, rel=1e-6)
    assert stability.sam_edge(lr, 1e-9, gradient) == pytest.approx(2 / lr, rel=1e-5)


FIRST_STEPS = {
    # Sign methods move every coordinate by lr, whatever its gradient; so do Adagrad and Adam at first.
    "lion": (dict(lr=0.01), lambda g: -0.01 * g.sign()),
    "signum": (dict(lr=0.01), lambda g: -0.01 * g.sign()),
    "adagrad": (dict(lr=0.01), lambda g: -0.01 * g.sign()),
    "adamw": (dict(lr=0.01, weight_decay=0.5), lambda g: -0.01 * g.sign() - 0.01 * 0.5),
    "sgdw": (dict(lr=0.01, weight_decay=0.5), lambda g: -0.01 * g - 0.01 * 0.5),
    # Dozat's momentum schedule at its first two steps, mu_t = 0.9 (1 - 0.96^(0.004 t) / 2).
    "nadam": (dict(lr=0.01, eps=0.0), lambda g: -0.01 * g.sign() * nadam_first()),
    "soap": (dict(lr=0.01), lambda g: 0 * g),
}


def nadam_first():
    first, second = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (1, 2))
    return (1 - first) / (1 - first) + second * 0.1 / (1 - first * second)


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_a_first_step_is_what_the_paper_says(name):
    options, expected = FIRST_STEPS[name]
    gradient = torch.tensor([[3.0, -0.2], [0.01, -7.0]], dtype=torch.float64)
    parameter = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    parameter.grad = gradient.clone()
    for optimizer in optimizers.build([parameter], name=name, **options):
        optimizer.step()
    assert (parameter.detach() - 1).numpy() == pytest.approx(expected(gradient).numpy(), rel=1e-5, abs=1e-9)
