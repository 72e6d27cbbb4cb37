"""The networks beside a network: its linear twin, and the one that learns in its first order alone."""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from benchmarks.studies.low_rank_progression import networks
from benchmarks.studies.low_rank_progression.networks import Linearized, scaled

__all__ = ["Linearized", "linear_twin", "scaled", "single_layer"]

BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def linear_twin(module: nn.Module, shape: Sequence[int], tokens: int = 0) -> nn.Module:
    """The network without what makes it nonlinear, with copies of its other weights.

    Activations and normalizations become identities, and so does a block with attention: what is left of a transformer
    is its zero-layer model (Elhage et al. 2021).

    Args:
        shape: of one input.
        tokens: how many there are, where inputs are whole numbers; 0 where they are not.

    Raises:
        ValueError: if what is left is not linear in its inputs, of which those of tokens are one-hot.
    """
    twin = deepcopy(module)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BLOCKS) or hasattr(child, "attention"):
                setattr(parent, name, nn.Identity())
    if not tokens:
        return networks.linear_twin(twin, shape)
    twin = networks.without_nonlinearities(twin)
    _require_local(twin, shape, tokens)
    return twin


def single_layer(shape: Sequence[int], outputs: int, tokens: int = 0) -> nn.Module:
    """One linear layer on the inputs, from zero: it learns what the data's spectrum says, and no features."""
    layer = nn.Embedding(tokens, outputs) if tokens else nn.Linear(math.prod(shape), outputs)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer if tokens else nn.Sequential(nn.Flatten(), layer)


def _require_local(twin: nn.Module, shape: Sequence[int], tokens: int) -> None:
    """Any function of one token is linear in its one-hot vector: what remains to ask is that it is of one token."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(tokens, (1, *shape), generator=generator) for _ in range(2))
    other[0, -1] = one[0, -1]
    with torch.no_grad():
        last, same = (_last(twin(ids)) for ids in (one, other))
    if not torch.allclose(last, same, rtol=1e-5, atol=1e-6 * float(last.abs().max())):
        raise ValueError(
            "the network has no linear twin: without its blocks of attention, its output at a token still depends on "
            "other tokens. Name the child of a block that attends `attention`"
        )


def _last(outputs: Tensor) -> Tensor:
    return outputs[:, -1] if outputs.ndim == 3 else outputs
