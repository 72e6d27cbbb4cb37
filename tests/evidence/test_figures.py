"""Figures and the page that shows them, from synthetic tables and curves: what is absent or diverged is left out."""

import html
import re
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from declared import FIGURES, STUDY_OF, function, source_of, text
from matplotlib import pyplot as plt

from benchmarks.evidence import chapter, gallery, glossary, judge, mathematics, register, report
from benchmarks.evidence.runs import COLUMNS, METRICS
from benchmarks.evidence.tables import AVERAGES, CURVES, WINDOW, curves
from benchmarks.studies import catalog
from benchmarks.studies.progressive_sharpening import figures as sharpening
from pipelines import parameters

ROOT = Path(__file__).parents[2]
SETTINGS = parameters.load(ROOT / "params.yaml").progressive_sharpening
LAYERS = {name: layer for layer in SETTINGS.layers for name in getattr(SETTINGS, layer)}
CONFIGURATIONS = {name: SETTINGS.resolved(layer, name) for name, layer in LAYERS.items()}
REGISTER = register.load(ROOT / path for path in catalog.claims())
SECTIONS = chapter.load(ROOT / path for path in catalog.sections())
# These have tables of their own: test_low_rank_figures, test_optimizer_figures, test_system_figures.
APART = ("low_rank_progression", "optimizer_comparison", "carry_over")
DRAWN = sorted(name for name in FIGURES if not {STUDY_OF[name], source_of(name)} & set(APART))
# From runs of progressive_sharpening; the others read tables of experiments.
TRAINED = [
    name
    for name in DRAWN
    if "progressive_sharpening.long" in FIGURES[name].reads or source_of(name) == "progressive_sharpening"
]


def long(diverged=0):
    rows = []
    for name, settings in CONFIGURATIONS.items():
        for seed in (1, 2, 3):
            row = dict.fromkeys(COLUMNS, "") | dict.fromkeys(METRICS, 1 + 0.01 * seed)
            row |= {"configuration": name, "seed": seed, "learning_rate": settings.optimizer["lr"], "steps": 120}
            row |= {"images": settings.images}
            rows.append(row | {"batch_size": settings.batch_size, "diverged": diverged, "stability_threshold": 1.5})
    return pd.DataFrame(rows)


@cache
def drawn_curves():
    steps = np.arange(0, 121, 5)
    part = pd.DataFrame({"step": steps, "mean": 1 + steps / 100, "low": 0.9, "high": 2.5, "n": 3})
    parts = [part.assign(configuration=name, metric=metric) for name in CONFIGURATIONS for metric in CURVES]
    return pd.concat(parts, ignore_index=True)


def eigensolvers():
    rows = [
        ("ours", "this project", 1, "warm", "error 0.001", 7.2, 9.5, 1e-4, 10),
        ("theirs", "1.0", 1, "cold", "tol 0.01", 20.0, 40.0, 2e-4, 10),
        ("theirs", "1.0", 3, "cold", "met by none", np.nan, np.nan, np.nan, 0),
        ("ours", "this project", 3, "warm", "error 0.001", 20.0, 30.0, 1e-4, 10),
    ]
    columns = ("solver", "version", "k", "start", "setting", "products", "gradient_times", "worst_error", "solves")
    return pd.DataFrame(rows, columns=columns)


def deep_linear():
    quantities = {
        "waypoints": [("linear-1e-3", "waypoint_score"), ("linear-1e-3", "scale"), ("muon-depth-2", "timing_slope")],
        "solutions": [("depth-2", "growth_exponent"), ("depth-3", "escape_slope")],
        "completion": [("depth-2", "error"), ("nuclear", "error")],
    }
    return {
        f"deep_linear/{name}": pd.DataFrame(
            [(system, seed, quantity, 0.1 * seed) for system, quantity in rows for seed in (1, 2, 3)],
            columns=["system", "seed", "quantity", "value"],
        )
        for name, rows in quantities.items()
    }


