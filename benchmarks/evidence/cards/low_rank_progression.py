"""Cards of the study behind Open Question 4.1."""

from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, relative, statistical, with_interval
from benchmarks.evidence.cards.deep_linear import tidy

_PIPELINE = "pipelines/low_rank_progression/dvc.yaml"
_SCORE = statistical(otherwise=0.02, floor=1e-4)
_MODES = relative(1e-4, floor=1e-8)
_LIMITS = (
    "CIFAR-10 subset, whitened or raw; modes above the floor of permuted labels alone are scored, up to 95 % of the "
    "way to the target. docs/architecture.md has the conventions."
)
_SCORES = {
    "diverged": Column("", "1 if the loss left all bounds, else 0", EXACT),
    "censored": Column("", "1 if the run ended before 95 % of the way, else 0", EXACT),
    "largest_phi": Column("fraction", "how much of the squared distance to the target was covered", _SCORE),
    "steps": Column("steps", "updates made", IDENTICAL),
    "learning_rate": Column("parameter^2/loss", "step size; a share of the edge that a pilot run measures", _SCORE),
    "modes": Column("modes", "how many are scored", EXACT),
    "noise_floor": Column("", "largest singular value of the target under permuted labels", _MODES),
    "init": Column("", "u0 / s1: end-to-end scale of the initial weights over the strongest mode", _MODES),
    "init_mup": Column("", "the same under the maximal update parametrization", _MODES),
    "waypoint_score": Column("", "P1: 0 on the straight line, 1 through every best low-rank approximation", _SCORE),
    "predicted_waypoint_score": Column(
        "", "P1 of the network's own equation from where its modes have aligned", _SCORE
    ),
    "sequentiality": Column("", "SEQ: 1 where one mode moves at a time, 0 on the straight line", _SCORE),
    "concurrency": Column("modes", "N_act: how many modes move at once, weighted by the fall of the distance", _SCORE),
    "null_concurrency": Column("modes", "N_act of the straight line", _SCORE),
    "shifted_concurrency": Column("modes", "N_act where each mode's steps are shifted in time by themselves", _SCORE),
    "predicted_concurrency": Column("modes", "N_act of the network's own equation", _SCORE),
    "timing_slope": Column("", "P2: slope of ln half time on ln s", _SCORE),
    "timing_order": Column("", "P2: Kendall's tau of early with strong", IDENTICAL),
    "growth_exponent": Column("", "P4: power of the amplitude by which modes grow, mean", _SCORE),
    "tracking": Column("", "P5: 1 on the twin's path, 0 as far from it as the straight line", _SCORE),
    "time_factor": Column("", "how much longer the network takes than its twin", _SCORE),
    "time_spread": Column("", "spread of that factor over modes, in ln", _SCORE),
    "visible_share": Column("fraction", "share of the fall of the loss that the linear modes account for", _SCORE),
    "loss_fall": Column("fraction", "share of the first loss that is gone at the end of the clock", _SCORE),
    "departure": Column("", "root mean square distance from the straight line, in shares of s", _SCORE),
    "edge_share": Column("", "lr times the largest sharpness, over 2", _SCORE),
    "strength_*": Column("", "s_k: singular value of the target's k-th mode", _MODES),
    "share_*": Column("fraction", "its part of the target's square", _MODES),
    "half_time_*": Column("steps", "when the k-th mode has made half of its way", _SCORE),
    "log_time_ratio_31": Column("nats", "ln of the third mode's half time over the first's", _SCORE),
    "alignment": Column("", "S1: how far neighbouring layers' leading singular spaces coincide", _SCORE),
    "alignment_chance": Column("", "S1 of random layers", _SCORE),
    "alignment_over_chance": Column("", "S1 over that", _SCORE),
    "imbalance_diagonal": Column("fraction", "S4: drift of the diagonal of W'W - WW' over the weights' square", _SCORE),
    "imbalance_rest": Column("fraction", "S4: of what is off the diagonal", _SCORE),
    "subspace_energy": Column("fraction", "S5: share of updates within twice as many dimensions as modes", _SCORE),
    "subspace_chance": Column("fraction", "S5 of random updates", _SCORE),
    "update_rank_null_*": Column("", "stable rank of the update with frozen features, at a share of the way", _SCORE),
    "update_rank_*": Column("", "S2: mean stable rank of the layers' updates, at a share of the way", _SCORE),
    "layer_gap": Column("", "S6: least (sigma1 / sigma2) / l^(1/4) over the layers", _SCORE),
    "kernel_cosine": Column("", "cosine of the tangent kernel early and at the end", _SCORE),
}
_MEAN = {name: Column(_SCORES[name].unit, f"{_SCORES[name].meaning}; mean over seeds", _SCORE) for name in _SCORES}
# The answer's means have no intervals of their own, but for the scores that it judges.
_PLAIN = statistical(otherwise=0.05, floor=1e-4)


