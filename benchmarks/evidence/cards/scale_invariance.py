"""Cards of the study of scale-invariance."""

from collections.abc import Mapping

from benchmarks.evidence.card import Card, Column, relative, statistical
from benchmarks.evidence.cards.deep_linear import tidy

# Logarithms of rounding: they differ between processors by much of a decade, or more where a run has amplified them.
_ROUNDING = relative(0.25, floor=2.0)
_SMOOTH = relative(1e-3, floor=1e-8)
# Thousands of noisy steps: another processor's rounding gives another path of the same statistics.
_DRAWN = statistical(otherwise=5e-2, floor=2e-2)
_LOG = "log10"


def _card(
    experiment: str, title: str, computed: str, limits: str, quantities: Mapping[str, Column], on_images: bool = False
) -> Card:
    return tidy(
        title,
        f"pipelines/scale_invariance/dvc.yaml:compute{'_on_images' if on_images else ''}@{experiment}",
        computed,
        limits,
        quantities,
        system=f"a setting of benchmarks/studies/scale_invariance/{experiment}.py",
    )


CARDS = {
    "scale_invariance/homogeneity": _card(
        "homogeneity",
        "Gradients and Hessians of scale-invariant weights",
        "automatic differentiation in float64, dense Hessians, a normaliser written out",
        "Small networks at their initialization; a fixed readout.",
        {
            "orthogonality": Column(_LOG, "largest |<w, g>| / (|w| |g|) over layers", _ROUNDING),
            "gradient": Column(_LOG, "largest relative deviation from g(cw) = g(w) / c", _ROUNDING),
            "hessian": Column(_LOG, "the same of H(cw) = H(w) / c^2", _ROUNDING),
            "euler": Column(_LOG, "|H w + g| / |g|", _ROUNDING),
            "closed_form": Column(_LOG, "deviation of <w, g> under eps from its closed form, over |w| |g|", _ROUNDING),
            "slope": Column("", "slope of ln orthogonality on ln eps", _SMOOTH),
        },
    ),
    "scale_invariance/norm_growth": _card(
        "norm_growth",
        "Growth of the norm of scale-invariant weights",
        "torch's SGD in float64 with minibatches, norms before and after every step",
        "No weight decay; Gaussian data without meaning.",
        {
            "deviation": Column(_LOG, "largest | |w'|^2 - |w|^2 - lr^2 |g|^2 | over the largest lr^2 |g|^2", _ROUNDING),
            "growth": Column("", "|w|^2 at the end over that at the start, least over layers", _SMOOTH),
        },
    ),
    "scale_invariance/exponential_rate": _card(
        "exponential_rate",
        "Weight decay against an exponential learning rate",
        "torch's SGD in float64 on a normalised network, with weight decay and, in the same stack, with the schedule "
        "that is to replace it",
        "Every trained weight is scale-invariant; one horizon, lr x decay x steps near 1.",
        {
            "difference": Column(_LOG, "largest difference of logits over images and readings", _ROUNDING),
            "difference-*": Column(_LOG, "that after so many steps", _ROUNDING),
            "exponent": Column("", "lr x decay x steps", relative(1e-9)),
        },
        on_images=True,
    ),
    "scale_invariance/equilibrium": _card(
        "equilibrium",
        "Equilibrium of weight decay and gradient noise",
        "torch's SGD in float64 with small minibatches, moments of weights, gradients and buffers at every step",
        "A few hundred images, so that the gradients' statistics settle within the run.",
        {
            "angle_ratio": Column("", "root mean square angle per step over its closed form", _DRAWN),
            "norm_ratio": Column("", "E|w|^4 over its closed form for gradients without memory", _DRAWN),
            "memory": Column("", "factor on that closed form for the memory that gradients have", _DRAWN),
            "full_ratio": Column("", "E|w|^4 over the closed form with that memory", _DRAWN),
            "drift": Column("", "change of E|w|^2 from the third to the last quarter", statistical(5.0, 0.5, 0.05)),
            "relaxation": Column("", "time constant of |w|^4 after a kick over its closed form", _DRAWN),
            "angle-*": Column("", "angle per step over its closed form, about that step", statistical(5.0, 0.3, 0.2)),
            "norm-*": Column("", "|w|^4 over the closed form with memory", statistical(5.0, 0.3, 0.2)),
        },
        on_images=True,
    ),
    "scale_invariance/conservation": _card(
        "conservation",
        "Conserved quantities of neurons, and how steps break them",
        "gradient descent in float64 on two-layer networks, |w_in|^2 - |w_out|^2 of every neuron at every step",
        "No biases, full batch, one horizon. Small steps stand for gradient flow.",
        {
            "flow": Column(_LOG, "|<w_in, g_in> - <w_out, g_out>| over the largest |<w_in, g_in>|", _ROUNDING),
            "increment": Column(_LOG, "deviation of a step's increment from lr^2 (|g_in|^2 - |g_out|^2)", _ROUNDING),
            "decay-increment": Column(_LOG, "the same with weight decay", _ROUNDING),
            "drift-*": Column("parameter^2", "root mean square drift at a fixed time, by learning rate", _SMOOTH),
            "drift_exponent": Column("", "slope of its logarithm on ln lr", _SMOOTH),
            "decay_ratio": Column("", "rate of decay with weight decay over 2 lr decay", _SMOOTH),
            "decay_error": Column("", "distance from exponential decay over what has decayed", _SMOOTH),
        },
    ),
    "scale_invariance/rescaling": _card(
        "rescaling",
        "Learning rates under rescaling, by optimizer",
        "the libraries' optimizers in float64: the power of a factor c that the learning rate must follow for the run "
        "to stay the same, found from the first step, and how much the run then differs",
        "eps is zero where an optimizer has one. Muon orthogonalizes in bfloat16: its c is a power of two.",
        {
            "exponent": Column("", "measured power of c", relative(1e-3, floor=1e-6)),
            "predicted": Column("", "power of c by units", relative(1e-9)),
            "deviation": Column("", "|measured - predicted|", relative(1e-2, floor=1e-6)),
            "error": Column(
                _LOG, "largest distance of the rescaled run from the first, over the way of that", _ROUNDING
            ),
        },
    ),
    "scale_invariance/intrinsic_rate": _card(
        "intrinsic_rate",
        "Final loss by learning rate and weight decay",
        "torch's SGD in float64 with small minibatches, means over readings in the second half of the run",
        "A few hundred images: test accuracy hardly differs between the settings, and its ratio is noise.",
        {
            "loss": Column("nats", "training loss", _DRAWN),
            "accuracy": Column("fraction", "training accuracy", _DRAWN),
            "test_loss": Column("nats", "loss on the test images", _DRAWN),
            "test_accuracy": Column("fraction", "accuracy on the test images", _DRAWN),
            "drift": Column(
                "", "change of the loss between quarters, over its range over products", statistical(5.0, 0.5, 0.1)
            ),
            "*_ratio": Column(
                "", "range over pairs with one product over range over products", statistical(5.0, 0.5, 0.1)
            ),
            "difference": Column(_LOG, "largest difference of logits from the run that should be the same", _ROUNDING),
        },
        on_images=True,
    ),
}
