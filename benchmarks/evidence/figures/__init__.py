"""The figures, drawn from tables and curves alone. What each shows is said in `benchmarks.evidence.report`.

A figure is a function (tables by file name, curves) -> Figure in the file of its claims, and has its place in
`FIGURES`. A configuration that is absent or diverged is left out; with none left the figure is a sentence that says so.
Colours are seaborn's colour-blind palette; SVGs are the same bytes for the same data.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.evidence.figures import (
    comparisons,
    convex,
    flows,
    lazy_training,
    levels,
    low_rank,
    modes,
    optimizers,
    overparameterization,
    scale_invariance,
    thresholds,
    timings,
)
from benchmarks.evidence.figures.drawing import Tables

Draw = Callable[[Tables, pd.DataFrame], Figure]

FIGURES: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        convex.convex_rates,
        levels.progressive_sharpening,
        levels.settled_sharpness,
        levels.edges,
        thresholds.stability_thresholds,
        thresholds.descent_lemma,
        thresholds.catapult,
        flows.gradient_flow,
        flows.oscillation_variance,
        flows.central_flow,
        comparisons.batch_sharpness,
        comparisons.sharpening_modifiers,
        overparameterization.overparameterization,
        lazy_training.lazy_training,
        lazy_training.implicit_bias,
        modes.deep_linear,
        low_rank.carry_over_waterfall,
        low_rank.mode_trajectories,
        low_rank.score_against_init,
        low_rank.effective_rank,
        low_rank.carry_over_ladder,
        scale_invariance.scale_invariance,
        scale_invariance.intrinsic_learning_rate,
        optimizers.optimizer_loss,
        optimizers.optimizer_profile,
        optimizers.lr_sensitivity,
        optimizers.class_losses,
        optimizers.optimizer_sharpness,
        timings.eigensolvers,
        optimizers.optimizer_seconds,
    )
}

_RUNS, _LADDER, _CONTESTS = "progressive_sharpening.long", "low_rank_progression.long", "optimizer_comparison.long"
# The tables that each is drawn from.
TABLES: dict[str, tuple[str, ...]] = {
    "convex_rates": ("convex_rates/worst_cases", "convex_rates/logistic_regression"),
    "progressive_sharpening": (_RUNS,),
    "settled_sharpness": (_RUNS, "claims"),
    "edges": (_RUNS,),
    "stability_thresholds": ("stability_thresholds", "claims"),
    "descent_lemma": (_RUNS, "claims"),
    "catapult": ("catapult",),
    "gradient_flow": (_RUNS,),
    "oscillation_variance": (_RUNS, "claims"),
    "central_flow": (_RUNS,),
    "batch_sharpness": (_RUNS, "claims"),
    "sharpening_modifiers": (_RUNS,),
    "overparameterization": (
        "overparameterization/random_labels",
        "overparameterization/non_convexity",
        "overparameterization/polyak_lojasiewicz",
        "overparameterization/distance",
    ),
    "lazy_training": ("lazy_training/widths", "lazy_training/output_scale"),
    "implicit_bias": ("lazy_training/alignment", "lazy_training/max_margin"),
    "deep_linear": ("deep_linear/waypoints", "deep_linear/solutions", "deep_linear/completion"),
    "carry_over_waterfall": (_LADDER,),
    "mode_trajectories": (_LADDER,),
    "score_against_init": (_LADDER,),
    "effective_rank": (_LADDER,),
    "carry_over_ladder": ("open_question_4_1",),
    "scale_invariance": ("scale_invariance/equilibrium", "scale_invariance/exponential_rate"),
    "intrinsic_learning_rate": ("scale_invariance/intrinsic_rate", "scale_invariance/rescaling"),
    "optimizer_loss": ("optimizer_comparison", "optimizer_comparison/targets"),
    "optimizer_profile": (_CONTESTS, "optimizer_comparison/targets"),
    "lr_sensitivity": (_CONTESTS,),
    "class_losses": ("optimizer_comparison/class_imbalance", "optimizer_comparison"),
    "optimizer_sharpness": (_CONTESTS,),
    "eigensolvers": ("timings/eigensolvers",),
    "optimizer_seconds": ("timings/optimizer_steps", "optimizer_comparison", "optimizer_comparison/targets"),
}
# Those that draw no curve.
WITHOUT_CURVES = frozenset(
    {
        "convex_rates",
        "overparameterization",
        "lazy_training",
        "implicit_bias",
        "scale_invariance",
        "intrinsic_learning_rate",
        "stability_thresholds",
        "catapult",
        "deep_linear",
        "carry_over_waterfall",
        "score_against_init",
        "carry_over_ladder",
        "optimizer_profile",
        "lr_sensitivity",
        "optimizer_sharpness",
        "eigensolvers",
    }
)


def curves_of(name: str) -> str:
    """The study whose curves a figure is given."""
    studies = {low_rank.__name__: "low_rank_progression", optimizers.__name__: "optimizer_comparison"}
    return studies.get(FIGURES[name].__module__, "progressive_sharpening")


def save(figure: Figure, path: Path) -> None:
    """As SVG without a date, so that equal data give equal bytes.

    The layout solver's last bits vary from call to call, and clip paths are named by a hash of them: axes stay where it
    has put them, rounded.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(end, 6) for end in axes.get_position().bounds])
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
