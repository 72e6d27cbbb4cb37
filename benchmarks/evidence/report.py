"""The report: a page that opens from disk, with its figures beside it, made from tables, claims and provenance."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from benchmarks.evidence import chapter, glossary, mathematics
from benchmarks.evidence.card import Card
from benchmarks.evidence.chapter import Section
from benchmarks.evidence.judge import ClaimVerdict, claim_verdict
from benchmarks.evidence.register import Claim, Estimator

# The words for one claim and for several, in the order in which a tally lists them.
WORDS = {
    "holds": "hold",
    "does not hold": "do not hold",
    "not reproduced here": "not reproduced here",
    "open": "open",
    "not run": "not run",
}


# What quantities can be, and estimators give, whose intervals may pass the end of it.
WITHIN = {
    "order_rises": (-1, 1),
    "rank_rises": (-1, 1),
    "timing_order": (-1, 1),
    "rank_value_output_rise": (-1, 1),
    "rank_query_key_rise": (-1, 1),
    **dict.fromkeys(("waypoint_score", "sequentiality", "tracking", "path", "law"), (-np.inf, 1)),
    "active_modes": (1, np.inf),
    "concurrency": (1, np.inf),
    "rung_agreement": (-np.inf, 1),
    "rung_residuals": (-1, 1),
    "heterogeneity_rank": (-1, 1),
}


@dataclass(frozen=True)
class Drawn:
    """A figure for a page, which shows its file.

    Attributes:
        study: in whose ``figures.py`` it is drawn.
        caption: text, its formulas between dollars (`benchmarks.evidence.mathematics`).
        claims: those that it illustrates; the report shows it at the first of them.
        size: width and height, in points.
        reads: the tables that it is drawn from, by file name without ``.csv``.
        curves: the study whose curves it draws; None if it draws none.
    """

    study: str
    name: str
    caption: str
    claims: Sequence[str]
    size: tuple[float, float]
    reads: Sequence[str] = ()
    curves: str | None = None

    @property
    def width(self) -> int:
        """In pixels of a page."""
        return round(self.size[0] * 4 / 3)

    @property
    def height(self) -> int:
        """In pixels of a page."""
        return round(self.size[1] * 4 / 3)

    @property
    def alt(self) -> str:
        """What stands for it where it is not seen: its caption's first sentence; the caption follows in any case."""
        return mathematics.plain(self.caption).partition(". ")[0].rstrip(".")

    @property
    def sources(self) -> list[str]:
        """The files that it is drawn from, relative to the page."""
        curves = [f"curves/{self.curves}.parquet"] if self.curves else []
        return [f"tables/{name}.csv" for name in self.reads] + curves

    @property
    def code(self) -> str:
        """Python that redraws it in a clone, from the committed tables."""
        names = ", ".join(f'"{name}"' for name in self.reads)
        lines = [
            "import pandas as pd",
            f"from benchmarks.studies.{self.study} import figures",
            "",
            f'tables = {{name: pd.read_csv(f"results/tables/{{name}}.csv") for name in [{names}]}}',
        ]
        if self.curves:
            lines.append(f'curves = pd.read_parquet("results/curves/{self.curves}.parquet")')
        given = "tables, curves" if self.curves else "tables"
        return "\n".join([*lines, f'figures.{self.name}({given}).savefig("{self.name}.pdf")'])


def size(svg: str) -> tuple[float, float]:
    """Width and height of an SVG file's text, in points.

    Raises:
        ValueError: if it does not say.
    """
    if not (box := re.search(r'<svg[^>]*?\bviewBox="0 0 ([\d.]+) ([\d.]+)"', svg)):
        raise ValueError("an SVG file without a viewBox")
    return float(box[1]), float(box[2])


