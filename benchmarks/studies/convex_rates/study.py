"""Classical convex optimization: worst-case rates, and logistic regression of images, as experiments."""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.evidence.card import Column, relative, statistical, tidy
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Count, Strict

_EXACT = relative(1e-6, floor=1e-9)
_DRAWN = statistical(otherwise=1e-3, floor=1e-9)


class WorstCases(Strict):
    steps: Annotated[list[Count], Field(min_length=1)]  # N
    step_sizes: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]  # in units of 1 / L
    problems: Count  # random ones
    mu: Annotated[float, Field(gt=0, lt=1)]
    nesterov_steps: Annotated[list[Count], Field(min_length=1)]
    widths: Annotated[int, Field(ge=3)]  # of the grid of Huber functions


class LogisticRegression(Strict):
    seeds: Count
    images: Annotated[int, Field(ge=2)]
    pool: Count
    ridge: Annotated[float, Field(ge=0)]
    separable: bool  # what the problem is taken to be
    steps: Count
    marks: Annotated[list[Count], Field(min_length=1)]

    @model_validator(mode="after")
    def _bounded(self):
        if self.separable and not self.ridge:
            raise ValueError("separable data need a ridge: without one the logistic loss has no minimizer")
        if max(self.marks) > self.steps:
            raise ValueError(f"mark {max(self.marks)} lies beyond the {self.steps} steps")
        return self


WORST_CASES = tidy(
    "Worst-case rates of convex optimization",
    "torch's SGD in float64 on the functions that attain the rates, and on random ones, relative to the closed forms",
    "No seeds: the random problems are one fixed set. The PEPit rows require PEPit.",
    {
        "ratio": Column("", "$f(x_N) - f^*$ divided by the theorem's bound"),
        "largest_ratio": Column("", "largest ratio over problems and steps"),
        "largest_deviation": Column(
            "", r"largest $\lvert \text{ratio} - 1 \rvert$ over steps and step sizes", relative(1e-3, floor=1e-9)
        ),
        "slope_ratio": Column("", r"slope of $\ln f$ against the step number, divided by its closed form"),
        "looseness": Column("", "the same slope divided by the textbook's"),
        "textbook_ratio": Column("", "largest f divided by the textbook bound"),
        "gain": Column("", "worst value of gradient descent divided by Nesterov's"),
    },
    system="a method, with the number of steps and the step size in units of $1/L$",
    agreement=_EXACT,
)

LOGISTIC_REGRESSION = tidy(
    "Logistic regression: runs against bounds",
    r"two classes of images in float64, $L$ and $\mu$ by dense eigenvalues, the minimizer by Newton's method",
    "Bounds are for the worst function with these constants; logistic regression is far from that.",
    {
        "L": Column("loss/parameter^2", r"top eigenvalue of $X^\top X / 4n$, plus the ridge", relative(1e-5)),
        "mu": Column("loss/parameter^2", "smallest Hessian eigenvalue at the minimizer", relative(1e-4)),
        "ridge": Column("loss/parameter^2", r"weight of $\lvert w \rvert^2 / 2$", relative(1e-9)),
        "distance": Column("parameter", "from the start to the minimizer", relative(1e-5)),
        "gradient": Column(
            "loss/parameter", "norm of the gradient at the minimizer (rounding error)", relative(1e-3, floor=1e-10)
        ),
        "largest_ratio": Column("", "largest ratio over steps of $f(x_n) - f^*$ to the bound"),
        "gap-*": Column("nats", "$f(x_n) - f^*$ after the number of steps in the name"),
        "bound-*": Column("nats", "the method's bound after the number of steps in the name"),
    },
    system="a method, or the problem itself",
    agreement=_DRAWN,
)

FIGURES = (
    Figure(
        "convex_rates",
        "Left: on the worst-case functions, the value left after $N$ steps (symbols) attains the theorems' bounds "
        "(lines), which do not cover steps beyond $1/L$. Right: logistic regression on two classes of images, with its "
        "measured constants, stays far below its bounds (dashed). Means and ranges over seeds.",
        reads=("convex_rates/worst_cases", "convex_rates/logistic_regression"),
        claims=("C1", "C3", "C4"),
    ),
)

STUDY = Study(
    "convex_rates",
    place=1,
    experiments=(
        Experiment("worst_cases", WorstCases, WORST_CASES),
        Experiment("logistic_regression", LogisticRegression, LOGISTIC_REGRESSION),
    ),
    figures=FIGURES,
)
