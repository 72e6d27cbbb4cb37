"""Losses, gradients and Hessian-vector products against oracles that share no code with them, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from benchmarks.lab import architectures
from benchmarks.lab.measurements.eigensolvers import dense_matrix
from benchmarks.lab.problem import Functional, Problem, flatten_parameters, stack_parameters

N, D, C = 24, 6, 3


def data(seed=0, classes=C):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(N, D, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (N,), generator=generator)
    return inputs, labels


def conv_net():
    return nn.Sequential(
        nn.Unflatten(1, (1, D)), nn.Conv1d(1, 3, 3), nn.GELU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(6, C)
    )


NETWORKS = {
    "fc-tanh": lambda: architectures.build("mlp", (D,), C, hidden=[5, 4], activation="tanh"),
    "fc-gelu": lambda: architectures.build("mlp", (D,), C, hidden=[5], activation="gelu"),
    "deep linear": lambda: architectures.build("deep_linear", (D,), C, hidden=[4]),
    "convolution": conv_net,
    "group norm": lambda: nn.Sequential(nn.Linear(D, 8), nn.GroupNorm(2, 8), nn.Tanh(), nn.Linear(8, C)),
    "batch norm": lambda: nn.Sequential(
        nn.Linear(D, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Tanh(), nn.Linear(5, C)
    ),
    "residual": lambda: Residual(),
}


class Residual(nn.Module):
    """A module of a user's own: a method call, a skip connection, a scalar parameter."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(D, D)
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.readout = nn.Linear(D, C)

    def forward(self, x):
        return self.readout(x + self.gain * torch.tanh(self.inner(x)))


def stack(make, runs):
    torch.manual_seed(1)
    modules = [make().double() for _ in range(runs)]
    return modules, stack_parameters(modules)


def targets_for(loss, labels):
    return F.one_hot(labels, C).double() if loss == "mse" else labels


# torch.func.hessian of a BatchNorm in training mode is wrong by up to 0.7 here, and not even symmetric (torch 2.14.1):
# for that layer finite differences are the oracle.
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("network", sorted(set(NETWORKS) - {"batch norm"}))
@pytest.mark.parametrize("runs", [1, 3])
def test_loss_gradient_and_hessian_of_every_run_match_torch_func(network, loss, runs):
    inputs, labels = data()
    targets = targets_for(loss, labels)
    modules, params_RxP = stack(NETWORKS[network], runs)
    problem = Problem(modules[0], inputs, targets, loss)
    point = problem.at(params_RxP, curvature=True)
    hessians = dense_matrix(point.hvp, runs, problem.parameters)
    for r, module in enumerate(modules):

        def loss_of(params_P, module=module):
            named, start = {}, 0
            for name, p in module.named_parameters():
                named[name] = params_P[start : start + p.numel()].view(p.shape)
                start += p.numel()
            outputs = functional_call(module, named, (inputs,))
            if loss == "mse":
                return 0.5 * ((outputs - targets) ** 2).sum() / N
            return F.cross_entropy(outputs, labels)

        torch.testing.assert_close(point.losses_R[r], loss_of(params_RxP[r]))
        torch.testing.assert_close(point.grads_RxP[r], torch.func.grad(loss_of)(params_RxP[r]))
        torch.testing.assert_close(hessians[r], torch.func.hessian(loss_of)(params_RxP[r]), rtol=1e-9, atol=1e-11)


def test_linear_regression_hessian_is_the_input_covariance():
    inputs, labels = data()
    module = architectures.build("deep_linear", (D,), C).double()
    problem = Problem(module, inputs, F.one_hot(labels, C).double(), "mse")
    point = problem.at(flatten_parameters(module)[None], curvature=True)
    (hessian,) = dense_matrix(point.hvp, 1, problem.parameters)
    expected = torch.kron(torch.eye(C, dtype=torch.float64), inputs.T @ inputs / N)
    torch.testing.assert_close(hessian, expected)


def test_softmax_regression_hessian_is_boehnings_closed_form():
    inputs, labels = data()
    module = architectures.build("deep_linear", (D,), C).double()
    params_P = flatten_parameters(module)
    problem = Problem(module, inputs, labels, "cross_entropy")
    (hessian,) = dense_matrix(problem.at(params_P[None], curvature=True).hvp, 1, problem.parameters)
    p_NxC = torch.softmax(inputs @ params_P.view(C, D).T, dim=1)
    fisher_NxCxC = torch.diag_embed(p_NxC) - p_NxC[:, :, None] * p_NxC[:, None, :]
    expected = torch.einsum("nab,ni,nj->aibj", fisher_NxCxC, inputs, inputs).reshape(C * D, C * D) / N
    torch.testing.assert_close(hessian, expected)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("network", NETWORKS)
