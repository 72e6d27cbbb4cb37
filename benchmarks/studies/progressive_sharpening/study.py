"""Progressive sharpening and the edge of stability: trained configurations, and two experiments on known systems."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from benchmarks.evidence import runs
from benchmarks.evidence.card import (
    EXACT,
    IDENTICAL,
    SMOOTH,
    Card,
    Column,
    from_dictionary,
    relative,
    statistical,
    tidy,
)
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Family, Figure, Member, Study
from benchmarks.studies.schema import (
    MOST_SEEDS,
    Architecture,
    Count,
    Fidelity,
    Layered,
    Momentum,
    Name,
    Optimizer,
    Positive,
    Strict,
    Widths,
    check_options,
    check_sizes,
    repetitions,
)

_MEASUREMENTS = "benchmarks.lab.measurements"
# Options of measurements that are relative errors.
_RELATIVE = ("tolerance", "eigen_tolerance")


class Settings(Strict):
    """One resolved configuration of a training study."""

    fidelity: Fidelity
    architecture: Architecture
    loss: Literal["mse", "cross_entropy", "objective"]
    images: Annotated[int, Field(ge=0)]
    classes: Annotated[int, Field(ge=2)] | None
    pool: Count
    batch_size: Count | None
    optimizer: Optimizer
    steps: Count
    divergence: Annotated[float, Field(gt=1)]
    measure: dict[str, dict[str, Any] | None]

    @field_validator("measure")
    @classmethod
    def _measurable(cls, measure):
        for name, options in measure.items():
            if options is None:
                continue
            check_options(_MEASUREMENTS, name, options)
            check_sizes(options)
            for option, value in options.items():
                if isinstance(value, float) and value <= 0:
                    raise ValueError(f"{option} of {name!r} must be positive, got {value!r}")
                if option in _RELATIVE and value >= 1:
                    raise ValueError(f"{option} of {name!r} must be less than 1, got {value!r}")
        return measure

    @model_validator(mode="after")
    def _consistent(self):
        if self.batch_size and self.images and self.batch_size > self.images:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {self.images} images")
        preconditioned = self.measure.get("preconditioned_sharpness") is not None
        name = self.optimizer.name
        outside = ":" in name  # only its package knows
        if preconditioned and not outside and not entries.defines("benchmarks.lab.optimizers", name, "preconditioner"):
            raise ValueError(
                f"optimizer {name!r} has no diagonal preconditioner: preconditioned_sharpness cannot be measured"
            )
        return self

    @property
    def entries(self) -> Iterator[str]:
        """The measurements, as `benchmarks.studies.schema.named_entries` names them."""
        for name, options in self.measure.items():
            if options is not None:
                yield name if ":" in name else f"{_MEASUREMENTS}.{name}"


class Catapult(Strict):
    seeds: Count
    width: Count  # of the networks
    steps: Count
    resolution: Annotated[float, Field(gt=0, lt=1)]  # relative, of the boundaries


class Thresholds(Strict):
    optimizers: dict[Name, Optimizer]


class BatchSystem(Strict):
    """A network trained by SGD with Polyak's momentum; without a batch size on all the data."""

    architecture: Architecture
    momentum: Momentum
    batch_size: Count | None
    lr: Positive
    steps: Count


class MomentumBatches(Strict):
    seeds: Count
    images: Count
    pool: Count
    readings: Annotated[int, Field(ge=4)]  # of the batch sharpness along a run
    batches: Count  # a reading
    systems: dict[Name, BatchSystem]
    momenta: list[Momentum]  # of the quadratics
    shares: list[Annotated[float, Field(gt=0, le=1)]]  # of the batches that see their direction
    copies: Count
    copied_steps: Count

    @model_validator(mode="after")
    def _fits(self):
        for name, system in self.systems.items():
            if system.batch_size and system.batch_size > self.images:
                raise ValueError(f"{name}: batch_size {system.batch_size} exceeds the {self.images} images")
            if system.steps < self.readings:
                raise ValueError(f"{name}: {self.readings} readings in {system.steps} steps")
        return self


