"""Any module, or a refusal in one sentence: randomness, state, frozen parameters, losses, outputs of every shape."""

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn

from benchmarks.lab import losses, optimizers
from benchmarks.lab.loop import descend, last
from benchmarks.lab.measurements.eigensolvers import block_rayleigh_ritz, dense_matrix, lanczos
from benchmarks.lab.ntk import tangent_kernel
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem, flatten_parameters, stack_parameters

N, D, C, T, V = 20, 6, 3, 5, 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data():
    inputs = torch.randn(N, D, generator=generator(), dtype=torch.float64)
    return inputs, torch.randint(C, (N,), generator=generator())


def tokens(padding=0):
    """Tokens N x T, and the next ones, of which so many at the end of each other sequence do not count."""
    inputs = torch.randint(V, (N, T), generator=generator())
    targets = torch.randint(V, (N, T), generator=generator(1))
    if padding:
        targets[::2, -padding:] = -100
    return inputs, targets


class Functional(nn.Module):
    """Something random in its forward, which is no module of its own."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Linear(D, C), how

    def forward(self, x):
        return self.how(self.layer(x))


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(D, C), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (1 + 0.1 * self.calls)


class Sequences(nn.Module):
    """A small language model around any core: N x T tokens to N x T x V."""

    def __init__(self, core, call=lambda core, x: core(x)):
        super().__init__()
        self.embedding, self.core, self.call = nn.Embedding(V, 8), core, call
        self.readout = nn.Linear(8, V)

    def forward(self, x):
        return self.readout(self.call(self.core, self.embedding(x)))


def attend(core, x):
    return core(x, x, x, need_weights=False)[0]


def attend_directly(core, x):
    heads = core(x).view(*x.shape[:2], 2, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads, is_causal=True).transpose(1, 2).reshape(x.shape)


CORES = {
    "lstm": lambda: Sequences(nn.LSTM(8, 8, batch_first=True), lambda core, x: core(x)[0]),
    "gru": lambda: Sequences(nn.GRU(8, 8, batch_first=True), lambda core, x: core(x)[0]),
    "attention": lambda: Sequences(nn.MultiheadAttention(8, 2, batch_first=True), attend),
    "attention with weights": lambda: Sequences(
        nn.MultiheadAttention(8, 2, batch_first=True), lambda core, x: core(x, x, x)[0]
    ),
    "sdpa": lambda: Sequences(nn.Linear(8, 8), attend_directly),
    "encoder layer": lambda: Sequences(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)),
    "encoder layer out of training": lambda: Sequences(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval(),
}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda x: F.dropout(x, 0.3), "Functional, in its own forward, is random"),
        (lambda x: F.dropout(x, 1e-6), "is random"),
        (lambda x: x + 1e-3 * torch.rand_like(x), "is random"),
        (lambda x: F.rrelu(x, training=True), "is random"),
    ],
)
def test_randomness_in_a_forward_is_refused(how, message):
    inputs, labels = data()
    with pytest.raises(ValueError, match=message):
        Problem(Functional(how), inputs, labels, "cross_entropy")


@pytest.mark.parametrize(
    ("core", "call", "name"),
    [
        (nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True), attend, "MultiheadAttention 'core'"),
        (nn.LSTM(8, 8, num_layers=2, dropout=0.3, batch_first=True), lambda core, x: core(x)[0], "LSTM 'core'"),
        (nn.RReLU(), lambda core, x: core(x), "RReLU 'core'"),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), lambda core, x: core(x), r"Dropout 'core\.dropout1?'"),
    ],
)
@pytest.mark.parametrize("runs", [1, 2])
def test_a_random_submodule_is_refused_by_name(core, call, name, runs):
    if "Dropout" in name:
        name = "is random"  # attention's own dropout comes first
    with pytest.raises(ValueError, match=name):
        Problem([Sequences(core, call)] * runs, *tokens(), "cross_entropy")


def test_a_module_that_remembers_is_refused():
    inputs, labels = data()
    with pytest.raises(ValueError, match="changes from call to call"):
        Problem(Counter().double(), inputs, labels, "cross_entropy")


def test_a_module_that_changes_a_buffer_is_refused_and_left_as_it_was():
    inputs, labels = data()
    module = nn.Sequential(nn.utils.spectral_norm(nn.Linear(D, C)), nn.BatchNorm1d(C)).double()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"Linear '0' changes its buffer 'weight_[uv]'|changes its running statistics"):
        Problem(module, inputs, labels, "cross_entropy")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_check_draws_no_random_numbers_of_the_callers():
    inputs, labels = data()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    module = nn.Sequential(nn.Linear(D, C), nn.Dropout(0.0)).double()
    torch.manual_seed(3)
    Problem(module, inputs, labels, "cross_entropy").at(flatten_parameters(module)[None], curvature=True)
    assert torch.equal(before, torch.get_rng_state())


def frozen_network(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, C)).double()
    module[0].requires_grad_(False)
    return module


def test_frozen_parameters_are_neither_measured_nor_trained():
    inputs, labels = data()
    module = frozen_network(0)
    problem = Problem(module, inputs, labels, "cross_entropy")
    assert problem.parameters == 4 * C + C
    features = module[:2](inputs)
    readout = Problem(module[2], features, labels, "cross_entropy")
    params_1xP = stack_parameters([module[2]])
    mine, alone = (dense_matrix(p.at(params_1xP, curvature=True).hvp, 1, p.parameters) for p in (problem, readout))
    torch.testing.assert_close(mine, alone)
    end = last(descend(problem, stack_parameters([module]), sgd(lr=0.5), steps=20))
    assert not torch.equal(end.params_RxP, params_1xP)
    expected = last(descend(readout, params_1xP, sgd(lr=0.5), steps=20))
    torch.testing.assert_close(end.params_RxP, expected.params_RxP)
    torch.testing.assert_close(tangent_kernel(module, inputs), tangent_kernel(module[2], features))


def test_a_network_of_nothing_but_frozen_parameters_is_refused():
    inputs, labels = data()
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        Problem(nn.Linear(D, C).double().requires_grad_(False), inputs, labels, "cross_entropy")


def normalized_network(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, C)).double()
    module(3 * torch.randn(50, D, dtype=torch.float64))
    return module.eval()


@pytest.mark.parametrize("make", [frozen_network, normalized_network])
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_every_network_of_a_stack_has_its_own_buffers_and_frozen_parameters(make, chunk_size):
    inputs, labels = data()
    networks = [make(seed) for seed in (1, 2)]
    problem = Problem(networks, inputs, labels, "cross_entropy", chunk_size)
    stack = problem.at(problem.initial_RxP(), curvature=True)
    products_RxP = stack.hvp(torch.ones_like(stack.params_RxP))
    for r, network in enumerate(networks):
        alone = Problem(network, inputs, labels, "cross_entropy")
        point = alone.at(stack_parameters([network]), curvature=True)
        torch.testing.assert_close(stack.losses_R[r], F.cross_entropy(network(inputs), labels).detach())
        torch.testing.assert_close(stack.grads_RxP[r], point.grads_RxP[0])
        torch.testing.assert_close(products_RxP[r], point.hvp(torch.ones_like(point.params_RxP))[0])
        torch.testing.assert_close(problem.only(r).at(point.params_RxP).losses_R[0], stack.losses_R[r])
    with pytest.raises(ValueError, match=r"1 rows of parameters for 2 networks, each with its own .*problem.only"):
        problem.at(stack.params_RxP[:1])
    with pytest.raises(ValueError, match="differs from network to network: give Problem all the networks"):
        stack_parameters(networks)


def test_networks_of_a_stack_are_trained_with_their_own_buffers():
    inputs, labels = data()
    networks = [normalized_network(seed) for seed in (1, 2)]
    problem = Problem(networks, inputs, labels, "cross_entropy")
    end = last(descend(problem, problem.initial_RxP(), optimizers.named("sam", lr=0.1, rho=0.05), steps=5))
    for r, network in enumerate(networks):
        alone = Problem(network, inputs, labels, "cross_entropy")
        mine = last(descend(alone, stack_parameters([network]), optimizers.named("sam", lr=0.1, rho=0.05), steps=5))
        torch.testing.assert_close(end.params_RxP[r], mine.params_RxP[0])


def test_parameters_of_several_dtypes_are_refused():
    inputs, labels = data()
    module = nn.Sequential(nn.Linear(D, 4).double(), nn.Linear(4, C))
    with pytest.raises(ValueError, match=r"one dtype.*'0.bias' of torch.float64 .* and '1.bias' of torch.float32"):
        Problem(module, inputs, labels, "cross_entropy")


def test_tied_weights_are_one_parameter():
    inputs, _ = data()
    first, second = nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False)
    second.weight = first.weight
    module = nn.Sequential(first, nn.Tanh(), second).double()
    problem = Problem(module, inputs, inputs, "mse")
    assert problem.parameters == D * D
    for runs in (1, 2):
        point = problem.at(stack_parameters([module] * runs))
        (expected,) = torch.autograd.grad(0.5 * (module(inputs) - inputs).square().sum() / N, list(module.parameters()))
        for gradient_P in point.grads_RxP:
            torch.testing.assert_close(gradient_P.view(D, D), expected)


# Losses


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_targets_that_would_broadcast_are_refused(chunk_size):
    inputs, _ = data()
    with pytest.raises(ValueError, match=r"outputs \(8, 1\) with targets \(8,\)"):
        Problem(nn.Linear(D, 1).double(), inputs, inputs[:, 0], "mse", chunk_size)


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        nn.CrossEntropyLoss(),
        lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none")[:, None],
        lambda outputs, targets: outputs,
        lambda outputs, targets: 3.0,
    ],
)
def test_a_loss_that_does_not_give_one_value_an_example_is_refused(loss):
    with pytest.raises(ValueError, match="one value per example"):
        Problem(nn.Linear(D, C).double(), *data(), loss)


def test_a_class_that_the_network_does_not_have_is_refused():
    inputs, labels = data()
    with pytest.raises(ValueError, match="targets go from 0 to 2, but the network has 2 classes"):
        Problem(nn.Linear(D, 2).double(), inputs, labels, "cross_entropy")


def test_classes_on_another_axis_than_the_last_are_refused():
    with pytest.raises(ValueError, match=r"classes last, needs targets"):
        Problem(nn.Conv1d(1, C, 3), torch.randn(N, 1, 9), torch.zeros(N, 7, dtype=torch.long), "cross_entropy")


def test_an_output_that_is_detached_is_refused():
    inputs, labels = data()
    with pytest.raises(ValueError, match="depends on no parameter"):
        Problem(Functional(lambda x: x.detach()).double(), inputs, labels, "cross_entropy")


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("chunk_size", [None, 7])
def test_squared_errors_of_outputs_of_any_shape(shape, chunk_size):
    inputs, _ = data()
    size = int(torch.tensor(shape).prod()) if shape else 1
    module = nn.Sequential(nn.Linear(D, size), nn.Flatten(0) if not shape else nn.Unflatten(1, shape)).double()
    targets = torch.randn(N, *shape, generator=generator(), dtype=torch.float64)
    problem = Problem(module, inputs, targets, "mse", chunk_size)
    expected = 0.5 * (module(inputs) - targets).square().sum() / N
    for runs in (1, 2):
        losses_R = problem.at(stack_parameters([module] * runs)).losses_R
        torch.testing.assert_close(losses_R, expected.detach().expand(runs))


# Sequences


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("runs", [1, 2])
def test_the_loss_of_sequences_is_the_mean_over_the_tokens_that_count(padding, chunk_size, weighted, runs):
    inputs, targets = tokens(padding)
    torch.manual_seed(0)
    networks = [CORES["sdpa"]().double() for _ in range(runs)]
    weight = torch.linspace(0.5, 2, V, dtype=torch.float64) if weighted else None
    problem = Problem(networks[0], inputs, targets, losses.CrossEntropy(weight=weight), chunk_size)
    rows_RxB = torch.tensor([[3, 0, 7, 8], [2, 2, 5, 9]])[:runs]
    point = problem.at(stack_parameters(networks))
    batch = problem.at(stack_parameters(networks), rows_RxB=rows_RxB)
    for r, network in enumerate(networks):
        for found, rows in ((point, slice(None)), (batch, rows_RxB[r])):
            outputs = network(inputs[rows])
            mean = F.cross_entropy(outputs.flatten(0, 1), targets[rows].flatten(), weight=weight)
            gradients = torch.autograd.grad(mean, list(network.parameters()))
            torch.testing.assert_close(found.losses_R[r], mean.detach())
            torch.testing.assert_close(found.grads_RxP[r], torch.cat([g.reshape(-1) for g in gradients]))


def test_padding_that_is_no_padding_is_refused():
    inputs, targets = tokens(2)
    targets[targets == -100] = -1
    with pytest.raises(ValueError, match=r"targets go from -1 .* padding is -100"):
        Problem(CORES["sdpa"](), inputs, targets, "cross_entropy")
    with pytest.raises(ValueError, match="every target is -100"):
        Problem(CORES["sdpa"](), inputs, torch.full_like(targets, -100), "cross_entropy")


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recurrent_and_attending_networks_have_products_for_one_run_and_a_stack(core, dtype):
    inputs, targets = tokens()
    torch.manual_seed(0)
    networks = [CORES[core]().to(dtype) for _ in range(2)]
    problem = Problem(networks[0], inputs, targets, "cross_entropy")
    params_RxP = stack_parameters(networks)
    stack = problem.at(params_RxP, curvature=True)
    v = torch.randn(*params_RxP.shape, generator=generator(), dtype=dtype)
    torch.testing.assert_close(problem.losses(params_RxP), stack.losses_R)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    for r, network in enumerate(networks):
        alone = problem.at(params_RxP[r : r + 1], curvature=True)
        with torch.no_grad():
            expected = F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())
        torch.testing.assert_close(stack.losses_R[r], expected)
        torch.testing.assert_close(stack.hvp(v)[r], alone.hvp(v[r : r + 1])[0], **tolerance)
    if dtype == torch.float64:
        h = 1e-5
        difference = (problem.at(params_RxP + h * v).grads_RxP - problem.at(params_RxP - h * v).grads_RxP) / (2 * h)
        torch.testing.assert_close(stack.hvp(v), difference, rtol=1e-6, atol=1e-6)


# Outputs that are no tensor


class Two(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.how = nn.Linear(D, C), nn.Linear(D, 1), how

    def forward(self, x):
        return self.how(self.a(x), self.b(x))


@pytest.mark.parametrize(
    ("how", "first"),
    [(lambda a, b: (a, b), 0), (lambda a, b: {"a": a, "b": b}, "a"), (lambda a, b: [a, {"b": b}], 0)],
)
@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("runs", [1, 2])
def test_outputs_may_be_a_tuple_or_a_mapping_for_a_loss_that_takes_them(how, first, chunk_size, runs):
    inputs, labels = data()
    torch.manual_seed(0)
    networks = [Two(how).double() for _ in range(runs)]
    problem = Problem(
        networks[0], inputs, labels, lambda o, t: F.cross_entropy(o[first], t, reduction="none"), chunk_size
    )
    point = problem.at(stack_parameters(networks), curvature=True)
    for r, network in enumerate(networks):
        torch.testing.assert_close(point.losses_R[r], F.cross_entropy(network.a(inputs), labels).detach())
        torch.testing.assert_close(point.outputs_RxNxC[first][r], network.a(inputs).detach())
    with pytest.raises(ValueError, match=r"give a loss that takes it|where a single tensor"):
        Problem(networks[0], inputs, labels, "cross_entropy")
    with pytest.raises(ValueError, match="where a single tensor is needed"):
        tangent_kernel(networks[0], inputs)


# Tangent kernels


def dense_kernel(module, inputs):
    """From the gradient of every single output."""
    rows = []
    for output in module(inputs).reshape(-1):
        gradients = torch.autograd.grad(output, list(module.parameters()), retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.reshape(-1) for g in gradients]))
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


@pytest.mark.parametrize("shape", [(), (2,), (4, 5), (2, 3, 3)])
def test_the_tangent_kernel_of_outputs_of_any_shape(shape):
    inputs, _ = data()
    size = int(torch.tensor(shape).prod()) if shape else 1
    module = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, size)).double()
    module.append(nn.Unflatten(1, shape) if shape else nn.Flatten(0))
    kernel = tangent_kernel(module, inputs[:3])
    assert kernel.shape == (3 * size, 3 * size)
    torch.testing.assert_close(kernel, dense_kernel(module, inputs[:3]))


@pytest.mark.parametrize("core", CORES)
def test_the_tangent_kernel_of_sequences(core):
    inputs, _ = tokens()
    module = CORES[core]().double()
    torch.testing.assert_close(tangent_kernel(module, inputs[:3]), dense_kernel(module, inputs[:3]))


# Solvers


def test_multiple_eigenvalues_are_all_found():
    """Half squared errors of a linear layer: every eigenvalue of the inputs' covariance once an output."""
    inputs, labels = data()
    module = nn.Linear(D, C, bias=False).double()
    problem = Problem(module, inputs, F.one_hot(labels, C).double(), "mse")
    point = problem.at(stack_parameters([module]), curvature=True)
    exact = torch.linalg.eigvalsh(inputs.T @ inputs / N).flip(0).repeat_interleave(C)
    start = torch.randn(1, problem.parameters, generator=generator(), dtype=torch.float64)
    for k in (1, 2, 3, 5, 7):
        for found in (
            lanczos(point.hvp, start, k, tolerance=1e-9),
            block_rayleigh_ritz(point.hvp, start[:, :, None], k, tolerance=1e-9),
        ):
            assert bool(found.converged_R.all())
            torch.testing.assert_close(found.eigenvalues_RxK[0], exact[:k], rtol=1e-7, atol=0)


