"""params.yaml as a checked object: every key, type, range and name, before anything trains.

YAML 1.2, as DVC reads it: ``1e-3`` is a number.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML, YAMLError

from benchmarks.studies.settings import resolve
from pipelines import entries
from pipelines.experiments import ConvexRates, DeepLinear, LazyTraining, Overparameterization, ScaleInvariance, Study
from pipelines.schema import Architecture, Count, Name, Optimizer, Positive, Spec, Strict, check_options, check_sizes

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# Kinds of data, which pydantic names in a fault's path.
_KINDS = ("images", "planted", "imbalanced", "tokens")

# Options of measurements that are relative errors.
_RELATIVE = ("tolerance", "eigen_tolerance")


class ParametersError(ValueError):
    """params.yaml is wrong; the message has one line per fault, each with its path."""


class Hashes(Strict):
    x_train: Sha256
    y_train: Sha256
    x_test: Sha256
    y_test: Sha256


class Data(Strict):
    source: Literal["cifar10", "digits"]
    sha256: Hashes


class Compute(Strict):
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?|mps)$")]
    dtype: Literal["float32", "float64"]
    threads: Count
    chunk_size: Count

    @model_validator(mode="after")
    def _exact(self):
        if self.device == "mps" and self.dtype == "float64":
            raise ValueError("device mps has no float64: set dtype to float32, or device to cpu or cuda")
        return self


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
            check_options("benchmarks.lab.measurements", name, options)
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


class Catapult(Strict):
    width: Count  # of the networks
    steps: Count
    resolution: Annotated[float, Field(gt=0, lt=1)]  # relative, of the boundaries


class ImagesData(Strict):
    """A rung's data from images."""

    name: Literal["images"]
    images: Annotated[int, Field(ge=2)]
    pool: Count
    components: Annotated[int, Field(ge=2)]
    # Principal components of unit variance, the same with their own variances (of mean one), or put back into pixels.
    inputs: Literal["whitened", "raw", "images"]
    rotate: bool  # the whitened components, a rotation a seed
    # What a linear network can learn of the real ones, those, the rest, or permuted ones.
    labels: Literal["linear", "real", "residual", "random"]
    spectrum: Literal["natural", "flat"]
    # Two modes that trade their singular values, counted from 1.
    swap: Annotated[list[Count], Field(min_length=2, max_length=2)] | None
    modes: Annotated[int, Field(ge=2)] | None
    merge: Annotated[float, Field(gt=0, lt=1)]


class PlantedData(Strict):
    """Gaussian inputs, and labels that are functions of single directions of them."""

    name: Literal["planted"]
    examples: Count
    components: Count
    spectrum: Annotated[list[Positive], Field(min_length=2)]  # s_k
    functions: list[Literal["he1", "he2"]]  # normalized Hermite polynomials

    @model_validator(mode="after")
    def _matched(self):
        if not len(self.functions) == len(self.spectrum) <= self.components:
            raise ValueError(
                f"{len(self.spectrum)} strengths need as many functions and no fewer components, "
                f"got {len(self.functions)} and {self.components}"
            )
        return self


class RungOptimizer(Spec):
    """An optimizer whose learning rate may be left to pilots."""

    lr: Positive | None = None


class Rung(Strict):
    """One resolved rung of the ladder."""

    seeds: Annotated[int, Field(ge=2)]
    data: Annotated[ImagesData | PlantedData, Field(discriminator="name")]
    architecture: Architecture
    linearized: bool
    loss: Literal["mse", "cross_entropy"]
    init: Positive | None
    optimizer: RungOptimizer
    edge: Annotated[float, Field(gt=0, le=1)] | None
    follows_scale: bool
    batch_size: Count | None
    steps: Count
    basis: Literal["data", "kernel", "quadratic"]
    twin: bool
    depth: Count | None

    @model_validator(mode="after")
    def _consistent(self):
        if (self.edge is None) == (self.optimizer.lr is None):
            raise ValueError("give the optimizer's lr, or an edge from which pilots find it, and not both")
        # Checked with the learning rate that pilots would find.
        Optimizer.model_validate({"lr": 1.0, **self.optimizer.model_dump(exclude_none=True)})
        if self.linearized and self.twin:
            raise ValueError("a linearized network has no twin here: set twin to false")
        if self.basis != "data" and self.data.name != "images":
            raise ValueError(f"the {self.basis} basis is of images, not of {self.data.name} data")
        examples = self.data.images if self.data.name == "images" else self.data.examples
        if self.batch_size and self.batch_size > examples:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {examples} examples")
        return self


