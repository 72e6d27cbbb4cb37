"""Alternating gradient flow: when units that start small become active, and how far the loss then falls.

Kunin et al. 2025 (arXiv:2506.06489). A network is a sum of units, f = sum_i f(theta_i), each homogeneous in its
parameters, and the loss is |target - f|^2 / 2. From small weights two steps alternate:

    utility maximization  units that are still dormant move by the gradient of their utility U(theta) = <residual,
                          f(theta)>, each alone, while the residual stands still, until one is large;
    cost minimization     that unit joins the active ones, which go to the minimum of the loss; the residual changes.

Time passes in the first step alone. This is gradient flow as the initial norm goes to zero.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

# The most that a dormant unit changes in one step of the integration, as a share of its norm.
STEP = 0.05


class Units(Protocol):
    """What a network is a sum of. Outputs are flat, in coordinates in which the loss is half a sum of squares."""

    target_F: np.ndarray

    def pull(self, weights_HxP: np.ndarray, residual_F: np.ndarray) -> np.ndarray:
        """The gradient of each unit's utility, whether or not others depend on it: H x P."""

    def minimum(self, weights_HxP: np.ndarray, active_A: np.ndarray) -> np.ndarray:
        """The network's output where the active units (their indices) have minimized the loss: F."""


@dataclass(frozen=True)
class Course:
    """What is foretold, a row for the start and for each unit that becomes active.

    Attributes:
        times_E: 0, and when a unit becomes active.
        outputs_ExF: of the network, after the cost has been minimized.
        losses_E: likewise.
    """

    times_E: np.ndarray
    outputs_ExF: np.ndarray
    losses_E: np.ndarray


def alternate(units: Units, start_HxP: np.ndarray, *, until: float, active: float = 1.0, left: float = 1e-3) -> Course:
    """Foretell a run from these weights.

    Args:
        until: the time at which it ends, at the latest.
        active: the norm from which on a unit is active. Units of degree 3 or more would reach any norm in finite time,
            and almost at once after 1.
        left: it ends when this share of the first loss is left.

    Raises:
        ValueError: if a unit is active from the start.
    """
    norms = np.linalg.norm(start_HxP, axis=1)
    if norms.max() >= active:
        raise ValueError(f"a unit starts with norm {norms.max():.3g}; all must be dormant, which is below {active:g}")
    weights, dormant_H, time = start_HxP, np.ones(len(start_HxP), bool), 0.0
    output = np.zeros_like(units.target_F)
    course = [(time, output, loss(units, output))]
    while dormant_H.any() and course[-1][2] > left * course[0][2]:
        weights, time, first = climb(units, weights, dormant_H, units.target_F - output, time, until, active)
        if first is None:
            break
        dormant_H[first] = False
        output = units.minimum(weights, np.flatnonzero(~dormant_H))
        course.append((time, output, loss(units, output)))
    times, outputs, losses = zip(*course)
    return Course(np.array(times), np.stack(outputs), np.array(losses))


def loss(units: Units, output_F: np.ndarray) -> float:
    return 0.5 * float(np.square(units.target_F - output_F).sum())


def climb(
    units: Units,
    weights_HxP: np.ndarray,
    dormant_H: np.ndarray,
    residual_F: np.ndarray,
    time: float,
    until: float,
    active: float,
) -> tuple[np.ndarray, float, int | None]:
    """Utility maximization: the weights, the time, and which unit became active; None if ``until`` came first.

    By the midpoint rule. The last step is cut where the logarithm of the norm, interpolated, reaches that of activity.
    """

    def slope(weights: np.ndarray) -> np.ndarray:
        return dormant_H[:, None] * units.pull(weights, residual_F)

    while time < until:
        norms_H = np.linalg.norm(weights_HxP, axis=1)
        if (norms_H * dormant_H).max() >= active:  # units that start alike arrive together
            return weights_HxP, time, int((norms_H * dormant_H).argmax())
        pull_HxP = slope(weights_HxP)
        speed = (np.linalg.norm(pull_HxP, axis=1) / norms_H).max()
        step = min(STEP / speed, until - time) if speed > 0 else until - time
        moved_HxP = weights_HxP + step * slope(weights_HxP + 0.5 * step * pull_HxP)
        after_H = np.linalg.norm(moved_HxP, axis=1)
        first = int((after_H * dormant_H).argmax())
        if dormant_H[first] and after_H[first] >= active:
            share = np.log(active / norms_H[first]) / np.log(after_H[first] / norms_H[first])
            return weights_HxP + share * (moved_HxP - weights_HxP), time + share * step, first
        weights_HxP, time = moved_HxP, time + step
    return weights_HxP, until, None


