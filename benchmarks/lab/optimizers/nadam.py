"""NAdam: Adam with Nesterov's momentum (Dozat 2016)."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Built:
    return [torch.optim.NAdam(parameters, lr=lr, betas=(beta1, beta2), eps=eps)]


nadam = Optimizer(build, implementation="torch.optim.NAdam", source="Dozat 2016")
