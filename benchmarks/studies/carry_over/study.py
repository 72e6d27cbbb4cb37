"""Open Question 4.1 on networks as people train them: seven predictions of deep linear theory, system by system."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, relative, statistical, with_interval
from benchmarks.studies.declaration import Family, Figure, Member, Study
from benchmarks.studies.schema import Architecture, Count, Fidelity, Layered, Name, Optimizer, Positive, Strict, resolve


class ImagesData(Strict):
    """Images to classify."""

    name: Literal["images"]
    source: Literal["images", "digits"]  # those that params.yaml names, or scikit-learn's digits
    images: Annotated[int, Field(ge=2)]
    pool: Count
    read: Count  # of the training images, where maps are read
    components: Annotated[int, Field(ge=2)]  # principal components of the pixels that maps are read on
    augment: bool  # random crops and flips
    draw: bool  # images of its own for each seed
    labels: Literal["real", "animals", "xor"]  # or animals against vehicles, or of two planted patterns
    inputs: Literal["real", "clones", "isotropic"]  # Gaussian clones of each class, or only its mean


class TextData(Strict):
    """A text whose next character is to be predicted."""

    name: Literal["text"]
    context: Annotated[int, Field(ge=2)]  # tokens of a window
    read: Count  # windows where maps are read, and as many to test on
    order: Literal["natural", "flat"]  # flat: a chain whose modes are equally strong
    draw: bool  # a fifth of the text of its own for each seed


class Role(Strict):
    """A network beside the system's own, on the system's recipe unless it says otherwise."""

    steps: Count | None  # None for the system's own


class Twin(Role):
    lr: Positive | None  # None for the system's own


class Small(Strict):
    """A deep linear network from small weights: the linear twin, trained by plain SGD."""

    init: Positive  # by which the twin's weights are multiplied
    lr: Positive
    steps: Count


class Beside(Strict):
    """What is trained beside the network; None for what is not."""

    twin: Twin | None  # its linear twin
    small: Small | None  # the same from small weights
    lazy: Role | None  # the network to first order
    layer: Twin | None  # a single linear layer on the inputs
    random: Role | None  # the network on targets that have nothing to do with the inputs
    reversed: Twin | None  # the linear twin on a text read backwards


class System(Strict):
    """One resolved system: a network, data, and a recipe."""

    fidelity: Fidelity
    seeds: Annotated[int, Field(ge=2)]
    data: Annotated[ImagesData | TextData, Field(discriminator="name")]
    architecture: Architecture
    init: Positive  # multiplies all weights at the start
    optimizer: Optimizer
    decay: Annotated[float, Field(ge=0)] | None  # weight decay, in the optimizer's own way; None for what it does alone
    decays: Literal["all", "matrices", "vectors"]  # what it acts on
    clip: Positive | None  # norm of the gradient
    warmup: Annotated[int, Field(ge=0)]  # steps
    cosine: bool
    batch_size: Count
    steps: Count
    readings: Annotated[int, Field(ge=3)]
    modes: Annotated[int, Field(ge=3)]
    beside: Beside
    # The system whose twin from small weights is the deep linear reference of this one; None for no row in the answer.
    # Convolutions and patches see what they can of pixels, so that their own twin does not reach the target.
    reference: Name | None

    @model_validator(mode="after")
    def _consistent(self):
        if self.warmup and not self.cosine:
            raise ValueError("a warm-up is part of the cosine schedule: set cosine too")
        if self.beside.reversed and self.data.name != "text":
            raise ValueError("only a text can be read backwards: set beside.reversed to null")
        if self.beside.reversed and not self.beside.twin:
            raise ValueError("beside.reversed is compared with the network beside beside.twin: set that too")
        on_recipe = [role for name, role in self.beside if name != "small"]
        shortest = min([self.steps, *(role.steps for role in on_recipe if role and role.steps)])
        if self.warmup >= shortest:
            raise ValueError(f"a warmup of {self.warmup} leaves nothing of {shortest} steps")
        return self


class Systems(Layered):
    """The systems, one stage each."""

    layers: ClassVar = {"systems": System}

    systems: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]

    def overrides(self, layer: str) -> dict[str, dict]:
        """What each system changes of the defaults; ``like: NAME`` begins with what that one does."""
        return {name: self._changes(name, ()) for name in self.systems}

    def _changes(self, name: str, before: tuple[str, ...]) -> dict[str, Any]:
        if name in before:
            raise ValueError(f"systems.{name}.like: it is like itself, by way of {', '.join(before)}")
        own = dict(self.systems[name])
        other = own.pop("like", None)
        if other is None:
            return own
        if other not in self.systems:
            raise ValueError(f"systems.{name}.like: there is no system {other!r}")
        return resolve(self._changes(other, (*before, name)), own)

    @model_validator(mode="after")
    def _referred(self):
        try:
            every = {name: self.resolved("systems", name) for name in self.systems}
        except ValidationError:
            return self  # told by its own path, with all others
        for name, settings in every.items():
            if settings.reference is None:
                continue
            if settings.reference not in every:
                raise ValueError(f"systems.{name}.reference: there is no system {settings.reference!r}")
            other = every[settings.reference]
            if other.beside.small is None:
                raise ValueError(
                    f"systems.{name}.reference: {settings.reference} trains no twin from small weights: set its "
                    "beside.small"
                )
            if other.seeds < settings.seeds:
                raise ValueError(
                    f"systems.{name}.reference: {settings.reference} has {other.seeds} seeds, fewer than "
                    f"{settings.seeds}"
                )
        return self

    def of(self, data: str) -> Iterator[Member]:
        for name in self.systems:
            settings = self.resolved("systems", name)
            if settings.data.name == data:
                yield Member({"system": name}, list(range(1, settings.seeds + 1)), settings)

    def on_images(self) -> Iterator[Member]:
        return self.of("images")

    def on_text(self) -> Iterator[Member]:
        return self.of("text")


_LIMITS = (
    "5,000 images and a text of a million characters; small networks. Maps are read on principal components of pixels, "
    "or on single tokens: what a network learns beyond them is not in its modes."
)
_SCORE = statistical(otherwise=0.05, floor=1e-3)
_READ = relative(1e-4, floor=1e-8)
_SCORES = {
    "diverged": Column("", "1 if the run diverged, else 0", EXACT),
    "steps": Column("steps", "updates made", IDENTICAL),
    "modes": Column("modes", "how many exceed the noise floor, at most ten", EXACT),
    "noise_floor": Column("", "largest singular value of the target without a relation to the inputs", _READ),
    "largest_phi": Column("fraction", "how much of the squared distance from the start to the target was covered"),
    "passed_half": Column("modes", "how many went half of their own way", IDENTICAL),
    "timing_slope": Column(
        "", r"slope of ln(half time) against $\ln s$, if every mode passed half of a way of its own"
    ),
    "timing_order": Column("", "Kendall's tau between how early modes are learned and how strong they are", IDENTICAL),
    "timing_spread": Column("nats", "standard deviation of ln(half time) over the modes"),
    "timing_*_whitened": Column("", "the same for modes on principal components of unit variance"),
    "active_modes": Column("modes", r"$N_{\mathrm{act}}$: how many modes move at once, between readings"),
    "active_modes_straight": Column("modes", "the same on the straight line from the start to the target"),
    "active_modes_shifted": Column("modes", "the same when each mode's moves are shifted in time independently"),
    "rank_growth": Column("", "1 - least / last effective rank of the weights' change, mean over matrices"),
    "stable_rank_growth": Column("", "the same of the stable rank"),
    "rank_*_first": Column("", "stable rank of a circuit's change at the first reading, mean over blocks"),
    "rank_*_last": Column("", "the same at the end"),
    "rank_*_start": Column("", "the first over the last"),
    "rank_*_rise": Column("", "Kendall's tau of the same with time", IDENTICAL),
    "rank_least": Column("", "least effective rank of the weights' change along training, mean over matrices"),
    "rank_last": Column("", "the same at the end"),
    "weights_rank": Column("", "effective rank of the weights at the end, mean over matrices"),
    "alignment": Column("", "overlap of the top singular spaces of neighbouring changes, at the end"),
    "alignment_chance": Column("", "that of random spaces"),
    "alignment_share": Column("", "how far the overlap is from chance, 0, to 1"),
    "alignment_ratio": Column("", "the overlap over that of random spaces"),
    "explained": Column(
        "",
        "share of what the answers say about the labels that the linear predictor explains, until the net is as good",
    ),
    "explained_null": Column("", "the same of answers permuted within each label"),
    "forgotten": Column("", "share of what the linear predictor says of the labels that the net's last answers lack"),
    "loss": Column("nats", "cross-entropy of the training examples where maps are read, at the end"),
    "accuracy": Column("fraction", "of these that are answered correctly, at the end"),
    "test_loss": Column("nats", "cross-entropy of held-out examples, at the end"),
    "test_accuracy": Column("fraction", "of these that are answered correctly, at the end"),
    "least_test_loss": Column("nats", "the least of the readings"),
    "linear_accuracy": Column("fraction", "held-out examples that the linear predictor answers correctly"),
    "above_linear": Column("fraction", "test_accuracy less linear_accuracy"),
    "nearest_*": Column("steps", "the reading at which the net is nearest to an n-gram model", IDENTICAL),
    "distance_*": Column("nats", "mean KL divergence from that model to the net, at the end"),
    "ngram_order": Column("", "Kendall's tau between these readings and the models' orders", IDENTICAL),
    "ngram_apart": Column("", "least ratio of two successive of them", IDENTICAL),
    "above_bigram": Column("nats", "held-out cross-entropy at the end over that of the bigram model"),
    "half_time_*": Column("steps", "when the k-th mode has gone half of its own way, at the full learning rate"),
    "strength_*": Column("", "$s_k$", _READ),
    "path": Column("", "P5: 1 on the twin's path, 0 no nearer to it than the straight line from the own start"),
    "path_other_seed": Column("", "the same against the twin of the next seed"),
    "path_reversed": Column("", "the same against the twin of the text read backwards"),
    "path_end": Column("fraction", "progress up to which the two are compared"),
    "twin_bend": Column("", "how far the twin's path is from its own straight line, over the target's size"),
    "law": Column("", "$R^2$ of ln(half time) predicted by the twin's half times, up to one common factor of time"),
    "law_null": Column("", "the same with the twin's times permuted over the modes"),
    "law_modes": Column("modes", "how many have a time in both", IDENTICAL),
    "time_ratio": Column("", "that factor: the net's time over the twin's"),
    "tracking_clones": Column(
        "fraction", "largest relative gap to the test loss of the same system on images, until that is nearly least"
    ),
    "clones_turn": Column("", "1 if the clones' test loss turns, else 0", IDENTICAL),
}
_LONG = Card(
    title="Carry-over: every score of every run",
    row="one system, network beside it, seed and quantity",
    keys=("system", "seed", "quantity"),
    computed="by benchmarks/theory/predictions.py and the study's training.py, from outputs and weights",
    limits=_LIMITS + " A quantity that is undefined for a run has no row.",
    replicates=("seed",),
    rows="identical",
    columns={
        "system": Column(
            "",
            "its name in params.yaml; after a slash the network beside it: its twin, its twin from small weights "
            "(small), the network to first order (lazy), a single layer (layer), the network on targets without a "
            "relation to the inputs (random), its twin on the text read backwards (reversed)",
            EXACT,
        ),
        "seed": Column("", "of weights and batches, and of the data where they are drawn", EXACT),
        "quantity": Column("", "what the value is", EXACT),
        "value": Column("the quantity's", "its value; how it may differ depends on the quantity"),
    },
    quantities=_SCORES,
    agreement=_SCORE,
)
_MEASURED = Column("", "in the network; mean over seeds")
ANSWER = Card(
    title="Open Question 4.1: what of deep linear dynamics carries over, by system and prediction",
    row="one system and prediction",
    keys=("system", "prediction"),
    computed="means over seeds of carry_over/scores, or of tables of the study solved_embeddings; carry-over share "
    "(x - x_0) / (x_1 - x_0) with Fieller's interval",
    limits=_LIMITS + " The share's interval is over seeds; over draws of the data in the systems that are named so.",
    n="n",
    columns={
        "system": Column("", "its name in params.yaml, or in the study solved_embeddings", EXACT),
        "network": Column("", "architecture, optimizer, data"),
        "fidelity": Column("", "paper-protocol: of its paper's size and protocol; scaled: smaller", EXACT),
        "prediction": Column("", "order, one at a time, rank, alignment, linear first, path or law", EXACT),
        "quantity": Column("", "how it is measured, a quantity of carry_over/scores or of solved_embeddings", EXACT),
        **with_interval("network_value", _MEASURED),
        "reference": Column(
            "", "$x_1$: the same in the deep linear network from small weights on the same data, or its ideal"
        ),
        "null": Column("", "$x_0$: the same without what is asked for"),
        "null_is": Column("", "what the null is", EXACT),
        **with_interval("share", Column("", "carry-over share: 0 at the null, 1 at the reference")),
        "word": Column("", "carries over, partly, does not, undecided, or cannot be asked", IDENTICAL),
        "why": Column("", "why it cannot be asked, or has no interval", IDENTICAL),
        "n": Column("seeds", "runs behind the share", IDENTICAL),
        "test_accuracy": Column("fraction", "of the network at its end; mean over seeds; none without labels"),
    },
    agreement=_SCORE,
)

FIGURES = (
    Figure(
        "carry_over_table",
        "What deep linear networks from small weights do (columns), and how much of it is left in systems that people "
        "train (rows): 0 as in the null, 1 as in the deep linear reference. A word only where the interval allows one.",
        reads=("open_question_4_1",),
        claims=("T1",),
    ),
    Figure(
        "carry_over_order",
        "When each of the ten strongest modes of the bigram is learned by half, against its strength: the transformer "
        "by its optimizer, to first order, and its zero-layer model from small weights. Means over seeds; a line falls "
        "where strong modes come first.",
        reads=("carry_over/scores",),
        claims=("T1", "T10"),
    ),
    Figure(
        "carry_over_modes",
        "The share of its own way that each mode has gone, against steps: network (solid), linear twin (dashed), mean "
        "over seeds; strong modes dark.",
        reads=("open_question_4_1",),
        claims=("T2",),
    ),
    Figure(
        "carry_over_ngrams",
        "Distance of the transformer (solid) and its zero-layer model (dashed) to n-gram models on held-out text; mean "
        "and range over seeds.",
        reads=(),
        claims=("T3",),
    ),
    Figure(
        "carry_over_learning",
        "Each system trains as it should: training loss (solid) and held-out loss (dashed) against steps, mean and "
        "range over seeds; in parentheses its held-out accuracy at the end.",
        reads=("open_question_4_1",),
        claims=("T7", "T8"),
    ),
)

STUDY = Study(
    "carry_over",
    place=5,
    families=(
        Family("on_images", module="on_images", path="{system}", settings=System, members=Systems.on_images),
        Family("on_text", module="on_text", path="{system}", settings=System, members=Systems.on_text),
    ),
    model=Systems,
    reads=("solved_embeddings/word2vec", "solved_embeddings/barlow"),
    curves=True,
    tables={"carry_over/scores": _LONG, "open_question_4_1": ANSWER},
    figures=FIGURES,
)
