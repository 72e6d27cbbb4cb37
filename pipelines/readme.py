"""The parts of README.md that are generated from the results, between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

`bench report` rewrites them, and a test compares them with the tables.
"""

import re
import textwrap
from pathlib import Path

from benchmarks.evidence import chapter, share, summary
from benchmarks.studies import catalog
from pipelines.files import read_json, read_tables, write_text
from pipelines.stages import PROFILE

README = Path("README.md")
EXAMPLE = "E1.level-mid"
WIDTH = 100


def refresh() -> None:
    """Rewrite the parts, if there is a README and the results are those of the reference profile."""
    if README.is_file() and read_json(Path(PROFILE))["profile"] == "reference":
        write_text(README, filled(README.read_text(encoding="utf-8")))


def filled(text: str) -> str:
    """The text with its parts as the tables here have them.

    Raises:
        ValueError: if one of them is missing.
    """
    for name, part in parts().items():
        text, count = re.subn(rf"(?s)(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", lambda m: m[1] + part + m[2], text)  # noqa: B023
        if count != 1:
            raise ValueError(f"{README} needs one part between <!-- {name} --> and <!-- /{name} -->")
    return text


def parts() -> dict[str, str]:
    """Each part by its name, as Markdown."""
    claims, sections = catalog.registered(), chapter.load(catalog.sections())
    checks, answer = read_tables(("claims", "open_question_4_1")).values()
    rows = summary.verdicts(claims, checks)
    return {
        "answer": _wrapped(" ".join(share.in_three(answer))),
        "sections": summary.overview(rows, sections, checks),
        "example": _wrapped(summary.judged(checks[checks["check"] == EXAMPLE].iloc[0])),
        "tally": _wrapped(summary.whole(rows)),
    }


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
