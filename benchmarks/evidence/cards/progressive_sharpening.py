"""Cards of the study of progressive sharpening and the edge of stability."""

from benchmarks.evidence import runs
from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, from_dictionary, relative, statistical

_PIPELINE = "pipelines/progressive_sharpening/dvc.yaml"
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
    "Gradient descent at the edge of stability amplifies rounding: two machines agree at first and then only in what "
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
_CELL = statistical()
_CELL_INTERVAL = ("ci95_low", "ci95_high")

CARDS = {
    "progressive_sharpening": Card(
        title="Progressive sharpening: configurations",
        row="one configuration and metric",
        keys=("configuration", "metric"),
        computed="mean, sample standard deviation and 95 % t-interval over seeds of progressive_sharpening.long",
        limits=_LIMITS,
        stage="tabulate",
        n="n",
        quantities={name: _RUNS[name] for name in runs.METRICS},
        by="metric",
        holds=("mean", "sd", *_CELL_INTERVAL),
        columns={
            "study": Column("", "the study", EXACT),
            "configuration": Column("", "its name in params.yaml", EXACT),
            "learning_rate": Column("parameter^2/loss", "step size of the optimizer", EXACT),
            "metric": Column("", "a column of progressive_sharpening.long", EXACT),
            "unit": Column("", "the metric's", EXACT),
            "n": Column("seeds", "how many have a value", IDENTICAL),
            "mean": Column("the metric's", "mean over seeds", _CELL, _CELL_INTERVAL),
            "sd": Column("the metric's", "sample standard deviation over seeds", _CELL, _CELL_INTERVAL),
            "ci95_low": Column("the metric's", "low end of the 95 % t-interval of the mean", _CELL, _CELL_INTERVAL),
            "ci95_high": Column("the metric's", "high end of the 95 % t-interval of the mean", _CELL, _CELL_INTERVAL),
        },
    ),
    "progressive_sharpening.long": Card(
        title="Progressive sharpening: runs",
        row="one training run",
        keys=("configuration", "seed"),
        computed="from the run's history by benchmarks/evidence/runs.py",
        limits=_LIMITS,
        stage="tabulate",
        replicates=("seed",),
        columns=_RUNS,
    ),
    "stability_thresholds": Card(
        title="Stability thresholds of library optimizers on a quadratic",
        row="one optimizer",
        keys=("optimizer",),
        computed="the optimizer's own step on a quadratic as a linear map; bisection of its spectral radius",
        limits="Of a frozen preconditioner and at one learning rate; the closed forms say how it scales.",
        stage=f"{_PIPELINE}:thresholds",
        columns={
            "optimizer": Column("", "its name in params.yaml", EXACT),
            "implementation": Column("", "the library's class", EXACT),
            "learning_rate": Column("parameter^2/loss", "step size", EXACT),
            "stability_threshold": Column("loss/parameter^2", "largest stable curvature", relative(1e-9)),
            "threshold_times_learning_rate": Column("", "their product, 2 for gradient descent", relative(1e-9)),
        },
    ),
    "catapult": Card(
        title="The catapult's boundaries",
        row="one network and seed",
        keys=("system", "seed"),
        computed="bisection of the learning rate, in units of one over the initial curvature, by what runs at it do",
        limits="One training example with target zero. ReLU networks converge on no interval: theirs is the first gap.",
        stage=f"{_PIPELINE}:catapult",
        replicates=("seed",),
        columns={
            "system": Column("", "linear or relu network, or the recursion of a quadratic", EXACT),
            "seed": Column("", "of the initialization", EXACT),
            "width": Column("units", "hidden units", EXACT),
            "initial_curvature": Column("loss/parameter^2", "tangent kernel at initialization, q", relative(1e-5)),
            "monotone_boundary": Column(
                "", "largest lr q below which the loss never rises", statistical(otherwise=1e-3, floor=1e-3)
            ),
            "convergence_boundary": Column(
                "", "largest lr q below which runs converge", statistical(otherwise=1e-3, floor=1e-3)
            ),
            "rise_at_3": Column("", "largest over first loss at lr q = 3", IDENTICAL),
            "final_curvature_times_lr_at_3": Column(
                "", "lr times the last curvature at lr q = 3, below 2 at rest", IDENTICAL
            ),
        },
    ),
}
