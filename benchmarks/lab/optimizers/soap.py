"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024)."""

import pytorch_optimizer

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(
    parameters: Parameters, *, lr: float, beta1: float = 0.95, beta2: float = 0.95, precondition_frequency: int = 10
) -> Built:
    """The first step only sets up the preconditioner: it moves nothing."""
    return [
        pytorch_optimizer.SOAP(
            parameters, lr=lr, betas=(beta1, beta2), precondition_frequency=precondition_frequency, weight_decay=0.0
        )
    ]


soap = Optimizer(build, implementation="pytorch_optimizer.SOAP", source="Vyas et al. 2024")
