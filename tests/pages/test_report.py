"""The pages as people meet them: links, size, search, keyboard, screen reader, widths, no network."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from browser import EXECUTABLE, Browser

RESULTS = Path(__file__).parents[2] / "results"
REPORT, TABLES, ANSWER, GALLERY = PAGES = [
    RESULTS / f"{name}.html" for name in ("report", "tables", "open_question_4_1", "figures")
]
CHECKS = pd.read_csv(RESULTS / "tables/claims.csv")
CLAIMS = CHECKS["claim"].nunique()
SHOWN = "[...document.querySelectorAll('[data-item]')].filter(a => a.checkVisibility())"
needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
every_page = pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])


@pytest.fixture(scope="module")
def browser():
    with Browser() as page:
        yield page


@cache
def ids(path):
    return re.findall(r'\bid="([^"]+)"', path.read_text())


def wait(browser, milliseconds=200):
    browser.run(f"new Promise(done => setTimeout(done, {milliseconds}))")


@every_page
def test_every_link_leads_somewhere_beside_the_page(path):
    page = path.read_text()
    known = {"": set(ids(path))}
    assert len(ids(path)) == len(known[""]), "ids repeat"
    for link in set(re.findall(r'(?:src|href)="([^"]*)"', page)):
        assert not re.match(r"\w+:|//", link), f"the page reaches out to {link}"
        name, _, fragment = link.partition("#")
        if name:
            assert (path.parent / name).is_file(), f"no {name}"
        if fragment:
            if name not in known:
                known[name] = set(ids(path.parent / name))
            assert unquote(fragment) in known[name], f"{link} leads nowhere"
    assert "http" not in page, "no address, not even in a script"


@pytest.mark.parametrize("path", [REPORT, ANSWER, GALLERY], ids=lambda path: path.stem)
def test_a_page_is_small_before_its_figures_load(path):
    assert path.stat().st_size <= 1_000_000


def test_every_measured_number_leads_to_its_row_and_every_claim_to_its_configurations():
    page = REPORT.read_text()
    rows = dict(re.findall(r'<tr id="check-([^"]+)">(.*?)</tr>', page, flags=re.S))
    for check in CHECKS["check"]:
        assert f'href="tables.html#row-claims-{check}"' in rows[check]
    for claim in CHECKS.loc[CHECKS["verdict"] != "not-run", "claim"].unique():
        start = page.index(f'<article id="{claim}"')
        settings = page[start : page.index("</article>", start)].partition("Settings: ")[2]
        assert "tables.html#configuration-" in settings or "#optimizers" in settings, claim


@pytest.mark.parametrize("path", [REPORT, ANSWER, GALLERY], ids=lambda path: path.stem)
def test_every_figure_can_be_downloaded_with_its_data(path):
    page = path.read_text()
    captions = re.findall(r"<figcaption>.*?</figcaption>", page, flags=re.S)
    assert len(captions) == page.count("<figure ") > 5
    for caption in captions:
        assert re.search(r'href="figures/\w+\.svg" download', caption)
        assert re.search(r'href="(tables|curves)/[\w./]+" download', caption)


def test_figures_are_the_files_beside_the_page_and_say_what_they_show():
    page = REPORT.read_text()
    assert "<svg" not in page
    for image in re.findall(r"<img [^>]*>", page):
        name = re.search(r'src="figures/(\w+)\.svg"', image)[1]
        width, height = (float(re.search(rf'{side}="(\d+)"', image)[1]) for side in ("width", "height"))
        drawn = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', (RESULTS / f"figures/{name}.svg").read_text())
        assert width / height == pytest.approx(float(drawn[1]) / float(drawn[2]), rel=0.01)
        assert re.search(r'alt="Figure: [^"]{20,}"|alt=""', image)


@needs_browser
def test_the_search_and_the_filter_show_what_they_say(browser):
    browser.open(REPORT)
    assert browser.run(f"{SHOWN}.length") == CLAIMS
    browser.open(REPORT, "?verdict=not+reproduced+here")
    words = browser.run(f"{SHOWN}.map(a => a.dataset.verdict)")
    assert set(words) == {"not reproduced here"}
    assert browser.run("document.getElementById('count').textContent") == f"{len(words)} of {CLAIMS} claims"
    section = browser.run(f"{SHOWN}[0].dataset.section")
    choose = "{const f = document.getElementById('filter').elements['%s']; f.value = '%s';"
    choose += "f.dispatchEvent(new Event('input', {bubbles: true}))}"
    browser.run(choose % ("section", section))
    sections = browser.run(f"{SHOWN}.map(a => a.dataset.section)")
    assert set(sections) == {section} and len(sections) < len(words)
    address = browser.run("location.search")
    assert "section=" in address and "verdict=not+reproduced+here" in address
    # A word that only a folded part has.
    browser.open(REPORT, "?search=Nesterov+banach-or-nothing")
    assert browser.run(f"{SHOWN}.length") == 0
    browser.open(REPORT)
    browser.run(choose % ("search", "TIGHT nesterov"))
    assert 0 < browser.run(f"{SHOWN}.length") < 10
    assert "C3" in browser.run(f"{SHOWN}.map(a => a.id)")
    assert not browser.run("document.querySelector('.intro').checkVisibility()")


@needs_browser
@pytest.mark.parametrize("path", [GALLERY, TABLES], ids=lambda path: path.stem)
def test_figures_and_tables_are_searched_too(browser, path):
    browser.open(path)
    everything = browser.run(f"{SHOWN}.length")
    browser.open(path, "?search=catapult")
    assert 0 < browser.run(f"{SHOWN}.length") < everything


@needs_browser
def test_a_link_to_a_hidden_claim_shows_it_again(browser):
    browser.open(REPORT, "?verdict=not+reproduced+here")
    hidden = browser.run("document.querySelector('article[hidden]').id")
    browser.run(f"location.hash = '{hidden}'")
    wait(browser)
    assert browser.run(f"document.getElementById('{hidden}').checkVisibility()")
    assert browser.run("document.activeElement.id") == hidden


@needs_browser
def test_a_link_to_a_check_unfolds_its_claim(browser):
    check = CHECKS["check"].iloc[20]
    browser.open(REPORT, f"#check-{check}")
    wait(browser, 300)
    assert browser.run("document.activeElement.id") == f"check-{check}"
    assert browser.run("document.activeElement.closest('details').open")


@needs_browser
def test_the_keyboard_reaches_everything_in_order_and_sees_where_it_is(browser):
    browser.open(REPORT)
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the answer"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0, "the focused skip link is seen"
    browser.press("Enter")
    wait(browser)
    here, reached = "document.activeElement", []
    for _ in range(60):
        browser.press("Tab")
        reached.append(browser.run(f"{here}.name || {here}.textContent.trim().replace(/\\s+/g, ' ')"))
        if reached[-1] == "section":
            break
        assert browser.run(f"getComputedStyle({here}).outlineStyle") != "none", reached[-1]
    assert reached[0] == "order", "the words of the answer lead to their meaning"
    first = reached.index("Classical convex optimization")
    assert first < reached.index("search") < reached.index("section"), "the cards, then the search"
    browser.run("document.querySelector('article summary').focus()")
    browser.press("Enter")
    assert browser.run("document.querySelector('article details').open")


@needs_browser
@every_page
def test_a_screen_reader_is_told_what_things_are(browser, path):
    browser.open(path)
    if path != TABLES:  # whose rows are many
        browser.run("[...document.querySelectorAll('details')].slice(0, 3).forEach(part => { part.open = true })")
    tree = browser.tree()
    roles = [role for role, _ in tree]
    assert roles.count("main") == 1 and "banner" in roles and ("navigation", "Pages") in tree
    for role in ("link", "button", "image", "region", "combobox", "searchbox", "table", "search"):
        nameless = [name for r, name in tree if r == role and not name.strip()]
        assert not nameless, f"a {role} without a name"
    headings = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert headings[0] == 1 and all(b - a <= 1 for a, b in zip(headings, headings[1:])), "no level is skipped"
    loose = browser.run("[...document.querySelectorAll('th')].filter(h => !h.scope).length")
    assert loose == 0, "every header says of what"
    assert browser.run("[...document.querySelectorAll('table')].filter(t => !t.caption).length") == 0
    scrolling = "[...document.querySelectorAll('.scroll, pre')].filter(e => e.scrollWidth > e.clientWidth)"
    assert browser.run(f"{scrolling}.filter(e => e.tabIndex < 0).length") == 0, (
        "what scrolls can be scrolled by the keyboard"
    )


@needs_browser
def test_a_link_to_a_row_opens_its_table_and_shows_it(browser):
    check = CHECKS["check"].iloc[20]
    browser.open(TABLES, f"#row-claims-{check}")
    wait(browser, 300)
    assert browser.run("document.activeElement.id") == f"row-claims-{check}"
    top = browser.run("document.activeElement.getBoundingClientRect().top")
    assert 0 <= top <= browser.run("innerHeight")
    assert browser.run("document.activeElement.closest('details').open")


@needs_browser
@pytest.mark.parametrize("width", [360, 1100])
def test_no_page_is_wider_than_its_window(width):
    with Browser(width) as narrow:
        narrow.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        for path in PAGES:
            narrow.open(path)
            if path != TABLES:  # whose rows are many, and scroll by themselves
                narrow.run("document.querySelectorAll('details').forEach(part => { part.open = true })")
            assert narrow.run("document.documentElement.scrollWidth") <= narrow.run("innerWidth"), path.name


# The contrast of text with its ground, by WCAG's formula; 4.5 is asked of text, 3 of what is large.
CONTRAST = """
(() => {
  const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return color; } };
  return Math.min(...['p', '.soft', 'small', 'a', 'b', 'summary', 'code', '.cards p', '.cards a', 'output']
    .flatMap(s => [...document.querySelectorAll(s)].slice(0, 300))
    .map(e => [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a))
    .map(([a, b]) => (a + 0.05) / (b + 0.05)));
})()
"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_figures_lie_on_a_light_plate(browser, scheme):
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for path in (REPORT, ANSWER):
        browser.open(path)
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        assert browser.run(CONTRAST) >= 4.5
        plate = browser.run("getComputedStyle(document.querySelector('.plate')).backgroundColor")
        assert min(int(part) for part in re.findall(r"\d+", plate)) > 230
