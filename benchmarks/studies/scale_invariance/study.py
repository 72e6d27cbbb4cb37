"""Scale-invariance: what learning rate and weight decay mean, given units and normalisers, as experiments."""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.evidence.card import Column, relative, statistical, tidy
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Count, Momentum, Name, NotNegative, Optimizer, Positive, Strict, Widths

# Logarithms of rounding errors: processors differ by much of a decade, or by more where a run has amplified them.
_ROUNDING = relative(0.25, floor=2.0)
_SMOOTH = relative(1e-3, floor=1e-8)
# Thousands of noisy steps: another processor's rounding gives another path of the same statistics.
_DRAWN = statistical(otherwise=5e-2, floor=2e-2)
_LOG = "log10"


class OnGaussians(Strict):
    """Small networks on Gaussian data."""

    seeds: Count
    inputs: Count
    outputs: Count
    hidden: Widths
    examples: Count


class OnImages(Strict):
    """Minibatch descent of a normalised network on images."""

    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    hidden: Widths
    eps: NotNegative
    batch_size: Count


class Homogeneity(OnGaussians):
    eps: NotNegative
    ratios: Annotated[list[Positive], Field(min_length=2)]  # eps over the mean variance of the last layer


class NormGrowth(OnGaussians):
    eps: NotNegative
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Field(gt=0, lt=1)]  # of the control
    steps: Count


class ExponentialRate(OnImages):
    lr: Positive
    weight_decay: Positive
    momentum: Annotated[float, Field(gt=0, lt=1)]
    steps: Count
    every: Count  # steps between readings

    @model_validator(mode="after")
    def _telling(self):
        exponent = self.lr * self.weight_decay * self.steps
        if not 0.7 <= exponent <= 1.5:
            raise ValueError(
                f"lr x weight_decay x steps must be in [0.7, 1.5], got {exponent:g}: "
                "below, the schedule is hardly one; above, rounding grows"
            )
        if (1 - self.momentum**0.5) ** 2 < self.lr * self.weight_decay:
            raise ValueError(
                f"lr x weight_decay must be at most (1 - sqrt(momentum))^2 = {(1 - self.momentum**0.5) ** 2:.3g}: "
                "beyond, coupled decay has no exponential equivalent"
            )
        return self


class DecayedDescent(Strict):
    lr: Positive
    weight_decay: Positive
    momentum: Momentum
    decoupled: bool

    @model_validator(mode="after")
    def _shrinking(self):
        if self.lr * self.weight_decay >= 1:
            raise ValueError(f"lr x weight_decay must be less than 1, got {self.lr * self.weight_decay:g}")
        return self


class Equilibrium(OnImages):
    steps: Annotated[int, Field(ge=8)]
    kicks: Count  # pairs of kicks, up and down
    toy_size: Annotated[int, Field(ge=2)]
    toy_examples: Count
    systems: Annotated[dict[Name, DecayedDescent], Field(min_length=1)]


class NeuronConservation(Strict):
    seeds: Count
    inputs: Count
    outputs: Count
    width: Count
    examples: Count
    lrs: Annotated[list[Positive], Field(min_length=2)]
    time: Positive  # learning rate x steps
    weight_decay: Positive

    @model_validator(mode="after")
    def _reached(self):
        if max(self.lrs) > self.time:
            raise ValueError(f"a step of {max(self.lrs):g} goes beyond the time of {self.time:g}")
        return self


class Rescaling(OnGaussians):
    steps: Count
    factor: Annotated[float, Field(gt=1)]  # c
    binary_factor: Annotated[float, Field(gt=1)]  # c, a power of two, for the optimizers of ``rounding``
    rounding: list[Name]  # optimizers that round to bfloat16
    optimizers: Annotated[dict[Name, Optimizer], Field(min_length=1)]

    @model_validator(mode="after")
    def _named(self):
        for name in (*self.rounding, "adam"):
            entries.require(name, list(self.optimizers), "optimizer")
        return self


class IntrinsicRate(OnImages):
    lr: Positive
    product: Annotated[float, Field(gt=0, lt=1)]  # of learning rate and weight decay
    lr_factors: Annotated[list[Positive], Field(min_length=2)]
    product_factors: Annotated[list[Positive], Field(min_length=2)]
    steps: Annotated[int, Field(ge=8)]
    every: Count  # steps between readings
    exact_steps: Count  # over which ``rescaled`` is compared

    @model_validator(mode="after")
    def _meeting(self):
        for name in ("lr_factors", "product_factors"):
            if 1 not in getattr(self, name):
                raise ValueError(f"{name} must have 1, the pair in both")
        if self.steps // 2 // self.every < 2:
            raise ValueError(f"a reading every {self.every} steps leaves fewer than two in half of {self.steps}")
        return self