class OutputScale(Strict):
    """The largest stable learning rate against an output multiplier."""

    seeds: Annotated[int, Field(ge=2)]
    images: Count
    pool: Count
    components: Count
    width: Count
    depths: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    scales: list[Positive]
    steps: Count
    resolution: Annotated[float, Field(gt=0, lt=1)]  # relative, of the learning rate

    @model_validator(mode="after")
    def _both_regimes(self):
        if min(sum(scale < 1 for scale in self.scales), sum(scale > 1 for scale in self.scales)) < 2:
            raise ValueError("scales needs at least two below and two above 1, for a slope in each regime")
        return self


class LowRankProgression(Strict):
    """The ladder from textbook to practice, a rung a stage; and one experiment beside it."""

    defaults: dict[str, Any]
    rungs: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    output_scale: OutputScale

    @property
    def experiments(self) -> dict[str, dict]:
        """The settings of each experiment apart from the ladder, as plain data."""
        return {"output_scale": self.output_scale.model_dump()}

    def settings(self, name: str) -> dict:
        """A rung, resolved, as plain data."""
        return resolve(self.defaults, self.rungs[name])


class SplitImages(Strict):
    """A workload on images: training and validation out of the training set."""

    name: Literal["images"]
    train: Annotated[int, Field(ge=2)]
    validation: Annotated[int, Field(ge=2)]
    pool: Count


class Imbalanced(Strict):
    """Features without meaning, classes with frequencies like 1/rank."""

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


class Workload(Strict):
    """What optimizers are compared on, resolved."""

    data: Annotated[SplitImages | Imbalanced | Tokens, Field(discriminator="name")]
    architecture: Architecture
    batch_size: Count | None
    steps: Count
    warmup: Annotated[int, Field(ge=0)]
    decay: bool
    factors: list[Positive]
    factor_seeds: Count
    curvature_examples: Count

    @model_validator(mode="after")
    def _consistent(self):
        examples = {"images": "train", "tokens": "examples"}.get(self.data.name)
        if self.batch_size and examples and self.batch_size > getattr(self.data, examples):
            raise ValueError(f"batch_size {self.batch_size} exceeds the {getattr(self.data, examples)} examples")
        if self.warmup >= self.steps:
            raise ValueError(f"a warmup of {self.warmup} leaves nothing of {self.steps} steps")
        if 1.0 in self.factors:
            raise ValueError("factors are of the tuned learning rate, which runs anyway: leave 1 out")
        return self


class Contender(Strict):
    """An optimizer with what is tuned of it."""

    optimizer: Spec
    space: Annotated[dict[str, dict[Literal["log", "one_minus"], list[Positive]]], Field(min_length=1)]

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
                f"tuning_seed {self.tuning_seed} is among the seeds that count: tuning would have seen them"
            )
        return self


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
    products: Annotated[int, Field(ge=2)]  # Lanczos steps a tensor


class OptimizerComparison(Strict):
    """Every optimizer on every workload, a stage each; a few of them on ``extras``; and experiments beside them."""

    protocol: TuningProtocol
    target: Target
    defaults: dict[str, Any]
    workloads: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    extras: dict[Name, dict[str, Any]]
    pair: list[Name]
    optimizers: Annotated[dict[Name, Contender], Field(min_length=1)]
    class_imbalance: ClassImbalance
    normalised_quadratic: NormalisedQuadratic
    heterogeneity: Heterogeneity

    @model_validator(mode="after")
    def _named(self):
        for name in (self.target.optimizer, *self.pair):
            entries.require(name, list(self.optimizers), "optimizer")
        for name in self.heterogeneity.workloads:
            entries.require(name, [*self.workloads, *self.extras], "workload")
        if twice := sorted(self.workloads.keys() & self.extras.keys()):
            raise ValueError(f"{twice[0]!r} is both among workloads and extras")
        return self

    def workload(self, name: str) -> dict:
        """A workload, resolved, as plain data."""
        return resolve(self.defaults, {**self.workloads, **self.extras}[name])

    def contests(self) -> list[tuple[str, str]]:
        """Every workload and optimizer that meet."""
        return [(w, o) for w in self.workloads for o in self.optimizers] + [
            (w, o) for w in self.extras for o in self.pair
        ]

    def settings(self, workload: str, optimizer: str) -> dict:
        """All that a contest is run with, as plain data."""
        contender = self.optimizers[optimizer].model_dump()
        return {"protocol": self.protocol.model_dump(), "workload": self.workload(workload), **contender}

    @property
    def experiments(self) -> dict[str, dict]:
        """The settings of each experiment apart from the contests, as plain data."""
        spectra = self.heterogeneity.model_dump()
        return {
            "class_imbalance": self.class_imbalance.model_dump(),
            "normalised_quadratic": self.normalised_quadratic.model_dump(),
            "heterogeneity": {**spectra, "workloads": {name: self.workload(name) for name in spectra["workloads"]}},
        }


