"""Lazy training: networks beside their linearization, how far the tangent kernel moves, which minimizer is found."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.evidence.card import Column, relative, statistical, tidy
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Activation, Count, MiB, Name, Positive, Strict

# A learning rate in units of N / (largest eigenvalue of the first tangent kernel), stable below 2 while that stays.
KernelRate = Annotated[float, Field(gt=0, lt=2)]


class LazySystem(Strict):
    """A network with one hidden layer, by width."""

    activation: Activation
    readout: Literal["ntk", "mean-field"]
    widths: Annotated[list[Count], Field(min_length=2)]


class LazyWidths(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    tests: Count
    pool: Count
    rate: KernelRate
    steps: Count
    memory: MiB
    systems: Annotated[dict[Name, LazySystem], Field(min_length=1)]


class LazyOutputScale(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    tests: Count
    pool: Count
    width: Count
    # Values of alpha, rising; lazy slopes are over the last five.
    scales: Annotated[list[Positive], Field(min_length=5)]
    rich_scales: Annotated[list[Positive], Field(min_length=2)]
    rate: KernelRate
    steps: Count

    @model_validator(mode="after")
    def _rising(self):
        for name in ("scales", "rich_scales"):
            scales = getattr(self, name)
            if sorted(set(scales)) != scales:
                raise ValueError(f"{name} must rise")
        return self


class CriticalRate(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    widths: Annotated[list[Count], Field(min_length=1)]
    mean_field_widths: list[Count]
    steps: Count
    resolution: Annotated[float, Field(gt=0, lt=1)]  # relative, of the rate
    memory: MiB


class KernelAlignment(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    hidden: Annotated[list[Count], Field(min_length=1)]
    activation: Activation
    rate: KernelRate
    steps: Count
    marks: Annotated[int, Field(ge=2)]
    scale: Positive
    memory: MiB


class MinimumNorm(Strict):
    seeds: Count
    examples: Count
    inputs: Count
    hidden: Count
    steps: Count
    rate: Annotated[float, Field(gt=0, lt=2)]  # of networks, in units of N / (largest eigenvalue of XX')
    images: Annotated[int, Field(ge=2)]
    pool: Count
    image_steps: Count

    @model_validator(mode="after")
    def _overparametrized(self):
        if self.examples >= self.inputs:
            raise ValueError(f"{self.examples} examples of {self.inputs} inputs leave no choice of minimizers")
        return self


class MaxMargin(Strict):
    seeds: Count
    points: Annotated[int, Field(ge=2)]
    inputs: Annotated[int, Field(ge=2)]
    gap: Positive  # least distance of a Gaussian example from the plane
    images: Annotated[int, Field(ge=2)]
    pool: Count
    log_time: Annotated[float, Field(gt=10)]  # the first horizon, in ln t
    far: Annotated[float, Field(gt=10)]  # the far one, in ln t

    @model_validator(mode="after")
    def _ordered(self):
        if self.far < 10 * self.log_time:
            raise ValueError(f"far, {self.far:g}, must be at least ten times log_time, {self.log_time:g}")
        return self


# Float64, and smooth in the random start.
_SMOOTH = relative(1e-3, floor=1e-8)
# Float32, along hundreds of steps.
_DRAWN = statistical(otherwise=2e-2, floor=1e-5)
_ROUNDING = relative(1.0, floor=1e-9)
_SHARE = Column("", "the last loss over the first", statistical(otherwise=2e-2, floor=1e-12))

WIDTHS = tidy(
    "Networks and their linearization, by width",
    "gradient descent in float32 on two classes of images, and exact descent of the network linearized at "
    "its start; tangent kernels by automatic differentiation",
    "One hidden layer, one subset of images, one horizon. Exponents are least-squares slopes over all widths.",
    {
        "kernel_change": Column("", r"$\lvert K_T - K_0 \rvert / \lvert K_0 \rvert$, Frobenius norms"),
        "discrepancy": Column("output", r"largest root mean square of $f_t - f_t^\mathrm{lin}$ over test images"),
        "relative_error": Column("", r"discrepancy divided by the root mean square of $f_T^\mathrm{lin}$"),
        "loss_left": _SHARE,
        "rate_slope": Column("", "ratio of measured to predicted rate of a kernel mode, mean over modes"),
        "rate_r2": Column("", "$R^2$ of the logarithms of the predicted rates, without refitting"),
        "modes": Column("", "number of modes that have a rate", statistical(otherwise=0.1, floor=2.0)),
        "kernel_exponent": Column("", "slope of ln kernel_change on ln width"),
        "discrepancy_exponent": Column("", "slope of ln discrepancy on ln width"),
        "wide_*": Column("", "that slope over widths of at least an eighth of the largest"),
        "rate-*": Column("1/step", "measured rate of a mode, by rank", statistical(otherwise=0.1, floor=1e-3)),
        "predicted_rate-*": Column(
            "1/step", r"$-\ln\lvert 1 - \mathrm{lr}\,\lambda / N \rvert$", statistical(otherwise=0.1, floor=1e-3)
        ),
    },
    agreement=_DRAWN,
)

OUTPUT_SCALE = tidy(
    "Lazy training by output scale",
    r"gradient descent in float64 on a centred network times $\alpha$, the loss over $\alpha^2$, beside its "
    "linearization",
    r"One network of one width; it is $\alpha$, not the width, that makes it lazy.",
    {
        "distance-*": Column("parameter", r"largest $\lvert w_t - w_0 \rvert$, by $\alpha$"),
        "weight_discrepancy-*": Column("parameter", r"largest $\lvert w_t - w_t^\mathrm{lin} \rvert$, by $\alpha$"),
        "output_discrepancy-*": Column(
            "output", r"largest root mean square of $\alpha (f_t - f_t^\mathrm{lin})$, by $\alpha$"
        ),
        "*_distance": Column("", r"slope of its logarithm against $\ln \alpha$, over lazy or rich scales"),
        "*_discrepancy": Column(
            "", r"the same, or the output's over that of $\alpha (f_T^\mathrm{lin} - f_0)$", _DRAWN
        ),
        "loss_left": _SHARE,
    },
    agreement=_SMOOTH,
)

CRITICAL_RATE = tidy(
    "Critical learning rates",
    "bisection of the learning rate at which the loss of gradient descent first rises, over "
    r"$2 N / \lambda_{\mathrm{max}}(K_0)$",
    "One horizon: a later rise is not seen.",
    {
        "threshold_ratio": Column("", r"critical learning rate over $2 N / \lambda_{\mathrm{max}}(K_0)$", _DRAWN),
        "lambda_max": Column("loss/parameter^2", "top eigenvalue of $K_0 / N$", relative(1e-3)),
    },
)

ALIGNMENT = tidy(
    "Kernel-target alignment",
    "gradient descent on two classes of images, the tangent kernel at marks even in log-time; centred and scaled "
    "for the lazy run; linear networks on orthogonal examples as controls",
    "Shares of log-time depend on its unit, here a step, and on the horizon.",
    {
        "alignment": Column(
            "", r"$\frac{\langle K, y y^\top \rangle}{\lvert K \rvert\,\lvert y y^\top \rvert}$ at the end"
        ),
        "rise": Column("", "alignment at the end over that at the start"),
        "centred_rise": Column("", "the same for centred kernels"),
        "early_log_share": Column("", "fraction of the kernel's path in the first tenth of log-time"),
        "early_share": Column("", "fraction of the kernel's path in the first tenth of the steps"),
        "kernel_change": Column("", r"$\lvert K_T - K_0 \rvert / \lvert K_0 \rvert$"),
        "loss_left": _SHARE,
        "alignment-*": Column("", "alignment after the number of steps in the name"),
        "movement-*": Column("", "fraction of the kernel's path up to the number of steps in the name"),
    },
    agreement=_DRAWN,
)

MINIMUM_NORM = tidy(
    "The minimum-norm solution",
    "torch's SGD in float64 on overparametrised least squares; the nearest interpolating parameters of networks by "
    "descent along those that interpolate",
    "For networks, the nearest solution is a local minimum of the distance, found from the end of training.",
    {
        "error": Column(
            "",
            r"$\lvert w - w^* \rvert / \lvert w^* - w_0 \rvert$, or "
            r"$\lvert w - X^+ y \rvert / \lvert X^+ y \rvert$",
            relative(1e-3, floor=1e-10),
        ),
        "distance_ratio": Column("", r"$\lvert w - w_0 \rvert / \lvert w^* - w_0 \rvert$", _SMOOTH),
        "loss_left": Column("", "the last loss over the first: rounding", _ROUNDING),
    },
)

MAX_MARGIN = tidy(
    "The maximum-margin direction",
    "gradient flow of logistic regression in the logarithm of time, by an integrator with error control; the "
    "widest margin by its dual quadratic program",
    "Gradient flow, at times far beyond any run of gradient descent.",
    {
        "slope_ratio": Column("", r"$d\lvert w \rvert / d \ln t$ times the margin, at the first horizon"),
        "far_slope_ratio": Column("", "the same at the far one"),
        "direction_exponent": Column(
            "", r"slope of $\ln\lvert w / \lvert w \rvert - w^* \rvert$ on $\ln \ln t$, over a decade", _DRAWN
        ),
        "direction_error": Column("", r"$\lvert w / \lvert w \rvert - w^* \rvert$ at the first horizon"),
        "far_direction_error": Column("", "the same at the far one", relative(2e-2, floor=1e-7)),
        "margin": Column("input", "the widest", relative(1e-4)),
        "norm-*": Column("", r"$\lvert w \rvert$ times the margin, at this $\ln t$"),
        "error-*": Column("", r"$\lvert w / \lvert w \rvert - w^* \rvert$ at this $\ln t$", relative(2e-2, floor=1e-7)),
    },
    agreement=_SMOOTH,
)

FIGURES = (
    Figure(
        "lazy_training",
        "Top: the tangent kernel's movement in training, and the largest distance of its outputs from those of the "
        "linearized network, fall with the width, and stay with a mean-field readout; dashed: the exponents $-1/2$ "
        "and $-1$; dotted: 5 %. Bottom left: kernel modes decay at the rate of their eigenvalue (dashed) in a wide "
        "network, faster in a narrow one with a mean-field readout (one seed). Bottom right: a centred network times "
        r"$\alpha$ becomes its own linearization, with the exponents of theory (dashed). Means and ranges over seeds.",
        reads=("lazy_training/widths", "lazy_training/output_scale"),
        claims=("N1", "N2", "N3", "N5"),
    ),
    Figure(
        "implicit_bias",
        "Top: the kernel aligns with the targets in standard training but not in a lazy run; right, its path by step. "
        r"Bottom: on separable data the weights of logistic regression grow as $\ln t$ over the maximum margin "
        r"(dashed: slope one), and their direction approaches the maximum-margin direction like $1 / \ln t$ (dashed); "
        "under squared loss both stop. Means and ranges over seeds.",
        reads=("lazy_training/alignment", "lazy_training/max_margin"),
        claims=("N6", "N6-early", "N8"),
    ),
)

STUDY = Study(
    "lazy_training",
    place=3,
    experiments=(
        Experiment("widths", LazyWidths, WIDTHS),
        Experiment("output_scale", LazyOutputScale, OUTPUT_SCALE),
        Experiment("critical_rate", CriticalRate, CRITICAL_RATE),
        Experiment("alignment", KernelAlignment, ALIGNMENT),
        Experiment("minimum_norm", MinimumNorm, MINIMUM_NORM),
        Experiment("max_margin", MaxMargin, MAX_MARGIN),
    ),
    figures=FIGURES,
)