HOMOGENEITY = tidy(
    "Gradients and Hessians of scale-invariant weights",
    "automatic differentiation in float64, dense Hessians, hand-written normalization",
    "Small networks at their initialization; a fixed readout.",
    {
        "orthogonality": Column(
            _LOG, r"largest $\lvert \langle w, g \rangle \rvert / (\lvert w \rvert\,\lvert g \rvert)$ over layers"
        ),
        "gradient": Column(_LOG, "largest relative deviation from $g(cw) = g(w) / c$"),
        "hessian": Column(_LOG, "the same of $H(cw) = H(w) / c^2$"),
        "euler": Column(_LOG, r"$\lvert H w + g \rvert / \lvert g \rvert$"),
        "closed_form": Column(
            _LOG,
            r"deviation of $\langle w, g \rangle$ under eps from its closed form, over "
            r"$\lvert w \rvert\,\lvert g \rvert$",
        ),
        "slope": Column("", "slope of ln orthogonality on ln eps", _SMOOTH),
    },
    agreement=_ROUNDING,
)

NORM_GROWTH = tidy(
    "Growth of the norm of scale-invariant weights",
    "torch's SGD in float64 with minibatches, norms before and after every step",
    "No weight decay; random Gaussian data.",
    {
        "deviation": Column(
            _LOG,
            r"largest $\lvert \lvert w' \rvert^2 - \lvert w \rvert^2 - \mathrm{lr}^2 \lvert g \rvert^2 \rvert$ over "
            r"the largest $\mathrm{lr}^2 \lvert g \rvert^2$",
            _ROUNDING,
        ),
        "growth": Column("", r"$\lvert w \rvert^2$ at the end over that at the start, least over layers", _SMOOTH),
    },
)

EXPONENTIAL_RATE = tidy(
    "Weight decay against an exponential learning rate",
    "torch's SGD in float64 on a normalised network, with weight decay and, in the same stack, with the schedule "
    "that should replace it",
    r"Every trained weight is scale-invariant; one horizon, $\mathrm{lr} \times \mathrm{decay} \times \text{steps}$ "
    "near 1.",
    {
        "difference": Column(_LOG, "largest difference of logits over images and readings"),
        "difference-*": Column(_LOG, "the same after the steps in the name"),
        "exponent": Column("", r"$\mathrm{lr} \times \mathrm{decay} \times \text{steps}$", relative(1e-9)),
    },
    agreement=_ROUNDING,
)

EQUILIBRIUM = tidy(
    "Equilibrium of weight decay and gradient noise",
    "torch's SGD in float64 with small minibatches, moments of weights, gradients and buffers at every step",
    "A few hundred images, so that the gradients' statistics settle within the run.",
    {
        "angle_ratio": Column("", "root mean square angle per step over its closed form"),
        "norm_ratio": Column("", r"$\mathbb{E}\lvert w \rvert^4$ over its closed form for gradients without memory"),
        "memory": Column("", "factor on that closed form due to the gradients' memory"),
        "full_ratio": Column("", r"$\mathbb{E}\lvert w \rvert^4$ over the closed form with that memory"),
        "drift": Column(
            "",
            r"change of $\mathbb{E}\lvert w \rvert^2$ from the third to the last quarter",
            statistical(5.0, 0.5, 0.05),
        ),
        "relaxation": Column("", r"time constant of $\lvert w \rvert^4$ after a kick, over its closed form"),
        "angle-*": Column("", "angle per step over its closed form, about that step", statistical(5.0, 0.3, 0.2)),
        "norm-*": Column("", r"$\lvert w \rvert^4$ over the closed form with memory", statistical(5.0, 0.3, 0.2)),
    },
    agreement=_DRAWN,
)

