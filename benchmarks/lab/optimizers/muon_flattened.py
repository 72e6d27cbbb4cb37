"""Muon as its authors use it: kernels of convolutions flattened to matrices; Adam on vectors (Jordan et al. 2024).

torch's Muon, the entry ``muon``, refuses kernels, which then fall to Adam. On matrices both take Nesterov's momentum,
five Newton-Schulz steps in bfloat16 and the factor sqrt(max(1, rows / columns)).
"""

import pytorch_optimizer

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, momentum: float = 0.95, vector_lr: float = 1e-3) -> Built:
    """``lr`` is for whatever has two axes or more, ``vector_lr`` for the rest; no weight decay."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "use_muon": True},
        {"params": [p for p in parameters if p.ndim < 2], "use_muon": False, "lr": vector_lr, "betas": (0.9, 0.999)},
    ]
    return [pytorch_optimizer.Muon([g for g in groups if g["params"]], lr=lr, momentum=momentum)]


muon_flattened = Optimizer(
    build, implementation="pytorch_optimizer.Muon, its AdamW on vectors", source="Jordan et al. 2024"
)