Stacks = Annotated[list[int | str], Field(min_length=1)]


class ProgressiveSharpening(Strict):
    """Trained configurations, a stage for each of ``configuration_stacks``; comparisons and controls, whose seeds are
    those of ``stacks``, or of a stack of their own under ``seeds``, are a stage each."""

    configuration_stacks: Stacks
    stacks: Stacks
    defaults: dict[str, Any]
    configurations: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    comparisons: dict[Name, dict[str, Any]]
    controls: dict[Name, dict[str, Any]]
    thresholds: dict[Name, Optimizer]
    catapult: Catapult

    @field_validator("configuration_stacks", "stacks")
    @classmethod
    def _seeds(cls, stacks):
        seeds = [seed for stack in stacks for seed in parse_stack(stack)]
        repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if repeated:
            raise ValueError(f"seed {repeated[0]} appears twice")
        return stacks

    @model_validator(mode="after")
    def _distinct(self):
        names = [name for group in (self.configurations, self.comparisons, self.controls) for name in group]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice among configurations, comparisons and controls")
        return self

    @property
    def named(self) -> dict[str, dict]:
        """The overrides of everything that is trained."""
        together = {
            name: {option: value for option, value in entry.items() if option != "seeds"}
            for name, entry in {**self.comparisons, **self.controls}.items()
        }
        return {**self.configurations, **together}

    @property
    def seeds(self) -> list[int]:
        return [seed for stack in self.stacks for seed in parse_stack(stack)]

    def settings(self, name: str) -> dict:
        """What is trained under a name, resolved, as plain data."""
        return resolve(self.defaults, self.named[name])

    def runs(self) -> Iterator[tuple[str, str, list[int]]]:
        """Every training stage that the parameters ask for: configuration, stack name, seeds."""
        for name in self.configurations:
            for stack in self.configuration_stacks:
                yield name, str(stack), parse_stack(stack)
        for name, entry in {**self.comparisons, **self.controls}.items():
            yield name, "all", parse_stack(entry["seeds"]) if "seeds" in entry else self.seeds

    def seeds_of(self, name: str, stack: str) -> list[int]:
        """The seeds of one training stage.

        Raises:
            KeyError: if there is none.
        """
        return {(configuration, part): seeds for configuration, part, seeds in self.runs()}[name, stack]


class Timings(Strict):
    threads: Count
    configuration: Name
    seed: int
    warmup: Count
    refreshes: Count
    repeats: Count
    target: Annotated[float, Field(gt=0, lt=1)]


class Parameters(Strict):
    profile: Name
    data: Data
    compute: Compute
    progressive_sharpening: ProgressiveSharpening
    convex_rates: ConvexRates
    overparameterization: Overparameterization
    lazy_training: LazyTraining
    deep_linear: DeepLinear
    scale_invariance: ScaleInvariance
    low_rank_progression: LowRankProgression
    optimizer_comparison: OptimizerComparison
    timings: Timings

    @property
    def computed(self) -> dict[str, Study]:
        """The studies that are experiments alone, each a stage and a table."""
        return {name: value for name, value in self if isinstance(value, Study)}

    @property
    def studies(self) -> dict[str, ProgressiveSharpening]:
        return {"progressive_sharpening": self.progressive_sharpening}

    def settings(self, study: str, configuration: str) -> dict:
        """All that a stage which trains or computes is run with, resolved, as plain data.

        Raises:
            KeyError: if params.yaml asks for no such stage.
        """
        mine = getattr(self, study)
        if study == "progressive_sharpening" and configuration not in mine.named:
            return mine.model_dump(include={"thresholds", "catapult"})[configuration]
        experiments = {} if study == "progressive_sharpening" else mine.experiments
        if configuration in experiments:
            return experiments[configuration]
        if study == "optimizer_comparison":
            return mine.settings(*{f"{w}-{o}": (w, o) for w, o in mine.contests()}[configuration])
        return mine.settings(configuration)


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


