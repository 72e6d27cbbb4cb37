"""Why some optimizers work better than others: each on every workload after the same tuning, and experiments on the
mechanisms that are said to explain it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from benchmarks.evidence import comparison
from benchmarks.evidence.card import (
    EXACT,
    IDENTICAL,
    Card,
    Column,
    from_dictionary,
    relative,
    statistical,
    tidy,
    with_interval,
)
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Family, Figure, Member, Study
from benchmarks.studies.schema import (
    Architecture,
    Count,
    Layered,
    Name,
    NamedOptimizer,
    Optimizer,
    Positive,
    Strict,
    repetitions,
)

# What is tuned, by option: an interval of the option, or of one minus it.
Space = Annotated[dict[str, dict[Literal["log", "one_minus"], list[Positive]]], Field(min_length=1)]


class SplitImages(Strict):
    """A workload on images: training and validation out of the training set."""

    name: Literal["images"]
    train: Annotated[int, Field(ge=2)]
    validation: Annotated[int, Field(ge=2)]
    pool: Count


class Imbalanced(Strict):
    """Features that carry no information, classes with frequencies like 1/rank."""

    name: Literal["imbalanced"]
    size: Annotated[int, Field(ge=2)]
    balanced: bool


class Tokens(Strict):
    """Next tokens with frequencies like rank^-exponent."""

    name: Literal["tokens"]
    vocabulary: Annotated[int, Field(ge=2)]
    length: Count
    examples: Count
    exponent: Annotated[float, Field(ge=0)]
    copied: Annotated[float, Field(ge=0, le=1)]


class Text(Strict):
    """Next characters of a text, in windows of ``length``: how many of them each part gives."""

    name: Literal["text"]
    length: Count
    train: Count
    validation: Count
    test: Count


class Workload(Strict):
    """What optimizers are compared on, resolved."""

    data: Annotated[SplitImages | Imbalanced | Tokens | Text, Field(discriminator="name")]
    architecture: Architecture
    batch_size: Count | None
    steps: Count
    warmup: Annotated[int, Field(ge=0)]
    decay: bool
    factors: list[Positive]
    factor_seeds: Count
    curvature_examples: Count

    @property
    def on_text(self) -> bool:
        return self.data.name == "text"

    @model_validator(mode="after")
    def _consistent(self):
        examples = {"images": "train", "tokens": "examples", "text": "train"}.get(self.data.name)
        if self.batch_size and examples and self.batch_size > getattr(self.data, examples):
            raise ValueError(f"batch_size {self.batch_size} exceeds the {getattr(self.data, examples)} examples")
        if self.warmup >= self.steps:
            raise ValueError(f"a warmup of {self.warmup} leaves nothing of the {self.steps} steps")
        if 1.0 in self.factors:
            raise ValueError("factors multiply the tuned learning rate, which is run anyway: leave out 1")
        return self


class Extra(Workload):
    """A workload for the optimizers of ``pair``: on no text."""

    data: Annotated[SplitImages | Imbalanced | Tokens, Field(discriminator="name")]


class Contender(Strict):
    """An optimizer with what is tuned of it."""

    optimizer: NamedOptimizer
    space: Space

    @model_validator(mode="after")
    def _searchable(self):
        if "lr" not in self.space:
            raise ValueError("the space must have lr")
        for option, spec in self.space.items():
            if len(spec) != 1 or len(ends := next(iter(spec.values()))) != 2 or ends[0] >= ends[1]:
                raise ValueError(f"the space of {option!r} must be log: [low, high] or one_minus: [low, high]")
            if "one_minus" in spec and ends[1] > 1:
                raise ValueError(f"one minus {option!r} must be at most 1, got {ends[1]:g}")
            if option in self.optimizer.model_extra:
                raise ValueError(f"{option!r} is both fixed and in the space")
        Optimizer.model_validate({**self.optimizer.model_dump(), **dict.fromkeys(self.space, 0.5)})
        return self


class TuningProtocol(Strict):
    """The same for every optimizer."""

    trials: Count
    tuning_seed: int
    space_seed: int
    seeds: Annotated[list[int], Field(min_length=2)]
    marks: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _disjoint(self):
        if self.tuning_seed in self.seeds:
            raise ValueError(
                f"tuning_seed {self.tuning_seed} is among the seeds of the final runs: tuning would have seen it"
            )
        return self


class Contest(Strict):
    """The settings of one contest: one optimizer on one workload."""

    protocol: TuningProtocol
    workload: Workload
    optimizer: NamedOptimizer
    space: Space


class Target(Strict):
    """Where a run has arrived: this share of the fall of an optimizer's objective."""

    optimizer: Name
    share: Annotated[float, Field(gt=0, le=1)]


