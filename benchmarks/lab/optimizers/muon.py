"""Muon (Jordan et al. 2024) on the matrices; Adam on everything else, for torch's Muon takes matrices only.

It orthogonalizes in bfloat16 whatever the dtype of the parameters. The five Newton-Schulz steps that it takes by
default do not converge: they leave singular values between 0.7 and 1.2 in place of 1.
"""

from collections.abc import Sequence

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(
    parameters: Parameters,
    *,
    lr: float,
    momentum: float = 0.95,
    vector_lr: float = 1e-3,
    newton_schulz_steps: int = 5,
    newton_schulz: Sequence[float] = (3.4445, -4.775, 2.0315),
) -> Built:
    """``lr`` is for the matrices, ``vector_lr`` is Adam's; no weight decay, learning rate unscaled ("original").

    ``newton_schulz: [1.875, -1.25, 0.375]`` converges to 1 (Higham 2008, chapter 8); from small singular values it
    takes about 15 steps.
    """
    matrices = [p for p in parameters if p.ndim == 2]
    others = [p for p in parameters if p.ndim != 2]
    optimizers: Built = []
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=lr,
                momentum=momentum,
                weight_decay=0.0,
                ns_coefficients=tuple(newton_schulz),
                ns_steps=newton_schulz_steps,
            )
        )
    if others:
        optimizers.append(torch.optim.Adam(others, lr=vector_lr))
    return optimizers


muon = Optimizer(build, implementation="torch.optim.Muon, torch.optim.Adam on vectors", source="Jordan et al. 2024")
