"""The open question 4.1: the order in which networks learn the parts of a linear map, from textbook to practice."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, relative, statistical, tidy, with_interval
from benchmarks.studies.declaration import Experiment, Family, Figure, Member, Study
from benchmarks.studies.schema import Architecture, Count, Layered, Name, NamedOptimizer, Optimizer, Positive, Strict


class ImagesData(Strict):
    """A rung's data from images."""

    name: Literal["images"]
    source: Literal["prepared", "digits"]  # the pipeline's images, or scikit-learn's
    images: Annotated[int, Field(ge=2)]
    draw: bool  # give each seed its own images, which no other seed has
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


class RungOptimizer(NamedOptimizer):
    """An optimizer whose learning rate may be left to pilots."""

    lr: Positive | None = None


class Rung(Strict):
    """One resolved rung of the ladder."""

    seeds: Annotated[int, Field(ge=2)]
    data: Annotated[ImagesData | PlantedData, Field(discriminator="name")]
    architecture: Architecture
    linearized: bool
    centred: bool
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


class Ladder(Layered):
    """The ladder from textbook to practice, one stage per rung."""

    layers: ClassVar = {"rungs": Rung}

    rungs: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]

    def members(self) -> Iterator[Member]:
        """One stage per rung."""
        for name in self.rungs:
            settings = self.resolved("rungs", name)
            yield Member({"rung": name}, list(range(1, settings.seeds + 1)), settings)


_SCORE = statistical(otherwise=0.02, floor=1e-4)
_MODES = relative(1e-4, floor=1e-8)
_LIMITS = (
    "CIFAR-10 subset, whitened or raw; only modes above the noise floor of permuted labels are scored, up to 95 % of "
    "the way to the target. Networks and twins are trained and read without their outputs at the start, except in the "
    "uncentred rungs. docs/explanation/nulls.md has the conventions."
)
_SCORES = {  # how they agree, unless they say it: _SCORE
    "diverged": Column("", "1 if the run diverged, else 0", EXACT),
    "censored": Column("", "1 if the run ended before 95 % of the way, else 0", EXACT),
    "largest_phi": Column("fraction", "how much of the squared distance to the target was covered"),
    "steps": Column("steps", "updates made", IDENTICAL),
    "learning_rate": Column("parameter^2/loss", "step size; a fraction of the edge measured by a pilot run"),
    "modes": Column("modes", "how many are scored", EXACT),
    "noise_floor": Column("", "largest singular value of the target under permuted labels", _MODES),
    "init": Column("", "$u_0 / s_1$: end-to-end scale of the initial weights over the strongest mode", _MODES),
    "init_mup": Column("", "the same under the maximal update parametrization", _MODES),
    "waypoint_score": Column(
        "", "P1: 0 on the straight line, 1 if it passes through every best low-rank approximation"
    ),
    "predicted_waypoint_score": Column("", "P1 predicted by independent mode dynamics, once each mode has aligned"),
    "sequentiality": Column("", "SEQ: 1 where one mode moves at a time, 0 on the straight line"),
    "concurrency": Column(
        "modes", r"$N_{\mathrm{act}}$: number of modes that move at once, weighted by the decrease in distance"
    ),
    "null_concurrency": Column("modes", r"$N_{\mathrm{act}}$ for the straight line"),
    "shifted_concurrency": Column(
        "modes", r"$N_{\mathrm{act}}$ when each mode's steps are shifted in time independently"
    ),
    "predicted_concurrency": Column("modes", r"$N_{\mathrm{act}}$ predicted by independent mode dynamics"),
    "timing_slope": Column("", r"P2: slope of ln(half time) against $\ln s$"),
    "timing_order": Column(
        "", "P2: Kendall's tau between how early modes are learned and how strong they are", IDENTICAL
    ),
    "growth_exponent": Column("", "P4: power of the amplitude with which modes grow, mean over modes"),
    "tracking": Column("", "P5: 1 on the twin's path, 0 as far from it as the straight line from the network's start"),
    "tracking_other": Column("", "P5 against the twin of another seed, which has the recipe but not the start"),
    "time_factor": Column("", "time the network takes relative to its twin"),
    "time_spread": Column("", "spread of this factor over modes, in ln"),
    "visible_share": Column("fraction", "fraction of the decrease in loss that the linear modes account for"),
    "loss_fall": Column("fraction", "decrease of the loss by the end of the clock, relative to the first loss"),
    "departure": Column("", "root mean square distance from the straight line, over the target's norm"),
    "edge_share": Column("", r"$\mathrm{lr}$ times the largest sharpness, over 2"),
    "strength_*": Column("", "$s_k$: singular value of the target's $k$-th mode", _MODES),
    "share_*": Column("fraction", "fraction of the target's squared norm in the $k$-th mode", _MODES),
    "half_time_*": Column("steps", "when the k-th mode is half-way to its strength"),
    "log_time_ratio_31": Column("nats", "ln of the ratio of the third mode's half time to the first's"),
    "alignment": Column("", "S1: how closely the leading singular spaces of neighbouring layers coincide"),
    "alignment_chance": Column("", "S1 of random layers"),
    "alignment_over_chance": Column("", "S1 over that of random layers"),
    "imbalance_diagonal": Column(
        "fraction", r"S4: drift of the diagonal of $W^\top W - W W^\top$ over the weights' square"
    ),
    "imbalance_rest": Column("fraction", "S4: the same off the diagonal"),
    "subspace_energy": Column("fraction", "S5: fraction of the updates within twice as many dimensions as modes"),
    "subspace_chance": Column("fraction", "S5 of random updates"),
    "update_rank_null_*": Column("", "stable rank of the update with frozen features, at a fraction of the way"),
    "update_rank_*": Column("", "S2: mean stable rank of the layers' updates, at a fraction of the way"),
    "layer_gap": Column("", r"S6: least $(\sigma_1 / \sigma_2) / l^{1/4}$ over the layers"),
    "kernel_cosine": Column("", "cosine between the tangent kernel early and at the end"),
}
_MEAN = {name: Column(_SCORES[name].unit, f"{_SCORES[name].meaning}; mean over seeds", _SCORE) for name in _SCORES}
# The means in the table of rungs have no intervals, except for the scores that it judges.
_PLAIN = statistical(otherwise=0.05, floor=1e-4)