def solved_embeddings():
    systems = {"word2vec": ("word2vec/small", "word2vec-small", "word2vec"), "barlow": ("barlow/small", "barlow-small")}
    return {
        f"solved_embeddings/{name}": pd.DataFrame(
            [
                (system, seed, f"{quantity}_{k}", 10.0 * k + seed)
                for system in given
                for seed in (1, 2, 3)
                for k in (1, 2, 3)
                for quantity in ("strength", "half_time", "closed_form")
            ],
            columns=["system", "seed", "quantity", "value"],
        )
        for name, given in systems.items()
    }


def convex_rates():
    columns = ["system", "seed", "quantity", "value"]
    worst = [(system, np.nan, "ratio", 1.0) for system in ("huber-1-1", "huber-10-1", "nesterov-5", "beyond-2")]
    images = [
        (system, seed, f"{kind}-{mark}", value / mark)
        for system in ("gradient-descent", "nesterov")
        for seed in (1, 2)
        for mark in (1, 10)
        for kind, value in (("gap", 0.1 * seed), ("bound", 2.0))
    ]
    return {
        "convex_rates/worst_cases": pd.DataFrame(worst, columns=columns),
        "convex_rates/logistic_regression": pd.DataFrame(images, columns=columns),
    }


def planted_modes():
    """Half times that fall with the strength in every network, and beside it."""
    rows = [
        (f"{network}{kind}", seed, name, value)
        for network in ("mlp", "gpt")
        for kind in ("", "/swap", "/layer")
        for seed in (1, 2)
        for k in range(1, 6)
        for name, value in ((f"strength_{k}", 0.7**k), (f"half_time_{k}", seed * 1.4**k), ("timing_slope", -0.9))
    ]
    table = pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"]).drop_duplicates()
    text = table["system"].str.startswith("gpt")
    return {"planted_modes/planted_images": table[~text], "planted_modes/planted_text": table[text]}


def committed(study):
    names = [name for name in catalog.cards() if name.startswith(f"{study}/")]
    return {name: pd.read_csv(ROOT / f"results/tables/{name}.csv") for name in names}


@cache
def tables():
    systems = ("linear", "relu", "recursion", "one-layer")
    catapult = {"system": systems, "monotone_boundary": 2.0, "convergence_boundary": 4.0}
    known = {
        "progressive_sharpening.long": long(),
        "catapult": pd.DataFrame(catapult | {"final_curvature_times_lr_at_3": [0.2, 0.5, 0.2, np.nan]}),
        "stability_thresholds": pd.DataFrame(
            {"optimizer": ["gd"], "stability_threshold": 200.0, "learning_rate": 0.01}
        ),
        "timings/eigensolvers": eigensolvers(),
        **deep_linear(),
        **solved_embeddings(),
        **convex_rates(),
        **planted_modes(),
        **committed("overparameterization"),
        **committed("lazy_training"),
        **committed("scale_invariance"),
        **committed("progressive_sharpening"),
        **committed("phase_diagram"),
        **committed("saddle_to_saddle"),
    }
    return known | {"claims": judge.judge(REGISTER, known, ["cifar10"])}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_draws_what_there_is_and_equal_data_give_equal_bytes(tmp_path, name):
    first = text(tmp_path, name, tables(), drawn_curves())
    assert "No run of" not in first and first.count("<path") > 10
    assert text(tmp_path, name, tables(), drawn_curves()) == first


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("kept", [slice(0, None, 2), slice(1, None, 2)])
def test_an_absent_configuration_is_left_out(tmp_path, name, kept):
    names = list(CONFIGURATIONS)[kept]
    runs, lines = long(), drawn_curves()
    some = tables() | {"progressive_sharpening.long": runs[runs["configuration"].isin(names)]}
    text(tmp_path, name, some, lines[lines["configuration"].isin(names)])


@pytest.mark.parametrize("name", TRAINED)
def test_without_runs_a_figure_is_a_sentence(tmp_path, name):
    nothing = tables() | {"progressive_sharpening.long": long().iloc[:0]}
    assert "No run of claim" in text(tmp_path, name, nothing, drawn_curves().iloc[:0])


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "progressive_sharpening"])
def test_a_diverged_configuration_is_left_out(tmp_path, name):
    diverged = tables() | {"progressive_sharpening.long": long(diverged=1)}
    assert "No run of claim" in text(tmp_path, name, diverged, drawn_curves())


