"""What computations cost: in seconds, and in what they ask of a GPU. Not part of any verdict."""

from typing import Annotated, Any

from pydantic import Field

from benchmarks.evidence.card import IDENTICAL, SECONDS, Card, Column
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.optimizer_comparison.study import CONTEST_KEYS, Contender, Workload
from benchmarks.studies.progressive_sharpening.study import Settings
from benchmarks.studies.schema import Architecture, Count, Name, Optimizer, Strict


class Timings(Strict):
    threads: Count
    configuration: Name  # of progressive_sharpening
    seed: int
    warmup: Count
    refreshes: Count
    repeats: Count
    target: Annotated[float, Field(gt=0, lt=1)]


class TimedTraining(Timings):
    """The same, with the configuration that is trained."""

    training: Settings


class TimedOptimizers(Strict):
    workloads: dict[Name, Workload]
    contenders: dict[Name, Contender]
    repeats: Count


class CountedNetwork(Strict):
    """A network with what it is given: ``inputs`` is the shape of an example; ``tokens`` if these are whole numbers."""

    architecture: Architecture
    inputs: Annotated[list[Count], Field(min_length=1)]
    outputs: Annotated[int, Field(ge=2)]
    tokens: bool


class Launches(Strict):
    networks: dict[Name, CountedNetwork]
    optimizers: dict[Name, Optimizer]
    stacks: Annotated[list[Count], Field(min_length=1)]  # how many runs are trained together
    examples: Annotated[int, Field(ge=2)]
    tolerance: Annotated[float, Field(gt=0, lt=1)]  # of a reading


def timed_training(parameters: Any) -> TimedTraining:
    """The configuration whose steps and eigenvalues are timed, resolved.

    Raises:
        ValueError: if there is none of the name.
    """
    timings, study = parameters.timings, parameters.progressive_sharpening
    try:
        entries.require(timings.configuration, list(study.overrides("configurations")), "configuration")
    except ValueError as error:
        raise ValueError(f".configuration: {error}") from None
    training = study.resolved("configurations", timings.configuration)
    return TimedTraining(**{name: getattr(timings, name) for name in Timings.model_fields}, training=training)


def timed_optimizers(parameters: Any) -> TimedOptimizers:
    """Every optimizer of the comparison and every workload that is not on a text, resolved."""
    study = parameters.optimizer_comparison
    resolved = {name: study.resolved("workloads", name) for name in study.workloads}
    workloads = {name: workload for name, workload in resolved.items() if not workload.on_text}
    return TimedOptimizers(workloads=workloads, contenders=study.optimizers, repeats=parameters.timings.repeats)


_LIMITS = "Seconds on one machine, with nothing else running; ratios carry over better. In no verdict, never compared."

TRAINING_STEP = Card(
    title="What the training loop adds to a step",
    row="one way to take a step",
    keys=("what",),
    computed="median over repeats, in turn",
    limits=_LIMITS,
    columns={
        "what": Column("", "a bare forward and backward pass, or a step of the training loop"),
        "threads": Column("", "of torch"),
        "seconds": Column("s", "per step", SECONDS),
        "ratio": Column("", "relative to the bare pass", SECONDS),
        "repeats": Column("", "number of timings; the median is used"),
    },
)

EIGENSOLVERS = Card(
    title="Cost of the top Hessian eigenvalues by solver",
    row="one solver, number of eigenvalues and start",
    keys=("solver", "k", "start"),
    computed="each at its cheapest setting whose worst error at all readings meets the target",
    limits=_LIMITS,
    columns={
        "solver": Column("", "this project's or a peer's"),
        "version": Column("", "of its package", IDENTICAL),
        "k": Column("eigenvalues", "number of top eigenvalues"),
        "start": Column("", "warm, from the previous reading, or cold, from a random vector"),
        "setting": Column("", "the cheapest that meets the target", SECONDS),
        "products": Column("products", "Hessian-vector products per reading", SECONDS),
        "seconds": Column("s", "per reading", SECONDS),
        "gradient_times": Column("gradients", "seconds per reading over seconds per gradient", SECONDS),
        "worst_error": Column("fraction", "largest relative eigenvalue error over the readings", SECONDS),
        "solves": Column("readings", "number of readings timed"),
        "times_slower": Column("", "times slower than the warm block Rayleigh-Ritz solver with the same k", SECONDS),
        "threads": Column("", "of torch"),
    },
)