class AdaptiveFlow(Strict):
    seeds: Count
    images: Count
    pool: Count
    hidden: Widths
    lr: Positive
    lr_below: Positive  # of the run that stays below the edge
    beta2: Annotated[float, Field(gt=0, lt=1)]
    steps: Count
    every: Count  # steps between readings
    substeps: Count  # Euler steps of the central flow in one of the run
    modes: Count  # eigenvalues that can be held at once

    @model_validator(mode="after")
    def _order(self):
        if self.lr_below >= self.lr:
            raise ValueError(f"lr_below {self.lr_below:g} is not below lr {self.lr:g}")
        if self.steps % self.every or self.steps < 2 * self.every:
            raise ValueError(f"steps {self.steps} must be a multiple of every {self.every}, two at least")
        return self


class NoiseScale(Strict):
    seeds: Count
    images: Count
    pool: Count
    hidden: Widths
    batch_sizes: Annotated[list[Count], Field(min_length=3)]
    lrs: Annotated[list[Positive], Field(min_length=1)]
    target: Annotated[float, Field(gt=0, lt=1)]  # of the first loss
    most_steps: Count
    path_lr: Positive  # of the run along which the noise is read
    readings: Annotated[int, Field(ge=2)]
    estimator_sizes: Annotated[list[Count], Field(min_length=2, max_length=2)]
    pairs: Count  # of batches, for an estimate
    curved_examples: Count  # whose gradients meet the Hessian
    known_scale: Positive  # of the control

    @model_validator(mode="after")
    def _sizes(self):
        for name in ("batch_sizes", "estimator_sizes"):
            if sorted(set(sizes := getattr(self, name))) != sizes:
                raise ValueError(f"{name} must rise, got {sizes}")
        return self


class ImplicitGradient(Strict):
    seeds: Count
    images: Count
    pool: Count
    hidden: Widths
    lr: Positive  # the largest
    halvings: Annotated[int, Field(ge=2)]
    time: Positive  # learning rate times steps
    linear_lr: Positive  # of linear regression, whose time is as many steps

    @model_validator(mode="after")
    def _whole(self):
        if abs(round(self.time / self.lr) * self.lr - self.time) > 1e-9 * self.time:
            raise ValueError(f"time {self.time:g} is not a whole number of steps of {self.lr:g}")
        return self


Stacks = Annotated[list[int | str], Field(min_length=1)]


class Sharpening(Layered):
    """Trained configurations, with one stage for each entry of ``configuration_stacks``; comparisons and controls, with
    one stage each, whose seeds are those of ``stacks``, or their own, under ``seeds``."""

    layers: ClassVar[dict[str, type[BaseModel]]] = dict.fromkeys(
        ("configurations", "comparisons", "controls"), Settings
    )

    configuration_stacks: Stacks
    stacks: Stacks
    configurations: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    comparisons: dict[Name, dict[str, Any]]
    controls: dict[Name, dict[str, Any]]

    @field_validator("configuration_stacks", "stacks")
    @classmethod
    def _seeds(cls, stacks):
        if repeated := repetitions(seed for stack in stacks for seed in parse_stack(stack)):
            raise ValueError(f"seed {repeated[0]} appears twice")
        return stacks

    @model_validator(mode="after")
    def _distinct(self):
        if twice := repetitions(name for layer in self.layers for name in getattr(self, layer)):
            raise ValueError(f"{twice[0]!r} is named twice among configurations, comparisons and controls")
        return self

    @model_validator(mode="after")
    def _own_seeds(self):
        for layer in ("comparisons", "controls"):
            for name in getattr(self, layer):
                try:
                    self.seeds_of(layer, name)
                except ValueError as error:
                    raise ValueError(f".{layer}.{name}.seeds: {error}") from None
        return self

    def overrides(self, layer: str) -> dict[str, dict]:
        own = {"seeds"} if layer != "configurations" else set()
        return {
            name: {option: value for option, value in entry.items() if option not in own}
            for name, entry in super().overrides(layer).items()
        }

    def seeds_of(self, layer: str, name: str) -> list[int]:
        """The seeds of a comparison or control, its own or those of ``stacks``.

        Raises:
            ValueError: if its own are no stack.
        """
        entry = getattr(self, layer)[name]
        stacks = [entry["seeds"]] if "seeds" in entry else self.stacks
        return [seed for stack in stacks for seed in parse_stack(stack)]


