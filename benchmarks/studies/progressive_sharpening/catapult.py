"""The catapult (Lewkowycz et al. 2020): three phases of gradient descent on a two-layer network and one example.

The example is x = 1 with the target y = 0, the paper's, and the learning rate is c / q, with q the curvature (tangent
kernel) at initialization. Theory (`benchmarks.theory.catapult`) has the loss of a linear network fall monotonically up
to c = 2, rise and then converge up to c = 4, and diverge beyond.

The target is not moved away from the first output. With y = 0 a small first output does not blunt the growth test: it
only lengthens the growth, by ln(1 / |f|) / ln(c - 1) steps, and every criterion is relative to a run's own losses.
Another target would move the upper boundary by a term of order y / sqrt(width).

    monotone   no loss is above the one before it, apart from those below 1e-20 of the first: they are rounding
    converged  the run has not diverged, its last loss is below 1e-3 of its largest, and its last curvature is not zero

The largest loss is the scale because a catapult may land where the curvature is all but zero, and then takes longer
than any fixed horizon to pass below its first loss. A curvature of exactly zero is a ReLU network whose units have all
died: its loss is that of f = 0 for good, here zero. Large learning rates kill units (Meltzer, Chen and Liu 2023,
arXiv:2301.07737) and a single example revives none, so that this, and not divergence, is how ReLU fails here.

A boundary is the largest c, by bisection below the first rung of a ladder that fails its criterion. For ReLU what
converges is no interval of c, and its boundary here is where the first gap begins, seen at the ladder's spacing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures
from benchmarks.lab.architectures import deep_linear, two_layer
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.theory import catapult

# Values of c, 1.1 to 11.8. None lies just above 2, where growth, and with it any verdict, takes longest.
LADDER = 1.1 * 1.15 ** np.arange(18)
RECURSION_WIDTH = 10**6
# Over the first loss. A catapult peaks near width / f^2, far below; beyond c = 4 the loss is soon cubed by every step.
DIVERGENCE = 1e20
ROUNDING = 1e-20
CONVERGED = 1e-3


@dataclass(frozen=True)
class Runs:
    """The outcome of S seeds at K learning rates each.

    Attributes:
        losses: (steps + 1) x S x K; inf after divergence.
        curvature_SxK: at the end; nan where diverged.
    """

    losses: np.ndarray
    curvature_SxK: np.ndarray

    def monotone(self) -> np.ndarray:
        """S x K, bool."""
        rises = (self.losses[1:] > self.losses[:-1]) & (self.losses[1:] > ROUNDING * self.losses[0])
        return ~rises.any(axis=0)

    def converged(self) -> np.ndarray:
        """S x K, bool."""
        return (self.curvature_SxK > 0) & (self.losses[-1] < CONVERGED * self.losses.max(axis=0))


class Network:
    """An architecture of the lab in float64, with one initialization per seed, trained by the lab's loop and the
    library's optimizer; all runs in one stack."""

    def __init__(self, build: Callable[..., nn.Module], width: int, seeds: Sequence[int], target: float = 0.0):
        self.width = width
        networks = [network.double() for network in architectures.build_stack(build, (1,), 1, seeds)]
        inputs_1x1 = torch.ones(1, 1, dtype=torch.float64)
        self.problem = Problem(networks[0], inputs_1x1, target * inputs_1x1, "mse")
        self._output = Problem(networks[0], inputs_1x1, inputs_1x1, "objective")
        self.params_SxP = stack_parameters(networks)
        self.initial_curvature_S = self.curvature(self.params_SxP).numpy()

    def curvature(self, params_RxP: Tensor) -> Tensor:
        """The tangent kernel |grad f|^2 of each run, by backward pass: curvature_R."""
        return self._output.at(params_RxP).grads_RxP.square().sum(1)

    def run(self, multiples_SxK: np.ndarray, steps: int) -> Runs:
        """Train every seed at the learning rates ``multiples / initial curvature``."""
        lrs = (multiples_SxK / self.initial_curvature_S[:, None]).ravel().tolist()
        params_RxP = self.params_SxP.repeat_interleave(multiples_SxK.shape[1], dim=0)
        losses = torch.full((steps + 1, multiples_SxK.size), torch.inf, dtype=torch.float64)
        for step in descend(self.problem, params_RxP, [sgd(lr=lr) for lr in lrs], steps=steps, divergence=DIVERGENCE):
            known_R = (step.running_R | step.lost_R) & ~step.losses_R.isnan()
            losses[step.number] = step.losses_R.where(known_R, torch.inf)
        curvature_R = self.curvature(step.params_RxP).numpy()
        curvature_R[list(step.diverged)] = np.nan
        return Runs(losses.reshape(-1, *multiples_SxK.shape).numpy(), curvature_R.reshape(multiples_SxK.shape))