class DescentSystem(Strict):
    optimizer: Optimizer
    steps: Count | None = None


class ClassImbalance(Strict):
    classes: Annotated[int, Field(ge=2)]
    time: Positive  # learning rate x steps of gradient descent
    early: Positive  # the same, of ``early_slope``
    systems: dict[Name, DescentSystem]

    @model_validator(mode="after")
    def _ended(self):
        for name, system in self.systems.items():
            if system.steps is None and system.optimizer.name != "sgd":
                raise ValueError(f"system {name!r} needs its steps: only gradient descent has a time")
        return self


class NormalisedQuadratic(Strict):
    seeds: Annotated[int, Field(ge=2)]
    decades: Positive  # of learning rates around the best
    rates: Annotated[int, Field(ge=2)]
    search: Annotated[list[Positive], Field(min_length=1)]  # for the best, in units of ``lr``
    lr: Positive
    examples: Count
    features: Count
    steps: Count


class Heterogeneity(Strict):
    seeds: Annotated[int, Field(ge=2)]
    workloads: Annotated[list[Name], Field(min_length=2)]
    examples: Count
    products: Annotated[int, Field(ge=2)]  # Lanczos steps per tensor


class MeasuredHeterogeneity(Heterogeneity):
    """The same, its workloads resolved."""

    workloads: dict[Name, Workload]


class Comparison(Layered):
    """Every optimizer on every workload, one stage each; those of ``pair`` on ``extras`` too; and the experiments."""

    layers: ClassVar[dict[str, type[Strict]]] = {"workloads": Workload, "extras": Extra}

    protocol: TuningProtocol
    target: Target
    workloads: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    extras: dict[Name, dict[str, Any]]
    pair: list[Name]
    added_seeds: dict[Name, dict[Name, list[int]]]  # by workload and optimizer, beside the protocol's
    optimizers: Annotated[dict[Name, Contender], Field(min_length=1)]

    @model_validator(mode="after")
    def _named(self):
        for name in (self.target.optimizer, *self.pair):
            entries.require(name, list(self.optimizers), "optimizer")
        if twice := repetitions([*self.workloads, *self.extras]):
            raise ValueError(f"{twice[0]!r} is both among workloads and extras")
        for workload, added in self.added_seeds.items():
            entries.require(workload, [*self.workloads, *self.extras], "workload")
            for optimizer, seeds in added.items():
                entries.require(optimizer, list(self.optimizers), "optimizer")
                if twice := repetitions([*self.protocol.seeds, *seeds]):
                    raise ValueError(f".added_seeds.{workload}.{optimizer}: seed {twice[0]} is there already")
        return self


def contests(study: Comparison) -> Iterator[Member]:
    """Every optimizer on every workload, but for those on a text."""
    return _members(study, "workloads", list(study.optimizers), on_text=False)


def text_contests(study: Comparison) -> Iterator[Member]:
    """Every optimizer on every workload on a text."""
    return _members(study, "workloads", list(study.optimizers), on_text=True)


def extra_contests(study: Comparison) -> Iterator[Member]:
    """The optimizers of ``pair`` on every extra workload."""
    return _members(study, "extras", study.pair, on_text=False)


def _members(study: Comparison, layer: str, optimizers: list[str], on_text: bool) -> Iterator[Member]:
    for name in study.overrides(layer):
        workload = study.resolved(layer, name)
        if workload.on_text != on_text:
            continue
        for optimizer in optimizers:
            seeds = study.protocol.seeds + study.added_seeds.get(name, {}).get(optimizer, [])
            protocol = {**study.protocol.model_dump(), "seeds": seeds}
            settings = Contest(protocol=protocol, workload=workload, **dict(study.optimizers[optimizer]))
            yield Member({"workload": name, "optimizer": optimizer}, seeds, settings)


def measured_heterogeneity(parameters: Any) -> MeasuredHeterogeneity:
    """The workloads whose spectra are measured, resolved.

    Raises:
        ValueError: if there is none of a name.
    """
    study = parameters.optimizer_comparison
    layers = {name: layer for layer in study.layers for name in study.overrides(layer)}
    asked = study.heterogeneity
    for name in asked.workloads:
        entries.require(name, list(layers), "workload")
    workloads = {name: study.resolved(layers[name], name) for name in asked.workloads}
    for name, workload in workloads.items():
        if workload.on_text:
            raise ValueError(f"workload {name!r} is on a text: blocks are compared on images and generated data alone")
    return MeasuredHeterogeneity(**{**dict(asked), "workloads": workloads})


