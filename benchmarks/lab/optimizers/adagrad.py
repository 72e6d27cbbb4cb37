"""Adagrad (Duchi, Hazan and Singer 2011)."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, eps: float = 1e-10) -> Built:
    return [torch.optim.Adagrad(parameters, lr=lr, eps=eps)]


adagrad = Optimizer(build, implementation="torch.optim.Adagrad", source="Duchi, Hazan and Singer 2011")