def render(
    answer: Sequence[str],
    lead: Drawn | None,
    claims: dict[str, Claim],
    sections: Mapping[str, Section],
    tables: dict[str, pd.DataFrame],
    cards: Mapping[str, Card],
    figures: Mapping[str, Sequence[Drawn]],
    provenance: dict,
    study: str,
    anchors: dict[str, str],
    cite: dict[str, str],
) -> str:
    """The page as HTML.

    Args:
        answer: sentences that answer the open question.
        lead: the figure of the answer, which stands there and not at its claim.
        claims: the register.
        sections: of the chapter, by study, in its order.
        tables: ``claims``, the study's long table, the optimizer comparison's summary and entries, and the timing
            tables, by file name without ``.csv``.
        cards: of the timing tables at least, by the same names.
        figures: by study, in the chapter's order.
        provenance: profile, data source and hashes, ``corpus`` (those of the text; None if no stage takes it), commits,
            versions, processors, minutes of training.
        study: whose long table lists single runs.
        anchors: HTML anchors of configurations on tables.html, by name.
        cite: version and bibtex.

    Raises:
        ValueError: if a claim's study has no section, or a section names a check that does not exist.
    """
    checks, runs = noted(claims, tables["claims"]), tables[f"{study}.long"]
    order = chapter.order((claim.study for claim in claims.values()), sections)
    claims = {name: claim for place in order for name, claim in claims.items() if claim.study == place}
    verdicts = {name: claim_verdict(checks[checks["claim"] == name]) for name in claims}
    rows = {name: _records(checks[checks["claim"] == name]) for name in claims}
    summary = tables["optimizer_comparison"]
    drawn = [replace(f, claims=[c for c in f.claims if c in claims]) for own in figures.values() for f in own]
    return template("report.html.j2").render(
        answer=answer,
        lead=lead,
        claims=claims,
        sections={
            place: _section(sections[place], place, claims, verdicts, checks) | {"figures": figures.get(place, ())}
            for place in order
        },
        verdicts=verdicts,
        checks=rows,
        primary={name: next(row for row in rows[name] if row["primary"] == "yes") for name in claims},
        configurations={name: sorted(claim.stages) for name, claim in claims.items()},
        figures=[figure for figure in drawn if figure.claims and figure.name != getattr(lead, "name", None)],
        unclaimed=[figure for figure in drawn if not figure.claims],
        runs={"table": f"{study}.long", "count": len(runs), "of": set(runs["configuration"])},
        ranking=ranking(summary),
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


def noted(claims: Mapping[str, Claim], checks: pd.DataFrame) -> pd.DataFrame:
    """The checks with a column ``beyond``: what is to be said if an interval passes the end of what the quantity can
    be."""
    estimators = {name: check.estimator for claim in claims.values() for name, check in claim.checks.items()}
    return checks.assign(beyond=[_beyond(estimators[row["check"]], row) for row in _records(checks)])


def _beyond(estimator: Estimator, row: dict) -> str:
    """Of a check that reads one quantity, not a difference or a ratio."""
    read = {name for _, name in estimator.reads} & set(WITHIN)
    single = not estimator.model_extra.get("over") and len(estimator.model_extra.get("terms") or [None]) == 1
    named = estimator.name if estimator.name in WITHIN else next(iter(read), None) if single else None
    return passing(named, row["ci95_low"], row["ci95_high"])


def passing(quantity: str | None, low: float, high: float) -> str:
    """What is to be said if an interval passes the end of what a quantity can be; else ""."""
    least, most = WITHIN.get(quantity, (-np.inf, np.inf))
    ends = [number(end) for end, passed in ((least, low < least), (most, high > most)) if passed]
    return f"The interval, Student's t, goes past {' and '.join(ends)}, which the quantity cannot" if ends else ""


def _section(
    section: Section, study: str, claims: dict[str, Claim], verdicts: dict[str, ClaimVerdict], checks: pd.DataFrame
) -> dict:
    """A section for the page: its title and three paragraphs, its claims, how many have each verdict."""
    names = [name for name, claim in claims.items() if claim.study == study]
    counts = Counter(verdicts[name].word for name in names)
    return {
        "title": section.title,
        "known": section.known,
        "measured": section.parts(checks),
        "open": section.open,
        "claims": names,
        "tally": tally(verdicts[name].word for name in names),
        "counts": [(word, counts[word]) for word in WORDS if counts[word]],
        "surprise": section.finding(checks),
    }


def tally(words: Iterable[str]) -> str:
    """How many claims have each verdict."""
    counts = Counter(words)
    return ", ".join(
        f"{counts[word]} {word if counts[word] == 1 else many}" for word, many in WORDS.items() if counts[word]
    )


def anchor(table: str, keys: Sequence[object]) -> str:
    """The HTML anchor of a row on tables.html."""
    return "-".join([f"row-{table}", *(str(key) for key in keys if str(key) not in ("", "nan"))]).replace(" ", "_")


def ranking(summary: pd.DataFrame) -> dict[str, list[dict]]:
    """The rows of the comparison by workload, best first."""
    ordered = summary.sort_values(["rank_best", "rank_worst", "objective"], kind="stable")
    return {name: _records(ordered[ordered["workload"] == name]) for name in summary["workload"].unique()}


def template(name: str) -> jinja2.Template:
    """A page of this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": number,
        "mathematics": mathematics.html,
        "typed": mathematics.typed,
        "place": glossary.place,
    }
    environment.globals |= {"span": span, "anchor": anchor, "passing": passing}
    environment.globals |= {"mark": glossary.Marker(), "glossary": glossary.GLOSSARY, "not_run": glossary.NOT_RUN}
    return environment.get_template(name)


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


def _anchored(name: str, table: pd.DataFrame, card: Card) -> list[dict]:
    """The rows of a table, each with its own anchor on the page of tables."""
    keys = table[list(card.keys)].itertuples(index=False)
    return [{**row, "anchor": anchor(name, key)} for row, key in zip(_records(table), keys)]


def _records(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")
