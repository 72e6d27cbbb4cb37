"""Open Question 4.1: modes planted in data, so that what a network should learn first is set."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.evidence.card import EXACT, IDENTICAL, Column, relative, statistical, tidy
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Architecture, Count, Name, NotNegative, Optimizer, Positive, Strict


# Planted modes (T9).
class FromSmall(Strict):
    """The network's linear twin from small weights, by plain SGD."""

    init: Positive  # by which its weights are multiplied
    lr: Positive
    steps: Count


class PlantedNetwork(Strict):
    """A network and its recipe, of which the run is the beginning."""

    seeds: Count  # of those of the experiment
    strongest: Positive  # strength of the first mode
    architecture: Architecture
    optimizer: Optimizer
    decay: NotNegative  # weight decay, in the optimizer's own way
    decays: Literal["all", "matrices"]  # what it acts on
    clip: Positive | None  # norm of the gradient
    warmup: Annotated[int, Field(ge=0)]  # steps
    cosine: Count | None  # length of the schedule, in steps; None for a constant rate
    batch_size: Count
    steps: Count
    layer_lr: Positive  # of a single layer
    lazy: Count | None  # steps of the network to first order; None where that is too slow
    small: FromSmall | None

    @model_validator(mode="after")
    def _scheduled(self):
        if self.warmup and not self.cosine:
            raise ValueError("a warm-up is part of the cosine schedule: set cosine too")
        if self.cosine and self.warmup >= min(self.cosine, self.steps):
            raise ValueError(f"a warmup of {self.warmup} leaves nothing of {min(self.cosine, self.steps)} steps")
        return self


class PlantedImage(PlantedNetwork):
    augment: bool  # random crops and flips, of the images beneath the patterns


class Planted(Strict):
    seeds: Annotated[int, Field(ge=2)]
    modes: Annotated[int, Field(ge=3)]
    ratio: Annotated[float, Field(gt=0, lt=1)]  # of a mode's strength to the one before
    swap: Annotated[list[Count], Field(min_length=2, max_length=2)]  # two modes that exchange their strengths
    read: Count  # held-out inputs to intervene on
    readings: Annotated[int, Field(ge=3)]  # evenly spaced in ln(step)

    @model_validator(mode="after")
    def _modes_there(self):
        if not self.swap[0] < self.swap[1] <= self.modes:
            raise ValueError(f"swap names two of {self.modes} modes, the stronger first, got {self.swap}")
        return self


class PlantedImages(Planted):
    images: Count
    networks: Annotated[dict[Name, PlantedImage], Field(min_length=1)]


class PlantedText(Planted):
    context: Annotated[int, Field(ge=2)]  # tokens of a window
    every: Annotated[int, Field(ge=2)]  # one marker in so many tokens
    networks: Annotated[dict[Name, PlantedNetwork], Field(min_length=1)]

    @model_validator(mode="after")
    def _contrasts(self):
        if self.modes > 7:
            raise ValueError(f"there are 7 orthogonal contrasts of eight answers, not {self.modes}: set fewer modes")
        for name, network in self.networks.items():
            if network.strongest > 1:
                raise ValueError(f"networks.{name}.strongest: a shift of probabilities is at most 1")
        return self


_PLANTED = {
    "diverged": Column("", "1 if the run diverged, else 0", EXACT),
    "steps": Column("steps", "updates made", IDENTICAL),
    "passed_half": Column("modes", "how many were learned, and so have a half time", IDENTICAL),
    "half_time_*": Column(
        "steps", "when the k-th mode's amplitude has gone half of its way to its last value, at the full learning rate"
    ),
    "strength_*": Column("", "$s_k$, strength of the k-th mode in the data", relative(1e-4, floor=1e-8)),
    "amplitude_*": Column("", "of the k-th mode, by intervention on held-out inputs, at the end"),
    "timing_slope": Column(
        "",
        r"slope of ln(half time) on $\ln s_k$, if all modes were learned; where strengths are equal, on those that the "
        "same patterns have where they fall",
    ),
    "timing_order": Column("", "Kendall's tau between how early modes are learned and how strong they are", IDENTICAL),
    "timing_spread": Column("nats", "standard deviation of ln(half time) over the modes"),
    "latest": Column("fraction", "the last half time over the length of the run"),
    "active_modes": Column("modes", "how many modes move at once, between readings: 1 if one at a time"),
    "active_modes_straight": Column("modes", "the same on the straight line from the first to the last amplitudes"),
    "rank_growth": Column("", "1 - least / last effective rank of the weights' change, mean over matrices"),
    "test_accuracy": Column("fraction", "held-out planted examples that are answered correctly, at the end"),
    "swap_least": Column(
        "nats", "the lesser of how much later the weakened mode is learned and how much earlier the strengthened one"
    ),
    "swapped": Column("", "1 if both moved that way, else 0", IDENTICAL),
}
_AGREE = statistical(otherwise=0.05, floor=1e-3)
_SYSTEMS = (
    "its name in params.yaml, on falling strengths; after a slash other data (swap: two strengths exchanged; equal: "
    "all the geometric mean), or a network beside it (layer: a single layer under the same recipe; lazy: the network "
    "to first order; small: its linear twin from small weights)"
)
PLANTED_IMAGES = tidy(
    "Planted modes in images: when each is learned",
    computed="amplitudes by intervention on held-out images, scored by benchmarks/theory/predictions.py",
    limits="Five orthogonal tiles repeated over the image, each of which tells two classes apart; 5,000 images.",
    quantities=_PLANTED,
    agreement=_AGREE,
    system=_SYSTEMS
    + "; level: with noise along each pattern so that all have the variance of the strongest, and layer-level, a "
    "single layer on that",
)
PLANTED_TEXT = tidy(
    "Planted modes in a text: when each is learned",
    computed="amplitudes by intervention on held-out windows, scored by benchmarks/theory/predictions.py",
    limits="Five pairs of markers that are equally frequent; eight tokens may follow.",
    quantities=_PLANTED,
    agreement=_AGREE,
    system=_SYSTEMS,
)
PLANTED = (
    Experiment("planted_images", PlantedImages, PLANTED_IMAGES),
    Experiment("planted_text", PlantedText, PLANTED_TEXT),
)
PLANTED_FIGURES = (
    Figure(
        "planted_modes",
        "When planted modes are learned by half, against their strength, in a perceptron (mlp), a residual network, a "
        "vision transformer (vit) and a character transformer (gpt). Beside each network: the same with two strengths "
        "exchanged, the same on images with equal variance along all patterns, the network to first order, and a "
        "single layer under the same recipe. Times are over their geometric mean in each series; means over seeds, "
        "and the extremes of the network's (shaded). Titles have the network's slope of ln(half time) on ln(strength).",
        reads=("planted_modes/planted_images", "planted_modes/planted_text"),
        claims=("T9",),
    ),
)

STUDY = Study("planted_modes", place=6, experiments=PLANTED, figures=PLANTED_FIGURES)