def test_a_solver_that_has_no_products_left_to_look_for_multiples_does_not_say_that_it_converged():
    matrix = torch.diag(torch.tensor([3.0, 3.0, 3.0, 2.0, 1.0, 0.5], dtype=torch.float64))
    start = torch.randn(1, 6, generator=generator(), dtype=torch.float64)
    found = lanczos(lambda v: v @ matrix, start, 3, tolerance=1e-6, max_products=4)
    assert not bool(found.converged_R.any())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_half_precision_have_a_loss_and_no_solver(dtype):
    inputs, labels = data()
    module = nn.Linear(D, C).to(dtype)
    problem = Problem(module, inputs.to(dtype), labels, "cross_entropy")
    point = problem.at(stack_parameters([module]), curvature=True)
    start = torch.randn(1, problem.parameters, 1).to(dtype)
    for solve in (
        lambda: block_rayleigh_ritz(point.hvp, start, 1, tolerance=1e-2),
        lambda: lanczos(point.hvp, start[:, :, 0], 1, tolerance=1e-2),
    ):
        with pytest.raises(ValueError, match=f"float32 or float64, not in {dtype}"):
            solve()


@pytest.mark.parametrize("order", [2, 3])
def test_a_derivative_that_pytorch_has_wrong_is_refused(order):
    """Weight normalization's second one (by 23 % in one net), and a functional LayerNorm's third."""
    inputs, labels = data()
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(D, C)) if order == 2 else nn.Linear(D, C)
    how = torch.tanh if order == 2 else lambda x: F.layer_norm(x, (C,))
    module = nn.Sequential(Functional(how), nn.Linear(C, C)).double()
    module[0].layer = layer.double()
    problem = Problem(module, inputs, labels, "cross_entropy")
    params_1xP = stack_parameters([module])
    problem.at(params_1xP)
    which = {2: "second", 3: "third"}[order]
    with pytest.raises(ValueError, match=rf"PyTorch's {which} derivative of this network is wrong by \d+%"):
        problem.at(params_1xP, curvature=True).curvature_gradient(params_1xP, params_1xP)


