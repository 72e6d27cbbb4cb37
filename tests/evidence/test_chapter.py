"""The chapter's sections in the report: complete, in order, and with no number of their own."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.evidence import chapter, claims

ROOT = Path(__file__).parents[2]
SECTIONS = chapter.load()
CHECKS = pd.read_csv(ROOT / "results/tables/claims.csv")


def test_every_section_has_claims_and_every_claim_a_section():
    register = claims.load(ROOT / "claims.yaml")
    assert chapter.order(claim.section for claim in register.values()) == list(SECTIONS)


def test_a_section_that_the_chapter_lacks_is_named():
    with pytest.raises(ValueError, match="has no section 'Astrology': it has Classical convex optimization, Over"):
        chapter.order(["Deep linear networks", "Astrology"])


@pytest.mark.parametrize("title", SECTIONS)
def test_what_was_measured_is_told_by_rows_of_the_section(title):
    """At least three, each a check of one of the section's own claims."""
    own = {name for name, claim in claims.load(ROOT / "claims.yaml").items() if claim.section == title}
    rows = [part for part in SECTIONS[title].parts(CHECKS) if not isinstance(part, str)]
    assert len(rows) >= 3
    assert {row["claim"] for row in rows} <= own


def test_a_check_that_is_not_in_the_table_is_named():
    section = chapter.Section(known="", measured="so much: {X9.nothing}", open="")
    with pytest.raises(ValueError, match=r"check 'X9\.nothing' that claims.csv does not have"):
        section.parts(CHECKS)


def test_the_report_opens_each_section_with_three_paragraphs_in_the_chapters_order():
    page = (ROOT / "results/report.html").read_text()
    found = re.findall(
        r'<section class="chapter".*?<h2[^>]*>\d+\. (.*?)</h2>\s*<p><strong>What is known\.</strong>.*?'
        r"<p><strong>What was measured\.</strong> (.*?)</p>.*?<p><strong>What remains open\.</strong>.*?<article",
        page,
        flags=re.S,
    )
    assert [title.replace("&#39;", "'") for title, _ in found] == list(SECTIONS)
    for title, measured in found:
        assert len(re.findall(r'href="#check-', measured)) >= 3, title


def test_the_report_lists_claims_by_section():
    page = (ROOT / "results/report.html").read_text()
    order = re.findall(r'<article id="[^"]+" data-section="([^"]+)"', page)
    assert list(dict.fromkeys(order)) == list(SECTIONS)
