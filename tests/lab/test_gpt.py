"""Decoder-only transformers against torch's own layer; causality, bigrams, derivatives."""

from math import sqrt

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp

from benchmarks.lab import architectures
from benchmarks.lab.architectures.gpt import Block
from benchmarks.lab.loop import descend, last
from benchmarks.lab.optimizers.adam import adam
from benchmarks.lab.problem import Problem, stack_parameters

V, T = 7, 5
SMALL = dict(width=8, heads=2, layers=2, vocabulary=V)


def networks(seeds=(0,), **options):
    return [m.double() for m in architectures.build_stack("gpt", (T,), V, seeds, **{**SMALL, **options})]


def text(sequences=6, length=T, seed=0):
    return torch.randint(V, (sequences, length), generator=torch.Generator().manual_seed(seed))


def problem(modules):
    whole = text(length=T + 1)
    return Problem(modules, whole[:, :-1], whole[:, 1:], "cross_entropy")


def away(modules):
    """Parameters far from the small ones at the start, where attention hardly looks anywhere."""
    params_RxP = stack_parameters(modules)
    noise = torch.randn(params_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return params_RxP + 0.3 * noise


def test_it_has_the_parameters_of_nanogpt_with_an_unembedding_of_its_own():
    module = architectures.build("gpt", (64,), 65, width=64, heads=4, layers=2, vocabulary=65)
    block = 12 * 64**2 + 13 * 64  # four and eight squares of the width; biases and two LayerNorms
    assert sum(p.numel() for p in module.parameters()) == 2 * 65 * 64 + 64 * 64 + 2 * block + 2 * 64
    assert module(torch.zeros(3, 64, dtype=torch.long)).shape == (3, 64, 65)


def test_weights_start_as_in_nanogpt():
    torch.manual_seed(0)
    module = architectures.build("gpt", (64,), 500, width=64, heads=4, layers=8, vocabulary=500)
    block = module[2]
    assert isinstance(block, Block)
    plain = [module[0].weight, module[1].weight, module[-1].weight, block.attention.project.weight, block.mlp[0].weight]
    residual = [block.attention.out.weight, block.mlp[2].weight]
    for weights, deviation in ((plain, 0.02), (residual, 0.02 / sqrt(16))):
        for weight in weights:
            assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.05)
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.LayerNorm) and child.bias is not None:
            assert not child.bias.any()