# Optimizers


class Rebinding(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad


def test_an_optimizer_that_rebinds_its_parameters_is_refused():
    inputs, labels = data()
    module = nn.Linear(D, C).double()
    problem = Problem(module, inputs, labels, "cross_entropy")
    rebinding = optimizers.Optimizer(lambda parameters, *, lr: [Rebinding(parameters, lr)], "my.Rebinding")
    with pytest.raises(ValueError, match=r"my\.Rebinding puts new tensors in place of its parameters"):
        list(descend(problem, stack_parameters([module]), rebinding(lr=0.1), steps=3))


def lbfgs(parameters, *, lr):
    return [torch.optim.LBFGS(parameters, lr=lr)]


def test_an_outside_optimizer_can_say_that_it_takes_a_closure():
    inputs, labels = data()
    module = nn.Linear(D, C).double()
    problem = Problem(module, inputs, labels, "cross_entropy")
    with pytest.raises(ValueError, match=r"LBFGS evaluates the loss within its step: .*closures=True"):
        list(descend(problem, stack_parameters([module]), optimizers.Optimizer(lbfgs, "LBFGS")(lr=1.0), steps=1))
    declared = optimizers.Optimizer(lbfgs, "torch.optim.LBFGS", closures=True)
    end = last(descend(problem, stack_parameters([module]), declared(lr=1.0), steps=3))
    plain = torch.optim.LBFGS(module.parameters(), lr=1.0)

    def closure():
        plain.zero_grad()
        loss = F.cross_entropy(module(inputs), labels)
        loss.backward()
        return loss

    for _ in range(3):
        plain.step(closure)
    torch.testing.assert_close(end.params_RxP[0], flatten_parameters(module))


def test_a_start_vector_within_an_invariant_subspace_does_not_hide_the_top():
    matrix = torch.diag(torch.tensor([1.0, 5.0, 2.0, 3.0], dtype=torch.float64))
    start = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    found = lanczos(lambda v: v @ matrix, start, 1, tolerance=1e-9)
    assert float(found.eigenvalues_RxK[0, 0]) == pytest.approx(5)
    assert not bool(lanczos(lambda v: v @ matrix, start, 1, tolerance=1e-9, max_products=1).converged_R)


def test_a_random_loss_is_refused():
    def noisy(outputs, targets):
        return F.cross_entropy(F.dropout(outputs, 0.2), targets, reduction="none")

    with pytest.raises(ValueError, match="the loss is random"):
        Problem(nn.Linear(D, C).double(), *data(), noisy)


def test_a_loss_that_holds_tensors_of_its_own_dtype_keeps_its_curvature():
    inputs, labels = data()
    weight = torch.tensor([1.0, 2.0, 3.0])
    module = nn.Sequential(nn.Linear(D, C), nn.Tanh())
    problem = Problem(
        module, inputs.float(), labels, lambda o, t: F.cross_entropy(o, t, weight=weight, reduction="none")
    )
    point = problem.at(stack_parameters([module]), curvature=True)
    assert bool(torch.isfinite(point.curvature_gradient(point.params_RxP, point.params_RxP)).all())


def test_the_gradients_that_an_optimizer_changed_are_not_those_of_the_step_before():
    """`path` compares a step with the gradient before it, which this optimizer scales in place."""
    from benchmarks.lab.measurements.path import Path
    from benchmarks.lab.measurements.sharpness import Sharpness
    from benchmarks.lab.training import train

    class Scaling(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.mul_(2)
            super().step()

    inputs, labels = data()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(D, C), nn.Tanh()).double()
    problem = Problem(module, inputs, labels, "cross_entropy")
    curves = []
    for optimizer in (
        optimizers.Optimizer(lambda parameters, *, lr: [Scaling(parameters, lr)], "scaling")(lr=0.1),
        sgd(lr=0.2),
    ):
        sharpness = Sharpness([1], every=1, tolerance=1e-8)
        measured = [sharpness, Path(sharpness)]
        outcome = train(
            problem, stack_parameters([module]), optimizer, seeds=[1], steps=4, divergence=10, measurements=measured
        )
        frame = outcome.history.frame()
        curves.append(torch.tensor(frame[frame.metric == "step_curvature"].value.to_numpy()))
    torch.testing.assert_close(curves[0], curves[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_run_that_is_done_before_the_others_of_its_stack_keeps_its_eigenvalues(dtype, k):
    """An identity, its negative, a spectrum and a matrix of rank one, as one stack."""
    P = 40
    low = torch.zeros(P, P, dtype=torch.float64)
    low[3, 3] = 2.0
    spectrum = torch.arange(P, dtype=torch.float64)
    negative = -100 - spectrum
    negative[0] = 1.0
    matrices = torch.stack([torch.eye(P).double(), -torch.eye(P).double(), spectrum.diag(), low, negative.diag()])
    start = torch.randn(len(matrices), P, generator=generator(), dtype=torch.float64).to(dtype)
    found = lanczos(lambda v: (matrices.to(dtype) @ v[:, :, None])[:, :, 0], start, k, tolerance=1e-6)
    exact = torch.linalg.eigvalsh(matrices).flip(-1)[:, :k]
    for r in range(len(matrices)):
        if bool(found.converged_R[r]):
            scale = float(exact[r].abs().max())
            torch.testing.assert_close(found.eigenvalues_RxK[r], exact[r], rtol=1e-4, atol=1e-4 * scale)
    assert bool(found.converged_R[:4].all())


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Sequential(nn.Linear(D, 8), nn.Tanh()), nn.Linear(8, C)

    def forward(self, x):
        return self.last(torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False))


class Reassigning(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, C)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.layer(x) * (1 + 0 * self.calls)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Checkpointed(), "parameters that the network was not called with, as with torch.utils.checkpoint"),
        (Reassigning(), "Reassigning, in its own forward, changes its buffer 'calls'"),
        (
            nn.Sequential(nn.Embedding(9, 6, max_norm=0.1), nn.Flatten(), nn.Linear(12, C)),
            "changes its parameter 'weight'",
        ),
    ],
    ids=["checkpoint", "buffer", "parameter"],
)
def test_a_module_that_does_not_keep_to_the_tensors_it_is_called_with_is_refused(module, message):
    inputs, labels = data()
    if isinstance(module, nn.Sequential):
        inputs = torch.randint(9, (N, 2), generator=generator())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        Problem(module, inputs.float() if inputs.is_floating_point() else inputs, labels, "cross_entropy")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_row_of_padding_is_not_trained_in_a_stack_of_minibatches():
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Flatten(), nn.Linear(20, C)) for _ in range(3)]
    inputs, labels = torch.randint(9, (N, T), generator=generator()), data()[1]
    inputs[6:, 3:] = 0
    problem = Problem(networks, inputs, labels, "cross_entropy")
    rows_RxB = torch.stack([torch.randperm(N, generator=generator(r)) for r in range(3)])
    batch, full = (problem.at(problem.initial_RxP(), rows_RxB=rows) for rows in (rows_RxB, None))
    torch.testing.assert_close(batch.grads_RxP, full.grads_RxP)
    assert not batch.grads_RxP[:, :4].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cast_within_a_forward_does_not_hide_a_wrong_derivative(dtype):
    inputs, labels = data()
    torch.manual_seed(0)
    module = nn.Sequential(Functional(lambda x: F.layer_norm(x.float(), (C,)).to(x.dtype)), nn.Linear(C, C)).to(dtype)
    point = Problem(module, inputs.to(dtype), labels, "cross_entropy").at(stack_parameters([module]), curvature=True)
    with pytest.raises(ValueError, match="third derivative of this network is wrong"):
        point.curvature_gradient(point.params_RxP, point.params_RxP)


