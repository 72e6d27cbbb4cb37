"""Adam with decoupled weight decay."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, weight_decay: float, beta1: float = 0.9, beta2: float = 0.999) -> Built:
    return [torch.optim.AdamW(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)]


adamw = Optimizer(build, implementation="torch.optim.AdamW", source="Loshchilov and Hutter 2019")
