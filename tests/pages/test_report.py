"""The report and the page of tables, as people meet them: links, filter, keyboard, screen reader, no network."""

import re
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from browser import EXECUTABLE, Browser

RESULTS = Path(__file__).parents[2] / "results"
REPORT, TABLES = RESULTS / "report.html", RESULTS / "tables.html"
CHECKS = pd.read_csv(RESULTS / "tables/claims.csv")
needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    with Browser() as page:
        yield page


def ids(page):
    return set(re.findall(r'\bid="([^"]+)"', page))


@pytest.mark.parametrize("path", [REPORT, TABLES], ids=["report", "tables"])
def test_every_link_leads_somewhere_beside_the_page(path):
    page = path.read_text()
    known = {"": ids(page)}
    for link in set(re.findall(r'(?:src|href)="([^"]*)"', page)):
        assert not re.match(r"\w+:|//", link), f"the page reaches out to {link}"
        name, _, fragment = link.partition("#")
        if name:
            assert (path.parent / name).is_file(), f"no {name}"
        if fragment:
            found = known.setdefault(name, ids((path.parent / name).read_text()) if name else set())
            assert unquote(fragment) in found, f"{link} leads nowhere"
    assert "http" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S), "no address, not even in a script"


def test_every_measured_number_leads_to_its_row_and_every_check_to_its_configurations():
    page = REPORT.read_text()
    for check in CHECKS.itertuples():
        (row,) = re.findall(rf'<tr id="check-{re.escape(check.check)}">.*?</tr>', page, flags=re.S)
        assert row.count(f'href="tables.html#row-claims-{check.check}"') == 5
        if check.verdict != "not-run":
            assert "tables.html#configuration-" in row, f"{check.check} names no configuration"


def test_every_figure_can_be_downloaded_with_its_data():
    page = REPORT.read_text()
    captions = re.findall(r"<figcaption>.*?</figcaption>", page, flags=re.S)
    assert len(captions) == page.count("<figure ")
    for caption in captions:
        assert re.search(r'href="figures/\w+\.svg" download', caption)
        assert re.search(r'href="(tables|curves)/[\w./]+" download', caption)


@needs_browser
def test_the_filter_shows_the_claims_of_a_section_and_verdict(browser):
    browser.open(REPORT)
    shown = "document.querySelectorAll('tr[data-verdict]:not([hidden])').length"
    everything = browser.run(shown)
    assert everything == CHECKS["claim"].nunique()
    browser.open(REPORT, "?verdict=not+reproduced+here")
    words = browser.run("[...document.querySelectorAll('tr[data-verdict]:not([hidden])')].map(r => r.dataset.verdict)")
    assert set(words) == {"not reproduced here"}
    assert browser.run("document.getElementById('count').textContent") == f"{len(words)} of {everything} claims"
    articles = "[...document.querySelectorAll('article')].filter(a => a.checkVisibility()).length"
    assert browser.run(articles) == len(words), "the claims below are filtered too"
    section = browser.run("document.querySelector('tr[data-verdict]:not([hidden])').dataset.section")
    choose = "const f = document.getElementById('filter'); f.elements.section.value = '%s';"
    browser.run("{" + choose % section + "f.elements.section.dispatchEvent(new Event('change', {bubbles: true}))}")
    rows = browser.run("[...document.querySelectorAll('tr[data-verdict]:not([hidden])')].map(r => r.dataset.section)")
    assert set(rows) == {section} and len(rows) < len(words)
    assert "section=" in browser.run("location.search") and "verdict=not+reproduced+here" in browser.run(
        "location.search"
    )


@needs_browser
def test_a_link_to_a_hidden_claim_shows_it_again(browser):
    browser.open(REPORT, "?verdict=not+reproduced+here")
    hidden = browser.run("document.querySelector('article[hidden]').id")
    browser.run(f"location.hash = '{hidden}'")
    browser.run("new Promise(done => setTimeout(done, 200))")
    assert browser.run(f"document.getElementById('{hidden}').checkVisibility()")
    assert browser.run("document.activeElement.id") == hidden


@needs_browser
def test_the_keyboard_reaches_everything_in_order_and_sees_where_it_is(browser):
    browser.open(REPORT)
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the verdicts"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0, "the focused skip link is seen"
    browser.press("Enter")
    browser.run("new Promise(done => setTimeout(done, 200))")
    reached = []
    here = "document.activeElement"
    chapters = len(re.findall(r'<section class="chapter"', REPORT.read_text()))
    for _ in range(5 + chapters):
        browser.press("Tab")
        reached.append(browser.run(f"{here}.name || {here}.getAttribute('aria-label') || {here}.textContent"))
    first = CHECKS["claim"].iloc[0]
    assert reached[:2] == ["section", "verdict"] and reached[2] == "Show all"
    assert reached[3] == "Classical convex optimization", "the sections of the chapter"
    assert reached[3 + chapters] == "Verdicts", "a region that scrolls can be scrolled"
    assert reached[4 + chapters] == first
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"


@needs_browser
def test_a_screen_reader_is_told_what_things_are(browser):
    browser.open(REPORT)
    tree = browser.tree()
    roles = [role for role, _ in tree]
    assert roles.count("main") == 1 and "contentinfo" in roles
    assert ("combobox", "Section") in tree and ("combobox", "Verdict") in tree
    for role in ("link", "button", "image", "region", "combobox", "table"):
        nameless = [name for r, name in tree if r == role and not name.strip()]
        assert not nameless, f"a {role} without a name"
    headings = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert headings[0] == 1 and all(b - a <= 1 for a, b in zip(headings, headings[1:])), "no level is skipped"
    loose = browser.run("[...document.querySelectorAll('th')].filter(h => !h.scope).length")
    assert loose == 0, "every header says of what"


@needs_browser
def test_a_link_to_a_row_opens_its_table_and_shows_it(browser):
    check = CHECKS["check"].iloc[20]
    browser.open(TABLES, f"#row-claims-{check}")
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.run("document.activeElement.id") == f"row-claims-{check}"
    top = browser.run("document.activeElement.getBoundingClientRect().top")
    assert 0 <= top <= browser.run("innerHeight")
    assert browser.run("document.activeElement.closest('details').open")


@needs_browser
@pytest.mark.parametrize("width", [360, 1100])
def test_no_page_is_wider_than_its_window(width):
    with Browser(width) as narrow:
        for path in (REPORT, TABLES):
            narrow.open(path)
            assert narrow.run("document.documentElement.scrollWidth") <= narrow.run("innerWidth")