def load(path: Path | str = "params.yaml") -> Parameters:
    """Read and check a parameters file.

    Raises:
        ParametersError: naming every fault by its path, with the nearest known key or name.
    """
    path = Path(path)
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text())
    except FileNotFoundError:
        raise ParametersError(f"{path} does not exist: run from the repository's root") from None
    except YAMLError as error:
        raise ParametersError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ParametersError(f"{path}: expected a mapping at the top level")
    faults: list[str] = []
    parameters = _validated(Parameters, raw, (), faults)
    if parameters is not None:
        study = parameters.progressive_sharpening
        for group in ("configurations", "comparisons", "controls"):
            for name, given in getattr(study, group).items():
                places = (("progressive_sharpening", group, name), ("progressive_sharpening", "defaults"))
                overrides = study.named[name]
                _validated(Settings, resolve(study.defaults, overrides), places[0], faults, overrides, places[1])
                if given != overrides:
                    try:
                        parse_stack(given["seeds"])
                    except ValueError as error:
                        faults.append(f"{'.'.join(places[0])}.seeds: {error}")
        ladder = parameters.low_rank_progression
        for name, overrides in ladder.rungs.items():
            places = ("low_rank_progression", "rungs", name), ("low_rank_progression", "defaults")
            _validated(Rung, ladder.settings(name), places[0], faults, overrides, places[1])
        comparison = parameters.optimizer_comparison
        for group in ("workloads", "extras"):
            for name, overrides in getattr(comparison, group).items():
                places = ("optimizer_comparison", group, name), ("optimizer_comparison", "defaults")
                _validated(Workload, comparison.workload(name), places[0], faults, overrides, places[1])
        if parameters.timings.configuration not in study.configurations:
            fault = _unknown("configuration", parameters.timings.configuration, study.configurations)
            faults.append(f"timings.configuration: {fault}")
    if faults:
        lines = "\n".join(f"  {fault}" for fault in dict.fromkeys(faults))
        raise ParametersError(f"{path} is not valid; nothing was run:\n{lines}")
    return parameters


def _validated(model, raw, place, faults, overrides=None, defaults_place=None):
    """The model, or None with its faults told, each where its key is: in the overrides, or else in the defaults."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors():
            location = _place(fault["loc"])
            # An unknown entry is found in its mapping, but the fault is in that mapping's name.
            key = [*location, "name"] if "unknown entry" in fault["msg"] else location
            inherited = overrides is not None and fault["type"] != "missing" and not _contains(overrides, key)
            faults.append(
                f"{'.'.join([*(defaults_place if inherited else place), *location])}: {_explain(model, fault)}"
            )
        return None


def _place(loc: tuple) -> list[str]:
    """A fault's path in the file: without pydantic's own marks, one of which says which kind of data it was."""
    return [
        str(part)
        for i, part in enumerate(loc)
        if part != "[key]" and not (i and loc[i - 1] == "data" and part in _KINDS)
    ]


def _contains(mapping: Any, location: list[str]) -> bool:
    for part in location:
        if not isinstance(mapping, dict) or part not in mapping:
            return False
        mapping = mapping[part]
    return True


def _explain(model, fault: dict) -> str:
    if fault["type"] == "extra_forbidden":
        known = _fields(model, fault["loc"][:-1])
        return _unknown("key", str(fault["loc"][-1]), known)
    if fault["type"] == "missing":
        return "missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, got {fault['input']!r}"


def _fields(model, location) -> list[str]:
    annotation = model
    for part in location:
        if isinstance(annotation, UnionType):  # of several kinds of data, which this part names
            kinds = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(annotation)}
            annotation = model = kinds[part]
            continue
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if get_origin(annotation) is dict or isinstance(annotation, UnionType):
            continue
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _unknown(kind: str, name: str, known) -> str:
    close = get_close_matches(name, list(known), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {kind} {name!r}{hint}; known are {', '.join(known)}"
