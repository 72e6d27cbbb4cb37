"""The sections of the chapter that the register follows: what is known, what was measured, what remains open."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML, YAMLError

from benchmarks.evidence.faults import explained


class SectionError(ValueError):
    """A ``section.yaml`` that is wrong, or names what is not there; the message says which."""


class Section(BaseModel):
    """What a study's ``section.yaml`` says.

    Attributes:
        title: the section's title.
        known: what the literature says.
        measured: what the claims measure. ``{check}`` is replaced by what a check measured, so that no number is
            written by hand. Braces between dollar signs belong to a formula.
        open: what neither of these answers.
        surprise: the check that the authors find most surprising.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    known: str
    measured: str
    open: str
    surprise: str

    def parts(self, checks: pd.DataFrame) -> list[str | dict]:
        """`measured`, cut into text and rows of ``claims.csv``.

        Raises:
            SectionError: for a check that the table does not have.
        """
        rows = {row["check"]: row for row in checks.to_dict("records")}
        parts: list[str | dict] = []
        start = 0
        for match in re.finditer(r"\$[^$]*\$|\{([^{}]+)\}", self.measured):
            if (check := match[1]) is None:  # a formula
                continue
            if check not in rows:
                raise SectionError(f"the section {self.title!r} names a check {check!r} that claims.csv does not have")
            parts += [self.measured[start : match.start()], rows[check]]
            start = match.end()
        return [*parts, self.measured[start:]]

    def finding(self, checks: pd.DataFrame) -> pd.Series:
        """The row of `surprise` in ``claims.csv``.

        Raises:
            SectionError: if the table does not have it.
        """
        found = checks[checks["check"] == self.surprise]
        if found.empty:
            raise SectionError(
                f"the section {self.title!r} names a check {self.surprise!r} that claims.csv does not have"
            )
        return found.iloc[0]


def load(paths: Iterable[Path]) -> dict[str, Section]:
    """The sections by study, in the order of their files, each ``<study>/section.yaml``.

    Raises:
        SectionError: for a file that is not a section; the message names it and what is wrong.
    """
    return {path.parent.name: _section(path) for path in paths}


def _section(path: Path) -> Section:
    try:
        return Section.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise SectionError(": ".join([str(path), *map(str, first["loc"]), explained(Section, first)])) from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise SectionError(f"cannot read {path}: {error}") from None


def order(studies: Iterable[str], sections: Mapping[str, Section]) -> list[str]:
    """The studies that have claims, in the chapter's order.

    Raises:
        SectionError: for a study that has claims and no section.
    """
    asked = set(studies)
    if strangers := sorted(asked - set(sections)):
        raise SectionError(f"the study {strangers[0]!r} has claims and no section.yaml, unlike {', '.join(sections)}")
    return [study for study in sections if study in asked]
