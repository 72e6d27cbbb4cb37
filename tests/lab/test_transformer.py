"""Transformers against torch's own attention and encoder, and their curvature against differences of gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.lab import architectures
from benchmarks.lab.architectures.transformer import Attention, Block, Patches
from benchmarks.lab.problem import Problem, stack_parameters

IMAGES = dict(input_shape=(2, 8, 4), outputs=3, width=8, heads=2, layers=2, patch=2)
TOKENS = dict(input_shape=(5,), outputs=7, width=6, heads=3, layers=1, vocabulary=7)
KINDS = {"patches": IMAGES, "tokens": TOKENS}


def batch(kind, examples=6):
    generator = torch.Generator().manual_seed(0)
    if kind == "tokens":
        return torch.randint(0, 7, (examples, 5), generator=generator)
    return torch.randn(examples, 2, 8, 4, dtype=torch.float64, generator=generator)


def network(kind, seed=0, **options):
    (module,) = architectures.build_stack("transformer", seeds=[seed], **{**KINDS[kind], **options})
    return module.double()


def problem(kind, **options):
    labels = torch.arange(6) % 3
    return Problem(network(kind, **options), batch(kind), labels, "cross_entropy")


@pytest.mark.parametrize("kind", KINDS)
def test_a_transformer_has_its_outputs_and_positions(kind):
    module = network(kind)
    assert module(batch(kind)).shape == (6, KINDS[kind]["outputs"])
    assert module.positions.shape == {"patches": (8, 8), "tokens": (5, 6)}[kind]
    assert len(module.blocks) == KINDS[kind]["layers"]


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("normalise", [False, True])
def test_attention_is_torchs(heads, normalise):
    torch.manual_seed(0)
    attention = Attention(8, heads, normalise).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    pieces = zip(attention.project.weight.chunk(3), attention.project.bias.chunk(3))
    q, k, v = (F.linear(x, w, b).view(3, 5, heads, 8 // heads).transpose(1, 2) for w, b in pieces)
    scale = None
    if normalise:
        with torch.no_grad():
            attention.temperature.copy_(torch.linspace(0.5, 3, heads).view(heads, 1, 1))
        # A head's queries bring its temperature, for torch's scale is one number.
        q = q / q.norm(dim=-1, keepdim=True) * attention.temperature
        k = k / k.norm(dim=-1, keepdim=True)
        scale = 1.0
    mixed = F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x), attention.out(mixed), rtol=1e-10, atol=1e-12)


def test_the_temperature_starts_where_a_unit_query_meets_unit_keys_as_usual():
    assert Attention(8, 2, True).temperature.flatten().tolist() == [2.0, 2.0]
    assert Attention(8, 2, False).temperature is None


@pytest.mark.parametrize("normalise", [False, True])
def test_a_block_is_torchs_pre_norm_encoder_layer(normalise):
    torch.manual_seed(0)
    block = Block(8, 2, normalise).double()
    block.attention.temperature = None
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    layer = layer.double()
    if normalise:
        for norm in (block.before_attention, block.before_mlp):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        layer.norm1, layer.norm2 = block.before_attention, block.before_mlp
    else:
        layer.norm1, layer.norm2 = nn.Identity(), nn.Identity()
    layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias = block.attention.project.parameters()
    layer.self_attn.out_proj = block.attention.out
    layer.linear1, layer.linear2 = block.mlp[0], block.mlp[2]
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), layer(x), rtol=1e-10, atol=1e-12)


def test_patches_are_squares_row_by_row():
    images = torch.arange(2 * 3 * 6 * 4, dtype=torch.float64).view(2, 3, 6, 4)
    cut = Patches(2)(images)
    assert cut.shape == (2, 6, 12)
    for n in range(2):
        for row in range(3):
            for column in range(2):
                square = images[n, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert cut[n, 2 * row + column].tolist() == square.flatten().tolist()
    # Pooled or sliced images are not contiguous.
    strided = images[:, :, ::3, ::2]
    assert Patches(2)(strided).tolist() == strided.flatten(1)[:, None].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_read_off_the_mean_position_and_tokens_off_the_last(kind):
    module = network(kind)
    nn.init.normal_(module.norm.weight)
    seen = []
    module.norm.register_forward_hook(lambda _, __, output: seen.append(output))
    outputs = module(batch(kind))
    read = seen[0].mean(1) if kind == "patches" else seen[0][:, 4]
    torch.testing.assert_close(outputs, read @ module.readout.weight.T + module.readout.bias)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_told_apart(kind):
    module = network(kind)
    inputs = batch(kind)
    swapped = inputs.clone()
    if kind == "patches":
        swapped[:, :, 0:2], swapped[:, :, 2:4] = inputs[:, :, 2:4], inputs[:, :, 0:2]
    else:  # not the last one, which is read off
        swapped[:, [0, 1]] = inputs[:, [1, 0]]
    assert (module(inputs) - module(swapped)).abs().max() > 1e-6
    with torch.no_grad():
        module.positions.zero_()
    torch.testing.assert_close(module(inputs), module(swapped), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(heads=3), "3 heads do not divide a width of 8"),
        (dict(patch=3), r"images of \(8, 4\) pixels cannot be cut into patches of 3"),
        (dict(patch=8), r"images of \(8, 4\) pixels cannot be cut into patches of 8"),
        (dict(patch=0), "give a patch for images or a vocabulary for tokens, not both"),
        (dict(vocabulary=5), "not both"),
        (dict(patch=0, vocabulary=5), r"inputs \(2, 8, 4\)"),
        (dict(input_shape=(5,)), r"inputs \(5,\)"),
        (dict(input_shape=(8, 4)), r"inputs \(8, 4\)"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        architectures.build("transformer", **{**IMAGES, **changes})


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_curvature_is_the_difference_of_gradients(kind, normalise):
    system = problem(kind, normalise=normalise)
    generator = torch.Generator().manual_seed(1)
    params_1xP = stack_parameters([network(kind, normalise=normalise)])
    # Away from LayerNorm's and the temperatures' symmetric start.
    params_1xP = params_1xP + 0.1 * torch.randn(params_1xP.shape, dtype=torch.float64, generator=generator)
    direction = torch.randn(params_1xP.shape, dtype=torch.float64, generator=generator)
    step = 3e-7
    ahead, behind = (system.at(params_1xP + sign * step * direction).grads_RxP for sign in (1, -1))
    found = system.at(params_1xP, curvature=True).hvp(direction)
    difference = (ahead - behind) / (2 * step)
    assert (found - difference).norm() < 1e-6 * difference.norm()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_its_single_runs(kind, normalise):
    system = problem(kind, normalise=normalise)
    stack_RxP = stack_parameters([network(kind, seed, normalise=normalise) for seed in range(3)])
    directions_RxP = torch.randn(stack_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    whole = system.at(stack_RxP, curvature=True)
    products_RxP = whole.hvp(directions_RxP)
    assert len({round(loss, 9) for loss in whole.losses_R.tolist()}) == 3
    for r in range(3):
        single = system.at(stack_RxP[r : r + 1], curvature=True)
        torch.testing.assert_close(whole.losses_R[r : r + 1], single.losses_R, rtol=1e-10, atol=0)
        torch.testing.assert_close(whole.grads_RxP[r : r + 1], single.grads_RxP, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(
            products_RxP[r : r + 1], single.hvp(directions_RxP[r : r + 1]), rtol=1e-8, atol=1e-12
        )
