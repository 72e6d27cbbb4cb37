"""The report: one self-contained page that opens from disk, from tables, figures, the register and provenance."""

import re
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from benchmarks.evidence.claims import Claim, claim_verdict
from benchmarks.evidence.runs import COLUMNS

# What the run table shows of the long table's columns.
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
# figure: what a reader should see in it, and the claim it belongs to; in the order of the page
CAPTIONS: dict[str, tuple[str, str | None]] = {
    "progressive_sharpening": (
        "Gradient descent sharpens the loss until the top Hessian eigenvalue reaches 2/lr (dashed) and then holds "
        "it there while the loss goes on falling, no longer monotonically.",
        "E1",
    ),
    "settled_sharpness": (
        "Settled sharpness in units of its predicted value: circles are seeds, bars 95 % intervals, grey the "
        "registered band; linear regression, whose Hessian cannot move, stays outside.",
        "E1",
    ),
    "stability_thresholds": (
        "The curvature at which each library optimizer loses stability on a quadratic, beside the closed form that "
        "the edge of stability is measured against.",
        "C5",
    ),
    "eigensolvers": (
        "Cost of the top Hessian eigenvalue at the edge of stability, each solver at its cheapest setting that meets "
        "the target error; warm is one reading along a run, cold starts from a random vector.",
        None,
    ),
}


def render(
    claims: dict[str, Claim],
    tables: dict[str, pd.DataFrame],
    svgs: dict[str, str],
    provenance: dict,
    study: str,
) -> str:
    """The page as HTML.

    Args:
        claims: the register.
        tables: ``claims``, the study's long table, and the timing tables, by file name without ``.csv``.
        svgs: each figure's SVG text.
        provenance: profile, data source and hashes, commits, versions, processors, seconds of training.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    environment.globals["span"] = span
    checks = tables["claims"]
    verdicts = {name: claim_verdict(checks[checks["claim"] == name]) for name in claims}
    long = tables[f"{study}.long"]
    shown = [c for c in RUN_COLUMNS if c in long]
    return environment.get_template("report.html.j2").render(
        claims=claims,
        verdicts=verdicts,
        checks={name: _records(checks[checks["claim"] == name]) for name in claims},
        figures=[
            {"name": name, "caption": caption, "claim": claim, "svg": inline_svg(svgs[name], name)}
            for name, (caption, claim) in CAPTIONS.items()
        ],
        runs=_records(long[shown]),
        run_columns=[(c, COLUMNS[c][1], COLUMNS[c][0]) for c in shown],
        timings={
            name.rpartition("/")[2]: {"columns": list(table.columns), "rows": _records(table)}
            for name, table in tables.items()
            if name.startswith("timings/")
        },
        provenance=provenance,
    )


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
    """A range, with as many digits (four to ten) as it takes to tell its ends apart; a dash where there is none.

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


def _records(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")