def test_the_loss_of_a_diverged_run_of_the_main_claim_is_drawn(tmp_path):
    diverged = tables() | {"progressive_sharpening.long": long(diverged=1)}
    assert "diverged by step 120" in text(tmp_path, "progressive_sharpening", diverged, drawn_curves())


def test_without_a_catapult_its_figure_is_a_sentence(tmp_path):
    given = {name: table for name, table in tables().items() if name != "catapult"}
    assert "No run of claim E10" in text(tmp_path, "catapult", given, drawn_curves())


@pytest.mark.parametrize("profile", ["reference", "quick"])
def test_the_edge_of_sam_is_drawn_for_the_radius_that_was_trained(monkeypatch, profile):
    monkeypatch.chdir(ROOT)
    (panel,) = [edge for edge in sharpening.EDGES if edge.radius is not None]
    raw = parameters.read("params.yaml") if profile == "reference" else parameters.profile(profile)
    study = parameters.checked(raw, profile).progressive_sharpening
    layers = {name: layer for layer in study.layers for name in getattr(study, layer)}
    trained = [study.resolved(layers[name], name) for name in panel.configurations]
    assert all(settings.optimizer["rho"] == panel.radius for settings in trained)


def test_every_configuration_that_a_figure_names_is_trained():
    named = {name for edge in sharpening.EDGES for name in edge.configurations} | {*sharpening.SMALL, *sharpening.MAIN}
    assert named <= set(CONFIGURATIONS)


def history(metrics, steps=300, seeds=(1, 2)):
    rows = [
        (seed, int(step), metric, float(value))
        for metric, (every, of) in metrics.items()
        for seed in seeds
        for step in range(0, steps + 1, every)
        for value in [of(step, seed)]
    ]
    return pd.DataFrame(rows, columns=["seed", "step", "metric", "value"])


def test_curves_are_averages_where_what_they_stand_beside_was_measured():
    made = {
        "loss": (1, lambda step, seed: seed + step % 2),  # rises at every other step
        "oscillation": (1, lambda step, seed: seed * (-1) ** step),
        "predicted_variance": (5, lambda step, seed: step),
        "segment_sharpness": (5, lambda step, seed: 1.0),
    }
    table = curves({"all": history(made), "loss": history({"loss": made["loss"]})})
    assert set(table.loc[table["configuration"] == "loss", "metric"]) == {"loss"}
    lines = {
        metric: line.set_index("step") for metric, line in table[table["configuration"] == "all"].groupby("metric")
    }
    assert set(lines) == {*made, "loss_rises", "oscillation_squared", "predicted_variance_average"} - {
        "oscillation",
        "predicted_variance",
    }
    squared = lines["oscillation_squared"]
    assert np.allclose(squared[["low", "mean", "high"]], [1.0, 2.5, 4.0])
    assert lines["loss_rises"]["mean"].between(25 / WINDOW - 1e-6, 26 / WINDOW + 1e-6).all()
    average = lines["predicted_variance_average"]["mean"]
    assert np.allclose(average, average.index), "a centred mean of a straight line is the line"
    for metric in AVERAGES.keys() & lines.keys():
        assert lines[metric].index.min() >= WINDOW // 2, "only where the run has the whole window"


def test_a_long_curve_is_thinned():
    table = curves({"all": history({"loss": (1, lambda step, seed: 1.0)}, steps=3000, seeds=(1,))})
    assert len(table) <= 400 and (table["step"].iloc[0], table["step"].iloc[-1]) == (0, 3000)


