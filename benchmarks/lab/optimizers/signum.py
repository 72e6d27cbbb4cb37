"""Sign descent with momentum: the sign of a moving average of gradients (Bernstein et al. 2018, Signum)."""

import pytorch_optimizer

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, momentum: float = 0.9) -> Built:
    """``momentum: 0.0`` is sign descent itself."""
    return [pytorch_optimizer.SignSGD(parameters, lr=lr, momentum=momentum)]


signum = Optimizer(build, implementation="pytorch_optimizer.SignSGD", source="Bernstein et al. 2018")
