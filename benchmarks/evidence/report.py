"""The report: one self-contained page that opens from disk, made from tables, figures, claims and provenance."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from benchmarks.evidence import chapter, mathematics
from benchmarks.evidence.card import Card
from benchmarks.evidence.chapter import Section
from benchmarks.evidence.judge import ClaimVerdict, claim_verdict
from benchmarks.evidence.register import Claim
from benchmarks.evidence.runs import COLUMNS

# The columns of the long table that the table of all runs shows; a claim's own shows the first and what it judges.
RUN_COLUMNS = [
    "configuration",
    "seed",
    "learning_rate",
    "steps",
    "diverged",
    "last_loss",
    "last_train_accuracy",
    "first_sharpness",
    "late_sharpness",
    "late_sharpness_ratio",
    "edge_step",
    "late_loss_increases",
    "hvps_per_reading",
]
CLAIM_COLUMNS = RUN_COLUMNS[:5]
# The words for one claim and for several, in the order in which a tally lists them.
WORDS = {
    "holds": "hold",
    "does not hold": "do not hold",
    "not reproduced here": "not reproduced here",
    "open": "open",
    "not run": "not run",
}


@dataclass(frozen=True)
class Drawn:
    """A figure for a page.

    Attributes:
        caption: text, its formulas between dollars (`benchmarks.evidence.mathematics`).
        claims: those that it illustrates; the report shows it at the first of them.
        svg: the text of its file.
        sources: the files that it is drawn from (`sources`).
    """

    name: str
    caption: str
    claims: Sequence[str]
    svg: str
    sources: Sequence[str]


def render(
    claims: dict[str, Claim],
    sections: Mapping[str, Section],
    tables: dict[str, pd.DataFrame],
    cards: Mapping[str, Card],
    figures: Iterable[Drawn],
    provenance: dict,
    study: str,
    anchors: dict[str, str],
    cite: dict[str, str],
) -> str:
    """The page as HTML.

    Args:
        claims: the register.
        sections: of the chapter, by study, in its order.
        tables: ``claims``, the study's long table, the optimizer comparison's summary and entries, and the timing
            tables, by file name without ``.csv``.
        cards: of the timing tables at least, by the same names.
        figures: all of them, in the chapter's order.
        provenance: profile, data source and hashes, ``corpus`` (those of the text; None if no stage takes it), commits,
            versions, processors, minutes of training.
        study: whose long table's runs are listed.
        anchors: HTML anchors of configurations on tables.html, by name.
        cite: version and bibtex.

    Raises:
        ValueError: if a claim's study has no section, or a section names a check that does not exist.
    """
    checks = tables["claims"]
    order = chapter.order((claim.study for claim in claims.values()), sections)
    claims = {name: claim for place in order for name, claim in claims.items() if claim.study == place}
    verdicts = {name: claim_verdict(checks[checks["claim"] == name]) for name in claims}
    long, contests = tables[f"{study}.long"], tables["optimizer_comparison"]
    return template("report.html.j2").render(
        claims=claims,
        sections={place: _section(sections[place], place, claims, verdicts, checks) for place in order},
        words={verdict.word for verdict in verdicts.values()},
        verdicts=verdicts,
        checks={name: _records(checks[checks["claim"] == name]) for name in claims},
        figures=[replace(inlined(one), claims=[name for name in one.claims if name in claims]) for one in figures],
        runs=_columns_and_rows(long, RUN_COLUMNS) | {"table": f"{study}.long"},
        runs_of={name: claim_runs(claim, long) for name, claim in claims.items()},
        ranking=ranking(contests),
        contests=contests["workload"] + "-" + contests["optimizer"],
        entries=_records(tables["optimizer_comparison/optimizers"]),
        timings={
            name.rpartition("/")[2]: {"columns": list(table.columns), "rows": _anchored(name, table, cards[name])}
            for name, table in tables.items()
            if name.startswith("timings/")
        },
        provenance=provenance,
        anchors=anchors,
        cite=cite,
    )


def _section(
    section: Section, study: str, claims: dict[str, Claim], verdicts: dict[str, ClaimVerdict], checks: pd.DataFrame
) -> dict:
    """A section for the page: its title and three paragraphs, its claims, how many have each verdict."""
    names = [name for name, claim in claims.items() if claim.study == study]
    return {
        "title": section.title,
        "known": section.known,
        "measured": section.parts(checks),
        "open": section.open,
        "claims": names,
        "tally": tally(verdicts[name].word for name in names),
    }


def tally(words: Iterable[str]) -> str:
    """How many claims have each verdict."""
    counts = Counter(words)
    return ", ".join(
        f"{counts[word]} {word if counts[word] == 1 else many}" for word, many in WORDS.items() if counts[word]
    )


def sources(reads: Iterable[str], curves: str | None) -> list[str]:
    """The files that a figure is drawn from, relative to the page.

    Args:
        reads: tables, by file name without ``.csv``.
        curves: the study whose curves it draws; None if it draws none.
    """
    return [f"tables/{name}.csv" for name in reads] + ([f"curves/{curves}.parquet"] if curves else [])


def inlined(figure: Drawn) -> Drawn:
    """The figure with its SVG in a form that can be inlined next to others on a page."""
    return replace(figure, svg=inline_svg(figure.svg, figure.name))


def anchor(table: str, keys: Sequence[object]) -> str:
    """The HTML anchor of a row on tables.html."""
    return "-".join([f"row-{table}", *(str(key) for key in keys if str(key) not in ("", "nan"))]).replace(" ", "_")


def ranking(summary: pd.DataFrame) -> dict[str, list[dict]]:
    """The rows of the comparison by workload, best first."""
    ordered = summary.sort_values(["rank_best", "rank_worst", "objective"], kind="stable")
    return {name: _records(ordered[ordered["workload"] == name]) for name in summary["workload"].unique()}


def template(name: str) -> jinja2.Template:
    """A page of this folder, which has `number`, `mathematics`, `plain` and `span`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": number, "mathematics": mathematics.html, "plain": mathematics.plain}
    environment.globals |= {"span": span, "anchor": anchor}
    return environment.get_template(name)