def compared():
    """The optimizer comparison's tables as they are read from their files."""
    columns = ["optimizer", "rank_best", "rank_worst", "objective", "objective_low", "objective_high", "note"]
    rows = [
        ("sgd", 3, 3, 0.75, 0.7, 0.8, "no run reached the target"),
        ("adamw", 1, 2, 0.25, 0.2, 0.3, np.nan),
        ("soap", 1, 2, 0.125, 0.1, 0.15, np.nan),
        ("lion", np.nan, np.nan, np.nan, np.nan, np.nan, "no trial of its search space stayed finite"),
    ]
    summary = pd.DataFrame(rows, columns=columns).assign(implementation="a.library.Optimizer", learning_rate=0.03)
    summary = summary.assign(test_accuracy=0.5, steps_to_target=31.5, lr_sensitivity=np.nan, state_per_parameter=2.0)
    entry = {"optimizer": "soap", "implementation": "theirs:SOAP", "package": "theirs 1.0", "source": np.nan}
    entry |= {"meaning": np.nan, "fixed": np.nan, "space": "lr in [0.0001, 0.1], 1 - beta1 in [0.02, 0.5]"}
    return {
        "optimizer_comparison": pd.concat([summary.assign(workload="mlp"), summary[1:2].assign(workload="cnn")]),
        "optimizer_comparison/optimizers": pd.DataFrame([entry]),
    }


LEAD = "carry_over_table"


@cache
def shown():
    """Every figure, by study."""
    by_study = {study: [] for study in catalog.studies()}
    for name, figure in FIGURES.items():
        given = (figure.caption, figure.claims, (100, 50), figure.reads, source_of(name))
        by_study[STUDY_OF[name]].append(report.Drawn(STUDY_OF[name], name, *given))
    return by_study


def paged(source="cifar10"):
    names = ("profile", "source", "sha256", "corpus", "commits", "versions", "hardware", "stages", "minutes")
    provenance = dict(zip(names, ("reference", source, {}, None, [], {}, [], 12, 7.21)))
    anchors = {"lr-mid": "configuration-progressive_sharpening-lr-mid"}
    cite = {"version": "1.2.3", "bibtex": "@misc{this}"}
    given = tables() | compared()
    study = "progressive_sharpening"
    lead = next(one for one in shown()[STUDY_OF[LEAD]] if one.name == LEAD)
    claims = (["The order carries over."], lead, REGISTER, SECTIONS)
    return report.render(*claims, given, catalog.cards(), shown(), provenance, study, anchors, cite)


@pytest.fixture(scope="module")
def page():
    return paged()


