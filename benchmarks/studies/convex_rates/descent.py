"""First-order methods on functions of a few numbers, by the library's optimizers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem

Function = Callable[[Tensor], Tensor]


class Objective(nn.Module):
    """A function of a point, as a network whose parameter is the point and whose output is the value."""

    def __init__(self, function: Function, start: Tensor):
        super().__init__()
        self.function = function
        self.point = nn.Parameter(start)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.point).expand(len(inputs), 1)


def objective(function: Function, start: Tensor) -> Problem:
    """A function as a problem, for points like the start. Creating one costs as much as a few steps."""
    return Problem(Objective(function, start), start.new_zeros(1, 1), start.new_zeros(1), "objective")


def gradient_descent(function: Function, start: Tensor, step: float, steps: int) -> list[float]:
    """The values of a function along gradient descent: at the start, and after each step."""
    return run(objective(function, start), start, step, [0.0] * steps)


def momenta(steps: int) -> list[float]:
    """The momenta of Nesterov's method on convex functions: i / (i + 3)."""
    return [i / (i + 3) for i in range(steps)]


def constant_momentum(L: float, mu: float) -> float:
    """The momentum of Nesterov's method on strongly convex functions: (1 - q) / (1 + q) with q = sqrt(mu / L)."""
    q = (mu / L) ** 0.5
    return (1 - q) / (1 + q)


def run(problem: Problem, start: Tensor, step: float, momenta: Sequence[float]) -> list[float]:
    """The values along Nesterov's method, x_{i+1} = y_i - step g(y_i), y_{i+1} = x_{i+1} + m_i (x_{i+1} - x_i): at the
    start and at each x. Momenta that are all zero are gradient descent.

    `torch.optim.SGD` stores y, not x, and uses one momentum for both the buffer and the look-ahead. Where it changes
    from step to step the buffer is rescaled between steps, so that the library's update is Nesterov's; x_{i+1} is read
    before the look-ahead.

    Args:
        problem: an `objective`.
        momenta: m_i of each step.
    """
    function = problem.module.function
    accelerated = any(momenta)
    optimizer = sgd(lr=step, momentum=0.5, nesterov=True) if accelerated else sgd(lr=step)
    values = [float(function(start))]
    before = 0.0
    for momentum, here in zip(momenta, descend(problem, start[None], optimizer, steps=len(momenta) - 1)):
        # x_{i+1}, for plain descent the next point itself.
        values.append(float(function(here.params_RxP[0] - step * here.point.grads_RxP[0])))
        if accelerated:
            _set_momentum(here.optimizers[0][0], before, momentum)
            before = momentum
    return values


def _set_momentum(optimizer: torch.optim.Optimizer, before: float, momentum: float) -> None:
    """b <- m b + g with the buffer that m_{i-1} made: b is scaled by m_{i-1} / m_i. Where m_i is zero there is no look
    ahead, and the buffer starts anew."""
    (group,) = optimizer.param_groups
    group["momentum"] = momentum
    (parameter,) = group["params"]
    state = optimizer.state[parameter]
    if momentum == 0.0:
        state.pop("momentum_buffer", None)
    elif state.get("momentum_buffer") is not None:
        state["momentum_buffer"].mul_(before / momentum)