def _mean(name: str, of_twin: bool = False) -> Column:
    column = _MEAN[name]
    return Column(column.unit, f"{'the twin: ' if of_twin else ''}{column.meaning}", _PLAIN)


def _carry_over(of: str) -> dict[str, Column]:
    name = f"carry_over_{of}"
    ratio = Column("", f"{of.replace('_', ' ')} over the twin's, with Fieller's interval", _SCORE)
    word = Column("", "carries over, mostly, weakly, not; open or vacuous", IDENTICAL)
    return {**with_interval(name, ratio), f"{name}_word": word}


_RUNGS = Card(
    title="The ladder: networks and their linear twins, from textbook to practice",
    row="one rung of the ladder",
    keys=("rung",),
    computed="means and 95 % intervals over seeds of low_rank_progression.long; ratios by Fieller 1954",
    limits=_LIMITS,
    n="n",
    columns={
        "rung": Column("", "its name in params.yaml"),
        "architecture": Column("", "entry of benchmarks/lab/architectures and its options"),
        "optimizer": Column("", "entry of benchmarks/lab/optimizers and its options"),
        "labels": Column("", "linear (the best linear fit of the labels), real, random or planted"),
        "data": Column("", "examples, components, inputs"),
        "loss": Column("", "entry of benchmarks/lab/losses.py"),
        "batch_size": Column("images", "examples per step, or all"),
        "init": _mean("init"),
        "n": Column("seeds", "runs of the network"),
        **with_interval("waypoint_score", _MEAN["waypoint_score"]),
        **with_interval("sequentiality", _MEAN["sequentiality"]),
        **with_interval("tracking", _MEAN["tracking"]),
        **with_interval("twin_waypoint_score", Column("", "the twin's waypoint score; mean over seeds", _SCORE)),
        **with_interval("twin_sequentiality", Column("", "the twin's sequentiality; mean over seeds", _SCORE)),
        "verdict": Column("", "the rung's verdict: greedy, tracks its twin, neither, ..."),
        **_carry_over("waypoint_score"),
        **_carry_over("sequentiality"),
        **{name: _mean(name) for name in ("tracking_other", "visible_share", "loss_fall")},
        **{name: _mean(name) for name in ("concurrency", "null_concurrency")},
        **{name: _mean(name) for name in ("timing_slope", "growth_exponent")},
        **{f"twin_{name}": _mean(name, True) for name in ("timing_slope", "growth_exponent", "departure")},
        **{name: _mean(name) for name in ("time_factor", "time_spread", "edge_share", "learning_rate")},
        "steps": Column("steps", "updates made; mean over seeds", IDENTICAL),
        "modes": Column("modes", "how many are scored"),
        "censored": Column("seeds", "runs that ended before 95 % of the way"),
        "twin_censored": Column("seeds", "the same for the twin"),
        "tracking_n": Column("seeds", "runs in which P5 is meaningful"),
        "diverged": Column("seeds", "runs that diverged"),
        "largest_phi": _mean("largest_phi"),
    },
)
_LONG = Card(
    title="Low-rank progression: every score of every run",
    row="one rung, system, seed and quantity",
    keys=("rung", "system", "seed", "quantity"),
    computed="by benchmarks/theory/modes.py and the study's rung.py, from the path of the outputs' linear part",
    limits=_LIMITS + " A quantity that is undefined for a run has no row.",
    replicates=("seed",),
    rows="identical",
    columns={
        "rung": Column("", "its name in params.yaml", EXACT),
        "system": Column("", "net, or twin: the deep linear network beside it", EXACT),
        "seed": Column("", "seed of the initialization and of everything else that is random", EXACT),
        "quantity": Column("", "what the value is", EXACT),
        "value": Column("the quantity's", "its value; how it may differ depends on the quantity"),
    },
    quantities=_SCORES,
    agreement=_SCORE,
)
_OUTPUT_SCALE = tidy(
    "The largest stable learning rate as a function of an output multiplier",
    "bisection of divergence in the learning rate, to 5 %, for six multipliers at two depths",
    "500 images; the resolution of the bisection bounds the exponents.",
    {
        "scale": Column("", "divisor of the outputs", EXACT),
        "largest_lr": Column("parameter^2/loss", "largest learning rate that does not diverge", relative(0.1)),
        "lazy_slope": Column("", "exponent of largest_lr in scales below one"),
        "rich_slope": Column("", "exponent of largest_lr in scales above one"),
    },
    system="depth, and the index of the scale in params.yaml",
    agreement=statistical(otherwise=0.05, floor=0.05),
)

