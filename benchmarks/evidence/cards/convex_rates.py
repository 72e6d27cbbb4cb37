"""Cards of the study of classical rates."""

from benchmarks.evidence.card import Column, relative, statistical
from benchmarks.evidence.cards.deep_linear import tidy

_PIPELINE = "pipelines/convex_rates/dvc.yaml"
_EXACT = relative(1e-6, floor=1e-9)
_DRAWN = statistical(otherwise=1e-3, floor=1e-9)

CARDS = {
    "convex_rates/worst_cases": tidy(
        "Worst-case rates of convex optimization",
        f"{_PIPELINE}:compute@worst_cases",
        "torch's SGD in float64 on the functions that attain the rates, and on random ones, over the closed forms",
        "Nothing is drawn but one fixed set of random problems: no seeds. PEPit's rows need it installed.",
        {
            "ratio": Column("", "f(x_N) - f* over what the theorem allows", _EXACT),
            "largest_ratio": Column("", "the largest of these over problems and steps", _EXACT),
            "largest_deviation": Column(
                "", "largest |ratio - 1| over steps and step sizes", relative(1e-3, floor=1e-9)
            ),
            "slope_ratio": Column("", "slope of ln f in the steps over its closed form", _EXACT),
            "looseness": Column("", "that slope over the textbook's", _EXACT),
            "textbook_ratio": Column("", "largest f over the textbook's bound", _EXACT),
            "gain": Column("", "gradient descent's worst value over Nesterov's", _EXACT),
        },
        system="a method, with the number of steps and the step size in units of 1/L",
    ),
    "convex_rates/logistic_regression": tidy(
        "Logistic regression: runs against bounds",
        f"{_PIPELINE}:compute_on_images@logistic_regression",
        "two classes of images in float64, L and mu by dense eigenvalues, the minimizer by Newton's method",
        "Bounds are for the worst function with these constants; logistic regression is far from it.",
        {
            "L": Column("loss/parameter^2", "top eigenvalue of X'X / 4n, plus the ridge", relative(1e-5)),
            "mu": Column("loss/parameter^2", "least Hessian eigenvalue at the minimizer", relative(1e-4)),
            "ridge": Column("loss/parameter^2", "weight of |w|^2 / 2", relative(1e-9)),
            "distance": Column("parameter", "from the start to the minimizer", relative(1e-5)),
            "gradient": Column("loss/parameter", "its norm at the minimizer: rounding", relative(1e-3, floor=1e-10)),
            "largest_ratio": Column("", "largest f(x_n) - f* over the bound, over the steps", _DRAWN),
            "gap-*": Column("nats", "f(x_n) - f* after so many steps", _DRAWN),
            "bound-*": Column("nats", "the method's bound then", _DRAWN),
        },
        system="a method, or the problem itself",
    ),
}