def test_hessian_vector_product_matches_central_differences_of_the_gradient(network, loss):
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS[network], 2)
    problem = Problem(modules[0], inputs, targets_for(loss, labels), loss)
    v = torch.randn(2, problem.parameters, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    h = 1e-5  # the error is h^2 times a third derivative, which BatchNorm makes large
    difference = (problem.at(params_RxP + h * v).grads_RxP - problem.at(params_RxP - h * v).grads_RxP) / (2 * h)
    torch.testing.assert_close(problem.at(params_RxP, curvature=True).hvp(v), difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk_size", [1, 7, 24, 1000])
@pytest.mark.parametrize("runs", [1, 2])
def test_chunks_change_nothing_beyond_rounding(chunk_size, runs):
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS["fc-tanh"], runs)
    whole = Problem(modules[0], inputs, labels, "cross_entropy").at(params_RxP, curvature=True)
    parts = Problem(modules[0], inputs, labels, "cross_entropy", chunk_size).at(params_RxP, curvature=True)
    vecs_RxPxK = torch.randn(*params_RxP.shape, 3, dtype=torch.float64)
    for name in ("losses_R", "grads_RxP", "outputs_RxNxC"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(parts.hvp(vecs_RxPxK), whole.hvp(vecs_RxPxK), rtol=1e-10, atol=1e-13)


def test_several_vectors_at_once_are_the_single_products():
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS["fc-tanh"], 2)
    point = Problem(modules[0], inputs, labels, "cross_entropy").at(params_RxP, curvature=True)
    vecs_RxPxK = torch.randn(*params_RxP.shape, 4, dtype=torch.float64)
    one_by_one = torch.stack([point.hvp(vecs_RxPxK[:, :, k]) for k in range(4)], dim=-1)
    torch.testing.assert_close(point.hvp(vecs_RxPxK), one_by_one, rtol=0, atol=0)


def test_a_loss_linear_in_the_parameters_has_no_curvature():
    inputs, _ = data()
    module = nn.Linear(D, 1).double()
    point = Problem(module, inputs, torch.zeros(N), "objective").at(flatten_parameters(module)[None], curvature=True)
    assert not point.hvp(torch.ones(1, D + 1, dtype=torch.float64)).any()


def test_mse_is_half_the_sum_over_outputs():
    module = nn.Linear(D, C, bias=False).double()
    inputs, labels = data()
    targets = F.one_hot(labels, C).double()
    point = Problem(module, inputs, targets, "mse").at(flatten_parameters(module)[None])
    expected = nn.MSELoss()(module(inputs), targets) * C / 2
    torch.testing.assert_close(point.losses_R[0], expected.detach())


@pytest.mark.parametrize(
    ("module", "chunk_size", "message"),
    [
        (nn.Sequential(nn.Linear(D, C), nn.Dropout(0.5)), None, "Dropout '1' is random"),
        (nn.Sequential(nn.Linear(D, C), nn.BatchNorm1d(C)), None, "track_running_stats=False"),
        (nn.Sequential(nn.Linear(D, C), nn.BatchNorm1d(C, track_running_stats=False)), 5, "couples the examples"),
    ],
)
def test_a_module_that_is_no_function_of_its_parameters_is_refused(module, chunk_size, message):
    inputs, labels = data()
    with pytest.raises(ValueError, match=message):
        Problem(module, inputs, labels, "cross_entropy", chunk_size)


def test_refusals_name_what_is_wrong():
    inputs, labels = data()
    module = nn.Linear(D, C)
    with pytest.raises(ValueError, match="unknown loss 'mes'"):
        Problem(module, inputs, labels, "mes")
    with pytest.raises(ValueError, match="24 inputs but 5 targets"):
        Problem(module, inputs, labels[:5], "mse")
    problem = Problem(module, inputs.float(), labels, "cross_entropy")
    with pytest.raises(ValueError, match=r"must be R x 21, got \(21,\)"):
        problem.at(flatten_parameters(module))
    with pytest.raises(RuntimeError, match="curvature=True"):
        problem.at(flatten_parameters(module)[None]).hvp(torch.zeros(1, 21))


def curvature_differences(problem, params_P, u_P, v_P, h=3e-5):
    """Central differences of u'H(w)v in every parameter, all of them as one stack."""
    shifts_PxP = h * torch.eye(len(params_P), dtype=params_P.dtype)

    def curvatures(stack_PxP):
        products = problem.at(stack_PxP, curvature=True).hvp(v_P.expand_as(stack_PxP).contiguous())
        return products @ u_P

    return (curvatures(params_P + shifts_PxP) - curvatures(params_P - shifts_PxP)) / (2 * h)


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("network", sorted(set(NETWORKS) - {"batch norm"}))
def test_the_gradient_of_a_curvature_matches_its_central_differences(network, runs, chunk_size):
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS[network], runs)
    problem = Problem(modules[0], inputs, labels, "cross_entropy", chunk_size)
    u_RxP, v_RxP = torch.randn(
        2, *params_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    ).unbind()
    point = problem.at(params_RxP, curvature=True)
    first, again = (point.curvature_gradient(u_RxP, v_RxP) for _ in range(2))
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    for r in range(runs):
        expected = curvature_differences(problem, params_RxP[r], u_RxP[r], v_RxP[r])
        assert float(expected.norm()) > 0.1
        torch.testing.assert_close(first[r], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(point.hvp(u_RxP), problem.at(params_RxP, curvature=True).hvp(u_RxP))


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("loss", ["mse", "objective"])
def test_a_quadratic_loss_has_no_gradient_of_curvature(loss, runs):
    inputs, labels = data()
    outputs = C if loss == "mse" else 1
    modules, params_RxP = stack(lambda: architectures.build("deep_linear", (D,), outputs), runs)
    targets = F.one_hot(labels, C).double() if loss == "mse" else torch.zeros(N)
    point = Problem(modules[0], inputs, targets, loss).at(params_RxP, curvature=True)
    vecs_RxP = torch.ones_like(params_RxP)
    gradient_RxP = point.curvature_gradient(vecs_RxP, vecs_RxP)
    assert gradient_RxP.shape == params_RxP.shape
    assert not gradient_RxP.any()


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_norm_has_no_gradient_of_curvature_to_trust(training):
    inputs, labels = data()
    module = nn.Sequential(nn.Linear(D, C), nn.LayerNorm(C)).double().train(training)
    point = Problem(module, inputs, labels, "cross_entropy").at(flatten_parameters(module)[None], curvature=True)
    with pytest.raises(ValueError, match="LayerNorm '1'"):
        point.curvature_gradient(point.params_RxP, point.params_RxP)


def test_a_batch_norm_has_a_gradient_of_curvature_only_out_of_training():
    inputs, labels = data()
    coupled, plain = (
        nn.Sequential(nn.Linear(D, C), nn.BatchNorm1d(C, track_running_stats=track), nn.Tanh()).double()
        for track in (False, True)
    )
    point = Problem(coupled, inputs, labels, "cross_entropy").at(flatten_parameters(coupled)[None], curvature=True)
    with pytest.raises(ValueError, match="BatchNorm1d '1'"):
        point.curvature_gradient(point.params_RxP, point.params_RxP)
    problem, params_P = Problem(plain.eval(), inputs, labels, "cross_entropy"), flatten_parameters(plain)
    found = problem.at(params_P[None], curvature=True).curvature_gradient(params_P[None], params_P[None])
    expected = curvature_differences(problem, params_P, params_P, params_P)
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_without_running_statistics_couples_the_examples_in_evaluation_too():
    inputs, labels = data()
    module = nn.Sequential(nn.Linear(D, C), nn.BatchNorm1d(C, track_running_stats=False)).double().eval()
    params_1xP = flatten_parameters(module)[None]
    with pytest.raises(ValueError, match="couples the examples"):
        Problem(module, inputs, labels, "cross_entropy", chunk_size=5)
    point = Problem(module, inputs, labels, "cross_entropy").at(params_1xP, curvature=True)
    with pytest.raises(ValueError, match="BatchNorm1d '1'"):
        point.curvature_gradient(params_1xP, params_1xP)


def test_an_instance_norm_couples_no_examples_but_has_no_gradient_of_curvature():
    inputs, labels = data()

    def network(track):
        return nn.Sequential(
            nn.Linear(D, 8), nn.Unflatten(1, (2, 4)), nn.InstanceNorm1d(2, track_running_stats=track), nn.Flatten(),
            nn.Linear(8, C),
        ).double()  # fmt: skip

    with pytest.raises(ValueError, match="InstanceNorm1d '2' changes its running statistics"):
        Problem(network(True), inputs, labels, "cross_entropy")
    module = network(False)
    params_1xP = flatten_parameters(module)[None]
    whole, chunked = (
        Problem(module, inputs, labels, "cross_entropy", size).at(params_1xP, curvature=True) for size in (None, 5)
    )
    torch.testing.assert_close(whole.hvp(params_1xP), chunked.hvp(params_1xP))
    with pytest.raises(ValueError, match=r"InstanceNorm1d .2.: .* missing"):
        whole.curvature_gradient(params_1xP, params_1xP)


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("runs", [1, 3])
def test_a_minibatch_is_the_mean_over_its_rows(runs, loss, chunk_size):
    inputs, labels = data()
    targets = targets_for(loss, labels)
    modules, params_RxP = stack(NETWORKS["fc-tanh"], runs)
    rows_RxB = torch.tensor([[3, 0, 7, 7, 11], [20, 21, 22, 23, 1], [5, 6, 2, 9, 14]])[:runs]
    point = Problem(modules[0], inputs, targets, loss, chunk_size).at(params_RxP, curvature=True, rows_RxB=rows_RxB)
    vecs_RxP = torch.randn(params_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    products_RxP = point.hvp(vecs_RxP)
    for r, (module, rows_B) in enumerate(zip(modules, rows_RxB)):
        outputs = module(inputs[rows_B])
        if loss == "mse":
            mean = 0.5 * (outputs - targets[rows_B]).square().sum() / 5
        else:
            mean = F.cross_entropy(outputs, labels[rows_B])
        gradients = torch.autograd.grad(mean, list(module.parameters()), create_graph=True)
        flat_P = torch.cat([g.reshape(-1) for g in gradients])
        product = torch.autograd.grad(flat_P @ vecs_RxP[r], list(module.parameters()), materialize_grads=True)
        torch.testing.assert_close(point.losses_R[r], mean.detach())
        torch.testing.assert_close(point.grads_RxP[r], flat_P.detach())
        torch.testing.assert_close(products_RxP[r], torch.cat([p.reshape(-1) for p in product]))
        torch.testing.assert_close(point.outputs_RxNxC[r], outputs.detach())


def test_every_run_needs_a_minibatch():
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS["fc-tanh"], 3)
    problem = Problem(modules[0], inputs, labels, "cross_entropy")
    with pytest.raises(ValueError, match="3 runs but minibatches for 2"):
        problem.at(params_RxP, rows_RxB=torch.zeros(2, 5, dtype=torch.long))


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("runs", [1, 3])
def test_the_losses_alone_are_those_of_the_point(runs, chunk_size):
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS["fc-gelu"], runs)
    problem = Problem(modules[0], inputs, labels, "cross_entropy", chunk_size)
    losses_R = problem.losses(params_RxP)
    torch.testing.assert_close(losses_R, problem.at(params_RxP).losses_R, rtol=1e-14, atol=0)
    for r, module in enumerate(modules):
        torch.testing.assert_close(losses_R[r], F.cross_entropy(module(inputs), labels).detach())
    assert not losses_R.requires_grad


