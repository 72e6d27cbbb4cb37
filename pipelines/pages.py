"""Stage: what people read or cite: the report, the page of tables, the answer, the claims, LaTeX files, a README."""

import argparse
import hashlib
import io

import pandas as pd

from benchmarks.evidence import agreement, answer, browse, chapter, citing, gallery, glossary, report, share, summary
from benchmarks.evidence.report import Drawn
from benchmarks.studies import catalog
from pipelines import configurations, contributed, manifest, parameters, stages
from pipelines.entry import stage
from pipelines.files import FIGURES, read_json, table_path, write_text
from pipelines.stages import ANSWER, BROWSE, CLAIMS_PAGE, GALLERY, LATEX, README, REPORT, Stage

ASKED, LADDER, RUNS = "carry_over", "low_rank_progression", "progressive_sharpening"
# table: the columns of its LaTeX export.
EXPORTED = {
    "stability_thresholds": ["optimizer", "implementation", "learning_rate", "stability_threshold"],
    "open_question_4_1": ["system", "prediction", "network_value", "reference", "null", "share", "word", "n"],
    "low_rank_progression": ["rung", "n", "waypoint_score", "sequentiality", "tracking", "verdict"],
    "optimizer_comparison": ["workload", "optimizer", "rank_best", "rank_worst", "objective", "steps_to_target"],
}


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    params = parameters.load()
    training, version, cards = stages.training(params), manifest.version(), catalog.cards()
    texts = {name: table_path(name).read_text(encoding="utf-8") for name in cards}
    tables = {name: pd.read_csv(io.StringIO(text)) for name, text in texts.items()}
    exact = {name: agreement.read(text) for name, text in texts.items()}
    writers = stages.writers(training)
    claims, sections = catalog.registered(), chapter.load(catalog.sections())
    figures = {name: _drawn(name) for name in catalog.studies()}
    beside = contributed.shown()

    listed = configurations.described(training)
    write_text(BROWSE, browse.render(exact, cards, writers, listed, version, beside))
    titles = {name: sections[name].title if name in sections else name.capitalize() for name in figures}
    write_text(GALLERY, gallery.render(figures, titles, version))
    page = report.render(
        share.in_three(tables["open_question_4_1"]),
        next(iter(figures[ASKED]), None),
        claims,
        sections,
        tables,
        cards,
        figures,
        _provenance(params, training),
        RUNS,
        {configuration.name: configuration.anchor for configuration in listed},
        {"version": version, "bibtex": citing.bibtex(manifest.citation(), version)},
    )
    write_text(REPORT, page)
    read = (tables[name] for name in ("open_question_4_1", share.SCORES, f"{LADDER}.long", LADDER))
    checks = report.noted(claims, tables["claims"])
    why = [
        answer.Part(sections[name].title, sections[name].parts(checks), figures[name])
        for name in _between(list(figures))
    ]
    drawn = figures[ASKED], figures[LADDER]
    rows = beside.get("open_question_4_1", ())
    write_text(ANSWER, answer.render(*read, *drawn, why, params.profile, params.data.source, rows))

    verdicts = summary.verdicts(claims, tables["claims"])
    head = f"Version {version}, profile {params.profile}. Written by the pipeline, like everything in this folder."
    listed = f"{summary.claims_page(verdicts, sections)}\n\n{OPEN}\n\n{summary.open_checks(tables['claims'])}"
    write_text(CLAIMS_PAGE, f"# Claims\n\n{head}\n\n{listed}\n")
    data_cards = [
        citing.data_card(name, cards[name], len(exact[name]), hashlib.sha256(text.encode()).hexdigest(), writers[name])
        for name, text in texts.items()
    ]
    parts = [
        f"# Results\n\n{head}",
        POINTERS,
        f"## Sections\n\n{summary.overview(verdicts, sections, tables['claims'])}",
        TABLE,
        *data_cards,
    ]
    write_text(README, "\n\n".join(parts) + "\n")

    write_text(LATEX / "numbers.tex", citing.macros(exact["claims"], version))
    caption = f"Verdicts on the registered claims (version {version})."
    shown = verdicts[["claim", "title", "word", "checks"]].astype(str)
    write_text(LATEX / "verdicts.tex", citing.latex_table(shown, shown.columns, caption, "verdicts"))
    for name, columns in EXPORTED.items():
        caption = f"{cards[name].title} (version {version})."
        write_text(LATEX / f"{name}.tex", citing.latex_table(exact[name], columns, caption, name))


def _between(studies: list[str]) -> list[str]:
    """Those between the systems of the open question and its ladder in the chapter: they say why."""
    return studies[studies.index(ASKED) + 1 : studies.index(LADDER)]


def _drawn(study: str) -> list[Drawn]:
    """A study's figures."""
    return [
        Drawn(
            study,
            figure.name,
            figure.caption,
            figure.claims,
            report.size((FIGURES / f"{figure.name}.svg").read_text(encoding="utf-8")),
            figure.reads,
            stages.curves_of(study, figure),
        )
        for figure in catalog.studies()[study].figures
    ]


def _provenance(params, training: list[Stage]) -> dict:
    """Where the runs came from: commits, versions, machines, minutes."""
    records = [read_json(one.meta) for one in training if one.table is None]
    return {
        "profile": params.profile,
        "source": params.data.source,
        "sha256": params.data.sha256.model_dump(),
        "corpus": stages.data_of(training, params).get("corpus"),
        "commits": sorted({record["commit"] for record in records}),
        # Older records lack the libraries that were recorded later.
        "versions": {
            name: sorted({record["versions"][name] for record in records if name in record["versions"]})
            for name in dict.fromkeys(name for record in records for name in record["versions"])
        },
        "hardware": sorted({_machine(record["hardware"]) for record in records}),
        "stages": len(records),
        "minutes": sum(record["wall_s"] for record in records) / 60,
    }


def _machine(hardware: dict) -> str:
    parts = [hardware["processor"], f"{hardware['cores']} cores", hardware.get("kernels"), hardware.get("gpu")]
    return ", ".join(filter(None, parts))


POINTERS = """Start with `report.html`. `open_question_4_1.html` answers the open question, `figures.html` has every
figure with code that redraws it, `CLAIMS.md` lists every claim, `MANIFEST.json` says what each table is made from,
`latex/numbers.tex` has every measured number as a macro, and `bench cite TABLE` says how to cite, get, rebuild and
verify a table."""

OPEN = f"""## What is open, and what would decide it

Every open check, of claims that hold too; in bold those that decide a claim, as its primary check or as a control that
did not behave. The number of seeds is that at which the same mean and spread would decide, after Holm's correction; the
time is at most what all of them take, at the seconds per seed of the recorded runs. {glossary.NOT_RUN} An interval is
Student's t, as computed: where it goes past what a quantity can be (1 for Kendall's tau), read it as ending there."""

TABLE = """## Tables

Every column, with its unit, and how far a rebuild on another machine may differ. On the same machine every cell except
timings is identical to the last digit. An empty cell means that there is no value."""


if __name__ == "__main__":
    main()
