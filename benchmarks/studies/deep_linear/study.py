"""Deep linear networks: closed forms, conservation, waypoints, completion and kernels, as experiments."""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.evidence.card import DRAWN, EXACT, IDENTICAL, SMOOTH, Column, tidy
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Count, Name, Optimizer, Positive, Strict


class Solutions(Strict):
    seeds: Count
    lr: Positive  # of the two-layer runs
    time: Positive  # of the flow
    u0: Positive  # amplitude at the start of aligned runs
    scale: Positive  # of the Gaussian factors of the random ones
    growth_lr: Positive
    escape_u0: Annotated[list[Positive], Field(min_length=2)]
    escape_lr: Positive


class Conservation(Strict):
    seeds: Count
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
    seeds: Count
    systems: Annotated[dict[Name, Student], Field(min_length=1)]
    rising: list[Name]  # systems in the order in which their scores rise, by theory
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
    seeds: Count
    lr: Positive
    time: Positive
    product: Positive  # the singular value of W_2 W_1 at the start of balanced runs
    alignment_lr: Positive  # of silent alignment, as all below
    alignment_steps: Count
    scale: Positive
    large_scale: Positive
    colour: Positive  # exponent of the power law of the inputs' covariance


SOLUTIONS = tidy(
    "Closed forms against gradient descent",
    "gradient descent in float64 on a whitened target, compared with the formulas of benchmarks/theory/deep_linear.py",
    "Small steps approximate gradient flow. Nothing is random in aligned systems, so they have no seed.",
    {
        "sigmoid_error": Column("fraction of s", "largest distance of an amplitude from the sigmoid"),
        "half_time_ratio": Column("", "median over modes of the half time divided by its closed form"),
        "half_time_slope": Column("", r"slope of ln(half time) against $\ln s$"),
        "growth_exponent": Column("", "power of the amplitude with which a mode grows"),
        "escape_slope": Column("", "slope of the escape time against the initial scale, in the coordinates of the law"),
    },
    agreement=SMOOTH,
)

CONSERVATION = tidy(
    "What gradient flow conserves, and in which subspace it moves",
    "the same systems at two learning rates and a fixed time, and singular values of each layer's change",
    "A network with one hidden layer for the drift, and one with three layers for the subspace.",
    {
        "drift_exponent": Column("", "exponent of the learning rate in the drift of balancedness", SMOOTH),
        "moved": Column("", "singular values of a layer that differ from the bulk by more than 1e-6 of it", EXACT),
    },
)

WAYPOINTS = tidy(
    "Greedy low-rank progression: calibration of the observables",
    "paths of students of a linear teacher (singular values 5, 3, 2, 1) scored by benchmarks/theory/modes.py",
    "A toy: 256 whitened inputs of dimension 10, width 40.",
    {
        "waypoint_score": Column(
            "", "P1: 0 on the straight line, 1 if it passes through every best low-rank approximation"
        ),
        "timing_slope": Column("", r"P2: slope of ln(half time) against $\ln s$"),
        "concurrency": Column("modes", "P3: how many modes move at once"),
        "sequentiality": Column("", "P3: 1 where one mode moves at a time, 0 on the straight line"),
        "scale": Column("", "standard deviation of the initial weights relative to the default", EXACT),
        "waypoint_gain": Column("", "waypoint score minus that of the system before it"),
    },
    agreement=DRAWN,
)

COMPLETION = tidy(
    "Matrix completion: depth against the nuclear norm",
    "gradient descent from small weights on the observed entries; the minimum-nuclear-norm solution by thresholding",
    "Synthetic matrices of one size and rank.",
    {
        "error": Column("fraction", r"$\lvert W - M \rvert / \lvert M \rvert$ over all entries"),
        "effective_rank": Column("", "exp of the entropy of the singular values' shares"),
        # Where optimization has stopped, far below what anything depends on.
        "misfit": Column("fraction", "the same norm on the observed entries", IDENTICAL),
        "log_error_ratio": Column("nats", "ln of the ratio of one system's error to another's"),
        "log_rank_ratio": Column("nats", "ln of the ratio of one system's effective rank to another's"),
    },
    agreement=DRAWN,
)

KERNELS = tidy(
    "Unaligned exact solutions, and silent alignment",
    "the Riccati solution compared with gradient descent, and tangent kernels along the run",
    "Two-layer networks; the scalar output of silent alignment has one mode.",
    {
        "riccati_error": Column("fraction of |T|", "largest distance of the map from the formula"),
        "wrong_error": Column("fraction of |T|", "the same from the formula for another imbalance"),
        "kernel_movement": Column("fraction", r"$\lvert K(\text{end}) - K(0) \rvert / \lvert K(0) \rvert$"),
        "log_movement_ratio": Column("nats", "ln of the ratio of the kernel movement without imbalance to this one"),
        "early_cosine": Column("", "cosine between the kernels at 90 % of the first loss and at the end", DRAWN),
        "kernel_error": Column(
            "fraction", "distance of test outputs from kernel regression with the last kernel", DRAWN
        ),
        # Of a converged run: rounding squared.
        "loss_left": Column("fraction", "last over first loss", IDENTICAL),
    },
    agreement=SMOOTH,
)

FIGURES = (
    Figure(
        "deep_linear",
        "Deep linear networks and their nearest relatives. Smaller weights make the path greedier, whatever the "
        "activation; gradient descent learns strong modes first, Muon weak ones; depth sets the power with which a "
        "mode grows and the time it takes to leave the origin; and depth helps to complete a low-rank matrix. Symbols "
        "are seeds, bars 95 % intervals, lines the closed forms (top left: means).",
        reads=("deep_linear/waypoints", "deep_linear/solutions", "deep_linear/completion"),
        claims=("D6", "D3", "D4", "D7", "D11"),
    ),
)

STUDY = Study(
    "deep_linear",
    place=4,
    experiments=(
        Experiment("solutions", Solutions, SOLUTIONS),
        Experiment("conservation", Conservation, CONSERVATION),
        Experiment("waypoints", Waypoints, WAYPOINTS),
        Experiment("completion", Completion, COMPLETION),
        Experiment("kernels", Kernels, KERNELS),
    ),
    figures=FIGURES,
)