def test_a_gradient_of_curvature_needs_curvature():
    inputs, labels = data()
    modules, params_RxP = stack(NETWORKS["fc-tanh"], 1)
    point = Problem(modules[0], inputs, labels, "cross_entropy").at(params_RxP)
    with pytest.raises(RuntimeError, match="curvature=True"):
        point.curvature_gradient(params_RxP, params_RxP)


def test_a_module_that_occurs_twice_is_called_with_other_tensors_and_keeps_its_own():
    shared = nn.Linear(3, 3)
    network = nn.Sequential(shared, nn.Tanh(), shared, nn.BatchNorm1d(3).eval())
    own, x = dict(network.named_parameters()), torch.randn(4, 3)
    others = {name: torch.randn_like(p) for name, p in own.items()} | {"3.running_mean": torch.ones(3)}
    found = Functional(network)(others, x)
    w, b = others["0.weight"], others["0.bias"]
    hidden = torch.tanh(x @ w.T + b) @ w.T + b
    expected = F.batch_norm(hidden, torch.ones(3), torch.ones(3), others["3.weight"], others["3.bias"])
    torch.testing.assert_close(found, expected)
    assert all(p is own[name] for name, p in network.named_parameters()) and network[2] is shared
    with pytest.raises(RuntimeError):
        Functional(network)(others, torch.randn(4, 2))
    assert network[0].weight is own["0.weight"], "also after an error"