def parse_stack(stack: int | str) -> list[int]:
    """The seeds of a stack: ``3`` is [3], ``"1-3"`` is [1, 2, 3].

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", str(stack))
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise ValueError(f"{stack!r} is neither a seed nor a range a-b of seeds")
    if last - first >= MOST_SEEDS:
        raise ValueError(f"{stack!r} are {last - first + 1} seeds, and at most {MOST_SEEDS} train together")
    return list(range(first, last + 1))


def _stacked(part: Sharpening) -> Iterator[Member]:
    for name in part.configurations:
        settings = part.resolved("configurations", name)
        for stack in part.configuration_stacks:
            yield Member({"configuration": name, "stack": str(stack)}, parse_stack(stack), settings)


def _together(part: Sharpening, layer: str) -> Iterator[Member]:
    for name in getattr(part, layer):
        yield Member({"configuration": name}, part.seeds_of(layer, name), part.resolved(layer, name))


_SETTINGS = (
    "study",
    "configuration",
    "fidelity",
    "seed",
    "architecture",
    "loss_function",
    "optimizer",
    "learning_rate",
    "images",
    "batch_size",
    "parameters",
    "diverged",
)
# Before anything has trained, only the order of sums differs.
_AT_START = ("first_loss", "first_sharpness")
_LIMITS = (
    "Gradient descent at the edge of stability amplifies rounding: two machines agree at first, and later only in what "
    "runs do on average. Sharpness is that of the loss in params.yaml: half the squared error, summed over outputs, "
    "mean over examples."
)
_RUNS = from_dictionary(
    runs.COLUMNS,
    statistical(),
    **dict.fromkeys(_SETTINGS, EXACT),
    **dict.fromkeys(_AT_START, relative(1e-3)),
    stability_threshold=relative(1e-9),
    hvps_per_reading=IDENTICAL,
    largest_cold_gap=IDENTICAL,
    largest_error_estimate=IDENTICAL,
)
_BOUNDARY = statistical(otherwise=1e-3, floor=1e-3)

LONG = Card(
    title="Progressive sharpening: runs",
    row="one training run",
    keys=("configuration", "seed"),
    computed="from the run's history by benchmarks/evidence/runs.py",
    limits=_LIMITS,
    replicates=("seed",),
    columns=_RUNS,
)

_OVER_SEEDS = {
    "mean": "mean over seeds",
    "sd": "sample standard deviation over seeds",
    "ci95_low": "low end of the 95 % t-interval of the mean",
    "ci95_high": "high end of the 95 % t-interval of the mean",
}
CELLS = Card(
    title="Progressive sharpening: configurations",
    row="one configuration and metric",
    keys=("configuration", "metric"),
    computed="mean, sample standard deviation and 95 % t-interval over seeds of progressive_sharpening.long",
    limits=_LIMITS,
    n="n",
    quantities={name: _RUNS[name] for name in runs.METRICS},
    by="metric",
    holds=tuple(_OVER_SEEDS),
    columns={
        "study": _RUNS["study"],
        "configuration": _RUNS["configuration"],
        "learning_rate": Column("parameter^2/loss", "step size of the optimizer"),
        "metric": Column("", "a column of progressive_sharpening.long"),
        "unit": Column("", "the metric's"),
        "n": Column("seeds", "how many have a value", IDENTICAL),
        **{
            name: Column("the metric's", meaning, statistical(), ("ci95_low", "ci95_high"))
            for name, meaning in _OVER_SEEDS.items()
        },
    },
)

THRESHOLDS = Card(
    title="Stability thresholds of library optimizers on a quadratic",
    row="one optimizer",
    keys=("optimizer",),
    computed="the optimizer's own step on a quadratic as a linear map; bisection of its spectral radius",
    limits="For a frozen preconditioner and one learning rate; closed forms say how it scales.",
    columns={
        "optimizer": Column("", "its name in params.yaml"),
        "implementation": Column("", "the library's class"),
        "learning_rate": Column("parameter^2/loss", "step size"),
        "stability_threshold": Column("loss/parameter^2", "largest stable curvature", relative(1e-9)),
        "threshold_times_learning_rate": Column("", "their product, 2 for gradient descent", relative(1e-9)),
    },
)

CATAPULT = Card(
    title="The catapult's boundaries",
    row="one network and seed",
    keys=("system", "seed"),
    computed="bisection of the learning rate, in units of one over the initial curvature, by the behaviour of runs",
    limits="One training example with target zero. ReLU networks do not converge on an interval of rates: their "
    "boundary is at the first gap.",
    replicates=("seed",),
    columns={
        "system": Column("", "linear or relu network, or the recursion of a quadratic"),
        "seed": Column("", "of the initialization"),
        "width": Column("units", "hidden units"),
        "initial_curvature": Column("loss/parameter^2", "tangent kernel at initialization, $q$", relative(1e-5)),
        "monotone_boundary": Column("", r"largest $\mathrm{lr}\,q$ below which the loss never rises", _BOUNDARY),
        "convergence_boundary": Column("", r"largest $\mathrm{lr}\,q$ below which runs converge", _BOUNDARY),
        "rise_at_3": Column("", r"largest over first loss at $\mathrm{lr}\,q = 3$", IDENTICAL),
        "final_curvature_times_lr_at_3": Column(
            "", r"$\mathrm{lr}$ times the last curvature at $\mathrm{lr}\,q = 3$, below 2 at rest", IDENTICAL
        ),
    },
)

MOMENTUM_BATCHES = tidy(
    "The edge of stochastic stability with momentum",
    computed="torch's SGD; the curvature of fresh minibatches along their own gradients; on quadratics in float64",
    limits="One small network, at one learning rate for each batch size. A ratio is given only for a run that has "
    "settled: its medians in the third and the last quarter differ by at most half of the smaller.",
    quantities={
        "diverged": Column("", "1 if the run diverged"),
        "settled": Column("", "the smaller over the larger of the medians in the third and the last quarter"),
        "small_batch_ratio": Column(
            "", r"late median of the batch sharpness over $2(1 - b)/\mathrm{lr}$, $b$ the momentum"
        ),
        "large_batch_ratio": Column("", r"late median of the batch sharpness over $2(1 + b)/\mathrm{lr}$"),
        "mean_ratio_level": Column(
            "", "late median of batch sharpness as a mean of ratios, over that as a ratio of means"
        ),
        "loss_ratio": Column("", "the last loss over the first"),
        "reading-*": Column("", r"$\mathrm{lr}/2$ times the batch sharpness after so many steps"),
        "threshold_ratio": Column("", "the library's mean-square threshold over the closed form", relative(1e-6)),
        "variance_ratio": Column("", "the simulated variance over the closed form"),
    },
    agreement=statistical(otherwise=0.05, floor=0.02),
    system="of the settings, a network; quadratic-BETA-SHARE: a quadratic of which that share of the batches sees the "
    "curvature",
)
ADAPTIVE_FLOW = tidy(
    "The central flow of Scalar RMSProp",
    computed="Scalar RMSProp in float64 and, from the same weights, its central flow by Euler's method and its stable "
    "flow by an adaptive Runge-Kutta method",
    limits="One network of two classes, with one or two eigenvalues at the edge. The effective step is the learning "
    "rate over the root of the second moment; the effective sharpness is the step times the largest eigenvalue.",
    quantities={
        "edge_share": Column("", "share of the late readings at which the flow holds an eigenvalue"),
        "modes": Column("", "the most eigenvalues held at once"),
        "distance_ratio": Column(
            "", "distance of the run from the central flow over that from the stable flow, at the end"
        ),
        "relative_distance": Column("", "distance from the central flow over the way of the run, at the end"),
        "relative_distance_stable": Column("", "the same for the stable flow"),
        "loss_ratio": Column("", "mean late loss over the central flow's prediction"),
        "loss_ratio_stable": Column("", "the same for the stable flow"),
        "loss_error": Column("", "mean absolute ln of the loss over the central flow's, along the whole path"),
        "loss_error_stable": Column("", "the same for the stable flow"),
        "step_error": Column("", "mean absolute ln of the effective step over the central flow's"),
        "step_error_stable": Column("", "the same for the stable flow"),
        "loss_error_ratio": Column("", "loss_error over loss_error_stable"),
        "step_error_ratio": Column("", "step_error over step_error_stable"),
        "flow_edge": Column("", "late median of the flow's effective sharpness over 2"),
        "run-*": Column("", "loss of the run around a step"),
        "central-*": Column("", "the central flow's prediction of it"),
        "stable-*": Column("", "loss of the stable flow there"),
    },
    agreement=statistical(otherwise=0.05, floor=0.02),
    system="network; below: the same below the edge; toy: two parameters",
)
NOISE_SCALE = tidy(
    "The gradient noise scale",
    computed="gradients of single examples and of batches drawn with replacement; the fewest steps over a grid of "
    "learning rates",
    limits="One network and target. The fewest steps of a grid are never more than those of the best learning rate on "
    "it, and one crossing of the target is enough: noise makes small batches look better than they are.",
    quantities={
        "noise_scale": Column(
            "examples",
            r"mean along the path to the target of $\mathrm{tr}\,\Sigma / \lvert G \rvert^2$: $\Sigma$ the covariance "
            "of the gradients of single examples, $G$ their mean",
        ),
        "curved_scale": Column("examples", r"the same of $\mathrm{tr}(H \Sigma) / (G^\top H G)$, with the Hessian $H$"),
        "scale-*": Column("examples", "the noise scale, without the Hessian, at a reading"),
        "estimator_ratio": Column(
            "", "geometric mean of the estimate from two batch sizes over the noise scale of all examples"
        ),
        "log_growth": Column("", "ln of the noise scale at the target over that at the start"),
        "path_steps": Column("steps", "of gradient descent to the target"),
        "critical_batch": Column("examples", "of the fit of steps = least (1 + critical / size)"),
        "log_ratio": Column("", "ln of the critical batch over the noise scale"),
        "log_curved_ratio": Column("", "ln of the critical batch over the noise scale with the Hessian"),
        "fit_error": Column("", "root mean square of ln(steps) over the fit"),
        "log_speedup": Column("", "ln of the steps of the smallest batch over those of the largest"),
        "steps-*": Column("steps", "to the target, by batch size"),
    },
    agreement=statistical(otherwise=0.05, floor=0.02),
    system="network; repeated: on a single image; known: a quadratic with a constant noise scale",
)
IMPLICIT_GRADIENT = tidy(
    "Implicit gradient regularization",
    computed="gradient descent in float64 to a fixed time; the flow by a Runge-Kutta method of order eight",
    limits="A short time on a small network, below the edge of stability.",
    quantities={
        "exponent": Column("", "slope of ln(distance at the end) on ln(lr), over the smaller half of the rates"),
        "smallest_error": Column("", "distance at the end over the way, at the smallest learning rate"),
        "error-*": Column("", "distance at the end over the way, by learning rate"),
    },
    agreement=SMOOTH,
    system="network: the flow with the regularizer; plain: without; doubled: with twice as much; quadratic: linear "
    "regression in closed form",
)

FIGURES = (
    Figure(
        "progressive_sharpening",
        r"Gradient descent sharpens the loss until the top Hessian eigenvalue reaches $2/\mathrm{lr}$ (dashed) and "
        "then holds it there while the loss keeps falling, no longer monotonically.",
        reads=("progressive_sharpening.long",),
        claims=("E1",),
    ),
    Figure(
        "settled_sharpness",
        "Settled sharpness in units of its predicted value: circles are seeds, bars 95 % intervals, grey the "
        "registered band; linear regression, whose Hessian cannot move, stays outside.",
        reads=("progressive_sharpening.long", "claims"),
        claims=("E1", "E1-systems"),
    ),
    Figure(
        "edges",
        r"Every optimizer has its own threshold (dashed; dotted: $2/\mathrm{lr}$) for the sharpness relevant to it: "
        r"$2/\mathrm{lr}$ for gradient descent, above or below that with momentum, $38/\mathrm{lr}$ for Adam's "
        "preconditioned Hessian, one that moves with the gradient norm for SAM. Lines are means, bands the range over "
        "seeds.",
        reads=("progressive_sharpening.long",),
        claims=("E3", "E4", "E7", "E8", "E9"),
    ),
    Figure(
        "stability_thresholds",
        "The curvature at which each library optimizer loses stability on a quadratic, compared with the closed form "
        "against which the edge of stability is measured.",
        reads=("stability_thresholds", "claims"),
        claims=("C5",),
    ),
    Figure(
        "descent_lemma",
        r"A step raises the loss exactly where its mean curvature exceeds $2/\mathrm{lr}$, which requires a sharpness "
        r"above $2/\mathrm{lr}$ along it: never before the edge, at nearly every other step there, never in linear "
        "regression. Circles are seeds, bars 95 % intervals, grey the registered band.",
        reads=("progressive_sharpening.long", "claims"),
        claims=("C6",),
    ),
    Figure(
        "catapult",
        r"A two-layer linear network stops descending monotonically where $\mathrm{lr}$ times initial curvature is 2 "
        r"and stops converging at 4; in between, it lands where the curvature is below $2/\mathrm{lr}$ (right). A "
        "one-layer network has no such interval, and ReLU no sharp second boundary. Each symbol is a seed.",
        reads=("catapult",),
        claims=("E10",),
    ),
    Figure(
        "gradient_flow",
        "Gradient descent follows gradient flow (black, the same for every learning rate) until the flow reaches "
        r"$2/\mathrm{lr}$ (dots, dotted lines), and leaves it soon after: sharpness levels off, the distance jumps.",
        reads=("progressive_sharpening.long",),
        claims=("E2",),
    ),
    Figure(
        "oscillation_variance",
        "At the edge, the variance of the oscillation along the top eigenvector is the one that cancels progressive "
        "sharpening (orange), and the one that the central flow predicts (green). Right: second half of each run, "
        "circles are seeds, bars 95 % intervals, grey the registered band.",
        reads=("progressive_sharpening.long", "claims"),
        claims=("E5", "E6"),
    ),
    Figure(
        "central_flow",
        r"The central flow holds its sharpness at $2/\mathrm{lr}$, predicts the running mean of the loss, and stays "
        "close to gradient descent where gradient flow departs from it.",
        reads=("progressive_sharpening.long",),
        claims=("E6",),
    ),
    Figure(
        "batch_sharpness",
        r"How close stochastic gradient descent brings its batch sharpness to $2/\mathrm{lr}$, and the sharpness of "
        "the full loss, at three batch sizes. Left: medians over the second half of a run, symbols are seeds, bars 95 "
        "% intervals, grey the registered band; right: during training, in the same colours.",
        reads=("progressive_sharpening.long", "claims"),
        claims=("E8",),
    ),
    Figure(
        "sharpening_modifiers",
        "How far the sharpness rises above its initial mean if nothing stops it: at two widths, with few and with many "
        "images, and with cross-entropy, where it falls again once the examples are fitted. Means and ranges over "
        "seeds.",
        reads=("progressive_sharpening.long",),
        claims=("E11",),
    ),
    Figure(
        "discrete_steps",
        "What discrete, noisy steps add to gradient flow. Top left: with momentum $b$ the batch sharpness, the "
        r"curvature of a minibatch's loss along its own gradient, settles near $2(1 - b)/\mathrm{lr}$ on small batches "
        r"and near $2(1 + b)/\mathrm{lr}$ on all the data (dashed). Top right: the central flow of Scalar RMSProp, "
        "which averages over its oscillation, predicts the loss that the stable flow, without oscillation, misses. "
        "Bottom left: steps to a target loss fall with the batch size up to a critical one; lines are the fit. Bottom "
        "right: the distance of gradient descent from the flow of the regularized loss falls with the square of the "
        "learning rate, from the flow of the loss alone only in proportion to it. Means and ranges over seeds.",
        reads=(
            "progressive_sharpening/momentum_batches",
            "progressive_sharpening/adaptive_flow",
            "progressive_sharpening/noise_scale",
            "progressive_sharpening/implicit_gradient",
        ),
        claims=("E12", "E13", "E14", "E15"),
    ),
)

STUDY = Study(
    "progressive_sharpening",
    place=11,
    model=Sharpening,
    curves=True,
    families=(
        Family("run", "training", "{configuration}/{stack}", Settings, _stacked),
        Family("compare", "training", "{configuration}/all", Settings, partial(_together, layer="comparisons")),
        Family("control", "training", "{configuration}/all", Settings, partial(_together, layer="controls")),
    ),
    experiments=(
        Experiment("thresholds", Thresholds, THRESHOLDS, table="stability_thresholds"),
        Experiment("catapult", Catapult, CATAPULT, table="catapult"),
        Experiment("momentum_batches", MomentumBatches, MOMENTUM_BATCHES),
        Experiment("adaptive_flow", AdaptiveFlow, ADAPTIVE_FLOW),
        Experiment("noise_scale", NoiseScale, NOISE_SCALE),
        Experiment("implicit_gradient", ImplicitGradient, IMPLICIT_GRADIENT),
    ),
    tables={"progressive_sharpening": CELLS, "progressive_sharpening.long": LONG},
    figures=FIGURES,
)