def test_figures_have_names_of_their_own_and_the_committed_ones_are_they():
    assert len(FIGURES) == sum(len(study.figures) for study in catalog.studies().values())
    assert {path.stem for path in (ROOT / "results/figures").glob("*.svg")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_claims_and_reads_tables_that_there_are(name):
    assert FIGURES[name].caption.endswith(".")
    assert set(FIGURES[name].claims) <= set(REGISTER) and set(FIGURES[name].reads) <= set(catalog.cards())


def test_a_figure_leads_to_its_tables_and_curves(page):
    start = page.index('id="figure-optimizer_seconds"')
    caption = page[start : page.index("</figcaption>", start)]
    links = re.findall(r'href="([^"]+)" download', caption)
    tables = ("timings/optimizer_steps", "optimizer_comparison", "optimizer_comparison/targets")
    files = [*(f"tables/{table}.csv" for table in tables), "curves/optimizer_comparison.parquet"]
    assert links == ["figures/optimizer_seconds.svg", *files]


def article(page, claim):
    start = page.index(f'<article id="{claim}"')
    return page[start : page.index("</article>", start)]


def test_the_answer_and_its_figure_come_first(page):
    assert page.index("carries over.</p>") < page.index(f'id="figure-{LEAD}"') < page.index('<ol class="cards">')
    assert 'loading="lazy"' not in page[: page.index('<ol class="cards">')], "what is seen first does not wait"
    assert page.count(f'id="figure-{LEAD}"') == 1 and f'href="#figure-{LEAD}"' in article(page, "T1")


def test_every_figure_stands_at_its_first_claim_and_the_others_point_to_it(page):
    for name, figure in FIGURES.items():
        assert f"<figcaption>{mathematics.html(figure.caption)}" in page
        here, *others = ([] if name == LEAD else figure.claims) or [None]
        assert here is None or f'<figure id="figure-{name}"' in article(page, here)
        assert all(f'href="#figure-{name}"' in article(page, claim) for claim in others)


def test_every_section_has_a_card_with_its_tally_and_a_thumbnail(page):
    cards = re.findall(r"<li>(.*?)</li>", page[page.index('<ol class="cards">') : page.index("</ol>")], re.DOTALL)
    assert len(cards) == len(SECTIONS)
    for number, (card, section) in enumerate(zip(cards, SECTIONS.values()), 1):
        assert f'<h3><a href="#section-{number}">{section.title}</a></h3>' in card.replace("&#39;", "'")
        assert re.search(r"<p>\d+ claims?: \d", card)
    assert sum("<img " in card for card in cards) == sum(bool(shown()[study]) for study in SECTIONS)


def test_a_claim_opens_with_the_number_that_decides_it_and_folds_the_rest(page):
    opening, folded = article(page, "E1").split("<details>")
    main = tables()["claims"].set_index("check").loc[REGISTER["E1"].primary]
    assert f'#row-claims-{REGISTER["E1"].primary}">{report.number(main["measured"])}</a>' in opening
    for said in (main["statement"], "0.95 – 1.15 chosen by us", "by a smaller protocol", '<b class="open">open</b>'):
        assert said in opening, said
    assert "<dt>Source</dt>" in folded and folded.count('<tr id="check-') == len(REGISTER["E1"].checks)


def test_an_interval_that_leaves_what_is_possible_says_so():
    rows = pd.DataFrame(
        [("T13.order-mlp", -1.2, 1.5), ("T12.encoder", 0.9, 1.4), ("T12.flat", 1.1, 5.0), ("Q9.default", 0.9, 1.01)],
        columns=["check", "ci95_low", "ci95_high"],
    )
    said = report.noted(REGISTER, rows).set_index("check")["beyond"]
    assert "goes past -1 and 1," in said["T13.order-mlp"] and "goes past 1," in said["T12.encoder"]
    assert said["T12.flat"] == "" and said["Q9.default"] == "", "a ratio of two counts may lie below 1"
    assert not report.passing("active_modes", np.nan, np.nan)


def test_a_word_is_explained_where_it_first_stands(page):
    mark = glossary.Marker()
    first = mark(r"ln(half time), Kendall's tau and $\gamma$")
    assert '<a class="word" href="#word-half-time">half time</a>' in first and 'href="#word-Kendall-s-tau"' in first
    assert "<a" not in mark("half times by their order") and "<a" in mark("order", common=True)
    assert {f'id="{glossary.place(word)}"' in page for word in glossary.GLOSSARY} == {True}


@pytest.fixture(scope="module")
def redrawn():
    """The code of every figure on its page."""
    page = gallery.render(shown(), {study: study for study in shown()}, "1.2.3")
    return {
        name: html.unescape(code) for name, code in re.findall(r'<pre id="code-(\w+)"[^>]*>(.*?)</pre>', page, re.S)
    }


def test_every_figure_has_code_that_redraws_it(redrawn):
    assert set(redrawn) == set(FIGURES)
    for name, code in redrawn.items():
        compile(code, name, "exec")


@pytest.mark.parametrize("name", ["carry_over_table", "stability_thresholds", "progressive_sharpening", "eigensolvers"])
def test_the_code_redraws_a_figure_from_the_committed_tables(redrawn, name, tmp_path, monkeypatch):
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    exec(redrawn[name].replace(".pdf", ".svg"), {})
    plt.close("all")
    committed = (ROOT / f"results/figures/{name}.svg").read_text()
    assert re.findall(r"<text.*?</text>", (tmp_path / f"{name}.svg").read_text(), re.S) != []
    words = [
        sorted(re.findall(r"<text[^>]*>([^<]+)<", drawn))
        for drawn in (committed, (tmp_path / f"{name}.svg").read_text())
    ]
    assert words[0] == words[1], "labels and numbers are those of the committed figure"


def test_a_claim_leads_to_its_settings_and_single_runs(page):
    section = article(page, "E9")
    assert 'href="tables.html#table-progressive_sharpening.long"' in section and "Settings: " in section
    assert f"All {3 * len(CONFIGURATIONS)} runs" in page
    assert "progressive_sharpening.long" not in article(page, "C5")


def optimizers_of(page):
    """The section on optimizers: cells of its rows, a list a table."""
    start = page.index('<section aria-labelledby="optimizers">')
    section = page[start : page.index("</section>", start)]
    rows = [
        re.findall(r"<tr><t[hd](?: scope=.row.)?>(?!Name|Optimizer<).*?</tr>", body, re.DOTALL)
        for body in section.split("<summary>")[1:]
    ]
    cells = [[re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in mine] for mine in rows]
    return section, [
        [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in mine] for mine in cells
    ]


def test_optimizers_are_listed_by_workload_with_their_places(page):
    section, (mlp, cnn, entries) = optimizers_of(page)
    assert re.findall(r"<summary>([^<]+)</summary>", section)[:2] == ["mlp", "cnn"]
    assert [row[0].split()[0] for row in mlp] == ["soap", "adamw", "sgd", "lion"] and len(cnn) == 1
    assert [row[1] for row in mlp[:3]] == ["1 to 2", "1 to 2", "3"]
    assert mlp[0][2:8] == ["0.125", "0.1 – 0.15", "0.5", "31.5", "–", "2"] and mlp[0][8] == "lr 0.03"
    assert [row[9] for row in mlp[:3]] == ["", "", "no run reached the target"], "no remark, not nan"
    assert entries[0][1].split() == ["theirs:SOAP", "theirs", "1.0"]
    assert entries[0][2:] == ["–", "–", "lr in [0.0001, 0.1], 1 - beta1 in [0.02, 0.5]"]


def test_an_optimizer_without_a_place_has_a_dash_and_its_remark(page):
    _, (mlp, *_) = optimizers_of(page)
    assert mlp[3][9] == "no trial of its search space stayed finite" and mlp[3][2:4] == ["–", "–"]
    assert mlp[3][1] == "–"


def test_the_page_says_what_it_cost_and_where_the_data_are_from(page):
    assert "12 training stages, 7.2 minutes of stage time" in page
    assert "only checks the machinery" not in page
    assert "only checks the machinery" in paged("digits")


def test_nothing_is_left_open():
    assert not matplotlib.pyplot.get_fignums()


@pytest.mark.parametrize(("name", "missing"), [(name, table) for name in FIGURES for table in FIGURES[name].reads])
def test_without_a_table_that_it_reads_a_figure_is_a_sentence_that_names_its_claims(tmp_path, name, missing):
    given = {table: pd.DataFrame() for table in FIGURES[name].reads if table != missing}
    sentence = re.search(r"No run of (claims? )?([^<]*)\.", text(tmp_path, name, given, pd.DataFrame()))
    assert tuple(sentence[2].split(", ")) == (FIGURES[name].claims or (name,))


def test_numbers_lead_to_their_rows_and_names_to_their_settings(page):
    assert 'href="tables.html#configuration-progressive_sharpening-lr-mid">lr-mid</a>' in page
    assert 'href="tables.html#row-optimizer_comparison-mlp-soap"' in page
    assert "@misc{this}" in page and "Version 1.2.3" in page


class Watched(dict):
    """Tables that note which of them were asked for."""

    def __init__(self, known):
        super().__init__(known)
        self.asked = set()

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_names_the_tables_and_curves_that_it_is_drawn_from(name):
    """On the committed results, where every figure has something to draw."""
    results = ROOT / "results"
    paths = sorted((results / "tables").rglob("*.csv"))
    watched = Watched({p.relative_to(results / "tables").with_suffix("").as_posix(): pd.read_csv(p) for p in paths})
    source = source_of(name)
    plt.close(function(name)(watched, *([pd.read_parquet(results / f"curves/{source}.parquet")] if source else [])))
    assert watched.asked == set(FIGURES[name].reads)
    if source:
        with pytest.raises((AttributeError, TypeError)):
            function(name)(watched, None)
    plt.close("all")
