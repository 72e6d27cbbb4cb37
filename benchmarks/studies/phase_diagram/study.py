"""Open Question 4.1: networks from lazy to rich, and the transfer of learning rates."""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.evidence.card import EXACT, IDENTICAL, Column, relative, statistical, tidy
from benchmarks.studies.carry_over.study import ImagesData, TextData
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Architecture, Count, Name, Optimizer, Positive, Strict, repetitions

# The phase diagram: networks from lazy to rich, and muP.

Gammas = Annotated[list[Positive], Field(min_length=3)]


def _rising(values: list[float], what: str) -> None:
    if repetitions(values) or values != sorted(values):
        raise ValueError(f"{what} must rise, got {', '.join(f'{value:g}' for value in values)}")


class Ladder(Strict):
    """A network and its recipe at each gamma."""

    seeds: Annotated[int, Field(ge=2)]
    data: Annotated[ImagesData | TextData, Field(discriminator="name")]
    architecture: Architecture
    optimizer: Optimizer  # at gamma = 1
    clip: Positive | None  # norm of the gradient at gamma = 1
    warmup: Annotated[int, Field(ge=0)]  # steps
    cosine: bool
    batch_size: Count
    steps: Count
    readings: Annotated[int, Field(ge=3)]
    modes: Annotated[int, Field(ge=3)]
    target: Positive  # the training loss, in nats, at which the networks are compared
    gammas: Gammas
    lazy: bool  # also the network to first order, at the least and the largest gamma
    rate: bool  # also the default network with the learning rate of the largest gamma
    mup: Count | None  # also the perceptron in muP with this base width

    @model_validator(mode="after")
    def _consistent(self):
        _rising(self.gammas, "gammas")
        if 1.0 not in self.gammas:
            raise ValueError("gammas must have 1, the default recipe")
        if self.optimizer.name not in ("sgd", "adam", "adamw"):
            raise ValueError(
                f"there is no rule for how the learning rate of {self.optimizer.name} moves with gamma: take sgd, adam "
                "or adamw"
            )
        if self.warmup and not self.cosine:
            raise ValueError("a warm-up is part of the cosine schedule: set cosine too")
        if self.warmup >= self.steps:
            raise ValueError(f"a warmup of {self.warmup} leaves nothing of {self.steps} steps")
        if self.mup is not None:
            _require_equal_widths(self)
        return self


def _require_equal_widths(ladder: Ladder) -> None:
    widths = set(dict(ladder.architecture).get("hidden", ()))
    if ladder.architecture.name != "mlp" or len(widths) != 1 or ladder.optimizer.name == "sgd":
        raise ValueError("muP is written for an mlp whose hidden layers are equally wide, under adam or adamw")


class Textbook(Strict):
    """A two-layer linear network on whitened inputs."""

    spectrum: Annotated[list[Positive], Field(min_length=3)]  # singular values of the target
    width: Count
    lr: Positive  # at gamma = 1
    steps: Count
    gammas: Gammas

    @model_validator(mode="after")
    def _ordered(self):
        _rising(self.gammas, "gammas")
        if repetitions(self.spectrum):
            raise ValueError("modes of equal strength have no order: let the singular values differ")
        return self


class Transfer(Strict):
    """Perceptrons of several widths at several learning rates, in muP and in the standard parametrization."""

    images: Annotated[int, Field(ge=2)]
    pool: Count  # pixels are averaged over squares of this side
    depth: Annotated[int, Field(ge=2)]  # hidden layers
    widths: Annotated[list[Count], Field(min_length=3)]
    base: Count  # the width at which both parametrizations are the same
    optimizer: Optimizer  # its learning rate is replaced by those below
    lrs: Annotated[list[Positive], Field(min_length=3)]
    batch_size: Count
    steps: Annotated[int, Field(ge=5)]

    @model_validator(mode="after")
    def _ordered(self):
        _rising(self.widths, "widths")
        _rising(self.lrs, "lrs")
        if self.optimizer.name not in ("adam", "adamw"):
            raise ValueError(f"muP's learning rates are those of adam and adamw here, not of {self.optimizer.name}")
        return self


class Richness(Strict):
    seeds: Count
    networks: Annotated[dict[Name, Ladder], Field(min_length=1)]

    @model_validator(mode="after")
    def _seeds(self):
        for name, one in self.networks.items():
            if one.seeds > self.seeds:
                raise ValueError(f"networks.{name}.seeds: {one.seeds} are more than the {self.seeds} of the experiment")
            if one.data.name != self._kind():
                raise ValueError(f"networks.{name}.data: this experiment takes {self._kind()}, not {one.data.name}")
        return self

    @staticmethod
    def _kind() -> str:
        return "text"


class RichnessImages(Richness):
    textbook: Textbook
    transfer: Transfer

    @staticmethod
    def _kind() -> str:
        return "images"