def _mean(name: str, of_twin: bool = False) -> Column:
    column = _MEAN[name]
    return Column(column.unit, f"{'the twin: ' if of_twin else ''}{column.meaning}", _PLAIN)


def _carry_over(of: str) -> dict[str, Column]:
    name = f"carry_over_{of}"
    ratio = Column("", f"{of.replace('_', ' ')} over the twin's, with Fieller's interval", _SCORE)
    word = Column("", "carries over, mostly, weakly, not; open or vacuous", IDENTICAL)
    return {**with_interval(name, ratio), f"{name}_word": word}


CARDS = {
    "open_question_4_1": Card(
        title="Open Question 4.1: networks beside their linear twins",
        row="one rung of the ladder",
        keys=("rung",),
        computed="means and 95 % intervals over seeds of low_rank_progression.long; ratios by Fieller 1954",
        limits=_LIMITS,
        stage="answer",
        n="n",
        columns={
            "rung": Column("", "its name in params.yaml", EXACT),
            "architecture": Column("", "entry of benchmarks/lab/architectures and its options", EXACT),
            "optimizer": Column("", "entry of benchmarks/lab/optimizers and its options", EXACT),
            "labels": Column("", "linear (the best linear fit of the labels), real, random or planted", EXACT),
            "data": Column("", "examples, components, inputs", EXACT),
            "loss": Column("", "entry of benchmarks/lab/losses.py", EXACT),
            "batch_size": Column("images", "examples in a step, or all", EXACT),
            "init": _mean("init"),
            "n": Column("seeds", "runs of the network", EXACT),
            **with_interval("waypoint_score", _MEAN["waypoint_score"]),
            **with_interval("sequentiality", _MEAN["sequentiality"]),
            **with_interval("tracking", _MEAN["tracking"]),
            **with_interval("twin_waypoint_score", Column("", "the twin's waypoint score; mean over seeds", _SCORE)),
            **with_interval("twin_sequentiality", Column("", "the twin's sequentiality; mean over seeds", _SCORE)),
            "verdict": Column("", "greedy, tracks its twin, neither, ...: the rung's word", EXACT),
            **_carry_over("waypoint_score"),
            **_carry_over("sequentiality"),
            **{name: _mean(name) for name in ("visible_share", "loss_fall", "concurrency", "null_concurrency")},
            **{name: _mean(name) for name in ("timing_slope", "growth_exponent")},
            **{f"twin_{name}": _mean(name, True) for name in ("timing_slope", "growth_exponent", "departure")},
            **{name: _mean(name) for name in ("time_factor", "time_spread", "edge_share", "learning_rate")},
            "steps": Column("steps", "updates made; mean over seeds", IDENTICAL),
            "modes": Column("modes", "how many are scored", EXACT),
            "censored": Column("seeds", "runs that ended before 95 % of the way", EXACT),
            "twin_censored": Column("seeds", "of the twin", EXACT),
            "tracking_n": Column("seeds", "runs in which P5 has a meaning", EXACT),
            "diverged": Column("seeds", "runs that left all bounds", EXACT),
            "largest_phi": _mean("largest_phi"),
        },
    ),
    "low_rank_progression.long": Card(
        title="Low-rank progression: every score of every run",
        row="one rung, system, seed and quantity",
        keys=("rung", "system", "seed", "quantity"),
        computed="by benchmarks/theory/modes.py and the study's rung.py, from the path of the outputs' linear part",
        limits=_LIMITS + " What cannot be said of a run has no row.",
        stage="answer",
        replicates=("seed",),
        rows="identical",
        columns={
            "rung": Column("", "its name in params.yaml", EXACT),
            "system": Column("", "net, or twin: the deep linear network beside it", EXACT),
            "seed": Column("", "of the initialization and of whatever is drawn", EXACT),
            "quantity": Column("", "what the value is", EXACT),
            "value": Column("the quantity's", "its value; how it may differ depends on the quantity", _SCORE),
        },
        quantities=_SCORES,
    ),
    "low_rank_progression/output_scale": tidy(
        "The largest stable learning rate against an output multiplier",
        f"{_PIPELINE}:output_scale",
        "bisection of divergence in the learning rate, to 5 %, for six multipliers at two depths",
        "500 images; the resolution of the bisection bounds the exponents.",
        {
            "scale": Column("", "what the outputs are divided by", EXACT),
            "largest_lr": Column("parameter^2/loss", "largest learning rate that does not diverge", relative(0.1)),
            "lazy_slope": Column("", "exponent of it in scales below one", statistical(otherwise=0.05, floor=0.05)),
            "rich_slope": Column("", "and in scales above one", statistical(otherwise=0.05, floor=0.05)),
        },
        system="depth, and the scale's place in params.yaml",
    ),
}