_LIMITS = (
    "Small networks, a few hundred steps (100 on the text), twenty tuning trials. On another machine another trial may "
    "narrowly win the tuning, and then the whole contest differs."
)
_RUNS = from_dictionary(
    comparison.COLUMNS,
    statistical(),
    **dict.fromkeys(("workload", "optimizer", "role", "trial", "factor", "seed", "options", "diverged"), EXACT),
    steps=IDENTICAL,
    learning_rate=relative(1e-9),
    first_objective=relative(1e-4),
)
CONTEST_KEYS = {name: _RUNS[name] for name in ("workload", "optimizer")}


def _summarised() -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for name in comparison.SUMMARISED:
        meaning = f"{_RUNS[name].meaning}; mean over the tuned runs that did not diverge"
        columns |= with_interval(name, replace(_RUNS[name], meaning=meaning))
    return columns


TABLES = {
    "optimizer_comparison": Card(
        title="Optimizers compared: ranks, losses and costs",
        row="one optimizer on one workload",
        keys=tuple(CONTEST_KEYS),
        computed="tuning, then fresh seeds (docs/explanation/comparing.md); means and 95 % t-intervals over seeds",
        limits=_LIMITS,
        n="n",
        columns={
            **CONTEST_KEYS,
            "implementation": Column("", "the library's class"),
            "finite_trials": Column("trials", "tuning trials that did not diverge", IDENTICAL),
            "rank_best": Column(
                "place", "best rank it may have: ranks are shared where paired 95 % intervals contain zero", IDENTICAL
            ),
            "rank_worst": Column("place", "worst rank it may have", IDENTICAL),
            "n": Column("seeds", "tuned runs that did not diverge", IDENTICAL),
            "diverged": Column("seeds", "tuned runs that diverged", IDENTICAL),
            "arrived": Column("seeds", "tuned runs that reached the target", IDENTICAL),
            "learning_rate": Column("the optimizer's own", "largest value of the tuned schedule", IDENTICAL),
            "options": Column("", "the other tuned options, as JSON", IDENTICAL),
            "parameters": Column("", "number of trained parameters"),
            "state_per_parameter": Column(
                "numbers", "size of the optimizer's state per trained parameter", relative(1e-9)
            ),
            "scheduled": Column("", "1 if it uses the workload's schedule, else 0"),
            **_summarised(),
            "note": Column("", "what to know before taking the row at face value", IDENTICAL),
        },
    ),
    "optimizer_comparison.long": Card(
        title="Optimizers compared: runs, tuning trials included",
        row="one training run",
        keys=("workload", "optimizer", "role", "trial", "factor", "seed"),
        computed="a contest's runs, measured against their workload's targets by benchmarks/evidence/comparison.py",
        limits=_LIMITS,
        replicates=("seed",),
        columns=_RUNS,
    ),
    "optimizer_comparison/targets": Card(
        title="Targets of the optimizer comparison",
        row="one workload and target",
        keys=("workload", "target"),
        computed="95 % of the way that AdamW's mean objective goes, at its tuned rate, a quarter and four times it",
        limits=_LIMITS,
        columns={
            "workload": CONTEST_KEYS["workload"],
            "target": Column("", "target, quarter or fourfold: the learning rate of AdamW that sets it"),
            "objective": Column("nats", "objective at which a run has reached the target", relative(0.05)),
        },
    ),
    "optimizer_comparison/flips": Card(
        title="Changes of order between optimizers",
        row="one pair of optimizers on one workload whose order significantly reverses",
        keys=("workload", "ahead", "behind"),
        computed="paired 95 % intervals over seeds at each reading and at the end",
        limits="Pairs with a tuned run that diverged are left out. " + _LIMITS,
        rows="identical",
        columns={
            "workload": CONTEST_KEYS["workload"],
            "ahead": Column("", "the optimizer that is ahead at the end"),
            "behind": Column("", "the one that was ahead before"),
            "step": Column("steps", "last reading at which the order was the reverse", IDENTICAL),
            "share": Column("fraction", "that step over all steps", IDENTICAL),
        },
    ),
    "optimizer_comparison/optimizers": Card(
        title="The implementation of each optimizer, and what was tuned",
        row="one optimizer",
        keys=("optimizer",),
        computed="from params.yaml and the optimizer's entry",
        limits="The meaning is that of this version of the library.",
        columns={
            "optimizer": CONTEST_KEYS["optimizer"],
            "implementation": Column("", "the library's class"),
            "package": Column("", "the library and its version", IDENTICAL),
            "source": Column("", "papers"),
            "meaning": Column("", "what the name means there"),
            "fixed": Column("", "options that are not tuned"),
            "space": Column("", "search space of the tuned options"),
        },
    ),
}