OPTIMIZER_STEPS = Card(
    title="What a step of each optimizer costs",
    row="one optimizer on one workload",
    keys=tuple(CONTEST_KEYS),
    computed="median over repeats of the training loop's step and of the same by hand",
    limits=_LIMITS,
    columns={
        **CONTEST_KEYS,
        "threads": Column("", "of torch"),
        "loop_seconds": Column("s", "per step of the training loop", SECONDS),
        "bare_seconds": Column("s", "batch, forward, backward and the library's step by hand", SECONDS),
        "overhead": Column("fraction", "loop_seconds over bare_seconds, minus 1", SECONDS),
        "over_sgd": Column("", "loop_seconds relative to SGD's", SECONDS),
        "repeats": Column("", "number of timings; the median is used"),
    },
)

OPTIMIZER_COSTS = Card(
    title="Seconds to the target",
    row="one optimizer on one workload",
    keys=tuple(CONTEST_KEYS),
    computed="steps to the target (optimizer_comparison) times seconds per step (timings/optimizer_steps)",
    limits=_LIMITS,
    columns={
        **CONTEST_KEYS,
        "seconds_per_step": Column("s", "per step of the training loop", SECONDS),
        "step_over_sgd": Column("", "seconds_per_step relative to SGD's", SECONDS),
        "state_per_parameter": Column("numbers", "optimizer state per trained parameter", SECONDS),
        "steps_to_target": Column("steps", "mean over the seeds that reached the target", SECONDS),
        "seconds_to_target": Column("s", "steps_to_target times seconds_per_step", SECONDS),
    },
)

LAUNCHES = Card(
    title="What a gradient, a step and a reading ask of a GPU",
    row="one network, piece of work and number of runs trained together",
    keys=("network", "what", "stack"),
    computed="by benchmarks/lab/launches.py, on a device that is the CPU in disguise; no GPU is used",
    limits="Counts, not seconds, of the operations that torch dispatches: a library's operation may start several "
    "kernels. A step is an update and the gradient after it; optimizers take their route for GPUs.",
    columns={
        "network": Column("", "its name in params.yaml"),
        "what": Column("", "a gradient, a step of an optimizer, a Hessian-vector product, or a warm sharpness reading"),
        "stack": Column("runs", "how many are trained together"),
        "launches": Column("kernels", "operations that start one"),
        "waits": Column("waits", "how often the host waits for the device"),
        "transfers": Column("copies", "between host and device"),
        "products": Column("products", "Hessian-vector products in it"),
    },
    agreement=IDENTICAL,
)

FIGURES = (
    Figure(
        "eigensolvers",
        "Cost of the top eigenvalue, and of the top three, at readings along a run at the edge of stability, for each "
        "solver at its cheapest setting that meets the target error at all readings; warm solves start from the "
        "previous reading, cold ones from a random vector.",
        reads=("timings/eigensolvers",),
    ),
    Figure(
        "optimizer_seconds",
        "The runs of the optimizer comparison against time in seconds, with the step times of one thread of this "
        "machine: matrix optimizers pay for their steps.",
        reads=("timings/optimizer_steps", "optimizer_comparison", "optimizer_comparison/targets"),
        curves="optimizer_comparison",
    ),
)

STUDY = Study(
    "timings",
    place=14,
    model=Timings,
    reads=("optimizer_comparison", "timings/optimizer_steps"),
    experiments=(
        # The packages of peers are used on the CPU only.
        Experiment("training_step", None, TRAINING_STEP, resolve=timed_training, alone=True, device="cpu"),
        Experiment("eigensolvers", None, EIGENSOLVERS, resolve=timed_training, alone=True, device="cpu"),
        Experiment("optimizer_steps", None, OPTIMIZER_STEPS, resolve=timed_optimizers, alone=True),
        Experiment("launches", Launches, LAUNCHES, alone=True),
    ),
    tables={"timings/optimizer_costs": OPTIMIZER_COSTS},
    figures=FIGURES,
)
