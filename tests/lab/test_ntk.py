"""The tangent kernel against computations that share nothing with it, its memory, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp, vjp

from benchmarks.lab import architectures
from benchmarks.lab.ntk import jacobian, tangent_kernel
from benchmarks.lab.problem import flatten_parameters

STATUS = Path("/proc/self/status")


def network(hidden=(7, 6), outputs=3, activation="tanh", **options):
    torch.manual_seed(0)
    return architectures.build("ntk_mlp", (5,), outputs, hidden=hidden, activation=activation, **options).double()


def inputs(count, seed=1):
    return torch.randn(count, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layerwise(module, left, right):
    """Sum over layers of the Gram matrix of inputs times that of back-propagated sensitivities: no Jacobian."""

    def passes(x):
        layers = [child for child in module if hasattr(child, "weight")]
        seen, hooks = {}, []
        for layer in layers:
            hooks.append(layer.register_forward_hook(lambda m, args, out: seen.__setitem__(m, (args[0], out))))
        out = module(x)
        found = []
        for layer in layers:
            before, after = seen[layer]
            rows = [torch.autograd.grad(out[:, c].sum(), after, retain_graph=True)[0] for c in range(out.shape[1])]
            found.append((before.detach(), layer.factor * torch.stack(rows, dim=1)))
        for hook in hooks:
            hook.remove()
        return found

    total = 0.0
    for (a, d), (b, e) in zip(passes(left), passes(right)):
        total = total + torch.einsum("nci,mdi,nm->ncmd", d, e, a @ b.T)
    return total.reshape(total.shape[0] * total.shape[1], -1).detach()


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_it_is_the_layerwise_formula(activation):
    module, x, z = network(activation=activation), inputs(6), inputs(4, 2)
    torch.testing.assert_close(tangent_kernel(module, x), layerwise(module, x, x), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(tangent_kernel(module, x, z), layerwise(module, x, z), rtol=1e-12, atol=1e-13)


def test_it_is_the_product_of_forward_and_backward_derivatives():
    module, x = network(), inputs(5)
    names = [name for name, _ in module.named_parameters()]
    values = tuple(p.detach() for p in module.parameters())

    def outputs(*parts):
        return functional_call(module, dict(zip(names, parts)), (x,))

    out, pull = vjp(outputs, *values)
    columns = [jvp(outputs, values, pull(e.view_as(out)))[1].flatten() for e in torch.eye(out.numel()).double()]
    torch.testing.assert_close(tangent_kernel(module, x), torch.stack(columns, 1), rtol=1e-12, atol=1e-13)


def test_it_is_what_a_small_step_changes():
    """f(w - s grad) - f(w) = -s K (dL/df), by differences in the step."""
    module, x = network(), inputs(6)
    kernel = tangent_kernel(module, x)
    out = module(x)
    module.zero_grad()
    (0.5 * out.square().sum()).backward()
    expected = -(kernel @ out.detach().flatten())
    moved = []
    for step in (1e-5, -1e-5):
        weights = {name: p.detach() - step * p.grad for name, p in module.named_parameters()}
        moved.append(functional_call(module, weights, (x,)).detach().flatten())
    torch.testing.assert_close((moved[0] - moved[1]) / 2e-5, expected, rtol=1e-7, atol=1e-8)


def test_blocks_change_nothing_but_rounding():
    module, x, z = network(), inputs(9), inputs(4, 2)
    size = 3 * 42 * 8  # an example's rows in the largest tensor, bytes
    for examples in (1, 2, 4):
        tight = {"memory": 9 * 9 * 9 * 8 + 4 * examples * size}
        torch.testing.assert_close(
            tangent_kernel(module, x, **tight), tangent_kernel(module, x), rtol=1e-12, atol=1e-13
        )
        torch.testing.assert_close(tangent_kernel(module, x, z, **tight), tangent_kernel(module, x, z))


def test_a_convolution_has_one_too():
    torch.manual_seed(0)
    module = architectures.build("cnn", (3, 8, 8), 2, channels=[4, 4], activation="tanh").double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    flat = torch.cat([p.reshape(-1) for p in module.parameters()])
    rows = []
    for out in module(x).flatten():
        grads = torch.autograd.grad(out, list(module.parameters()), retain_graph=True)
        rows.append(torch.cat([g.reshape(-1) for g in grads]))
    jacobian = torch.stack(rows)
    assert jacobian.shape[1] == len(flat)
    torch.testing.assert_close(tangent_kernel(module, x), jacobian @ jacobian.T, rtol=1e-11, atol=1e-12)


def test_what_does_not_fit_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r"needs at least .* MiB .* fewer examples, a narrower network or more memory"):
        tangent_kernel(network(hidden=(400, 400)), inputs(50), memory=2**20)


def test_it_is_of_what_is_trained_and_at_the_parameters_that_are_given():
    module, other, x = network(), network(hidden=(7, 6)), inputs(4)
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1.5)
    for net in (module, other):
        net[1].weight.requires_grad_(False)
        net[1].weight.data.copy_(module[1].weight)
    params_P = flatten_parameters(other)
    rows = jacobian(module, x, params_P).flatten(0, 1)
    assert rows.shape == (4 * 3, len(params_P))
    torch.testing.assert_close(tangent_kernel(module, x, params_P=params_P), rows @ rows.T)
    torch.testing.assert_close(tangent_kernel(other, x), rows @ rows.T)


def test_a_network_that_couples_examples_is_refused():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1)).double()
    with pytest.raises(ValueError, match="BatchNorm1d '1' couples the examples"):
        tangent_kernel(module, inputs(5))


@pytest.mark.skipif(not STATUS.exists(), reason="this system does not tell a process's own peak")
def test_memory_stays_below_its_bound():
    """Peak resident memory of a process, above that before the kernel."""
    program = """
import torch
from benchmarks.lab import architectures
from benchmarks.lab.ntk import tangent_kernel

def peak():  # not ru_maxrss, which a process inherits from the one that started it
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

torch.manual_seed(0)
module = architectures.build("ntk_mlp", (20,), 1, hidden=[1000, 1000], activation="tanh")
x = torch.randn(100, 20)
tangent_kernel(module, x[:2], memory=2**26)
before = peak()
tangent_kernel(module, x, memory=2**27)
print(peak() - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert 2**24 < grown < 1.5 * 2**27


def test_ntk_parametrization_keeps_the_kernel_and_the_size_of_outputs_as_width_grows():
    def measured(width, **options):
        found = []
        for seed in range(40):
            torch.manual_seed(seed)
            module = architectures.build("ntk_mlp", (5,), 1, hidden=[width, width], activation="relu", **options)
            x = inputs(1).float() * 5**0.5 / inputs(1).float().norm()
            found.append((float(module(x).detach()) ** 2, float(tangent_kernel(module, x))))
        return np.mean(found, axis=0)

    for width in (32, 256):  # with ReLU's gain every layer adds one to the kernel of an input of norm sqrt(D)
        outputs, kernel = measured(width)
        assert 0.4 < outputs < 2 and kernel == pytest.approx(3, rel=0.25)
    assert measured(256, readout="mean-field")[1] == pytest.approx(3 / 256, rel=0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"readout": "other"}, "unknown readout 'other': known are mean-field, ntk"), ({"hidden": []}, "needs a hidden")],
)
def test_what_an_ntk_mlp_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
