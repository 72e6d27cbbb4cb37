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
            raise ValueError("separable data need a ridge: without one logistic loss has no minimizer")
        if max(self.marks) > self.steps:
            raise ValueError(f"mark {max(self.marks)} lies beyond the {self.steps} steps")
        return self


WORST_CASES = tidy(
    "Worst-case rates of convex optimization",
    "torch's SGD in float64 on the functions that attain the rates, and on random ones, over the closed forms",
    "No seeds: the random problems are one fixed set. PEPit's rows need PEPit installed.",
    {
        "ratio": Column("", "$f(x_N) - f^*$ over what the theorem allows"),
        "largest_ratio": Column("", "the largest of these over problems and steps"),
        "largest_deviation": Column(
            "", r"largest $\lvert \text{ratio} - 1 \rvert$ over steps and step sizes", relative(1e-3, floor=1e-9)
        ),
        "slope_ratio": Column("", r"slope of $\ln f$ in the steps over its closed form"),
        "looseness": Column("", "that slope over the textbook's"),
        "textbook_ratio": Column("", "largest f over the textbook's bound"),
        "gain": Column("", "gradient descent's worst value over Nesterov's"),
    },
    system="a method, with the number of steps and the step size in units of $1/L$",
    agreement=_EXACT,
)

LOGISTIC_REGRESSION = tidy(
    "Logistic regression: runs against bounds",
    r"two classes of images in float64, $L$ and $\mu$ by dense eigenvalues, the minimizer by Newton's method",
    "Bounds are for the worst function with these constants; logistic regression is far from it.",
    {
        "L": Column("loss/parameter^2", r"top eigenvalue of $X^\top X / 4n$, plus the ridge", relative(1e-5)),
        "mu": Column("loss/parameter^2", "least Hessian eigenvalue at the minimizer", relative(1e-4)),
        "ridge": Column("loss/parameter^2", r"weight of $\lvert w \rvert^2 / 2$", relative(1e-9)),
        "distance": Column("parameter", "from the start to the minimizer", relative(1e-5)),
        "gradient": Column("loss/parameter", "its norm at the minimizer: rounding", relative(1e-3, floor=1e-10)),
        "largest_ratio": Column("", "largest $f(x_n) - f^*$ over the bound, over the steps"),
        "gap-*": Column("nats", "$f(x_n) - f^*$ after so many steps"),
        "bound-*": Column("nats", "the method's bound after so many steps"),
    },
    system="a method, or the problem itself",
    agreement=_DRAWN,
)

FIGURES = (
    Figure(
        "convex_rates",
        "Left: what the worst functions leave after $N$ steps (symbols) is what the theorems allow (lines); they do "
        "not cover a step beyond $1/L$. Right: logistic regression on two classes of images, with its measured "
        "constants, stays far below its bounds (dashed). Means and ranges over seeds.",
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
