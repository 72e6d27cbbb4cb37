"""Stage: the report page."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.evidence import claims
from benchmarks.evidence.report import CAPTIONS, render
from pipelines import parameters
from pipelines.files import read_json, write_text
from pipelines.stages import stage

STUDY = "progressive_sharpening"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--meta", type=Path, default=Path("runs-meta"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    checked = parameters.load()
    names = ["claims", f"{STUDY}.long", *(f"timings/{name}" for name in ("training_step", "eigensolvers"))]
    tables = {name: pd.read_csv(arguments.results / "tables" / f"{name}.csv") for name in names}
    svgs = {name: (arguments.results / "figures" / f"{name}.svg").read_text(encoding="utf-8") for name in CAPTIONS}
    metas = [
        read_json(arguments.meta / study / configuration / f"{stack}.json")
        for study, settings in checked.studies.items()
        for configuration, stack, _ in settings.runs()
    ]
    provenance = {
        "profile": checked.profile,
        "source": checked.data.source,
        "sha256": checked.data.sha256.model_dump(),
        "commits": sorted({meta["commit"] for meta in metas}),
        "versions": {name: sorted({meta["versions"][name] for meta in metas}) for name in sorted(metas[0]["versions"])},
        "hardware": sorted({f"{m['hardware']['processor']}, {m['hardware']['cores']} cores" for m in metas}),
        "runs": len(tables[f"{STUDY}.long"]),
        "stages": len(metas),
        "minutes": sum(meta["wall_s"] for meta in metas) / 60,
    }
    write_text(arguments.out, render(claims.load(arguments.claims), tables, svgs, provenance, STUDY))


if __name__ == "__main__":
    main()
