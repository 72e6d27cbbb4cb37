"""Muon (Jordan et al. 2024) on the matrices; Adam on everything else, for torch's Muon takes matrices only.

It orthogonalizes in bfloat16 (five Newton-Schulz steps) whatever the dtype of the parameters.
"""

from collections.abc import Sequence

import torch
from torch import nn

IMPLEMENTATION = "torch.optim.Muon, torch.optim.Adam on vectors"
SOURCE = "Jordan et al. 2024"


def build(
    parameters: Sequence[nn.Parameter], *, lr: float, momentum: float = 0.95, vector_lr: float = 1e-3
) -> list[torch.optim.Optimizer]:
    """``lr`` is for the matrices, ``vector_lr`` Adam's; no weight decay, learning rate unscaled ("original")."""
    matrices = [p for p in parameters if p.ndim == 2]
    others = [p for p in parameters if p.ndim != 2]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=lr, momentum=momentum, weight_decay=0.0))
    if others:
        optimizers.append(torch.optim.Adam(others, lr=vector_lr))
    return optimizers
