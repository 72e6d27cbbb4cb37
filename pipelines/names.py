"""Every name that a command takes: studies, claims, checks, configurations and tables, found in one place.

What is there is derived from the declarations, the registers of claims and params.yaml.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.evidence.register import Claim
from benchmarks.studies import catalog
from pipelines import parameters, stages
from pipelines.files import TABLES
from pipelines.stages import Stage

# In this order where two kinds have the same name, unless a command prefers another.
KINDS = ("study", "configuration", "claim", "check", "table")


class UnknownNameError(ValueError):
    """A name that nothing has, or a name of something that a command does not take; the message suggests another."""


@dataclass(frozen=True)
class Found:
    """What a name stands for."""

    kind: str
    name: str

    @property
    def claim(self) -> str | None:
        """The claim, or that of the check."""
        if self.kind == "claim":
            return self.name
        if self.kind == "check":
            return next(name for name, claim in catalog.registered().items() if self.name in claim.checks)
        return None


def every(training: list[Stage] | None = None) -> dict[str, list[str]]:
    """All names, by kind."""
    training = stages.training(parameters.load()) if training is None else training
    claims = catalog.registered()
    names = {
        "study": [*catalog.studies()],
        "configuration": [*dict.fromkeys(stage.name for stage in training)],
        "claim": [*claims],
        "check": [check for claim in claims.values() for check in claim.checks],
        "table": [*catalog.cards()],
    }
    return {kind: names[kind] for kind in KINDS}


def find(
    text: str, training: list[Stage] | None = None, first: tuple[str, ...] = (), only: tuple[str, ...] = KINDS
) -> Found:
    """What a user names, in any case; a table with or without its folder and ``.csv``.

    Args:
        first: the kinds that are preferred where two have the name.
        only: the kinds that the command takes.

    Raises:
        UnknownNameError: if nothing has the name, with the nearest ones, or if it is of a kind not taken.
    """
    known = every(training)
    bare = text.removeprefix(f"{TABLES}/").removesuffix(".csv")
    found = [
        Found(kind, match) for kind in dict.fromkeys((*first, *KINDS)) if (match := _match(text, bare, known[kind]))
    ]
    if taken := [one for one in found if one.kind in only]:
        return taken[0]
    wanted = " or ".join(filter(None, [", ".join(only[:-1]), only[-1]]))
    if found:
        raise UnknownNameError(f"{text} is a {found[0].kind}: name a {wanted}")
    among = [name for kind in only for name in known[kind]]
    raise UnknownNameError(f"{text!r} is not a {wanted}{hint(text, among)}")


def _match(text: str, bare: str, known: list[str]) -> str | None:
    lower = {name.lower(): name for name in known}
    return text if text in known else lower.get(text.lower()) or (bare if bare in known else None)


def hint(text: str, known: list[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known ones, or where all are listed.

    Of what looks like a check of a claim, the nearest are that claim's checks.
    """
    claims = {name.lower(): claim for name, claim in catalog.registered().items()}
    claim = claims.get(text.lower().partition(".")[0]) if "." in text else None
    if claim is not None and set(claim.checks) <= set(known):
        known, otherwise = [*claim.checks], f": the checks of that claim are {', '.join(claim.checks)}"
    else:
        otherwise = ": `bench names` lists all"
    near = _near(text, known)
    return f"; did you mean {', '.join(near)}?" if near else otherwise


def _near(text: str, known: list[str]) -> list[str]:
    lower = {name.lower(): name for name in known}
    return [lower[name] for name in difflib.get_close_matches(text.lower(), lower, n=3, cutoff=0.7)]


def needed(found: Found, training: list[Stage]) -> list[Stage]:
    """The training stages that something rests on."""
    if found.kind == "study":
        return [stage for stage in training if stage.study == found.name]
    if found.kind == "configuration":
        return [stage for stage in training if stage.name == found.name]
    if found.kind == "table":
        return stages.feeding(found.name, training)
    claim = catalog.registered()[found.claim]
    fed = {stage for table in whole_tables(claim) for stage in stages.feeding(table, training)}
    return [stage for stage in training if stage.name in claim.stages or stage in fed]


def whole_tables(claim: Claim) -> list[str]:
    """The tables that checks of a claim read without naming any configuration: whatever feeds them counts."""
    estimators = [check.estimator for check in claim.checks.values()]
    return list(dict.fromkeys(table for one in estimators if not one.stages for table, _ in one.reads))


def few(found: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