_AT_TARGET = ", until the training loss first is the target's"
_RICHNESS = {
    "gamma": Column("", "what the output is divided by; of muP the square root of width over base width", EXACT),
    "diverged": Column("", "1 if the run diverged, else 0", EXACT),
    "reached": Column("fraction", "trainings that reached the target loss", IDENTICAL),
    "passed_half": Column("modes", "how many went half of their own way", IDENTICAL),
    "timing_slope": Column("", r"slope of ln(half time) on $\ln s_k$, if every mode went half of its way"),
    "timing_order": Column("", "Kendall's tau between how early modes are learned and how strong they are", IDENTICAL),
    "timing_spread": Column("nats", "standard deviation of ln(half time) over the modes"),
    "active_modes": Column("modes", f"how many modes move at once, 1 if one at a time{_AT_TARGET}"),
    "active_modes_straight": Column("modes", "the same on the straight line from the start to the data's map"),
    "rank_growth": Column(
        "", f"1 - least / last effective rank of the weights' change, mean over matrices{_AT_TARGET}"
    ),
    "rank_least": Column("", f"least effective rank of the weights' change{_AT_TARGET}"),
    "rank_last": Column("", "the same at the target loss"),
    "weights_change": Column(
        "", "distance of the weights from their start over their norm there, at the target loss, mean over matrices"
    ),
    "time_to_target": Column("steps", "when the target loss is reached, in steps at the full learning rate"),
    "loss": Column("nats", "cross-entropy of the training examples where maps are read, at the end"),
    "test_accuracy": Column("fraction", "held-out examples that are answered correctly, at the end"),
    "half_time_*": Column("steps", "when the k-th mode has gone half of its own way, at the full learning rate"),
    "strength_*": Column("", "$s_k$, strength of the k-th mode", relative(1e-4, floor=1e-8)),
    "order_rises": Column("", "Kendall's tau between gamma and -timing_slope, if all gammas reached the target"),
    "rank_rises": Column("", "the same of rank_growth"),
    "movement_rises": Column("", "the same of weights_change"),
    "order_change": Column(
        "", "-timing_slope at the largest gamma, less that at the least; for NETWORK/rate: its own, less the default's"
    ),
    "rank_change": Column("", "the same of rank_growth"),
    "movement_change": Column("", "the same of weights_change"),
}
_TRANSFER = {
    "best_lr-*": Column("", "where the loss is least, by a parabola in ln(rate) through the grid's best; by width"),
    "best_loss-*": Column("nats", "the least loss of the grid, by width"),
    "loss-*": Column("nats", "on all training images at the end, by width and learning rate"),
    "inside-*": Column("", "1 if the least loss is not at an end of the grid, by width", IDENTICAL),
    "inside": Column("", "1 if that is so at every width", IDENTICAL),
    "transfer_slope": Column("", "slope of ln(best learning rate) on ln(width)"),
    "change_slope": Column("", "slope on ln(width) of ln(change of the outputs in the first four steps)"),
}
_SCORE = statistical(otherwise=0.05, floor=1e-3)
_LIMITS = "Small networks and data; hundreds of steps; no weight decay. Modes are those of carry_over."
_SYSTEMS = (
    "NETWORK@GAMMA: its output divided by gamma, its learning rate moved with it; NETWORK/lazy@GAMMA: the same to "
    "first order; NETWORK/rate: the default with the learning rate of the largest gamma; NETWORK and NETWORK/lazy: all "
    "gammas together"
)
RICHNESS = (
    Experiment(
        "richness_images",
        RichnessImages,
        tidy(
            "From lazy to rich on images, and the transfer of learning rates in the maximal update parametrization",
            "by benchmarks/theory/predictions.py, from outputs and weights",
            _LIMITS,
            _RICHNESS | _TRANSFER,
            agreement=_SCORE,
            system=_SYSTEMS
            + "; NETWORK/mup: in the maximal update parametrization (muP); deep-linear: two linear layers on whitened "
            "inputs; transfer/mup, transfer/standard: perceptrons of several widths",
        ),
    ),
    Experiment(
        "richness_text",
        Richness,
        tidy(
            "From lazy to rich on text",
            "by benchmarks/theory/predictions.py, from outputs and weights",
            _LIMITS,
            _RICHNESS,
            agreement=_SCORE,
            system=_SYSTEMS,
        ),
    ),
)
RICHNESS_FIGURES = (
    Figure(
        "richness",
        r"How steeply half times fall with strength (above) and how much the rank of the weights' change grows until a "
        r"common training loss (below), against $\gamma$, by which the output is divided: lazy left, rich right. Star: "
        "the default recipe. Diamond: the maximal update parametrization (muP). Dashed: the network to first order. "
        "Points are seeds, lines their means.",
        reads=("phase_diagram/richness_images", "phase_diagram/richness_text"),
        claims=("T13",),
    ),
    Figure(
        "richness_transfer",
        "Training loss of perceptrons after a fixed number of steps against the learning rate, by width (dark: wide), "
        "in the maximal update parametrization (muP) and in the standard one; mean over seeds. Marks: the best "
        "learning rate of each seed.",
        reads=("phase_diagram/richness_images",),
        claims=("T13-transfer",),
    ),
)

STUDY = Study("phase_diagram", place=7, experiments=RICHNESS, figures=RICHNESS_FIGURES)
