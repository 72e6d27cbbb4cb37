"""The sections of the chapter that the register follows: what is known, what was measured, what remains open."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

TEXT = Path(__file__).with_name("chapter.yaml")


class Section(BaseModel):
    """A section's three paragraphs.

    Attributes:
        known: what the literature says.
        measured: what the claims measure. ``{check}`` stands for what a check measured, so that no number is written
            by hand.
        open: what neither answers.
    """

    model_config = ConfigDict(extra="forbid")

    known: str
    measured: str
    open: str

    def parts(self, checks: pd.DataFrame) -> list[str | dict]:
        """`measured`, cut into text and rows of ``claims.csv``.

        Raises:
            ValueError: for a check that the table does not have.
        """
        rows = {row["check"]: row for row in checks.to_dict("records")}
        parts: list[str | dict] = []
        for i, piece in enumerate(re.split(r"\{([^{}]+)\}", self.measured)):
            if i % 2 and piece not in rows:
                raise ValueError(f"{TEXT.name} tells of a check {piece!r} that claims.csv does not have")
            parts.append(rows[piece] if i % 2 else piece)
        return parts


def load() -> dict[str, Section]:
    """The sections by title, in the chapter's order."""
    raw = YAML(typ="safe", pure=True).load(TEXT.read_text(encoding="utf-8"))
    return {title: Section.model_validate(body) for title, body in raw.items()}


def order(titles: Iterable[str]) -> list[str]:
    """Titles that claims give as their section, in the chapter's order.

    Raises:
        ValueError: for a title that the chapter does not have.
    """
    known, asked = list(load()), set(titles)
    if strangers := sorted(asked - set(known)):
        raise ValueError(f"{TEXT.name} has no section {strangers[0]!r}: it has {', '.join(known)}")
    return [title for title in known if title in asked]
