"""Lion: the sign of an interpolation between momentum and gradient (Chen et al. 2023)."""

import pytorch_optimizer

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(
    parameters: Parameters, *, lr: float, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0
) -> Built:
    return [pytorch_optimizer.Lion(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)]


lion = Optimizer(build, implementation="pytorch_optimizer.Lion", source="Chen et al. 2023")
