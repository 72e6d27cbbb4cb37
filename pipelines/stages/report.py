"""Stage: the report page."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.evidence import agreement, browse, claims
from benchmarks.evidence.cards import CARDS
from benchmarks.evidence.citing import bibtex
from benchmarks.evidence.report import CAPTIONS, render
from pipelines import configurations, finished, manifest, parameters
from pipelines.files import read_json, write_text
from pipelines.stages import stage

STUDY = "progressive_sharpening"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--meta", type=Path, default=Path("runs-meta"))
    parser.add_argument("--code", type=Path, default=Path("results/code"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables-out", type=Path, required=True, help="the page of tables and configurations")
    arguments = parser.parse_args()
    checked = parameters.load()
    timed = ("training_step", "eigensolvers", "optimizer_steps", "optimizer_costs")
    names = ["claims", f"{STUDY}.long", "optimizer_comparison", "optimizer_comparison/optimizers"]
    names += [f"timings/{name}" for name in timed]
    tables = {name: pd.read_csv(arguments.results / "tables" / f"{name}.csv") for name in names}
    svgs = {name: (arguments.results / "figures" / f"{name}.svg").read_text(encoding="utf-8") for name in CAPTIONS}
    metas = [read_json(place.with_name(f"{place.name}.json")) for *_, place in finished.places(checked, arguments.meta)]
    provenance = {
        "profile": checked.profile,
        "source": checked.data.source,
        "sha256": checked.data.sha256.model_dump(),
        "commits": sorted({meta["commit"] for meta in metas}),
        "versions": {name: sorted({meta["versions"][name] for meta in metas}) for name in sorted(metas[0]["versions"])},
        "hardware": sorted({_machine(told["hardware"]) for told in metas}),
        "stages": len(metas),
        "minutes": sum(meta["wall_s"] for meta in metas) / 60,
    }
    version = manifest.version()
    listed = configurations.described(checked, arguments.code, arguments.meta)
    texts = {name: (arguments.results / "tables" / f"{name}.csv").read_text(encoding="utf-8") for name in CARDS}
    page = browse.render({name: agreement.read(text) for name, text in texts.items()}, listed, version)
    write_text(arguments.tables_out, page)
    anchors = {configuration.name: configuration.anchor for configuration in listed}
    cite = {"version": version, "bibtex": bibtex(manifest.citation(), version)}
    write_text(arguments.out, render(claims.load(arguments.claims), tables, svgs, provenance, STUDY, anchors, cite))


def _machine(hardware: dict) -> str:
    return ", ".join([hardware["processor"], f"{hardware['cores']} cores", *filter(None, [hardware.get("gpu")])])


if __name__ == "__main__":
    main()
