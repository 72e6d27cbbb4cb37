"""Decoder-only transformers, which predict the next token at every position (Radford et al. 2019), in the size and with
the initialization of nanoGPT (Karpathy 2022).

Pre-norm blocks of causal attention and a GELU perceptron four times as wide, learned positions, a last LayerNorm, and
an unembedding of its own (GPT-2 ties it to the embedding). No dropout. Without layers what is left is an embedding and
an unembedding: logits that depend on the token at the same position alone, so that it can learn bigrams and nothing
else (Elhage et al. 2021, "Zero-layer transformers"). PyTorch's third derivative of LayerNorm is wrong, so with layers
`Point.curvature_gradient` is refused (docs/explanation/curvature.md).
"""

from math import sqrt

import torch
from torch import Tensor, nn

STANDARD_DEVIATION = 0.02


class CausalAttention(nn.Module):
    """Each position attends to itself and those before it. Written out, for torch's fused kernels have neither second
    nor forward-mode derivatives on a CPU."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.register_buffer("later_TxT", torch.ones(context, context, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x_NxTxW: Tensor) -> Tensor:
        N, T, W = x_NxTxW.shape
        q, k, v = self.project(x_NxTxW).view(N, T, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / sqrt(W / self.heads)
        weights = scores.masked_fill(self.later_TxT[:T, :T], float("-inf")).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(N, T, W))


class Block(nn.Module):
    """x + attention(norm x), then x + mlp(norm x); N x T x width."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads, context)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_NxTxW: Tensor) -> Tensor:
        x_NxTxW = x_NxTxW + self.attention(self.before_attention(x_NxTxW))
        return x_NxTxW + self.mlp(self.before_mlp(x_NxTxW))


class Positions(nn.Module):
    """Adds a learned vector per position."""

    def __init__(self, context: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(STANDARD_DEVIATION * torch.randn(context, width))

    def forward(self, x_NxTxW: Tensor) -> Tensor:
        return x_NxTxW + self.weight[: x_NxTxW.shape[1]]


def build(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int,
    heads: int,
    layers: int,
    vocabulary: int,
    context: int = 0,
) -> nn.Module:
    """N x T token ids (int64, 0 to vocabulary - 1) to N x T x vocabulary logits; T may be anything up to the context.

    Weights start Gaussian with standard deviation 0.02, those that write into the residual stream with 0.02 /
    sqrt(2 layers), biases at 0.

    Args:
        input_shape: the length of a sequence, in tokens.
        outputs: logits per position, the vocabulary.
        layers: blocks; 0 leaves out positions and LayerNorm too, and ``heads`` and ``context`` then say nothing.
        context: the longest sequence; that of ``input_shape`` if it is 0.

    Raises:
        ValueError: for inputs that are no sequences or longer than the context, for outputs that are not the
            vocabulary, if ``heads`` does not divide ``width``, or for a negative number of layers.
    """
    if len(input_shape) != 1:
        raise ValueError(f"inputs {tuple(input_shape)}: a gpt needs sequences of tokens")
    context = context or input_shape[0]
    if input_shape[0] > context:
        raise ValueError(f"sequences of {input_shape[0]} tokens are longer than a context of {context}")
    if outputs != vocabulary:
        raise ValueError(f"a gpt has a logit for each of the {vocabulary} tokens, not {outputs}")
    if layers < 0 or heads < 1 or width % heads:
        raise ValueError(f"{layers} layers, {heads} heads, a width of {width}: layers >= 0, and heads divide the width")
    embedding, unembedding = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary, bias=False)
    if layers == 0:
        network = nn.Sequential(embedding, unembedding)
    else:
        blocks = [Block(width, heads, context) for _ in range(layers)]
        network = nn.Sequential(embedding, Positions(context, width), *blocks, nn.LayerNorm(width), unembedding)
    network.apply(_initialize)
    for block in network.children():
        if isinstance(block, Block):
            for residual in (block.attention.out, block.mlp[2]):
                nn.init.normal_(residual.weight, std=STANDARD_DEVIATION / sqrt(2 * layers))
    return network


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=STANDARD_DEVIATION)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
