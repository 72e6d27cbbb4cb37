"""Settings of the studies that are experiments alone: each experiment a stage and a table."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipelines import entries
from pipelines.schema import Architecture, Count, Name, Optimizer, Positive, Strict

Activation = Literal["gelu", "identity", "relu", "tanh"]
NotNegative = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[list[Count], Field(min_length=1)]
# A learning rate in units of N / (largest eigenvalue of the first tangent kernel), stable below 2 while that stays.
KernelRate = Annotated[float, Field(gt=0, lt=2)]
MiB = Count  # that a kernel may take


class Study(Strict):
    """One field an experiment.

    Attributes:
        on_images: the experiments that take the prepared images.
    """

    on_images: ClassVar[frozenset[str]] = frozenset()

    @property
    def experiments(self) -> dict[str, dict]:
        """The settings of each experiment, as plain data."""
        return self.model_dump(exclude={"seeds"})


class Solutions(Strict):
    lr: Positive  # of the two-layer runs
    time: Positive  # of the flow
    u0: Positive  # amplitude at the start of aligned runs
    scale: Positive  # of the Gaussian factors of the random ones
    growth_lr: Positive
    escape_u0: Annotated[list[Positive], Field(min_length=2)]
    escape_lr: Positive


class Conservation(Strict):
    lrs: Annotated[list[Positive], Field(min_length=2)]
    time: Positive
    scale: Positive  # of the Gaussian factors whose drift is measured
    parsimony_lr: Positive
    parsimony_steps: Count


class Student(Strict):
    activation: Name | None  # null: linear; "none": a single layer
    scale: Positive
    optimizer: Optimizer
    steps: Count


class Muon(Strict):
    """Of the square networks of depth 2 to 4."""

    lr: Positive
    scale: Positive
    steps: Count


class Waypoints(Strict):
    systems: Annotated[dict[Name, Student], Field(min_length=1)]
    rising: list[Name]  # systems in the order in which theory has their scores rise
    muon: Muon

    @model_validator(mode="after")
    def _named(self):
        for name in self.rising:
            entries.require(name, list(self.systems), "system")
        return self


class Completion(Strict):
    seeds: Count
    size: Count  # of the square matrix
    rank: Count
    observed: Count  # entries
    init: Positive  # the factors have singular values near init^(1 / depth)
    lr: Annotated[list[Positive], Field(min_length=3, max_length=3)]  # by depth
    steps: Count

    @model_validator(mode="after")
    def _incomplete(self):
        if not (self.rank <= self.size and self.observed < self.size**2):
            raise ValueError(
                f"a {self.size} x {self.size} matrix cannot have rank {self.rank} and {self.observed} entries observed"
            )
        return self


class Kernels(Strict):
    lr: Positive
    time: Positive
    product: Positive  # the singular value of W_2 W_1 at the start of balanced runs
    alignment_lr: Positive  # of silent alignment, as all below
    alignment_steps: Count
    scale: Positive
    large_scale: Positive
    colour: Positive  # exponent of the power law of the inputs' covariance


class DeepLinear(Study):
    seeds: Annotated[list[int], Field(min_length=1)]
    solutions: Solutions
    conservation: Conservation
    waypoints: Waypoints
    completion: Completion
    kernels: Kernels


class WorstCases(Strict):
    steps: Annotated[list[Count], Field(min_length=1)]  # N
    step_sizes: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]  # in units of 1 / L
    problems: Count  # random ones
    mu: Annotated[float, Field(gt=0, lt=1)]
    nesterov_steps: Annotated[list[Count], Field(min_length=1)]
    widths: Annotated[int, Field(ge=3)]  # of the grid of Huber functions


class LogisticRegression(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    ridge: Annotated[float, Field(ge=0)]
    separable: bool  # what the problem is held to be
    steps: Count
    marks: Annotated[list[Count], Field(min_length=1)]

    @model_validator(mode="after")
    def _bounded(self):
        if self.separable and not self.ridge:
            raise ValueError("separable data need a ridge: without one logistic loss has no minimizer")
        if max(self.marks) > self.steps:
            raise ValueError(f"mark {max(self.marks)} lies beyond the {self.steps} steps")
        return self


class ConvexRates(Study):
    on_images: ClassVar[frozenset[str]] = frozenset({"logistic_regression"})

    worst_cases: WorstCases
    logistic_regression: LogisticRegression


class LazySystem(Strict):
    """A network with one hidden layer, by width."""

    activation: Activation
    readout: Literal["ntk", "mean-field"]
    widths: Annotated[list[Count], Field(min_length=2)]


class LazyWidths(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    tests: Count
    pool: Count
    rate: KernelRate
    steps: Count
    memory: MiB
    systems: Annotated[dict[Name, LazySystem], Field(min_length=1)]


class LazyOutputScale(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    tests: Count
    pool: Count
    width: Count
    # Values of alpha, rising; lazy slopes are over the last five.
    scales: Annotated[list[Positive], Field(min_length=5)]
    rich_scales: Annotated[list[Positive], Field(min_length=2)]
    rate: KernelRate
    steps: Count

    @model_validator(mode="after")
    def _rising(self):
        for name in ("scales", "rich_scales"):
            scales = getattr(self, name)
            if sorted(set(scales)) != scales:
                raise ValueError(f"{name} must rise")
        return self


class CriticalRate(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    widths: Annotated[list[Count], Field(min_length=1)]
    mean_field_widths: list[Count]
    steps: Count
    resolution: Annotated[float, Field(gt=0, lt=1)]  # relative, of the rate
    memory: MiB


class KernelAlignment(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    hidden: Annotated[list[Count], Field(min_length=1)]
    activation: Activation
    rate: KernelRate
    steps: Count
    marks: Annotated[int, Field(ge=2)]
    scale: Positive
    memory: MiB


class MinimumNorm(Strict):
    seeds: Count
    examples: Count
    inputs: Count
    hidden: Count
    steps: Count
    rate: Annotated[float, Field(gt=0, lt=2)]  # of networks, in units of N / (largest eigenvalue of XX')
    images: Annotated[int, Field(ge=2)]
    pool: Count
    image_steps: Count

    @model_validator(mode="after")
    def _overparametrized(self):
        if self.examples >= self.inputs:
            raise ValueError(f"{self.examples} examples of {self.inputs} inputs leave no choice of minimizers")
        return self


class MaxMargin(Strict):
    seeds: Count
    points: Annotated[int, Field(ge=2)]
    inputs: Annotated[int, Field(ge=2)]
    gap: Positive  # least distance of a Gaussian example from the plane
    images: Annotated[int, Field(ge=2)]
    pool: Count
    log_time: Annotated[float, Field(gt=10)]  # the first horizon, in ln t
    far: Annotated[float, Field(gt=10)]  # the far one, in ln t

    @model_validator(mode="after")
    def _ordered(self):
        if self.far < 10 * self.log_time:
            raise ValueError(f"far, {self.far:g}, must be at least ten times log_time, {self.log_time:g}")
        return self


class LazyTraining(Study):
    on_images: ClassVar[frozenset[str]] = frozenset(
        {"widths", "output_scale", "critical_rate", "alignment", "minimum_norm", "max_margin"}
    )

    widths: LazyWidths
    output_scale: LazyOutputScale
    critical_rate: CriticalRate
    alignment: KernelAlignment
    minimum_norm: MinimumNorm
    max_margin: MaxMargin


class Homogeneity(Strict):
    seeds: Count
    inputs: Count
    outputs: Count
    hidden: Widths
    examples: Count
    eps: NotNegative
    ratios: Annotated[list[Positive], Field(min_length=2)]  # eps over the mean variance of the last layer


class NormGrowth(Strict):
    seeds: Count
    inputs: Count
    outputs: Count
    hidden: Widths
    examples: Count
    eps: NotNegative
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Field(gt=0, lt=1)]  # of the control
    steps: Count


class ExponentialRate(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    hidden: Widths
    eps: NotNegative
    batch_size: Count
    lr: Positive
    weight_decay: Positive
    momentum: Annotated[float, Field(gt=0, lt=1)]
    steps: Count
    every: Count  # steps between readings

    @model_validator(mode="after")
    def _telling(self):
        exponent = self.lr * self.weight_decay * self.steps
        if not 0.7 <= exponent <= 1.5:
            raise ValueError(
                f"lr x weight_decay x steps must be in [0.7, 1.5], got {exponent:g}: "
                "below, the schedule is hardly one; above, rounding grows"
            )
        if (1 - self.momentum**0.5) ** 2 < self.lr * self.weight_decay:
            raise ValueError(
                f"lr x weight_decay must be at most (1 - sqrt(momentum))^2 = {(1 - self.momentum**0.5) ** 2:.3g}: "
                "beyond, coupled decay has no exponential equivalent"
            )
        return self


class DecayedDescent(Strict):
    lr: Positive
    weight_decay: Positive
    momentum: Momentum
    decoupled: bool

    @model_validator(mode="after")
    def _shrinking(self):
        if self.lr * self.weight_decay >= 1:
            raise ValueError(f"lr x weight_decay must be less than 1, got {self.lr * self.weight_decay:g}")
        return self


class Equilibrium(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    hidden: Widths
    eps: NotNegative
    batch_size: Count
    steps: Annotated[int, Field(ge=8)]
    kicks: Count  # pairs of them, up and down
    toy_size: Annotated[int, Field(ge=2)]
    toy_examples: Count
    systems: Annotated[dict[Name, DecayedDescent], Field(min_length=1)]


class NeuronConservation(Strict):
    seeds: Count
    inputs: Count
    outputs: Count
    width: Count
    examples: Count
    lrs: Annotated[list[Positive], Field(min_length=2)]
    time: Positive  # learning rate x steps
    weight_decay: Positive

    @model_validator(mode="after")
    def _reached(self):
        if max(self.lrs) > self.time:
            raise ValueError(f"a step of {max(self.lrs):g} goes beyond the time of {self.time:g}")
        return self


class Rescaling(Strict):
    seeds: Count
    inputs: Count
    outputs: Count
    hidden: Widths
    examples: Count
    steps: Count
    factor: Annotated[float, Field(gt=1)]  # c
    binary_factor: Annotated[float, Field(gt=1)]  # c, a power of two, for the optimizers of ``rounding``
    rounding: list[Name]  # optimizers that round to bfloat16
    optimizers: Annotated[dict[Name, Optimizer], Field(min_length=1)]

    @model_validator(mode="after")
    def _named(self):
        for name in (*self.rounding, "adam"):
            entries.require(name, list(self.optimizers), "optimizer")
        return self


class IntrinsicRate(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    hidden: Widths
    eps: NotNegative
    batch_size: Count
    lr: Positive
    product: Annotated[float, Field(gt=0, lt=1)]  # of learning rate and weight decay
    lr_factors: Annotated[list[Positive], Field(min_length=2)]
    product_factors: Annotated[list[Positive], Field(min_length=2)]
    steps: Annotated[int, Field(ge=8)]
    every: Count  # steps between readings
    exact_steps: Count  # over which ``rescaled`` is compared

    @model_validator(mode="after")
    def _meeting(self):
        for name in ("lr_factors", "product_factors"):
            if 1 not in getattr(self, name):
                raise ValueError(f"{name} must have 1, the pair in both")
        if self.steps // 2 // self.every < 2:
            raise ValueError(f"a reading every {self.every} steps leaves fewer than two in half of {self.steps}")
        return self


class ScaleInvariance(Study):
    on_images: ClassVar[frozenset[str]] = frozenset({"exponential_rate", "equilibrium", "intrinsic_rate"})

    homogeneity: Homogeneity
    norm_growth: NormGrowth
    exponential_rate: ExponentialRate
    equilibrium: Equilibrium
    conservation: NeuronConservation
    rescaling: Rescaling
    intrinsic_rate: IntrinsicRate


class RandomLabels(Strict):
    seeds: Count
    images: Count
    few: Count
    pool: Count
    architecture: Architecture
    optimizer: Optimizer
    batch_size: Count
    steps: Count  # at most
    every: Count  # steps between readings
    linear_images: Count
    components: Count

    @model_validator(mode="after")
    def _batches(self):
        if self.batch_size > self.few:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {self.few} images of `few`")
        return self


class HessianSystem(Strict):
    architecture: Architecture
    loss: Literal["mse", "cross_entropy"]
    optimizer: Optimizer
    steps: Count


class NonConvexity(Strict):
    seeds: Count
    images: Count
    pool: Count
    max_products: Annotated[int, Field(ge=2)]  # of a solve
    # Up to so many parameters the Hessian is formed, and all its eigenvalues found.
    dense: Annotated[int, Field(ge=0)]
    systems: Annotated[dict[Name, HessianSystem], Field(min_length=1)]


class PolyakLojasiewicz(Strict):
    seeds: Count
    images: Count
    pool: Count
    activation: Activation
    widths: Widths
    lr: Annotated[float, Field(gt=0, lt=1)]  # in units of n / lambda_max(K_0)
    steps: Count
    readings: list[Count]  # steps at which the kernel is read; 0 and the last are added
    memory: MiB


class Initialization(Strict):
    seeds: Count
    linear_images: Count
    pool: Count
    linear_steps: Count
    ridge: Positive  # in units of the top eigenvalue of X'X / n
    images: Count
    architecture: Architecture
    optimizer: Optimizer
    batch_size: Count
    target: Positive  # loss
    steps: Count  # at most
    every: Count  # steps between readings


class Distance(Strict):
    seeds: Count
    images: Count
    pool: Count
    optimizer: Optimizer  # of the NTK parametrization
    steps: Annotated[int, Field(ge=2)]
    widths: Annotated[list[Count], Field(min_length=2)]
    mean_field_widths: Annotated[list[Count], Field(min_length=2)]
    mean_field_lr: Positive  # over the width


class Pretraining(Strict):
    optimizer: Optimizer
    steps: Count  # at most


class BadMinima(Strict):
    seeds: Count
    images: Count
    pool: Count
    architecture: Architecture
    optimizer: Optimizer
    batch_size: Count
    target: Positive  # loss
    steps: Count  # at most
    every: Count  # steps between readings
    copies: Count
    erased: Annotated[float, Field(ge=0, lt=1)]  # fraction of a copy's pixels
    pretraining: Pretraining
    linear_images: Count
    far: Positive  # size of the Gaussian weights that the linear model starts from


class Overparameterization(Study):
    on_images: ClassVar[frozenset[str]] = frozenset(
        {"random_labels", "non_convexity", "polyak_lojasiewicz", "initialization", "distance", "bad_minima"}
    )

    random_labels: RandomLabels
    non_convexity: NonConvexity
    polyak_lojasiewicz: PolyakLojasiewicz
    initialization: Initialization
    distance: Distance
    bad_minima: BadMinima
