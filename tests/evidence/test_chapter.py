"""The chapter's sections in the report: complete, in order, and with no number of their own."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.evidence import chapter, register
from benchmarks.studies import catalog

ROOT = Path(__file__).parents[2]
SECTIONS = chapter.load(ROOT / path for path in catalog.sections())
TITLES = [section.title for section in SECTIONS.values()]
REGISTER = register.load(ROOT / path for path in catalog.claims())
CHECKS = pd.read_csv(ROOT / "results/tables/claims.csv")


def test_every_section_has_claims_and_every_claim_a_section():
    assert chapter.order((claim.study for claim in REGISTER.values()), SECTIONS) == list(SECTIONS)


def test_sections_stand_in_the_order_of_the_chapter():
    assert list(SECTIONS) == [study for study in catalog.studies() if study != "timings"]
    assert chapter.order(reversed(SECTIONS), SECTIONS) == list(SECTIONS)


def test_a_study_that_has_claims_and_no_section_is_named():
    with pytest.raises(ValueError, match=r"'astrology' has claims and no section\.yaml, unlike convex_rates, over"):
        chapter.order(["deep_linear", "astrology"], SECTIONS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"title: A\nknown: b\nmeasured: c\nsurprise: d\n", "section.yaml: open: missing"),
        (
            b"title: A\nknown: b\nmeasured: c\nopen: d\nsurprise: e\nclosed: f\n",
            "section.yaml: closed: unknown key 'closed'",
        ),
        (b"", "section.yaml: input should be a valid dictionary"),
        (b"title: [A\n", "cannot read .*section.yaml: while parsing"),
        ("title: \u00fc\n".encode("latin-1"), "cannot read .*section.yaml: 'utf-8' codec"),
    ],
)
def test_a_file_that_is_no_section_is_one_clear_error(tmp_path, text, message):
    (tmp_path / "section.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        chapter.load([tmp_path / "section.yaml"])


@pytest.mark.parametrize("study", SECTIONS)
def test_what_was_measured_is_told_by_rows_of_the_section(study):
    """At least three, each a check of one of the section's own claims."""
    own = {name for name, claim in REGISTER.items() if claim.study == study}
    rows = [part for part in SECTIONS[study].parts(CHECKS) if not isinstance(part, str)]
    assert len(rows) >= 3
    assert {row["claim"] for row in rows} <= own
    assert CHECKS.set_index("check").loc[SECTIONS[study].surprise, "claim"] in own


def test_a_check_that_is_not_in_the_table_is_named():
    section = chapter.Section(title="A", known="", measured="so much: {X9.nothing}", open="", surprise="X9.nothing")
    for ask in (section.parts, section.finding):
        with pytest.raises(ValueError, match=r"section 'A' names a check 'X9\.nothing' that claims.csv does not have"):
            ask(CHECKS)


def test_braces_of_a_formula_are_no_check():
    text = r"above $\frac{1}{2}$: {A1.b}, below $x_{0}$"
    section = chapter.Section(title="A", known="", measured=text, open="", surprise="A1.b")
    row = {"check": "A1.b", "measured": 1.0}
    assert section.parts(pd.DataFrame([row])) == [r"above $\frac{1}{2}$: ", row, ", below $x_{0}$"]


def test_the_report_opens_each_section_with_three_paragraphs_in_the_chapters_order():
    page = (ROOT / "results/report.html").read_text()
    found = re.findall(
        r'<section class="chapter".*?<h2[^>]*>\d+\. (.*?)</h2>\s*<div class="intro">\s*'
        r"<p><strong>What is known\.</strong>.*?"
        r"<p><strong>What was measured\.</strong> (.*?)</p>.*?<p><strong>What remains open\.</strong>.*?<article",
        page,
        flags=re.S,
    )
    assert [title.replace("&#39;", "'") for title, _ in found] == TITLES
    for title, measured in found:
        assert len(re.findall(r'href="#check-', measured)) >= 3, title


def test_the_report_lists_claims_by_section():
    page = (ROOT / "results/report.html").read_text()
    order = re.findall(r'<article id="[^"]+" data-section="([^"]+)"', page)
    assert list(dict.fromkeys(order)) == TITLES
