"""Every optimizer entry on a quadratic, and the preconditioners against the steps that the library makes with them."""

import pytest
import torch
from torch import nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.measurements import Stateless
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.lab.training import train
from benchmarks.studies import entries
from benchmarks.theory import stability

# A learning rate at which each descends; an entry that is missing here fails the test that reads the package.
ENTRIES = {
    "adagrad": dict(lr=0.1),
    "adam": dict(lr=0.02),
    "adamw": dict(lr=0.02, weight_decay=1e-3),
    "blockwise_sgd": dict(lr=0.1, rates=[1.0, 2.0]),
    "lion": dict(lr=0.01),
    "muon": dict(lr=0.02, vector_lr=0.02),
    "muon_flattened": dict(lr=0.02, vector_lr=0.02),
    "nadam": dict(lr=0.02),
    "rmsprop": dict(lr=0.01),
    "sam": dict(lr=0.2, rho=0.01),
    "scalar_rmsprop": dict(lr=0.02),
    "schedule_free_adamw": dict(lr=0.02),
    "schedule_free_sgd": dict(lr=0.2),
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
        optimizers.named(**spec),
        seeds=list(range(runs)),
        steps=steps,
        divergence=1e6,
        measurements=[spy],
    )
    return spy


@pytest.mark.parametrize("name", entries.names("benchmarks.lab.optimizers"))
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

    entry = optimizers.named(name, **ENTRIES[name])
    built = entry.build([matrix, vector])
    first = loss().item()
    for _ in range(100):
        closure()
        for optimizer in built:
            optimizer.step(closure) if entry.closures else optimizer.step()
    assert loss().item() < 0.5 * first
    assert (matrix < 1).all() and (vector < 1).all()
    assert "." in entry.implementation
    assert entry.source and entry.meaning


def test_what_the_entries_declare():
    names = entries.names("benchmarks.lab.optimizers")
    assert names == list(ENTRIES)
    each = {name: optimizers.named(name, **ENTRIES[name]) for name in names}
    assert [n for n, entry in each.items() if entry.diagonal] == ["adam", "rmsprop", "scalar_rmsprop"]
    assert [n for n, entry in each.items() if entry.closures] == ["sam"]
    assert [n for n, entry in each.items() if entry.schedule_free] == ["schedule_free_adamw", "schedule_free_sgd"]
    assert [n for n, entry in each.items() if entry.block_rates] == ["blockwise_sgd"]
    thresholds = {n: entry.stability_threshold() for n, entry in each.items()}
    assert {n: value for n, value in thresholds.items() if value is not None} == pytest.approx(
        {"adam": 38 / 0.02, "rmsprop": 2 / 0.01, "scalar_rmsprop": 2 / 0.02, "sgd": 2 / 0.2}
    )
    assert optimizers.named("rmsprop", lr=0.01, momentum=0.5).stability_threshold() == pytest.approx(3 / 0.01)


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
    entry = optimizers.named(name)
    with pytest.raises(ValueError, match=f"optimizer '{entry.implementation}' has no diagonal preconditioner"):
        entry.preconditioner([])


@pytest.mark.parametrize("name", ["adam", "rmsprop", "scalar_rmsprop"])
def test_before_the_first_step_there_is_no_preconditioner(name):
    entry = optimizers.named(name, lr=0.1)
    assert entry.preconditioner(entry.build([nn.Parameter(torch.ones(3))])) is None


OUTSIDE = """
import torch
from benchmarks.lab.optimizers import Optimizer

def build(parameters, *, lr):
    return [torch.optim.Adam(parameters, lr=lr)]

def diagonal(optimizer):
    states = list(optimizer.state.values())
    return [state["exp_avg_sq"].sqrt() + 1e-8 for state in states] or None

said = Optimizer(build, implementation="mine.said", source="A paper", threshold=lambda lr: 7 / lr, diagonal=diagonal,
                 closures=True, schedule_free=True)
nothing = 3
"""


