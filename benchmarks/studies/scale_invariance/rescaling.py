"""The power of a factor with which the learning rate must follow a rescaled loss, or rescaled weights (U6)."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.lab import optimizers
from benchmarks.lab.architectures import bias_free_mlp
from benchmarks.lab.loop import descend
from benchmarks.lab.optimizers import Optimizer
from benchmarks.lab.optimizers.adam import adam
from benchmarks.lab.problem import Problem
from benchmarks.studies.scale_invariance import networks
from benchmarks.studies.scale_invariance.descent import log10
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import scale_invariance as theory

# Of an optimizer's step in the gradient, eps being zero.
DEGREES = {"sgd": 1} | dict.fromkeys(
    ("adagrad", "adam", "lion", "muon", "nadam", "rmsprop", "scalar_rmsprop", "signum"), 0
)
SAME = 1e-9  # an error this small is rounding: no other learning rate is tried
SPAN = 1.0  # of ln lr either way, in which a better one is sought
TRANSFORMATIONS = ("loss", "parameter", "start")


@tidy
def run(settings, seeds: Iterable[int]) -> Iterator[Result]:
    """Runs with a rescaled loss, c L (``loss``), with parameters v, w = c v (``parameter``), and, for a normalised
    network, from weights c times as large (``start``), compared with the first run. The learning rate is multiplied by
    c^exponent so that the first step has the same length; if the run still differs, the best rate within a factor e of
    this is used. ``error`` is over all steps. A seed draws weights and data.

    Systems, OPTIMIZER-TRANSFORMATION: the optimizers of the settings; ``all-...``, the largest deviation and error over
    them. Controls: ``NAME-decimal``, the optimizers that round to bfloat16, by a factor that is no power of two;
    ``adam-eps-loss``: Adam with its usual eps of 1e-8, and a loss 1e-8 times as large; ``by-hand-...``: w - lr g
    |g|^(k-1) on a quadratic, in numpy.

    Raises:
        ValueError: if ``binary_factor`` is no power of two, or for an optimizer whose `DEGREES` are not known.

    Quantities: see the data card.
    """
    for spec in settings.optimizers.values():
        if spec.name not in DEGREES:
            raise ValueError(f"optimizer {spec['name']!r} is of unknown degree: known are {', '.join(sorted(DEGREES))}")
    if np.log2(settings.binary_factor) % 1:
        raise ValueError(f"binary_factor must be a power of two, got {settings.binary_factor:g}")
    contenders = {name: (optimizers.named(**spec), DEGREES[spec.name]) for name, spec in settings.optimizers.items()}
    steps, factor = settings.steps, settings.factor
    for seed in seeds:
        problems = _problems(settings, seed)
        scores: dict[str, dict[str, float]] = {}
        for name, contender in contenders.items():
            for how in TRANSFORMATIONS:
                c = settings.binary_factor if name in settings.rounding else factor
                scores[f"{name}-{how}"] = _match(problems, *contender, how, c, steps, seed)
        largest = {
            how: {
                quantity: max(one[quantity] for system, one in scores.items() if system.endswith(f"-{how}"))
                for quantity in ("deviation", "error")
            }
            for how in TRANSFORMATIONS
        }
        for name in settings.rounding:
            scores[f"{name}-decimal-loss"] = _match(problems, *contenders[name], "loss", factor, steps, seed)
        usual = adam(lr=settings.optimizers["adam"].lr)
        scores["adam-eps-loss"] = _match(problems, usual, DEGREES["adam"], "loss", 1e-8, steps, seed)
        for degree in (1, 0):
            for how in ("loss", "parameter"):
                scores[f"by-hand-{degree}-{how}"] = _by_hand(degree, how, factor, steps, seed)
        scores |= {f"all-{how}": values for how, values in largest.items()}
        for system, values in scores.items():
            yield system, seed, values


def _problems(settings, seed: int) -> dict[str, Problem]:
    """A smooth network for loss and parameter, a normalised one for the start."""
    sizes = settings.examples, settings.inputs, settings.outputs
    inputs, targets = networks.gaussian_data(seed, *sizes)
    options = {"hidden": settings.hidden, "activation": "tanh"}
    smooth = bias_free_mlp.build((settings.inputs,), settings.outputs, **options).double()
    normalised = networks.build(*sizes[1:], settings.hidden)
    smooth, normalised = (Problem(module, inputs, targets, "mse") for module in (smooth, normalised))
    return {"loss": smooth, "parameter": smooth, "start": normalised}


def _match(
    problems: dict[str, Problem], optimizer: Optimizer, degree: int, how: str, c: float, steps: int, seed: int
) -> dict[str, float]:
    problem, lr = problems[how], optimizer.options["lr"]
    start_1xP = networks.start(problem.module, [seed])
    first = _path(problem, start_1xP, optimizer, steps)
    other = Problem(Rescaled(problem.module, c), *next(problem.chunks()), "mse") if how == "parameter" else problem

    def rescaled(lr: float, steps: int) -> np.ndarray:
        return _path(other, start_1xP, optimizer(lr=lr), steps, **{how: c})

    return _exponent(first, rescaled, lr, c, how, degree)


def _exponent(
    first_TxP: np.ndarray, rescaled: Callable[[float, int], np.ndarray], lr: float, c: float, how: str, degree: int
) -> dict[str, float]:
    """Args: ``rescaled``: from learning rate and number of steps to the rescaled path, in the units of the first."""
    steps = len(first_TxP) - 1

    def error(log_rate: float) -> float:
        apart = np.linalg.norm(rescaled(np.exp(log_rate), steps) - first_TxP, axis=1).max()
        return float(apart / np.linalg.norm(first_TxP[-1] - first_TxP[0]))

    there = rescaled(lr, 1)
    log_rate = np.log(lr * np.linalg.norm(first_TxP[1] - first_TxP[0]) / np.linalg.norm(there[1] - there[0]))
    apart = error(log_rate)
    if apart > SAME:
        best = minimize_scalar(error, bounds=(log_rate - SPAN, log_rate + SPAN), method="bounded")
        log_rate, apart = (best.x, best.fun) if best.fun < apart else (log_rate, apart)
    exponent = float((log_rate - np.log(lr)) / np.log(c))
    predicted = theory.rescaling_exponents(degree)[how]
    return {
        "exponent": exponent,
        "predicted": predicted,
        "deviation": abs(exponent - predicted),
        "error": log10(apart),
    }


class Rescaled(nn.Module):
    """A network whose weights are ``factor`` times the parameters."""

    def __init__(self, module: nn.Module, factor: float):
        super().__init__()
        self.network = [module]  # in a list, so that its parameters are not ours
        self.values = nn.ParameterList(p.detach() / factor for p in module.parameters())
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        (network,) = self.network
        names = (name for name, _ in network.named_parameters())
        weights = {name: self.factor * value for name, value in zip(names, self.values)}
        return functional_call(network, weights, (inputs,))


def _path(
    problem: Problem,
    start_1xP: Tensor,
    optimizer: Optimizer,
    steps: int,
    loss: float = 1.0,
    parameter: float = 1.0,
    start: float = 1.0,
) -> np.ndarray:
    """The weights w of a run before and after each step, over the factor by which they started: (steps + 1) x P; nan
    where it diverges."""
    path = np.full((steps + 1, problem.parameters), np.nan)
    for step in descend(problem, start * start_1xP / parameter, optimizer, steps=steps):
        if not step.diverged:
            path[step.number] = parameter * step.params_RxP[0] / start
        step.point.grads_RxP.mul_(loss)
    return path


def _by_hand(degree: int, how: str, c: float, steps: int, seed: int) -> dict[str, float]:
    """Gradient descent (degree 1) and normalised gradient descent (0) on a quadratic."""
    generator = np.random.default_rng(seed)
    curvatures, start = generator.uniform(0.5, 2.0, 8), generator.standard_normal(8)
    scale, inner = (c, 1.0) if how == "loss" else (1.0, c)

    def path(lr: float, steps: int, scale: float = scale, inner: float = inner) -> np.ndarray:
        v = start / inner
        points = [start]
        for _ in range(steps):
            g = scale * inner * curvatures * (inner * v)
            v = v - lr * g * np.linalg.norm(g) ** (degree - 1)
            points.append(inner * v)
        return np.stack(points)

    return _exponent(path(0.01, steps, 1.0, 1.0), path, 0.01, c, how, degree)