CLASS_IMBALANCE = tidy(
    "Loss of a class against its frequency",
    "softmax regression on one-hot inputs with class frequencies $1/k$, in float64",
    "No seeds: nothing is random. The limit holds where frequency x time exceeds ten times the number of classes.",
    {
        "slope": Column("", "slope of ln loss on ln frequency, late"),
        "early_slope": Column("", "the same, early"),
        "spread": Column("", "largest over smallest loss of a class"),
        "limit_low": Column("", "smallest loss x frequency x time"),
        "limit_high": Column("", "largest loss x frequency x time"),
        "regime": Column("", "smallest frequency x time over the number of classes", relative(1e-9)),
        "frequency_*": Column("fraction", "of a class", relative(1e-9)),
        "loss_*": Column("nats", "of that class, late"),
    },
    system="gradient or sign descent",
    agreement=relative(1e-6),
)

HETEROGENEITY = tidy(
    "How much the blocks of each workload's Hessian differ",
    "spectral densities of parameter tensors at initialization by Lanczos, compared by Jensen-Shannon distance",
    "Twelve Lanczos steps per tensor, 256 examples.",
    {
        "js_distance": Column(
            "", "mean Jensen-Shannon distance over pairs of blocks", statistical(otherwise=0.05, floor=1e-3)
        ),
        "blocks": Column("tensors", "how many there are", EXACT),
    },
    system="a workload",
)

NORMALISED_QUADRATIC = tidy(
    "Learning-rate sensitivity with and without normalization, where theory gives the answer",
    "linear regression and its normalised twin over three decades of the learning rate",
    "A control of W7.",
    {
        "sensitivity": Column("loss", "mean excess loss over the learning rates, clipped at the first"),
        "ratio": Column("", "sensitivity of the plain map divided by that of the normalised one"),
    },
    system="plain or normalised",
    agreement=relative(1e-3),
)


FIGURES = (
    Figure(
        "optimizer_loss",
        "Each optimizer with its tuned settings, mean and range over seeds not used in tuning; dashed: the target, 95 "
        "% of AdamW's decrease. Images and text: validation loss with cosine decay (not for Schedule-Free); the "
        "others: full-batch training loss at a constant learning rate. Where a tuned run diverged, the optimizer is "
        "left out.",
        reads=("optimizer_comparison", "optimizer_comparison/targets"),
        claims=("W5", "W2", "W3"),
    ),
    Figure(
        "optimizer_profile",
        "Performance profile: the fraction of runs (workloads and seeds) in which a tuned optimizer reaches the "
        "target within a multiple of the best optimizer's steps. Higher on the left is better; a curve that ends "
        "below 1 did not always reach the target.",
        reads=("optimizer_comparison.long", "optimizer_comparison/targets"),
        claims=("W5",),
    ),
    Figure(
        "lr_sensitivity",
        "Final loss at learning rates other than the tuned one, clipped at the loss before training (dotted): means "
        "over seeds, with their range as bands. Right: the transformer without normalization, with four optimizers.",
        reads=("optimizer_comparison.long",),
        claims=("W7", "W5"),
    ),
    Figure(
        "class_losses",
        r"Left: on one-hot inputs gradient descent leaves each class a loss of $\frac{c - 1}{c\,\pi t}$, while sign "
        "descent treats all classes alike. Right: loss of the classes of the imbalanced softmax problem after 100 "
        "steps, by the number of their examples; losses below $10^{-5}$ are drawn at that level.",
        reads=("optimizer_comparison/class_imbalance", "optimizer_comparison"),
        claims=("W1", "W2"),
    ),
    Figure(
        "optimizer_sharpness",
        "Sharpness where tuned optimizers end, of the training loss on 256 examples; circles are seeds, bars 95 % "
        "intervals.",
        reads=("optimizer_comparison.long",),
        claims=("W5",),
    ),
)

STUDY = Study(
    "optimizer_comparison",
    place=13,
    model=Comparison,
    curves=True,
    families=(
        Family("contest", module="contest", path="{workload}-{optimizer}", settings=Contest, members=contests),
        Family("text", module="language", path="{workload}-{optimizer}", settings=Contest, members=text_contests),
        Family("extra", module="contest", path="{workload}-{optimizer}", settings=Contest, members=extra_contests),
    ),
    experiments=(
        Experiment("class_imbalance", ClassImbalance, CLASS_IMBALANCE),
        Experiment("heterogeneity", Heterogeneity, HETEROGENEITY, resolve=measured_heterogeneity),
        Experiment("normalised_quadratic", NormalisedQuadratic, NORMALISED_QUADRATIC),
    ),
    tables=TABLES,
    figures=FIGURES,
)
