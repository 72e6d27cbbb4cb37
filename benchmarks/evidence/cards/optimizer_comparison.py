"""Cards of the study that compares optimizers."""

from benchmarks.evidence import comparison
from benchmarks.evidence.card import (
    EXACT,
    IDENTICAL,
    Card,
    Column,
    from_dictionary,
    relative,
    statistical,
    with_interval,
)
from benchmarks.evidence.cards.deep_linear import tidy

_PIPELINE = "pipelines/optimizer_comparison/dvc.yaml"
_LIMITS = (
    "Small networks, a few hundred steps, twenty tuning trials. Elsewhere another trial may win the tuning by a hair, "
    "and then a whole contest is another one."
)
_RUN = statistical()
_SETTINGS = ("workload", "optimizer", "role", "trial", "factor", "seed", "options", "steps", "diverged")
_NATS = comparison.COLUMNS


def _summarised() -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for name in comparison.SUMMARISED:
        unit, meaning = _NATS[name]
        columns |= with_interval(name, Column(unit, f"{meaning}; mean over the tuned runs that did not diverge", _RUN))
    return columns


CARDS = {
    "optimizer_comparison": Card(
        title="Optimizers compared: places, losses and costs",
        row="one optimizer on one workload",
        keys=("workload", "optimizer"),
        computed="tuning, then fresh seeds, as docs/comparing.md has it; means and 95 % t-intervals over seeds",
        limits=_LIMITS,
        stage="compare",
        n="n",
        columns={
            "workload": Column("", "its name in params.yaml", EXACT),
            "optimizer": Column("", "its name in params.yaml", EXACT),
            "implementation": Column("", "the library's class", EXACT),
            "finite_trials": Column("trials", "tuning trials that did not diverge", IDENTICAL),
            "rank_best": Column(
                "place", "best place it may have: places are shared where paired 95 % intervals hold zero", IDENTICAL
            ),
            "rank_worst": Column("place", "worst place it may have", IDENTICAL),
            "n": Column("seeds", "tuned runs that did not diverge", IDENTICAL),
            "diverged": Column("seeds", "tuned runs that did", IDENTICAL),
            "arrived": Column("seeds", "tuned runs that reached the target", IDENTICAL),
            "learning_rate": Column("the optimizer's own", "largest of the tuned schedule", IDENTICAL),
            "options": Column("", "the other tuned options, as JSON", IDENTICAL),
            "parameters": Column("", "number of trained parameters", EXACT),
            "state_per_parameter": Column("numbers", "what the optimizer keeps, per trained parameter", relative(1e-9)),
            "scheduled": Column("", "1 if it takes the workload's schedule, else 0", EXACT),
            **_summarised(),
            "note": Column("", "whatever keeps the row from being the plain result of its optimizer", IDENTICAL),
        },
    ),
    "optimizer_comparison.long": Card(
        title="Optimizers compared: runs, tuning trials included",
        row="one training run",
        keys=("workload", "optimizer", "role", "trial", "factor", "seed"),
        computed="a contest's runs, measured against their workload's targets by benchmarks/evidence/comparison.py",
        limits=_LIMITS,
        stage="compare",
        replicates=("seed",),
        columns=from_dictionary(
            comparison.COLUMNS,
            _RUN,
            **dict.fromkeys((*_SETTINGS[:-2], "diverged"), EXACT),
            steps=IDENTICAL,
            learning_rate=relative(1e-9),
            first_objective=relative(1e-4),
        ),
    ),
    "optimizer_comparison/targets": Card(
        title="Targets of the optimizer comparison",
        row="one workload and target",
        keys=("workload", "target"),
        computed="95 % of the way that AdamW's mean objective goes, at its tuned rate, a quarter and four times it",
        limits=_LIMITS,
        stage="compare",
        columns={
            "workload": Column("", "its name in params.yaml", EXACT),
            "target": Column("", "target, quarter or fourfold: the learning rate of AdamW that sets it", EXACT),
            "objective": Column("nats", "objective at which a run has arrived", relative(0.05)),
        },
    ),
    "optimizer_comparison/flips": Card(
        title="Changes of place between optimizers",
        row="one pair of optimizers on one workload whose order surely reverses",
        keys=("workload", "ahead", "behind"),
        computed="paired 95 % intervals over seeds at each reading and at the end",
        limits="Pairs of which a tuned run diverged are left out. " + _LIMITS,
        stage="compare",
        rows="identical",
        columns={
            "workload": Column("", "its name in params.yaml", EXACT),
            "ahead": Column("", "the optimizer that is ahead at the end", EXACT),
            "behind": Column("", "the one that was ahead before", EXACT),
            "step": Column("steps", "last reading at which it was the other way", IDENTICAL),
            "share": Column("fraction", "of the steps", IDENTICAL),
        },
    ),
    "optimizer_comparison/optimizers": Card(
        title="Whose implementation each optimizer is, and what was tuned",
        row="one optimizer",
        keys=("optimizer",),
        computed="from params.yaml and the optimizer's entry",
        limits="The meaning is that of this version of the library.",
        stage="compare",
        columns={
            "optimizer": Column("", "its name in params.yaml", EXACT),
            "implementation": Column("", "the library's class", EXACT),
            "package": Column("", "the library and its version", IDENTICAL),
            "source": Column("", "papers", EXACT),
            "meaning": Column("", "what the name means there", EXACT),
            "fixed": Column("", "options that are not tuned", EXACT),
            "space": Column("", "search space of those that are", EXACT),
        },
    ),
    "optimizer_comparison/class_imbalance": tidy(
        "Loss of a class against its frequency",
        f"{_PIPELINE}:class_imbalance",
        "softmax regression on one-hot inputs with class frequencies 1/k, in float64",
        "Nothing is drawn: no seeds. The limit holds where frequency x time exceeds ten times the number of classes.",
        {
            "slope": Column("", "of ln loss on ln frequency, late", relative(1e-6)),
            "early_slope": Column("", "and early", relative(1e-6)),
            "spread": Column("", "largest over smallest loss of a class", relative(1e-6)),
            "limit_low": Column("", "smallest loss x frequency x time", relative(1e-6)),
            "limit_high": Column("", "largest", relative(1e-6)),
            "regime": Column("", "smallest frequency x time over the number of classes", relative(1e-9)),
            "frequency_*": Column("fraction", "of a class", relative(1e-9)),
            "loss_*": Column("nats", "of that class, late", relative(1e-6)),
        },
        system="gradient or sign descent",
    ),
    "optimizer_comparison/heterogeneity": tidy(
        "How unlike the blocks of each workload's Hessian are",
        f"{_PIPELINE}:heterogeneity",
        "spectral densities of parameter tensors at initialization by Lanczos, compared by Jensen-Shannon distance",
        "Twelve Lanczos steps a tensor, 256 examples.",
        {
            "js_distance": Column(
                "", "mean Jensen-Shannon distance over pairs of blocks", statistical(otherwise=0.05, floor=1e-3)
            ),
            "blocks": Column("tensors", "how many there are", EXACT),
        },
        system="a workload",
    ),
    "optimizer_comparison/normalised_quadratic": tidy(
        "Learning-rate sensitivity with and without normalization, where theory has the answer",
        f"{_PIPELINE}:normalised_quadratic",
        "linear regression and its normalised twin over three decades of the learning rate",
        "A control of W7.",
        {
            "sensitivity": Column(
                "loss", "mean excess loss over the learning rates, clipped at the first", relative(1e-3)
            ),
            "ratio": Column("", "the plain map's over the normalised one's", relative(1e-3)),
        },
        system="plain or normalised",
    ),
}
