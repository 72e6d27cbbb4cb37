"""Cards of the study of lazy training."""

from collections.abc import Mapping

from benchmarks.evidence.card import Card, Column, relative, statistical
from benchmarks.evidence.cards.deep_linear import tidy

# Float64, and smooth in what is drawn.
_SMOOTH = relative(1e-3, floor=1e-8)
# Float32, along hundreds of steps.
_DRAWN = statistical(otherwise=2e-2, floor=1e-5)
_ROUNDING = relative(1.0, floor=1e-9)
_SHARE = Column("", "the last loss over the first", statistical(otherwise=2e-2, floor=1e-12))


def _card(experiment: str, title: str, computed: str, limits: str, quantities: Mapping[str, Column]) -> Card:
    return tidy(
        title,
        f"pipelines/lazy_training/dvc.yaml:compute_on_images@{experiment}",
        computed,
        limits,
        quantities,
        system=f"a setting of benchmarks/studies/lazy_training/{experiment}.py",
    )


CARDS = {
    "lazy_training/widths": _card(
        "widths",
        "Networks and their linearization, by width",
        "gradient descent in float32 on two classes of images, beside the exact descent of the network linearized at "
        "its start; tangent kernels by automatic differentiation",
        "One hidden layer, one subset of images, one horizon. Exponents are least-squares slopes over all widths.",
        {
            "kernel_change": Column("", "|K_T - K_0| / |K_0|, Frobenius", _DRAWN),
            "discrepancy": Column("output", "largest root mean square of f_t - f_t^lin over test images", _DRAWN),
            "relative_error": Column("", "that over the root mean square of f_T^lin", _DRAWN),
            "loss_left": _SHARE,
            "rate_slope": Column("", "measured over predicted rate of a kernel mode, mean over modes", _DRAWN),
            "rate_r2": Column("", "R^2 of the predicted rates as they stand, in logarithms", _DRAWN),
            "modes": Column("", "how many have a rate", statistical(otherwise=0.1, floor=2.0)),
            "kernel_exponent": Column("", "slope of ln kernel_change on ln width", _DRAWN),
            "discrepancy_exponent": Column("", "slope of ln discrepancy on ln width", _DRAWN),
            "wide_*": Column("", "that slope, from an eighth of the largest width on", _DRAWN),
            "rate-*": Column("1/step", "measured rate of a mode, by rank", statistical(otherwise=0.1, floor=1e-3)),
            "predicted_rate-*": Column("1/step", "-ln |1 - lr lambda / N|", statistical(otherwise=0.1, floor=1e-3)),
        },
    ),
    "lazy_training/output_scale": _card(
        "output_scale",
        "Lazy training by output scale",
        "gradient descent in float64 on a centred network times alpha, the loss over alpha^2, beside its linearization",
        "One network of one width; alpha, not the width, makes it lazy.",
        {
            "distance-*": Column("parameter", "largest |w_t - w_0|, by alpha", _SMOOTH),
            "weight_discrepancy-*": Column("parameter", "largest |w_t - w_t^lin|, by alpha", _SMOOTH),
            "output_discrepancy-*": Column(
                "output", "largest root mean square of alpha (f_t - f_t^lin), by alpha", _SMOOTH
            ),
            "*_distance": Column("", "slope of its logarithm on ln alpha, of lazy or rich scales", _SMOOTH),
            "*_discrepancy": Column("", "the same, or the output's over that of alpha (f_T^lin - f_0)", _DRAWN),
            "loss_left": _SHARE,
        },
    ),
    "lazy_training/critical_rate": _card(
        "critical_rate",
        "Critical learning rates",
        "bisection of the learning rate at which the loss of gradient descent first rises, over 2 N / lambda_max(K_0)",
        "A horizon of so many steps; a rise that needs more is not seen.",
        {
            "threshold_ratio": Column("", "critical learning rate over 2 N / lambda_max(K_0)", _DRAWN),
            "lambda_max": Column("loss/parameter^2", "top eigenvalue of K_0 / N", relative(1e-3)),
        },
    ),
    "lazy_training/alignment": _card(
        "alignment",
        "Kernel-target alignment",
        "gradient descent on two classes of images, the tangent kernel at marks even in log-time; centred and scaled "
        "for the lazy run; linear networks on orthogonal examples as controls",
        "Shares of log-time depend on its unit, here a step, and on the horizon.",
        {
            "alignment": Column("", "<K, yy'> / |K| |yy'| at the end", _DRAWN),
            "rise": Column("", "that over its first value", _DRAWN),
            "centred_rise": Column("", "the same of centred kernels", _DRAWN),
            "early_log_share": Column("", "share of the kernel's path in the first tenth of log-time", _DRAWN),
            "early_share": Column("", "share of the kernel's path in the first tenth of the steps", _DRAWN),
            "kernel_change": Column("", "|K_T - K_0| / |K_0|", _DRAWN),
            "loss_left": _SHARE,
            "alignment-*": Column("", "alignment after so many steps", _DRAWN),
            "movement-*": Column("", "share of the kernel's path up to so many steps", _DRAWN),
        },
    ),
    "lazy_training/minimum_norm": _card(
        "minimum_norm",
        "The minimizer of least norm",
        "torch's SGD in float64 on overparametrised least squares; the nearest interpolating parameters of networks by "
        "descent along those that interpolate",
        "For networks the nearest is a local minimum of the distance, reached from where training ended.",
        {
            "error": Column("", "|w - w*| / |w* - w_0|, or |w - X^+ y| / |X^+ y|", relative(1e-3, floor=1e-10)),
            "distance_ratio": Column("", "|w - w_0| / |w* - w_0|", _SMOOTH),
            "loss_left": Column("", "the last loss over the first: rounding", _ROUNDING),
        },
    ),
    "lazy_training/max_margin": _card(
        "max_margin",
        "The direction of the widest margin",
        "gradient flow of logistic regression in the logarithm of time, by an integrator with error control; the "
        "widest margin by its dual quadratic program",
        "Gradient flow, at times that no run of gradient descent reaches.",
        {
            "slope_ratio": Column("", "d|w| / d ln t times the margin, at the first horizon", _SMOOTH),
            "far_slope_ratio": Column("", "the same at the far one", _SMOOTH),
            "direction_exponent": Column("", "slope of ln |w / |w| - w*| on ln ln t, over a decade", _DRAWN),
            "direction_error": Column("", "|w / |w| - w*| at the first horizon", _SMOOTH),
            "far_direction_error": Column("", "the same at the far one", relative(2e-2, floor=1e-7)),
            "margin": Column("input", "the widest", relative(1e-4)),
            "norm-*": Column("", "|w| times the margin, at this ln t", _SMOOTH),
            "error-*": Column("", "|w / |w| - w*| at this ln t", relative(2e-2, floor=1e-7)),
        },
    ),
}