FIGURES = (
    Figure(
        "carry_over_waterfall",
        "From the textbook setting to practice, one axis at a time, in the registered order and in reverse: how much "
        "a step changes the score depends on the steps before it. Bars are 95 % intervals over five seeds.",
        reads=("low_rank_progression.long",),
        claims=("Q1", "Q1-real", "Q2", "Q3"),
    ),
    Figure(
        "mode_trajectories",
        "Progress of each mode as the visible loss falls: network (solid), its linear twin (dashed), the closed form "
        "of a deep linear network (dotted, left), and the straight line on which all modes move together (grey).",
        reads=("low_rank_progression.long",),
        claims=("Q9", "Q13"),
    ),
    Figure(
        "score_against_init",
        "The waypoint score against the end-to-end scale of the initialization, $u_0/s_1$: symbols are seeds, lines "
        "means; dashed: what the equation of a deep linear network predicts for the same modes, if they start below "
        "their strength. The star is the default recipe.",
        reads=("low_rank_progression.long",),
        claims=("Q2", "Q16"),
    ),
    Figure(
        "effective_rank",
        "Effective rank during training. Left: rank of the outputs' linear part, compared with the straight line from "
        "the same start; right: stable rank of the weight updates, compared with gradients accumulated at frozen "
        "features. Means and ranges over seeds.",
        reads=("low_rank_progression.long",),
        claims=("Q10",),
    ),
    Figure(
        "carry_over_ladder",
        "Every rung: the waypoint score of the network (filled) and its linear twin (open), and how closely the "
        "network tracks its twin; bars are 95 % intervals, dashed lines the registered bounds.",
        reads=("low_rank_progression",),
        claims=("Q1", "Q11", "Q14", "Q15"),
    ),
)

STUDY = Study(
    "low_rank_progression",
    place=10,
    experiments=(Experiment("output_scale", OutputScale, _OUTPUT_SCALE),),
    families=(Family("rung", module="rung", path="{rung}", settings=Rung, members=Ladder.members),),
    model=Ladder,
    reads=("deep_linear/waypoints",),
    curves=True,
    tables={"low_rank_progression.long": _LONG, "low_rank_progression": _RUNGS},
    figures=FIGURES,
)