class Recursion:
    """The theory's map of two numbers for the linear network, from weights drawn at a large width."""

    width = RECURSION_WIDTH

    def __init__(self, seeds: Sequence[int]):
        outputs, curvatures = [], []
        for seed in seeds:
            u, v = np.random.default_rng(seed).standard_normal((2, self.width))
            outputs.append(u @ v / self.width**0.5)
            curvatures.append((u @ u + v @ v) / self.width)
        self._output_S = np.array(outputs)
        self.initial_curvature_S = np.array(curvatures)

    def run(self, multiples_SxK: np.ndarray, steps: int) -> Runs:
        curvature_Sx1 = self.initial_curvature_S[:, None]
        residuals, curvatures = catapult.trajectory(
            self._output_S[:, None], curvature_Sx1, multiples_SxK / curvature_Sx1, width=self.width, steps=steps
        )
        with np.errstate(over="ignore"):
            losses = np.nan_to_num(residuals**2 / 2, nan=np.inf, posinf=np.inf)
        lost = losses.max(axis=0) > DIVERGENCE * losses[0]
        return Runs(losses, np.where(lost, np.nan, curvatures[-1]))


def boundaries(system: Network | Recursion, *, steps: int, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """The monotone and the convergence boundary of each seed, in c, to a relative ``resolution``: two arrays of S.

    Raises:
        ValueError: if a criterion fails already at the foot of the ladder, or nowhere on it.
    """
    seeds = len(system.initial_curvature_S)

    def passed(multiples_SxK: np.ndarray) -> np.ndarray:
        runs = system.run(multiples_SxK, steps)
        return np.stack([runs.monotone(), runs.converged()])

    rungs = passed(np.tile(LADDER, (seeds, 1)))
    if not rungs[..., 0].all() or rungs.all(axis=-1).any():
        raise ValueError(f"no boundary between c = {LADDER[0]:g} and {LADDER[-1]:g} in {steps} steps")
    first_2xS = rungs.argmin(axis=-1)
    low_2xS, high_2xS = LADDER[first_2xS - 1], LADDER[first_2xS]
    while (high_2xS / low_2xS).max() > 1 + resolution:
        middle_2xS = np.sqrt(low_2xS * high_2xS)
        verdicts = passed(middle_2xS.T)
        # Each criterion has its own column of learning rates.
        verdict_2xS = np.stack([verdicts[0, :, 0], verdicts[1, :, 1]])
        low_2xS = np.where(verdict_2xS, middle_2xS, low_2xS)
        high_2xS = np.where(verdict_2xS, high_2xS, middle_2xS)
    return low_2xS[0], low_2xS[1]


def run(settings, seeds: Sequence[int]) -> pd.DataFrame:
    """One row per system and seed. After divergence ``rise_at_3`` is inf and ``final_curvature_times_lr_at_3`` nan.

    Raises:
        ValueError: if a boundary is not on the ladder.

    Quantities: see the data card.
    """
    width, steps = settings.width, settings.steps
    systems = {
        "linear": Network(partial(two_layer.build, width=width, activation="identity"), width, seeds),
        "relu": Network(partial(two_layer.build, width=width, activation="relu"), width, seeds),
        # Controls: one for which 2 and 4 are theorems, and one whose curvature cannot change.
        "recursion": Recursion(seeds),
        "one-layer": Network(deep_linear.build, 1, seeds),
    }
    parts = []
    for name, system in systems.items():
        monotone_S, convergence_S = boundaries(system, steps=steps, resolution=settings.resolution)
        at_3 = system.run(np.full((len(seeds), 1), 3.0), steps)
        columns = {
            "system": name,
            "seed": list(seeds),
            "width": system.width,
            "initial_curvature": system.initial_curvature_S,
            "monotone_boundary": monotone_S,
            "convergence_boundary": convergence_S,
            "rise_at_3": (at_3.losses.max(axis=0) / at_3.losses[0])[:, 0],
            "final_curvature_times_lr_at_3": at_3.curvature_SxK[:, 0] * 3.0 / system.initial_curvature_S,
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
