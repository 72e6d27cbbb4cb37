"""Overparameterization: what networks with more parameters than data fit, how they get there, and where they end."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.evidence.card import Column, relative, statistical, tidy
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Activation, Architecture, Count, MiB, Name, Optimizer, Positive, Strict, Widths


class OnImages(Strict):
    seeds: Count
    images: Count
    pool: Count


class RandomLabels(Strict):
    seeds: Count
    images: Count
    few: Count
    pool: Count
    architecture: Architecture
    optimizer: Optimizer
    batch_size: Count
    steps: Count  # at most
    every: Count  # steps between readings
    linear_images: Count
    components: Count

    @model_validator(mode="after")
    def _batches(self):
        if self.batch_size > self.few:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {self.few} images of `few`")
        return self


class HessianSystem(Strict):
    architecture: Architecture
    loss: Literal["mse", "cross_entropy"]
    optimizer: Optimizer
    steps: Count


class NonConvexity(OnImages):
    max_products: Annotated[int, Field(ge=2)]  # of a solve
    # With up to so many parameters the Hessian is formed and all its eigenvalues are found.
    dense: Annotated[int, Field(ge=0)]
    systems: Annotated[dict[Name, HessianSystem], Field(min_length=1)]


class PolyakLojasiewicz(OnImages):
    activation: Activation
    widths: Widths
    lr: Annotated[float, Field(gt=0, lt=1)]  # in units of n / lambda_max(K_0)
    steps: Count
    readings: list[Count]  # steps at which the kernel is read; 0 and the last are added
    memory: MiB


class Initialization(Strict):
    seeds: Count
    linear_images: Count
    pool: Count
    linear_steps: Count
    ridge: Positive  # in units of the top eigenvalue of X'X / n
    images: Count
    architecture: Architecture
    optimizer: Optimizer
    batch_size: Count
    target: Positive  # loss
    steps: Count  # at most
    every: Count  # steps between readings


class Distance(OnImages):
    optimizer: Optimizer  # of the NTK parametrization
    steps: Annotated[int, Field(ge=2)]
    widths: Annotated[list[Count], Field(min_length=2)]
    mean_field_widths: Annotated[list[Count], Field(min_length=2)]
    mean_field_lr: Positive  # over the width


class Pretraining(Strict):
    optimizer: Optimizer
    steps: Count  # at most


class BadMinima(OnImages):
    architecture: Architecture
    optimizer: Optimizer
    batch_size: Count
    target: Positive  # loss
    steps: Count  # at most
    every: Count  # steps between readings
    copies: Count
    erased: Annotated[float, Field(ge=0, lt=1)]  # fraction of a copy's pixels
    pretraining: Pretraining
    linear_images: Count
    far: Positive  # size of the Gaussian weights that the linear model starts from


_SMALL = relative(1e-2, floor=1e-9)
_DRAWN = statistical(otherwise=1e-2, floor=1e-9)
_SHARE = statistical(otherwise=1e-2, floor=5e-3)

RANDOM_LABELS = tidy(
    "Random labels against true ones",
    "minibatch SGD with momentum until all training images are right; linear models in float64",
    "A tenth of the images of the paper, smaller ones; one learning rate for both kinds of labels.",
    {
        "train_accuracy": Column("", "fraction of training images classified correctly at the end"),
        "test_accuracy": Column("", "fraction of test images classified as their true label"),
        "steps-99": Column("steps", "to 99 % training accuracy, interpolated linearly", _DRAWN),
        "log_steps_ratio": Column("", "ln of the ratio of steps-99 to that of the system compared with", _DRAWN),
        "gradient": Column("", "largest entry of the gradient at the minimum", relative(1.0, floor=1e-5)),
        "accuracy-*": Column("", "training accuracy after the steps in the name"),
    },
    system="a model and its labels",
    rows="identical",
    agreement=_SHARE,
)

NON_CONVEXITY = tidy(
    "Negative curvature and barriers",
    "full-batch gradient descent with momentum in float64; both ends of the spectrum by Lanczos's method",
    "The most negative eigenvalue is a Ritz value: if anything, too close to zero, by about its error.",
    {
        "negativity-*": Column(
            "",
            r"$\lambda_{\mathrm{min}} / \lambda_{\mathrm{max}}$ of the Hessian",
            statistical(otherwise=1e-2, floor=1e-6),
        ),
        "error-*": Column("", "estimated error of negativity", relative(1.0, floor=1e-4)),
        "log_fall": Column("", "ln of the ratio of negativity at the start to the end"),
        "loss-*": Column("loss", "training loss there"),
        "step-middle": Column("steps", "to half of the first loss"),
        "barrier": Column("loss", "largest excess of the chord's loss over the line between its ends"),
        "log_barrier": Column("", r"$\ln(1 + \text{barrier} / \text{mean loss of the ends})$"),
        "chord-*": Column("loss", "loss at this percentage along the chord between two solutions"),
    },
    system="an architecture and a loss",
    agreement=_DRAWN,
)

POLYAK_LOJASIEWICZ = tidy(
    "The PL* condition",
    "full-batch gradient descent and exact tangent kernels in float64",
    "The least eigenvalue along the path is that of a handful of readings.",
    {
        "lambda_min-*": Column("", "smallest tangent-kernel eigenvalue after the steps in the name"),
        "lambda_max": Column("", "largest eigenvalue at the start"),
        "log_retained": Column("", r"ln of the least $\lambda_{\mathrm{min}}$ over the first"),
        "log_pl": Column(
            "", r"ln of the least $\lvert \nabla L \rvert^2$ over $2\,\frac{\lambda_{\mathrm{min}}}{n}\,L$"
        ),
        "excess": Column(
            "",
            r"largest $\ln(L_t / L_0) - t \ln(1 - \mathrm{lr}\,\mu)$, $n \mu$ the least $\lambda_{\mathrm{min}}$",
        ),
        "mean_excess": Column("", "the same, n mu the mean eigenvalue at the start"),
        "loss_fall": Column("", "ln of the last loss over the first"),
    },
    system="a network by its width, or a control",
    agreement=_DRAWN,
)

INITIALIZATION = tidy(
    "Where training ends, by where it starts",
    "least squares in float64 from Gaussian weights; pairs of networks that differ in their initialization only",
    "One pair per seed; networks that do not reach the target loss have no value.",
    {
        "projection_error": Column("", "distance from the projection: end relative to start", _SMALL),
        "residual": Column("", "largest error left on a training output", relative(1.0, floor=1e-5)),
        "disagreement": Column("", "fraction of test images that the two runs classify differently"),
        "error": Column("", "fraction of test images they get wrong, mean of the two"),
        "ratio": Column("", "disagreement over error"),
        "train_loss": Column("loss", "the larger of the two at the end", relative(1.0, floor=1e-9)),
    },
    system="a method, or a pair of models",
    agreement=_SHARE,
)

DISTANCE = tidy(
    "Relative distance travelled, by width and layer",
    "full-batch gradient descent with momentum in float32; distances in float64",
    "At the end of the run the weights still move: see plateau.",
    {
        "distance-*": Column("", r"$\lvert W_T - W_0 \rvert / \lvert W_0 \rvert$, Frobenius norms, by layer and width"),
        "plateau-*": Column("", "the distance at half the steps over that at the end"),
        "exponent-*": Column("", "slope of ln(distance) on ln(width)"),
        "wide-*": Column("", "the same over the wider half of the widths"),
        "loss-*": Column("", "the last loss over the first, by width"),
    },
    system="a parametrization, or what of it is trained",
    agreement=_DRAWN,
)

BAD_MINIMA = tidy(
    "Equal training loss, unequal test accuracy",
    "SGD without regularisation to the same training loss from three starts; linear models in closed form",
    "1,000 images and small networks, where the paper has convolutional networks and 50,000.",
    {
        "test_accuracy": Column("", "fraction of test images classified correctly"),
        "train_loss": Column("loss", "training loss at the end", relative(1.0, floor=1e-9)),
        "steps": Column("steps", "steps to that loss on the true labels", _DRAWN),
        "drop": Column("", "test accuracy from the plain start minus that from this one"),
        "pretraining_accuracy": Column("", "accuracy on the pretraining labels, at its end"),
        "pretraining_steps": Column("steps", "of the pretraining", _DRAWN),
    },
    system="where training started",
    agreement=_SHARE,
)

FIGURES = (
    Figure(
        "overparameterization",
        "Top left: a network fits random labels as completely as the true ones, and then classifies test images "
        "(circles) at chance level; one line per seed. Top right: the loss along the straight chord between two "
        "solutions, for networks and a linear model. Bottom left: the smallest eigenvalue of the tangent kernel during "
        "training, relative to its first value, by width. Bottom right: the relative distance that weights travel, by "
        "width and layer, in NTK parametrization; lines have the predicted slope. Means and ranges over seeds.",
        reads=(
            "overparameterization/random_labels",
            "overparameterization/non_convexity",
            "overparameterization/polyak_lojasiewicz",
            "overparameterization/distance",
        ),
        claims=("O1", "O1-slowdown", "O2", "O3", "O3-narrow", "O5"),
    ),
)

STUDY = Study(
    "overparameterization",
    place=2,
    experiments=(
        Experiment("random_labels", RandomLabels, RANDOM_LABELS),
        Experiment("non_convexity", NonConvexity, NON_CONVEXITY),
        Experiment("polyak_lojasiewicz", PolyakLojasiewicz, POLYAK_LOJASIEWICZ),
        Experiment("initialization", Initialization, INITIALIZATION),
        Experiment("distance", Distance, DISTANCE),
        Experiment("bad_minima", BadMinima, BAD_MINIMA),
    ),
    figures=FIGURES,
)
