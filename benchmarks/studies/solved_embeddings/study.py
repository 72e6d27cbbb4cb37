"""Networks beside a model of them whose learning can be solved, as experiments."""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.evidence.card import EXACT, IDENTICAL, Column, relative, statistical, tidy
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Count, Momentum, Positive, Strict


class Word2vec(Strict):
    seeds: Count
    vocabulary: Annotated[int, Field(ge=2)]  # the most frequent words
    window: Count  # words on each side
    subsample: Positive  # share of the text above which a word is left out at times, as in word2vec.c
    width: Count  # of the vectors
    modes: Annotated[int, Field(ge=3)]  # at most, the strongest; only those above the noise floor
    small: Positive  # standard deviation of the vectors' entries where they start small
    rate: Positive  # learning rate of the full gradient
    steps: Count  # of the full gradient
    batch: Count  # pairs of the text in a minibatch, and as many of chance
    batch_steps: Count
    every: Count  # steps between readings

    @model_validator(mode="after")
    def _consistent(self):
        if self.vocabulary < self.modes:
            raise ValueError(f"a vocabulary of {self.vocabulary} words has no {self.modes} modes")
        if self.width < self.modes:
            raise ValueError(f"vectors of width {self.width} cannot hold {self.modes} modes")
        for steps in (self.steps, self.batch_steps):
            require_read_at_the_end(steps, self.every)
        return self


class Linear(Strict):
    small: Positive  # about the square root of the first eigenvalue of the embeddings' cross-covariance
    step: Positive  # in times in which the strongest mode grows by a factor e
    steps: Count
    every: Count

    @model_validator(mode="after")
    def _consistent(self):
        require_read_at_the_end(self.steps, self.every)
        return self


class Barlow(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count  # pixels are averaged over squares of this side
    padding: Count  # of the crops, pixels
    read: Annotated[int, Field(ge=2)]  # images on which the embedding is read
    components: Count  # principal components that the linear model is given
    width: Annotated[int, Field(ge=2)]  # of the embedding
    channels: Annotated[list[Count], Field(min_length=2, max_length=2)]
    small: Positive  # by which all weights are multiplied where they start small
    batch: Annotated[int, Field(ge=2)]
    rate: Positive
    momentum: Momentum
    steps: Count
    every: Count  # steps between readings
    linear: Linear

    @model_validator(mode="after")
    def _consistent(self):
        if max(self.read, self.batch) > self.images:
            raise ValueError(f"{self.images} images are fewer than are read ({self.read}) or in a batch ({self.batch})")
        if self.components < self.width:
            raise ValueError(f"{self.components} components have no {self.width} modes")
        require_read_at_the_end(self.steps, self.every)
        return self


def require_read_at_the_end(steps: int, every: int) -> None:
    """Raises ValueError if the last step is not read."""
    if steps % every:
        raise ValueError(f"{steps} steps are not a multiple of the {every} between readings")


_SCORE = statistical(otherwise=0.05, floor=1e-3)
_READ = relative(1e-4, floor=1e-8)
# By the names of carry_over/scores.
_SCORES = {
    "diverged": Column("", "1 if the run diverged, else 0", EXACT),
    "steps": Column("steps", "updates made", IDENTICAL),
    "modes": Column("modes", "how many modes are read", EXACT),
    "largest_phi": Column("fraction", "how much of the squared distance from the start to the target was covered"),
    "passed_half": Column("modes", "how many modes went half of their way", IDENTICAL),
    "passed_share": Column("fraction", "the same as a fraction of all", IDENTICAL),
    "timing_slope": Column("", r"slope of ln(half time) on $\ln s_k$, if every mode passed half"),
    "timing_spread": Column("nats", "standard deviation of ln(half time) over the modes"),
    "active_modes": Column(
        "modes", r"$N_{\mathrm{act}}$: how many modes move at once, between readings; 1 if one at a time"
    ),
    "active_modes_straight": Column("modes", "the same on the straight line from the start to the target"),
    "rank_growth": Column("", "1 - least / last effective rank of the weights' change, mean over matrices"),
    "rank_last": Column("", "effective rank of the weights' change at the end, mean over matrices"),
    "loss_fall": Column("fraction", "how much of the loss, or of the squared distance to the modes' target, was lost"),
    "half_time_*": Column("steps", "when the k-th mode has gone half of its own way"),
    "strength_*": Column("", "$s_k$, strength of the k-th mode", _READ),
    "closed_form_*": Column("steps", "the half time of the k-th mode by the closed form, from the same start", _READ),
    "time_error": Column("fraction", "largest distance of a half time from the closed form, over the closed form"),
}
# Of word vectors alone.
_WORDS = {
    "timing_order": Column("", "Kendall's tau between how early modes are learned and how strong they are", IDENTICAL),
    "noise_floor": Column("", "largest eigenvalue of the target of permuted words", _READ),
    "path": Column("", "1 on the quadratic model's path, 0 no nearer to it than the straight line from the start"),
    "path_end": Column("fraction", "progress up to which the two are compared"),
    "twin_bend": Column("", "how far the quadratic model's path is from its own straight line, over the target's size"),
    "law": Column("", "$R^2$ of ln(half time) predicted by the quadratic model's, up to one common factor of time"),
    "law_modes": Column("modes", "how many have a time in both", IDENTICAL),
    "time_ratio": Column("", "that factor: the skip-gram's time over the quadratic model's"),
}

WORD2VEC = tidy(
    "Word vectors: skip-gram beside the quadratic model that is solved",
    "gradient descent on all pairs of words, or on minibatches drawn by their probabilities; closed forms of "
    "benchmarks/theory/embeddings.py",
    "One text of a million characters and its 1,000 most frequent words. Vectors are tied, and there is one pair of "
    "chance for each of the text. A quantity that is undefined has no row.",
    _SCORES | _WORDS,
    agreement=_SCORE,
)
BARLOW = tidy(
    "Barlow Twins: an encoder beside the linear model that is solved",
    "SGD on crops and flips, and gradient descent in float64 on the linear model of principal components of the pixels",
    "An encoder with two convolutions and an embedding of width 6, on small images. Its modes are told apart by their "
    "size alone, so that nothing is said of their order. A quantity that is undefined has no row.",
    _SCORES,
    agreement=_SCORE,
)

FIGURES = (
    Figure(
        "solved_embeddings",
        "Embeddings beside models of them that are solved. Left: when a mode of word vectors is learned by half, "
        "against its strength, in the quadratic model and in skip-gram; the line is the closed form of the quadratic "
        "model from small weights. Right: when each eigenvalue of the cross-covariance of two views' embeddings passes "
        "half under the loss of Barlow Twins, over when the first does, in a linear model and in an encoder. Means "
        "over seeds.",
        reads=("solved_embeddings/word2vec", "solved_embeddings/barlow"),
        claims=("T11", "T12"),
    ),
)

STUDY = Study(
    "solved_embeddings",
    place=8,
    experiments=(
        Experiment("word2vec", Word2vec, WORD2VEC),
        Experiment("barlow", Barlow, BARLOW),
    ),
    figures=FIGURES,
)
