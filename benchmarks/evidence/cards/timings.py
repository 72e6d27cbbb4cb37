"""Cards of the tables of seconds, which no rebuild is compared with."""

from benchmarks.evidence.card import EXACT, IDENTICAL, SECONDS, Card, Column

_PIPELINE = "pipelines/timings/dvc.yaml"
_LIMITS = "Seconds of one machine, alone on it; ratios travel better. Part of no verdict, and never compared."

CARDS = {
    "timings/training_step": Card(
        title="What the training loop adds to a step",
        row="one way to make a step",
        keys=("what",),
        computed="median over repeats, in turn",
        limits=_LIMITS,
        stage=f"{_PIPELINE}:measure@training_step",
        columns={
            "what": Column("", "a bare forward and backward pass, or a step of the training loop", EXACT),
            "threads": Column("", "of torch", EXACT),
            "seconds": Column("s", "a step", SECONDS),
            "ratio": Column("", "over the bare pass", SECONDS),
            "repeats": Column("", "timings, of which the median counts", EXACT),
        },
    ),
    "timings/eigensolvers": Card(
        title="Cost of the top Hessian eigenvalues by solver",
        row="one solver, number of eigenvalues and start",
        keys=("solver", "k", "start"),
        computed="each at its cheapest setting whose worst error at all readings meets the target",
        limits=_LIMITS,
        stage=f"{_PIPELINE}:measure@eigensolvers",
        columns={
            "solver": Column("", "this project's or a peer's", EXACT),
            "version": Column("", "of its package", IDENTICAL),
            "k": Column("eigenvalues", "how many from the top", EXACT),
            "start": Column("", "warm, from the reading before, or cold, from a random vector", EXACT),
            "setting": Column("", "the cheapest that meets the target", SECONDS),
            "products": Column("products", "Hessian-vector products a reading", SECONDS),
            "seconds": Column("s", "a reading", SECONDS),
            "gradient_times": Column("gradients", "the same over the seconds of a gradient", SECONDS),
            "worst_error": Column("fraction", "largest relative eigenvalue error over the readings", SECONDS),
            "solves": Column("readings", "how many were timed", EXACT),
            "times_slower": Column("", "than the warm block Rayleigh-Ritz solver with the same k", SECONDS),
            "threads": Column("", "of torch", EXACT),
        },
    ),
    "timings/optimizer_steps": Card(
        title="What a step of each optimizer costs",
        row="one optimizer on one workload",
        keys=("workload", "optimizer"),
        computed="median over repeats of the training loop's step and of the same by hand",
        limits=_LIMITS,
        stage=f"{_PIPELINE}:optimizer_steps",
        columns={
            "workload": Column("", "its name in params.yaml", EXACT),
            "optimizer": Column("", "its name in params.yaml", EXACT),
            "threads": Column("", "of torch", EXACT),
            "loop_seconds": Column("s", "a step of the training loop", SECONDS),
            "bare_seconds": Column("s", "batch, forward, backward and the library's step by hand", SECONDS),
            "overhead": Column("fraction", "the loop's over the hand's, minus 1", SECONDS),
            "over_sgd": Column("", "the loop's over that with SGD", SECONDS),
            "repeats": Column("", "timings, of which the median counts", EXACT),
        },
    ),
    "timings/optimizer_costs": Card(
        title="Seconds to the target",
        row="one optimizer on one workload",
        keys=("workload", "optimizer"),
        computed="steps to the target (optimizer_comparison) times seconds a step (timings/optimizer_steps)",
        limits=_LIMITS,
        stage=f"{_PIPELINE}:costs",
        columns={
            "workload": Column("", "its name in params.yaml", EXACT),
            "optimizer": Column("", "its name in params.yaml", EXACT),
            "seconds_per_step": Column("s", "a step of the training loop", SECONDS),
            "step_over_sgd": Column("", "over that with SGD", SECONDS),
            "state_per_parameter": Column("numbers", "what the optimizer keeps, per trained parameter", SECONDS),
            "steps_to_target": Column("steps", "mean over the seeds that arrived", SECONDS),
            "seconds_to_target": Column("s", "their product", SECONDS),
        },
    ),
}
