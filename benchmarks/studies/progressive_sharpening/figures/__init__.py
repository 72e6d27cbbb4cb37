"""The study's figures, by name."""

from benchmarks.studies.progressive_sharpening.figures.comparisons import batch_sharpness, sharpening_modifiers
from benchmarks.studies.progressive_sharpening.figures.flows import central_flow, gradient_flow, oscillation_variance
from benchmarks.studies.progressive_sharpening.figures.levels import edges, progressive_sharpening, settled_sharpness
from benchmarks.studies.progressive_sharpening.figures.thresholds import catapult, descent_lemma, stability_thresholds

__all__ = [
    "batch_sharpness",
    "catapult",
    "central_flow",
    "descent_lemma",
    "edges",
    "gradient_flow",
    "oscillation_variance",
    "progressive_sharpening",
    "settled_sharpness",
    "sharpening_modifiers",
    "stability_thresholds",
]
