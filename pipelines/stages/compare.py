"""Stage: the contests' runs as tables and curves."""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from benchmarks.evidence import comparison
from pipelines import parameters
from pipelines.files import prune, read_json, write_csv, write_parquet
from pipelines.stages import stage

STUDY = "optimizer_comparison"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--curves", type=Path, default=Path("results/curves"))
    arguments = parser.parse_args()
    study = parameters.load().optimizer_comparison
    folder = arguments.runs / STUDY
    wanted = {(w, o): folder / f"{w}-{o}" for w, o in study.contests()}
    for orphan in prune(folder, set(wanted.values()), shutil.rmtree):
        print(f"pruned {orphan}: params.yaml no longer asks for it")
    runs, curves, facts = [], [], {}
    for (workload, optimizer), place in wanted.items():
        if not (place / "runs.csv").is_file():
            raise ValueError(
                f"missing contest {place.name}: params.yaml asks for it; `dvc repro` runs it, `dvc pull` brings it if "
                f"it was pushed"
            )
        if read_json(place / "settings.json") != study.settings(workload, optimizer):
            raise ValueError(f"{place} was run with other settings than params.yaml has now: run `dvc repro`")
        named = {"workload": workload, "optimizer": optimizer}
        runs.append(pd.read_csv(place / "runs.csv").assign(**named))
        curves.append(pd.read_parquet(place / "curves.parquet").assign(**named))
        facts[workload, optimizer] = read_json(place / "facts.json")
    all_runs, all_curves = pd.concat(runs, ignore_index=True), pd.concat(curves, ignore_index=True)
    by = study.target.optimizer
    goals = comparison.targets(all_curves, by, study.target.share)
    long = comparison.long_table(all_runs, all_curves, goals, by)
    write_csv(arguments.tables / f"{STUDY}.long.csv", long)
    write_csv(arguments.tables / f"{STUDY}.csv", comparison.summary(long, facts, goals))
    write_csv(arguments.tables / STUDY / "targets.csv", goals)
    write_csv(arguments.tables / STUDY / "flips.csv", comparison.flips(all_curves))
    write_csv(arguments.tables / STUDY / "optimizers.csv", comparison.entries(study.model_dump()["optimizers"], facts))
    write_parquet(arguments.curves / f"{STUDY}.parquet", comparison.drawn(all_curves))


if __name__ == "__main__":
    main()
