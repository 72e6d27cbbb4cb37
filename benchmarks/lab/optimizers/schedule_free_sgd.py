"""Schedule-Free SGD: gradients between the iterate and its average, which is evaluated (Defazio et al. 2024)."""

import pytorch_optimizer

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, momentum: float = 0.9) -> Built:
    """Evaluate between its ``eval()`` and ``train()``, which put the average into the parameters and take it out."""
    return [pytorch_optimizer.ScheduleFreeSGD(parameters, lr=lr, momentum=momentum)]


schedule_free_sgd = Optimizer(
    build, implementation="pytorch_optimizer.ScheduleFreeSGD", source="Defazio et al. 2024", schedule_free=True
)
