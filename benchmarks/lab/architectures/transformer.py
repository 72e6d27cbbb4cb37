"""Small pre-norm transformers, over patches of images or over tokens (Vaswani et al. 2017; Dosovitskiy et al. 2021)."""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Self-attention written out, because torch's fused kernels have no second derivative on a CPU.

    With ``normalise``, queries and keys have unit length and are compared at a trained temperature (Henry et al. 2020).
    """

    def __init__(self, width: int, heads: int, normalise: bool):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), sqrt(width / heads))) if normalise else None

    def forward(self, x_NxTxW: Tensor) -> Tensor:
        N, T, W = x_NxTxW.shape
        q, k, v = self.project(x_NxTxW).view(N, T, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
        if self.temperature is None:
            scores = q @ k.transpose(-1, -2) / sqrt(W / self.heads)
        else:
            scores = self.temperature * (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(N, T, W))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, normalise: bool):
        super().__init__()
        self.before_attention, self.before_mlp = (nn.LayerNorm(width) if normalise else nn.Identity() for _ in range(2))
        self.attention = Attention(width, heads, normalise)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x_NxTxW: Tensor) -> Tensor:
        x_NxTxW = x_NxTxW + self.attention(self.before_attention(x_NxTxW))
        return x_NxTxW + self.mlp(self.before_mlp(x_NxTxW))


class Patches(nn.Module):
    """Images cut into squares, each a row of pixels."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        N, C, H, W = images.shape
        s = self.side
        cut = images.view(N, C, H // s, s, W // s, s).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(N, (H // s) * (W // s), C * s * s)


class Transformer(nn.Module):
    """Reads out the mean over positions of images, and the last position of tokens."""

    def __init__(self, embedding: nn.Module, positions: int, outputs: int, options: tuple, layers: int, last: bool):
        super().__init__()
        width, _, normalise = options
        self.embedding = embedding
        self.positions = nn.Parameter(0.02 * torch.randn(positions, width))
        self.blocks = nn.Sequential(*(Block(*options) for _ in range(layers)))
        self.norm = nn.LayerNorm(width) if normalise else nn.Identity()
        self.readout = nn.Linear(width, outputs)
        self.last = last

    def forward(self, inputs: Tensor) -> Tensor:
        x_NxTxW = self.norm(self.blocks(self.embedding(inputs) + self.positions))
        return self.readout(x_NxTxW[:, -1] if self.last else x_NxTxW.mean(1))


def build(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int,
    heads: int,
    layers: int,
    patch: int = 0,
    vocabulary: int = 0,
    normalise: bool = True,
) -> nn.Module:
    """``patch``: side of the squares of images (channels x height x width); ``vocabulary``: number of tokens, where the
    inputs are whole numbers (length). ``normalise: false`` leaves out LayerNorm and the normalised queries and keys.

    Raises:
        ValueError: if the inputs are neither, if ``heads`` does not divide ``width``, or ``patch`` a side.
    """
    if width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}")
    if len(input_shape) == 3 and patch and not vocabulary:
        channels, height, breadth = input_shape
        if height % patch or breadth % patch:
            raise ValueError(f"images of {(height, breadth)} pixels cannot be cut into patches of {patch}")
        positions = (height // patch) * (breadth // patch)
        embedding: nn.Module = nn.Sequential(Patches(patch), nn.Linear(channels * patch**2, width))
    elif len(input_shape) == 1 and vocabulary and not patch:
        positions, embedding = input_shape[0], nn.Embedding(vocabulary, width)
    else:
        raise ValueError(f"inputs {tuple(input_shape)}: give a patch for images or a vocabulary for tokens, not both")
    return Transformer(embedding, positions, outputs, (width, heads, normalise), layers, last=bool(vocabulary))