def test_an_optimizer_from_outside_says_all_that_one_of_ours_can(tmp_path, monkeypatch):
    (tmp_path / "mine_optimizers.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    said = optimizers.named("mine_optimizers:said", lr=0.1)
    assert (said.implementation, said.source, said.closures, said.schedule_free) == ("mine.said", "A paper", True, True)
    assert said.stability_threshold() == pytest.approx(70)
    assert said.preconditioner(said.build([nn.Parameter(torch.ones(2))])) is None
    bare = optimizers.named("mine_optimizers:build", lr=0.1)
    assert (bare.implementation, bare.stability_threshold()) == ("mine_optimizers:build", None)
    for name, message in (
        ("mine_optimizers:nothing", "neither an Optimizer nor a function"),
        ("mine_optimizers:absent", "cannot load 'mine_optimizers:absent'"),
        ("no_such_package:build", "cannot load 'no_such_package:build'"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizers.named(name, lr=0.1)
    with pytest.raises(ValueError, match="unexpected keyword argument 'rate'"):
        optimizers.named("mine_optimizers:build", rate=0.1).build([nn.Parameter(torch.ones(2))])


@pytest.mark.parametrize("gradient", [0.02, 0.3, 5.0])
def test_at_its_edge_sharpness_aware_minimization_returns_to_the_other_side(gradient):
    lr, rho = 0.1, 0.05
    curvature = stability.sam_edge(lr, rho, gradient)
    w = nn.Parameter(torch.tensor([gradient / curvature], dtype=torch.float64))
    (optimizer,) = optimizers.named("sam", lr=lr, rho=rho).build([w])

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
    for optimizer in optimizers.named(name, **options).build([parameter]):
        optimizer.step()
    assert (parameter.detach() - 1).numpy() == pytest.approx(expected(gradient).numpy(), rel=1e-5, abs=1e-9)


def slope(w):
    """The gradient of a function that is not quadratic, so that where it is taken matters."""
    scales = torch.tensor([[1.0, 0.3, 2.0], [0.1, 1.5, 0.7]], dtype=torch.float64)
    return scales * (torch.sinh(w) + w.sum() / 7)


def start_matrix():
    return torch.tensor([[0.9, -1.3, 0.4], [1.1, -0.2, 0.6]], dtype=torch.float64)


def stepped(name, options, steps):
    """Where the gradient was taken at each step, and what is evaluated after it."""
    w = nn.Parameter(start_matrix())
    (optimizer,) = optimizers.named(name, **options).build([w])
    taken, evaluated = [], []
    for _ in range(steps):
        taken.append(w.detach().clone())
        w.grad = slope(w.detach())
        optimizer.step()
        optimizer.eval()
        evaluated.append(w.detach().clone())
        optimizer.train()
    return taken, evaluated


@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_schedule_free_sgd_is_the_papers_recursion(momentum):
    taken, evaluated = stepped("schedule_free_sgd", dict(lr=0.3, momentum=momentum), steps=8)
    x = z = start_matrix()
    for t in range(8):
        y = (1 - momentum) * z + momentum * x
        torch.testing.assert_close(taken[t], y, rtol=1e-12, atol=1e-13)
        z = z - 0.3 * slope(y)
        x = x + (z - x) / (t + 1)
        torch.testing.assert_close(evaluated[t], x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("beta1", "beta2", "weight_decay"), [(0.9, 0.999, 0.0), (0.6, 0.9, 0.5)])
def test_schedule_free_adamw_is_the_papers_recursion(beta1, beta2, weight_decay):
    options = dict(lr=0.05, beta1=beta1, beta2=beta2, weight_decay=weight_decay)
    taken, evaluated = stepped("schedule_free_adamw", options, steps=8)
    x = z = start_matrix()
    squares = torch.zeros_like(x)
    for t in range(8):
        y = (1 - beta1) * z + beta1 * x
        torch.testing.assert_close(taken[t], y, rtol=1e-6, atol=1e-8)
        squares = beta2 * squares + (1 - beta2) * slope(y) ** 2
        direction = slope(y) / ((squares / (1 - beta2 ** (t + 1))).sqrt() + 1e-8)
        z = z - 0.05 * (direction + weight_decay * y)
        x = x + (z - x) / (t + 1)
        torch.testing.assert_close(evaluated[t], x, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(6, 2, 3, 3), (24, 2, 1, 3), (5, 9), (9, 5)])
def test_flattened_muon_orthogonalizes_a_kernel_as_a_matrix(shape):
    lr, momentum = 0.1, 0.5
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    kernel = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    (optimizer,) = optimizers.named("muon_flattened", lr=lr, momentum=momentum).build([kernel])
    rows, columns = shape[0], kernel.numel() // shape[0]
    average = torch.zeros(rows, columns, dtype=torch.float64)
    for gradient in gradients:
        before = kernel.detach().clone()
        kernel.grad = gradient.clone()
        optimizer.step()
        # Nesterov's: the gradient is averaged in twice.
        average = momentum * average + gradient.reshape(rows, columns)
        direction = momentum * average + gradient.reshape(rows, columns)
        left, _, right = torch.linalg.svd(direction, full_matrices=False)
        moved = (kernel.detach() - before).reshape(rows, columns)
        core = -(left.mT @ moved @ right.mT) / (lr * max(1, rows / columns) ** 0.5)
        assert 0.6 < core.diagonal().min() and core.diagonal().max() < 1.3
        assert (core - torch.diag(core.diagonal())).abs().max() < 0.05
        # Nothing of it lies outside these subspaces.
        inside = left @ left.mT @ moved @ right.mT @ right
        assert (moved - inside).norm() < 0.02 * moved.norm()


def test_flattened_muon_leaves_vectors_to_adamw():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    mine, theirs = (nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    matrix = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    built = optimizers.named("muon_flattened", lr=10.0, vector_lr=0.01).build([mine, matrix])
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    for gradient in gradients:
        mine.grad, theirs.grad, matrix.grad = gradient.clone(), gradient.clone(), torch.zeros_like(matrix)
        for optimizer in (*built, reference):
            optimizer.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)
    # No weight decay.
    assert bool((matrix == 1).all())


@pytest.mark.parametrize("parts", [[(3,)], [(2, 3)]])
def test_flattened_muon_builds_where_a_network_has_one_kind_of_tensor_only(parts):
    tensors = [nn.Parameter(torch.ones(shape)) for shape in parts]
    (optimizer,) = optimizers.named("muon_flattened", lr=0.1).build(tensors)
    assert [group["use_muon"] for group in optimizer.param_groups] == [len(parts[0]) > 1]


def test_blockwise_sgd_has_a_learning_rate_a_tensor():
    rates, lr, momentum = [1.0, 30.0, 0.5], 0.01, 0.8
    starts = [torch.full((k + 1,), 1.0 + k, dtype=torch.float64) for k in range(3)]
    tensors = [nn.Parameter(s.clone()) for s in starts]
    built = optimizers.named("blockwise_sgd", lr=lr, momentum=momentum, rates=rates).build(tensors)
    buffers = [torch.zeros_like(s) for s in starts]
    for _ in range(4):
        for tensor in tensors:
            tensor.grad = torch.sin(tensor.detach())
        for optimizer in built:
            optimizer.step()
        buffers = [momentum * b + torch.sin(s) for b, s in zip(buffers, starts)]
        starts = [s - lr * rate * b for s, rate, b in zip(starts, rates, buffers)]
    for tensor, expected in zip(tensors, starts):
        torch.testing.assert_close(tensor.detach(), expected, rtol=1e-12, atol=0)


def test_blockwise_sgd_without_rates_has_one_and_refuses_a_wrong_number():
    tensors = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    (optimizer,) = optimizers.named("blockwise_sgd", lr=0.3).build(tensors)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3] * 3
    with pytest.raises(ValueError, match="3 tensors but 2 rates"):
        optimizers.named("blockwise_sgd", lr=0.3, rates=[1.0, 2.0]).build(tensors)
