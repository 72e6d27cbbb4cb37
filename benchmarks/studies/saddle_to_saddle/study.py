"""Models whose learning theory foretells: what is said, and what gradient flow does."""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.evidence.card import DRAWN, EXACT, IDENTICAL, SMOOTH, Column, tidy
from benchmarks.studies.declaration import Experiment, Figure, Study
from benchmarks.studies.schema import Count, Positive, Strict

# Of initial weights that count as small.
Small = Annotated[float, Field(gt=0, lt=1)]


def _falling(values: list[float], what: str) -> None:
    """Raises ValueError unless each is smaller in size than the one before, and none is zero."""
    sizes = [abs(value) for value in values]
    if not (sizes[-1] > 0 and all(before > after for before, after in zip(sizes, sizes[1:]))):
        raise ValueError(
            f"{what} must fall in size and not reach zero, got {values}: of equal ones no order is foretold"
        )


class ModularAddition(Strict):
    seeds: Count
    modulus: Count
    magnitudes: Annotated[list[Positive], Field(min_length=2)]  # of the template's frequencies, over sqrt(modulus)
    groups: Count  # of eight units
    scale: Small  # norm of a unit
    time: Positive  # of the flow, in units of 1 / scale
    steps: Count  # that the integrator may take

    @model_validator(mode="after")
    def _foretold(self):
        _falling(self.magnitudes, "magnitudes")
        if self.modulus % 2 == 0 or self.modulus < 2 * len(self.magnitudes) + 1:
            raise ValueError(
                f"modulus must be odd and have at least {len(self.magnitudes)} frequencies (one for each magnitude), "
                f"got {self.modulus}, which has {(self.modulus - 1) // 2}"
            )
        if self.groups < len(self.magnitudes):
            raise ValueError(f"{self.groups} groups of units cannot learn {len(self.magnitudes)} frequencies")
        return self


class Attention(Strict):
    eigenvalues: Annotated[list[Positive], Field(min_length=2)]  # of the inputs' covariance
    examples: Count  # in a prompt
    heads: Count
    scale: Small  # of the weights, 1 being a variance of one over the fan-in
    time: Positive

    @model_validator(mode="after")
    def _learnable(self):
        _falling(self.eigenvalues, "eigenvalues")
        if self.heads < len(self.eigenvalues):
            raise ValueError(f"{self.heads} heads of rank one cannot learn {len(self.eigenvalues)} eigenvectors")
        return self


class Convolution(Strict):
    strengths: Annotated[list[float], Field(min_length=2)]  # of the teacher's kernels
    size: Count  # of a kernel
    kernels: Count  # of the student
    scale: Small
    time: Positive

    @model_validator(mode="after")
    def _learnable(self):
        _falling(self.strengths, "strengths")
        if self.size < len(self.strengths):
            raise ValueError(f"{len(self.strengths)} kernels of size {self.size} cannot be orthogonal")
        if self.kernels < len(self.strengths):
            raise ValueError(f"{self.kernels} kernels cannot learn {len(self.strengths)}")
        return self


class Saddles(Strict):
    seeds: Count
    attention: Attention
    convolution: Convolution


MODULAR_ADDITION = tidy(
    "Modular addition: drops of the loss, foretold and found",
    "gradient flow in float64, against benchmarks/theory/alternating_gradient_flow.py from the same initial weights",
    "One modulus, three frequencies, one network with quadratic activation.",
    {
        "learned": Column("frequencies", "how many the network learned to half", EXACT),
        "foretold": Column("frequencies", "how many it was foretold to learn", EXACT),
        "order": Column("", "Kendall's tau between the times at which frequencies are learned and those foretold"),
        "time_error": Column("fraction", "largest distance of a half time from the time foretold"),
        "strength_error": Column(
            "fraction",
            "the same, if times are foretold from the magnitudes alone: the first over the cube of their ratio",
        ),
        "drop_error": Column("fraction", "largest distance of a drop of the loss from the drop foretold"),
        "time_*": Column("", "half time of the n-th frequency to be learned, in the time of the flow"),
        "foretold_time_*": Column("", "the n-th time foretold"),
        "drop_*": Column("", "the n-th drop, between plateaus read in the geometric middle of two half times"),
        "foretold_drop_*": Column("", "the n-th drop foretold"),
        "closed_form_error": Column("fraction", "distance of the time foretold from its closed form", SMOOTH),
    },
    agreement=DRAWN,
)

SADDLES = tidy(
    "From saddle to saddle: heads of attention, kernels of a convolution",
    "gradient flow in float64 on the population's loss, in closed form",
    "Linear attention with keys and queries of rank one, and a quadratic convolution on patches without overlap.",
    {
        "learned": Column("modes", "how many were learned to half", EXACT),
        "active_modes": Column("units", "how many heads or kernels grow at once: 1 if one at a time"),
        "active_modes_straight": Column(
            "units", "the same if all grew in proportion, from where they start to their end"
        ),
        # Where all grow in proportion, a difference of nearly equal numbers.
        "sequentiality": Column("", "1 where one unit grows at a time, 0 where all grow in proportion", IDENTICAL),
        "timing_order": Column("", "Kendall's tau between how early modes are learned and what they take off the loss"),
        "plateau_error": Column("fraction", "largest distance of the loss on a plateau from its closed form"),
        "plateau_*": Column("", "the loss between the n-th mode and the next, in the geometric middle of half times"),
        "predicted_plateau_*": Column("", "the loss at the saddle where just these modes have been learned"),
    },
    agreement=DRAWN,
)

FIGURES = (
    Figure(
        "saddle_to_saddle",
        "What theory foretells, and what gradient flow does. Above, modular addition: the half time of each frequency "
        "against the time that alternating gradient flow foretells from the initial weights, and each drop of the "
        "loss likewise. Below, attention and convolution: how many heads or kernels grow at once (the dashed line is "
        "the most that the claim allows), and the loss on each plateau against its closed form. Symbols are seeds, "
        "bars 95 % intervals; on the diagonals theory and gradient flow agree.",
        reads=("saddle_to_saddle/modular_addition", "saddle_to_saddle/saddles"),
        claims=("T14", "T15"),
    ),
)

STUDY = Study(
    "saddle_to_saddle",
    place=9,
    experiments=(
        Experiment("modular_addition", ModularAddition, MODULAR_ADDITION),
        Experiment("saddles", Saddles, SADDLES),
    ),
    figures=FIGURES,
)
