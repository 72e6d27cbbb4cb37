"""Cards of the study of deep linear networks."""

from collections.abc import Mapping

from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, relative, statistical

# Smooth paths in float64: rounding stays rounding.
_SMOOTH = relative(1e-4, floor=1e-7)
_DRAWN = statistical(otherwise=1e-3, floor=1e-6)


def tidy(
    title: str, stage: str, computed: str, limits: str, quantities: Mapping[str, Column], system: str, **options
) -> Card:
    """A card of a table with the columns system, seed, quantity, value."""
    return Card(
        title=title,
        row="one system, seed and quantity",
        keys=("system", "seed", "quantity"),
        computed=computed,
        limits=limits,
        stage=stage,
        replicates=("seed",),
        columns={
            "system": Column("", system, EXACT),
            "seed": Column("", "of what is drawn; empty where nothing is", EXACT),
            "quantity": Column("", "what the value is", EXACT),
            "value": Column("the quantity's", "its value; how it may differ depends on the quantity", _DRAWN),
        },
        quantities=quantities,
        **options,
    )


def _card(experiment: str, title: str, computed: str, limits: str, **quantities: Column) -> Card:
    return tidy(
        title,
        f"pipelines/deep_linear/dvc.yaml:compute@{experiment}",
        computed,
        limits,
        quantities,
        system=f"a setting of benchmarks/studies/deep_linear/{experiment}.py",
    )


CARDS = {
    "deep_linear/solutions": _card(
        "solutions",
        "Closed forms against gradient descent",
        "gradient descent in float64 on a whitened target, beside the formulas of benchmarks/theory/deep_linear.py",
        "Small steps stand for gradient flow. Aligned systems have nothing to draw and no seed.",
        sigmoid_error=Column("fraction of s", "largest distance of an amplitude from the sigmoid", _SMOOTH),
        half_time_ratio=Column("", "median over modes of the half time over its closed form", _SMOOTH),
        half_time_slope=Column("", "slope of ln half time on ln s", _SMOOTH),
        growth_exponent=Column("", "power of the amplitude by which a mode grows", _SMOOTH),
        escape_slope=Column(
            "", "slope of the escape time against the initial scale, in the law's own coordinates", _SMOOTH
        ),
    ),
    "deep_linear/conservation": _card(
        "conservation",
        "What gradient flow conserves, and where it moves",
        "the same systems at two learning rates and a fixed time, and singular values of each layer's change",
        "A network of one hidden layer for the drift, of three layers for the subspace.",
        drift_exponent=Column("", "exponent of the learning rate in the drift of balancedness", _SMOOTH),
        moved=Column("", "singular values of a layer that have left the bulk by 1e-6 of it", EXACT),
    ),
    "deep_linear/waypoints": _card(
        "waypoints",
        "Greedy low-rank progression: calibration of the observables",
        "paths of students of a linear teacher (singular values 5, 3, 2, 1) scored by benchmarks/theory/modes.py",
        "A toy: 256 whitened inputs of dimension 10, width 40.",
        waypoint_score=Column("", "P1: 0 on the straight line, 1 through every best low-rank approximation", _DRAWN),
        timing_slope=Column("", "P2: slope of ln half time on ln s", _DRAWN),
        concurrency=Column("modes", "P3: how many modes move at once", _DRAWN),
        sequentiality=Column("", "P3: 1 where one mode moves at a time, 0 on the straight line", _DRAWN),
        scale=Column("", "standard deviation of the initial weights over the default", EXACT),
        waypoint_gain=Column("", "waypoint score minus that of the system before it", _DRAWN),
    ),
    "deep_linear/completion": _card(
        "completion",
        "Matrix completion: depth against the nuclear norm",
        "gradient descent from small weights on the observed entries; the nuclear norm's solution by thresholding",
        "Synthetic matrices of one size and rank.",
        error=Column("fraction", "|W - M| / |M| over all entries", _DRAWN),
        effective_rank=Column("", "exp of the entropy of the singular values' shares", _DRAWN),
        # Where optimization has stopped, far below what anything depends on.
        misfit=Column("fraction", "the same norm on the observed entries", IDENTICAL),
        log_error_ratio=Column("nats", "ln of one system's error over another's", _DRAWN),
        log_rank_ratio=Column("nats", "ln of one system's effective rank over another's", _DRAWN),
    ),
    "deep_linear/kernels": _card(
        "kernels",
        "Unaligned exact solutions, and silent alignment",
        "the Riccati solution beside gradient descent, and tangent kernels along it",
        "Two-layer networks; the scalar output of silent alignment has one mode.",
        riccati_error=Column("fraction of |T|", "largest distance of the map from the formula", _SMOOTH),
        wrong_error=Column("fraction of |T|", "the same from the formula for another imbalance", _SMOOTH),
        kernel_movement=Column("fraction", "|K(end) - K(0)| / |K(0)|", _SMOOTH),
        log_movement_ratio=Column("nats", "ln of the movement without imbalance over this one", _SMOOTH),
        early_cosine=Column("", "cosine of the kernels at 90 % of the first loss and at the end", _DRAWN),
        kernel_error=Column("fraction", "distance of test outputs from kernel regression with the last kernel", _DRAWN),
        # Of a converged run: rounding squared.
        loss_left=Column("fraction", "last over first loss", IDENTICAL),
    ),
}