CONSERVATION = tidy(
    "Conserved quantities of neurons, and how steps break them",
    "gradient descent in float64 on two-layer networks, "
    r"$\lvert w_{\mathrm{in}} \rvert^2 - \lvert w_{\mathrm{out}} \rvert^2$ of every neuron at every step",
    "No biases, full batch, one horizon. Small steps approximate gradient flow.",
    {
        "flow": Column(
            _LOG,
            r"$\lvert \langle w_{\mathrm{in}}, g_{\mathrm{in}} \rangle - "
            r"\langle w_{\mathrm{out}}, g_{\mathrm{out}} \rangle \rvert$ over the largest "
            r"$\lvert \langle w_{\mathrm{in}}, g_{\mathrm{in}} \rangle \rvert$",
            _ROUNDING,
        ),
        "increment": Column(
            _LOG,
            "deviation of a step's increment from "
            r"$\mathrm{lr}^2 (\lvert g_{\mathrm{in}} \rvert^2 - \lvert g_{\mathrm{out}} \rvert^2)$",
            _ROUNDING,
        ),
        "decay-increment": Column(_LOG, "the same with weight decay", _ROUNDING),
        "drift-*": Column("parameter^2", "root mean square drift at a fixed time, by learning rate"),
        "drift_exponent": Column("", r"slope of its logarithm on $\ln \mathrm{lr}$"),
        "decay_ratio": Column("", r"rate of decay with weight decay over $2\,\mathrm{lr}\,\mathrm{decay}$"),
        "decay_error": Column("", "distance from exponential decay over what has decayed"),
    },
    agreement=_SMOOTH,
)

RESCALING = tidy(
    "Learning rates under rescaling, by optimizer",
    "the libraries' optimizers in float64: the power of a factor $c$ that the learning rate must follow for the run "
    "to stay the same, found from the first step, and how much the run then differs",
    "eps is zero where an optimizer has one. Muon orthogonalizes in bfloat16: its $c$ is a power of two.",
    {
        "exponent": Column("", "measured power of $c$", relative(1e-3, floor=1e-6)),
        "predicted": Column("", "power of $c$ predicted from units", relative(1e-9)),
        "deviation": Column("", r"$\lvert \text{measured} - \text{predicted} \rvert$", relative(1e-2, floor=1e-6)),
        "error": Column(_LOG, "largest distance between the runs over the first run's displacement", _ROUNDING),
    },
)

INTRINSIC_RATE = tidy(
    "Final loss by learning rate and weight decay",
    "torch's SGD in float64 with small minibatches, means over readings in the second half of the run",
    "A few hundred images: test accuracy hardly differs between settings, so its ratio is mostly noise.",
    {
        "loss": Column("nats", "training loss"),
        "accuracy": Column("fraction", "training accuracy"),
        "test_loss": Column("nats", "loss on the test images"),
        "test_accuracy": Column("fraction", "accuracy on the test images"),
        "drift": Column(
            "", "change of the loss between quarters, over its range over products", statistical(5.0, 0.5, 0.1)
        ),
        "*_ratio": Column("", "range at a fixed product over range between products", statistical(5.0, 0.5, 0.1)),
        "difference": Column(_LOG, "largest difference of logits from the run that should be the same", _ROUNDING),
    },
    agreement=_DRAWN,
)

FIGURES = (
    Figure(
        "scale_invariance",
        "Left and middle: the angle per step and the fourth power of the norm of scale-invariant weights reach their "
        "closed forms; dotted: the norm if gradients had no memory. Right: an exponential learning rate without weight "
        "decay gives the same logits as the run with decay (solid; dotted: the registered bound), a constant one does "
        "not (dashed). Means and ranges over seeds.",
        reads=("scale_invariance/equilibrium", "scale_invariance/exponential_rate"),
        claims=("U4", "U4-memory", "U3"),
    ),
    Figure(
        "intrinsic_learning_rate",
        "Final loss against the product of learning rate and weight decay: with normalization the four learning rates "
        "with the same product (drawn side by side) agree, without normalization they do not. Right: the power of $c$ "
        "by which the learning rate must be multiplied for the run to stay the same, with a loss $c L$, a parameter "
        "$v$ with $w = c v$, or an initialization $c$ times as large. Each symbol is a seed.",
        reads=("scale_invariance/intrinsic_rate", "scale_invariance/rescaling"),
        claims=("U7", "U7-accuracy", "U6"),
    ),
)

STUDY = Study(
    "scale_invariance",
    place=12,
    experiments=(
        Experiment("homogeneity", Homogeneity, HOMOGENEITY),
        Experiment("norm_growth", NormGrowth, NORM_GROWTH),
        Experiment("exponential_rate", ExponentialRate, EXPONENTIAL_RATE),
        Experiment("equilibrium", Equilibrium, EQUILIBRIUM),
        Experiment("conservation", NeuronConservation, CONSERVATION),
        Experiment("rescaling", Rescaling, RESCALING),
        Experiment("intrinsic_rate", IntrinsicRate, INTRINSIC_RATE),
    ),
    figures=FIGURES,
)
