"""Schedule-Free AdamW: Adam's denominator, an average of the iterates in place of momentum and schedule (Defazio et al.
2024)."""

import pytorch_optimizer

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(
    parameters: Parameters, *, lr: float, beta1: float = 0.9, beta2: float = 0.999, weight_decay: float = 0.0
) -> Built:
    """Evaluate between its ``eval()`` and ``train()``, which put the average into the parameters and take it out."""
    return [pytorch_optimizer.ScheduleFreeAdamW(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)]


schedule_free_adamw = Optimizer(
    build, implementation="pytorch_optimizer.ScheduleFreeAdamW", source="Defazio et al. 2024", schedule_free=True
)
