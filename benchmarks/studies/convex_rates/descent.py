"""First-order methods on functions of a few numbers, by the library's optimizers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.lab.optimizers.sgd import sgd

Function = Callable[[Tensor], Tensor]


def gradient_descent(function: Function, start: Tensor, step: float, steps: int) -> list[float]:
    """The values of a function along gradient descent: at the start, and after each of so many steps."""
    return run(function, start, step, [0.0] * steps)


def momenta(steps: int) -> list[float]:
    """Of Nesterov's method on convex functions: i / (i + 3)."""
    return [i / (i + 3) for i in range(steps)]


def constant_momentum(L: float, mu: float) -> float:
    """Of Nesterov's method on strongly convex functions: (1 - q) / (1 + q) with q = sqrt(mu / L)."""
    q = (mu / L) ** 0.5
    return (1 - q) / (1 + q)


def run(function: Function, start: Tensor, step: float, momenta: Sequence[float]) -> list[float]:
    """The values along Nesterov's method, x_{i+1} = y_i - step g(y_i), y_{i+1} = x_{i+1} + m_i (x_{i+1} - x_i): at the
    start and at each x. Momenta that are all zero are gradient descent.

    `torch.optim.SGD` keeps y, not x, and uses one momentum for the buffer and for the look ahead. Where it changes from
    step to step the buffer is rescaled between steps, so that the library's update is Nesterov's; x_{i+1} is read off
    before the look ahead.

    Args:
        momenta: m_i of each step.
    """
    point = nn.Parameter(start.detach().clone())
    accelerated = any(momenta)
    first = {"momentum": 0.5, "nesterov": True} if accelerated else {}
    (optimizer,) = sgd(lr=step, **first).build([point])
    values = [float(function(point).detach())]
    before = 0.0
    for momentum in momenta:
        optimizer.zero_grad()
        function(point).backward()
        with torch.no_grad():
            ahead = point - step * point.grad  # x_{i+1}, for plain descent the next point itself
            values.append(float(function(ahead)))
        if accelerated:
            _set_momentum(optimizer, before, momentum)
            before = momentum
        optimizer.step()
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
