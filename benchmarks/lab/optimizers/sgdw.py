"""Gradient descent with weight decay; without momentum, coupled and decoupled decay are the same."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, weight_decay: float) -> Built:
    return [torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)]


sgdw = Optimizer(build, implementation="torch.optim.SGD", source="Hanson and Pratt 1988")
