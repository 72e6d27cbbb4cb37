"""The page of figures: each with its caption, its data, and code that redraws it from the committed tables."""

from collections.abc import Mapping, Sequence

from benchmarks.evidence.report import Drawn, template


def render(figures: Mapping[str, Sequence[Drawn]], titles: Mapping[str, str], version: str) -> str:
    """The page as HTML.

    Args:
        figures: by study, in the chapter's order.
        titles: of the studies.
    """
    shown = [(titles[study], own) for study, own in figures.items() if own]
    return template("figures.html.j2").render(sections=shown, version=version)