def claim_runs(claim: Claim, long: pd.DataFrame) -> dict:
    """The runs that a claim's checks use, with the columns that they judge or that their regimes depend on."""
    columns = CLAIM_COLUMNS + [name for name in COLUMNS if name in claim.metrics and name not in CLAIM_COLUMNS]
    rows = long[long["configuration"].isin(claim.configurations)]
    return _columns_and_rows(rows, columns) | {"table": "progressive_sharpening.long"}


def number(value: object) -> str:
    """Four significant digits; a dash where there is none; text as it is."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value)}"
    return f"{value:.4g}"


def span(low: float, high: float) -> str:
    """A range, with as many digits (four to ten) as needed to distinguish its ends; a dash where there is none.

    An infinite end is open.
    """
    if pd.isna(low):
        return "–"
    if np.isinf(low) or np.isinf(high):
        return f"≤ {number(high)}" if np.isinf(low) else f"≥ {number(low)}"
    for digits in range(4, 11):
        ends = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if ends[0] != ends[1]:
            break
    return " – ".join(ends)


def inline_svg(svg: str, name: str) -> str:
    """An SVG file's root element, its ids made unique to the page and its size left to the style sheet."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    return re.sub(r'xlink:href="#', f'xlink:href="#{name}-', body)


def _columns_and_rows(runs: pd.DataFrame, columns: list[str]) -> dict:
    """Columns (name, what, unit) that the table has, and its rows."""
    shown = [column for column in columns if column in runs]
    return {"columns": [(c, COLUMNS[c][1], COLUMNS[c][0]) for c in shown], "rows": _records(runs[shown])}


def _anchored(name: str, table: pd.DataFrame, card: Card) -> list[dict]:
    """The rows of a table, each with its own anchor on the page of tables."""
    keys = table[list(card.keys)].itertuples(index=False)
    return [{**row, "anchor": anchor(name, key)} for row, key in zip(_records(table), keys)]


def _records(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")