def test_a_block_is_torchs_pre_norm_layer_with_a_causal_mask():
    torch.manual_seed(0)
    block = Block(8, 2, context=9).double()
    layer = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    layer = layer.double()
    for norm in (block.before_attention, block.before_mlp):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    layer.norm1, layer.norm2 = block.before_attention, block.before_mlp
    layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias = block.attention.project.parameters()
    layer.self_attn.out_proj = block.attention.out
    layer.linear1, layer.linear2 = block.mlp[0], block.mlp[2]
    x = torch.randn(3, T, 8, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
    torch.testing.assert_close(block(x), layer(x, src_mask=mask, is_causal=True), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_logit_depends_on_no_later_token_and_with_layers_on_all_before(layers):
    (module,) = networks(layers=layers)
    for p in module.parameters():
        nn.init.normal_(p)
    tokens = text()
    outputs = module(tokens)
    for place in range(T):
        changed = tokens.clone()
        changed[:, place] = (tokens[:, place] + 1) % V
        moved_T = (module(changed) - outputs).abs().amax((0, 2)) > 1e-9
        expected = [t >= place if layers else t == place for t in range(T)]
        assert moved_T.tolist() == expected


def test_without_layers_there_are_two_matrices_that_learn_bigrams_and_nothing_else():
    """The next token is the sum of the last two, so that two of them tell it and one does not."""
    tokens = torch.randint(3, (200, 12), generator=torch.Generator().manual_seed(0))
    for t in range(2, 12):
        tokens[:, t] = (tokens[:, t - 1] + tokens[:, t - 2]) % 3
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    counts = torch.zeros(3, 3, dtype=torch.float64)
    counts.index_put_((inputs.flatten(), targets.flatten()), torch.ones((), dtype=torch.float64), accumulate=True)
    best = -float((counts * (counts / counts.sum(1, keepdim=True)).log()).sum() / counts.sum())
    torch.manual_seed(0)
    module = architectures.build("gpt", (11,), 3, width=4, heads=1, layers=0, vocabulary=3).double()
    assert [tuple(p.shape) for p in module.parameters()] == [(3, 4), (3, 4)]
    end = last(
        descend(Problem(module, inputs, targets, "cross_entropy"), stack_parameters([module]), adam(lr=0.05), steps=300)
    )
    assert best <= float(end.losses_R) < best + 1e-4


def test_shorter_sequences_are_the_beginnings_of_longer_ones():
    (module,) = networks(context=9)
    tokens = text(length=9)
    torch.testing.assert_close(module(tokens[:, :4]), module(tokens)[:, :4])


@pytest.mark.parametrize("layers", [0, 2])
def test_curvature_is_the_difference_of_gradients(layers):
    modules = networks(layers=layers)
    system, params_1xP = problem(modules), away(modules)
    direction = torch.randn(params_1xP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ahead, behind = (system.at(params_1xP + sign * 1e-6 * direction).grads_RxP for sign in (1, -1))
    found = system.at(params_1xP, curvature=True).hvp(direction)
    difference = (ahead - behind) / 2e-6
    assert (found - difference).norm() < 1e-6 * difference.norm()


def test_third_derivatives_are_refused_where_there_is_a_layernorm():
    modules = networks()
    point = problem(modules).at(away(modules), curvature=True)
    with pytest.raises(ValueError, match="PyTorch's third derivative of this network is wrong"):
        point.curvature_gradient(point.params_RxP, point.params_RxP)


@pytest.mark.parametrize("layers", [0, 2])
def test_forward_derivatives_are_differences_of_outputs(layers):
    (module,) = networks(layers=layers)
    generator = torch.Generator().manual_seed(3)
    start = {name: torch.randn(p.shape, dtype=p.dtype, generator=generator) for name, p in module.named_parameters()}
    move = {name: torch.randn(p.shape, dtype=p.dtype, generator=generator) for name, p in start.items()}

    def outputs(weights):
        return functional_call(module, weights, (text(),))

    _, change = jvp(outputs, (start,), (move,))
    ahead, behind = (outputs({n: p + sign * 1e-6 * move[n] for n, p in start.items()}) for sign in (1, -1))
    torch.testing.assert_close(change, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [0, 2])
def test_a_stack_is_its_single_runs_under_vmap(layers):
    modules = networks(seeds=(1, 2, 3), layers=layers)
    system, params_RxP = problem(modules), away(modules)
    vecs_RxP = torch.randn(params_RxP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    whole = system.at(params_RxP, curvature=True)
    assert system._vmap
    products_RxP = whole.hvp(vecs_RxP)
    for r in range(3):
        single = system.at(params_RxP[r : r + 1], curvature=True)
        torch.testing.assert_close(whole.losses_R[r : r + 1], single.losses_R, rtol=1e-10, atol=0)
        torch.testing.assert_close(whole.grads_RxP[r : r + 1], single.grads_RxP, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(products_RxP[r : r + 1], single.hvp(vecs_RxP[r : r + 1]), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "outputs", "changes", "message"),
    [
        ((3, 8, 8), V, {}, "needs sequences of tokens"),
        ((T,), 10, {}, "a logit for each of the 7 tokens, not 10"),
        ((T,), V, dict(heads=3), "heads divide the width"),
        ((T,), V, dict(layers=-1), "layers >= 0"),
        ((T,), V, dict(context=4), "sequences of 5 tokens are longer than a context of 4"),
    ],
)
def test_what_cannot_be_built_is_refused(shape, outputs, changes, message):
    with pytest.raises(ValueError, match=message):
        architectures.build("gpt", shape, outputs, **{**SMALL, **changes})