def test_networks_that_are_not_one_architecture_are_no_stack():
    inputs, labels = data()
    one, other = (nn.Sequential(nn.Linear(D, 4), how, nn.Linear(4, C)).double() for how in (nn.Tanh(), nn.ReLU()))
    with pytest.raises(ValueError, match="network 2 of the stack differs from the first one in more than"):
        Problem([one, other], inputs, labels, "cross_entropy")
    bare, buffered = nn.Linear(D, C).double(), nn.Linear(D, C).double()
    buffered.register_buffer("more", torch.zeros(1))
    with pytest.raises(ValueError, match="network 2 of the stack has different buffers"):
        Problem([bare, buffered], inputs, labels, "cross_entropy")


@pytest.mark.parametrize("runs", [1, 2])
def test_outputs_may_hold_what_is_no_tensor(runs):
    inputs, labels = data()
    torch.manual_seed(0)
    networks = [Two(lambda a, b: {"logits": a, "cache": None}).double() for _ in range(runs)]
    problem = Problem(networks, inputs, labels, lambda o, t: F.cross_entropy(o["logits"], t, reduction="none"))
    point = problem.at(problem.initial_RxP())
    torch.testing.assert_close(point.losses_R[0], F.cross_entropy(networks[0].a(inputs), labels).detach())


