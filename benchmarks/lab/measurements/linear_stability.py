"""Where an optimizer stops being stable on a quadratic, determined from its own code.

On ``L(w) = a w^2 / 2`` an optimizer with momentum maps (w, momentum) linearly. The map is extracted by letting the
library's optimizer take one step from each basis state, and the largest stable curvature is where its spectral radius
exceeds one. (Watching a long run diverge would resolve the threshold only to about one over its length.)
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

Build = Callable[[list[nn.Parameter]], list[Optimizer]]
# State tensors that a step moves linearly on a quadratic; everything else in an optimizer's state is frozen.
_MOMENTA = ("momentum_buffer", "exp_avg")
# So small that (1 - beta2) g^2 moves no frozen second moment of one, with beta2 = 1 - 2^-53, the last below one.
_SCALE = 1e-6


def one_step_map(build: Build, curvature: float) -> np.ndarray:
    """The matrix of one optimizer step on ``curvature * w^2 / 2``, over (w, momentum): 1 x 1 or 2 x 2, float64.

    A second-moment preconditioner is frozen at one (build Adam with beta2 = 1 - 2^-53, eps = 0), and bias corrections
    at their limit of one.

    Raises:
        ValueError: if the optimizer keeps a state this cannot freeze, or its step is not linear in (w, momentum).
    """
    momentum = next((name for name in _MOMENTA if name in _fresh_state(build)), None)
    basis = [(1.0, 0.0), (0.0, 1.0)] if momentum else [(1.0, 0.0)]
    images = [_step(build, curvature, momentum, w, m) for w, m in basis]
    matrix = np.array(images).T[: len(basis)]
    probe = np.array([0.3, -0.7])[: len(basis)]
    w, m = _step(build, curvature, momentum, probe[0], probe[-1] if momentum else 0.0)
    if not np.allclose(matrix @ probe, np.array([w, m])[: len(basis)], rtol=1e-9, atol=1e-12):
        raise ValueError("the optimizer's step is not linear in (w, momentum), so it has no linear stability threshold")
    return matrix


def largest_stable_curvature(
    spectral_radius: Callable[[float], float], *, lowest: float = 1e-3, highest: float = 1e6, iterations: int = 200
) -> float:
    """The curvature at which a spectral radius passes one, by bisection to the last bit of float64.

    Raises:
        ValueError: if the map is not stable at ``lowest`` or still stable at ``highest``.
    """

    def stable(curvature: float) -> bool:
        # Rounding puts a radius of exactly one on either side: a hair more than one still counts as stable.
        return spectral_radius(curvature) <= 1 + 1e-12

    if not stable(lowest) or stable(highest):
        raise ValueError(f"no stability threshold between {lowest:g} and {highest:g}")
    for _ in range(iterations):
        middle = 0.5 * (lowest + highest)
        if not lowest < middle < highest:
            break
        lowest, highest = (middle, highest) if stable(middle) else (lowest, middle)
    return lowest


def stability_threshold(build: Build) -> float:
    """The largest curvature at which the library's optimizer is stable on a one-dimensional quadratic."""
    return largest_stable_curvature(lambda a: spectral_radius(one_step_map(build, a)))


def _optimizer(build: Build) -> tuple[nn.Parameter, Optimizer]:
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    built = build([parameter])
    if len(built) != 1:
        raise ValueError("a linear map needs a single optimizer")
    return parameter, built[0]


def _fresh_state(build: Build) -> dict:
    parameter, optimizer = _optimizer(build)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {name: value for name, value in optimizer.state[parameter].items() if value is not None}


def _step(build: Build, curvature: float, momentum: str | None, w: float, m: float) -> tuple[float, float]:
    parameter, optimizer = _optimizer(build)
    frozen = _fresh_state(build)
    state = optimizer.state[parameter]
    for name, value in frozen.items():
        if name in _MOMENTA:
            state[name] = torch.full_like(value, m * _SCALE)
        elif name == "step":
            state[name] = torch.full_like(value, 1e18)  # so late that every bias correction 1 - beta^step is one
        elif name == "exp_avg_sq":
            state[name] = torch.ones_like(value)
        else:
            raise ValueError(f"cannot freeze the optimizer's state {name!r}")
    with torch.no_grad():
        parameter.fill_(w * _SCALE)
    parameter.grad = curvature * parameter.detach()
    optimizer.step()
    return parameter.item() / _SCALE, state[momentum].item() / _SCALE if momentum else 0.0


def heavy_ball_map(curvature: float, lr: float, momentum: float) -> np.ndarray:
    """The map of ``m <- b m + a w; w <- w - lr m`` written out by hand, to check the extraction against."""
    return np.array([[1 - lr * curvature, -lr * momentum], [curvature, momentum]])


def spectral_radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())
