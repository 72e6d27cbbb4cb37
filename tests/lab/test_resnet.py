"""ResNet-8 against torchvision's basic block; the loss as a function of parameters with BatchNorm in it."""

import pytest
import torch
from torch.func import functional_call, jvp
from torchvision.models.resnet import BasicBlock

from benchmarks.lab import architectures
from benchmarks.lab.architectures.resnet import Block
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.studies.low_rank_progression.networks import linear_twin

SHAPE = (2, 8, 8)


def networks(seeds=(0,), **options):
    stack = architectures.build_stack("resnet", SHAPE, 3, seeds, **{"channels": 2, **options})
    return [module.double() for module in stack]


def images(examples=6):
    return torch.randn(examples, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def problem(modules, **options):
    return Problem(modules, images(), torch.arange(6) % 3, "cross_entropy", **options)


def away(modules):
    """Parameters at which no gain is 1 and no offset 0."""
    params_RxP = stack_parameters(modules)
    noise = torch.randn(params_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return params_RxP + 0.1 * noise


def test_resnet_8_has_its_parameters():
    module = architectures.build("resnet", (3, 32, 32), 10)
    assert sum(p.numel() for p in module.parameters()) == 78_042
    assert module(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("fan_in", "channels", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_a_block_is_torchvisions(fan_in, channels, stride):
    torch.manual_seed(0)
    block = Block(fan_in, channels, stride, "relu").double()
    for p in block.parameters():
        torch.nn.init.normal_(p)
    theirs = BasicBlock(fan_in, channels, stride, None if stride == 1 else block.shortcut).double().train()
    theirs.conv1.weight, theirs.bn1.weight, theirs.bn1.bias = list(block.branch.parameters())[:3]
    theirs.conv2.weight, theirs.bn2.weight, theirs.bn2.bias = list(block.branch.parameters())[3:]
    x = torch.randn(5, fan_in, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), theirs(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (28, 28)])
def test_images_may_have_any_size_from_8_on(size):
    assert architectures.build("resnet", (1, *size), 4)(torch.randn(2, 1, *size)).shape == (2, 4)


@pytest.mark.parametrize("shape", [(3, 7, 32), (3, 32, 4), (192,)])
def test_smaller_images_and_other_inputs_are_refused(shape):
    with pytest.raises(ValueError, match="images of at least 8 x 8 pixels"):
        architectures.build("resnet", shape, 10)


def test_convolutions_start_with_variance_two_over_fan_in():
    torch.manual_seed(0)
    module = architectures.build("resnet", (3, 8, 8), 10, channels=64)
    weight = module[5].branch[3].weight.detach()
    assert float(weight.std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.01)


def test_the_statistics_are_those_of_the_batch_in_training_and_out_of_it():
    (module,) = networks()
    assert not list(module.buffers())
    outputs = module.train()(images())
    torch.testing.assert_close(module.eval()(images()), outputs)
    assert (module(images()[:3]) - outputs[:3]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="BatchNorm2d '1' couples the examples of a batch"):
        problem([module], chunk_size=3)


def test_curvature_is_the_difference_of_gradients_and_third_derivatives_are_refused():
    modules = networks(activation="gelu")
    system, params_1xP = problem(modules), away(modules)
    direction = torch.randn(params_1xP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    step = 1e-6
    ahead, behind = (system.at(params_1xP + sign * step * direction).grads_RxP for sign in (1, -1))
    point = system.at(params_1xP, curvature=True)
    difference = (ahead - behind) / (2 * step)
    assert (point.hvp(direction) - difference).norm() < 1e-6 * difference.norm()
    with pytest.raises(ValueError, match="third derivative of this network is missing"):
        point.curvature_gradient(direction, direction)


def test_forward_derivatives_are_differences_of_outputs():
    (module,) = networks(activation="gelu")
    start = {name: p.detach() for name, p in module.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    move = {name: torch.randn(p.shape, dtype=p.dtype, generator=generator) for name, p in start.items()}

    def outputs(weights):
        return functional_call(module, weights, (images(),))

    _, change = jvp(outputs, (start,), (move,))
    ahead, behind = (outputs({n: p + sign * 1e-6 * move[n] for n, p in start.items()}) for sign in (1, -1))
    torch.testing.assert_close(change, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-6)


def test_a_stack_is_its_single_runs_under_vmap():
    modules = networks(seeds=(1, 2, 3))
    system, params_RxP = problem(modules), away(modules)
    rows_RxB = torch.tensor([[0, 1, 2, 3], [2, 3, 4, 5], [5, 1, 0, 4]])
    for rows in (None, rows_RxB):
        whole = system.at(params_RxP, rows_RxB=rows)
        assert system._vmap
        for r in range(3):
            single = system.at(params_RxP[r : r + 1], rows_RxB=None if rows is None else rows[r : r + 1])
            torch.testing.assert_close(whole.losses_R[r : r + 1], single.losses_R, rtol=1e-10, atol=0)
            torch.testing.assert_close(whole.grads_RxP[r : r + 1], single.grads_RxP, rtol=1e-8, atol=1e-12)


def test_it_has_a_linear_twin():
    (module,) = networks()
    twin = linear_twin(module, SHAPE)
    normalisers = sum(p.numel() for p in module.parameters() if p.ndim == 1) - 3  # the readout's three biases stay
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in module.parameters()) - normalisers
