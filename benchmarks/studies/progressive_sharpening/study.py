"""Progressive sharpening and the edge of stability: trained configurations, and two experiments on known systems."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from benchmarks.evidence import runs
from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, from_dictionary, relative, statistical
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Family, Figure, Member, Study
from benchmarks.studies.schema import (
    Architecture,
    Count,
    Layered,
    Name,
    Optimizer,
    Strict,
    check_options,
    check_sizes,
    repetitions,
)

_MEASUREMENTS = "benchmarks.lab.measurements"
# Options of measurements that are relative errors.
_RELATIVE = ("tolerance", "eigen_tolerance")


class Settings(Strict):
    """One resolved configuration of a training study."""

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
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(stack))
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise ValueError(f"{stack!r} is neither a seed nor a range a-b of seeds")
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
)

STUDY = Study(
    "progressive_sharpening",
    place=7,
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
    ),
    tables={"progressive_sharpening": CELLS, "progressive_sharpening.long": LONG},
    figures=FIGURES,
)