class DiagonalNetwork:
    """f(x) = sum_i u_i v_i x_i, unit i being (u_i, v_i), on inputs with this covariance and the target b'x."""

    def __init__(self, covariance_DxD: np.ndarray, b_D: np.ndarray):
        self.root_DxD = np.linalg.cholesky(covariance_DxD).T
        self.target_F = self.root_DxD @ b_D

    def pull(self, weights_HxP: np.ndarray, residual_F: np.ndarray) -> np.ndarray:
        return (self.root_DxD.T @ residual_F)[:, None] * weights_HxP[:, ::-1]

    def minimum(self, weights_HxP: np.ndarray, active_A: np.ndarray) -> np.ndarray:
        columns = self.root_DxD[:, active_A]
        return columns @ np.linalg.lstsq(columns, self.target_F, rcond=None)[0]


class ModularAddition:
    """f(a, b) = sum_i w_i (u_i' x_a + v_i' x_b)^2, unit i being (u_i, v_i, w_i), which is to give x_{a + b}.

    x_a is a template x, rotated by a places. The loss is half the squared error, averaged over all a and b. Kunin et
    al. 2025, section 5: a unit's utility is greatest, sqrt(2 / 27 p^3) |x_k|^3 at norm 1, where u, v and w are waves of
    the frequency at which the template's Fourier coefficient x_k is largest; enough units of one frequency lower the
    loss by |x_k|^2 / p, which they do together.

    Args:
        template_P: real, without a mean; its length p is odd.
    """

    def __init__(self, template_P: np.ndarray):
        self.modulus = len(template_P)
        self.rotated_PxP = np.stack([np.roll(template_P, -a) for a in range(self.modulus)])
        sums = np.add.outer(np.arange(self.modulus), np.arange(self.modulus)) % self.modulus
        self.target_F = self.rotated_PxP[sums].ravel() / self.modulus

    def output(self, weights_HxP: np.ndarray) -> np.ndarray:
        """The network's: F."""
        summed, w = self._summed(weights_HxP)
        return (np.square(summed).T @ w).ravel() / self.modulus

    def pull(self, weights_HxP: np.ndarray, residual_F: np.ndarray) -> np.ndarray:
        summed, w = self._summed(weights_HxP)
        residual = residual_F.reshape(-1, self.modulus) / self.modulus
        of_sums = (2 * summed * (w @ residual.T)).reshape(len(w), self.modulus, self.modulus)
        of_inputs = [of_sums.sum(axis) @ self.rotated_PxP for axis in (2, 1)]
        return np.concatenate([*of_inputs, np.square(summed) @ residual], axis=1)

    def minimum(self, weights_HxP: np.ndarray, active_A: np.ndarray) -> np.ndarray:
        """The target's part in the frequencies of which active units have most."""
        waves = np.fft.rfft(weights_HxP[active_A].reshape(len(active_A), 3, self.modulus))
        power_AxK = np.square(np.abs(waves)).sum(1) * (np.abs(np.fft.rfft(self.rotated_PxP[0])) > 1e-9)
        spectrum = np.fft.rfft(self.target_F.reshape(-1, self.modulus))
        learned = np.isin(np.arange(spectrum.shape[1]), power_AxK.argmax(1))
        return np.fft.irfft(spectrum * learned, self.modulus).ravel()

    def amplitudes(self, output_F: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """How much of each frequency of the target is there, 1 where all of it is."""
        found, target = (
            np.fft.rfft(flat.reshape(-1, self.modulus))[:, frequencies] for flat in (output_F, self.target_F)
        )
        return (found * target.conj()).real.sum(0) / np.square(np.abs(target)).sum(0)

    def _summed(self, weights_HxP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u' x_a + v' x_b of each unit, and w."""
        u, v, w = np.split(weights_HxP, 3, axis=1)
        summed = (u @ self.rotated_PxP.T)[:, :, None] + (v @ self.rotated_PxP.T)[:, None, :]
        return summed.reshape(len(w), -1), w