def test_class_weights_and_an_index_to_ignore_beyond_the_classes_go_together():
    inputs, labels = data()
    labels = labels.clone()
    labels[::3] = 255
    weight = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    module = nn.Linear(D, C).double()
    problem = Problem(module, inputs, labels, losses.CrossEntropy(ignore_index=255, weight=weight))
    expected = F.cross_entropy(module(inputs), labels, weight=weight, ignore_index=255)
    torch.testing.assert_close(problem.losses(stack_parameters([module]))[0], expected.detach())
    with pytest.raises(ValueError, match="a minibatch has no target that counts"):
        problem.at(stack_parameters([module]), rows_RxB=torch.tensor([[0, 3, 6]]))


def test_ordinary_mistakes_are_one_sentence():
    inputs, labels = data()
    module = nn.Linear(D, C).double()
    problem = Problem(module, inputs, labels, "cross_entropy")
    for call, message in (
        (lambda: Problem([], inputs, labels, "cross_entropy"), "needs a network"),
        (lambda: Problem(module, inputs, labels, "cross_entropy", 2.5), "positive whole number"),
        (lambda: Problem(module, inputs, labels, "cross_entropy", 0), "positive whole number"),
        (
            lambda: problem.at(stack_parameters([module]).float()),
            "parameters of torch.float32 on inputs of torch.float64",
        ),
        (lambda: next(descend(problem, stack_parameters([module]), sgd(lr=0.1), steps=-1)), "must not be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("runs", [1, 2])
def test_padding_in_the_first_examples_does_not_stop_what_the_others_allow(runs):
    """What is tried out on a few examples is tried on such as count."""
    inputs, labels = data()
    labels[:9] = -100
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(D, C), nn.Tanh()).double() for _ in range(runs)]
    problem = Problem(networks, inputs, labels, "cross_entropy")
    point = problem.at(problem.initial_RxP(), curvature=True)
    for r, network in enumerate(networks):
        torch.testing.assert_close(point.losses_R[r], F.cross_entropy(network(inputs), labels).detach())
    assert problem.derivatives == {2}


def test_the_tangent_kernel_leaves_a_module_that_occurs_twice_its_own_tensors():
    inputs, _ = data()
    shared = nn.Linear(D, D).double()
    module = nn.Sequential(shared, nn.Tanh(), shared)
    before = {name: id(p) for name, p in module.named_parameters(remove_duplicate=False)}
    torch.testing.assert_close(tangent_kernel(module, inputs[:3]), dense_kernel(module, inputs[:3]))
    assert before == {name: id(p) for name, p in module.named_parameters(remove_duplicate=False)}
