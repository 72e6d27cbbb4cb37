"""Stage: the contests' runs as tables and curves."""

import argparse
import shutil
from pathlib import Path

from benchmarks.evidence import comparison
from pipelines import collect, parameters
from pipelines.files import prune, write_csv, write_parquet
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
    folder, pairs = arguments.runs / STUDY, study.contests()
    for orphan in prune(folder, {folder / f"{w}-{o}" for w, o in pairs}, shutil.rmtree):
        print(f"pruned {orphan}: params.yaml no longer asks for it")
    runs, curves, facts = collect.contests(arguments.runs, study, pairs)
    by = study.target.optimizer
    goals = comparison.targets(runs, curves, by, study.target.share)
    long = comparison.long_table(runs, curves, goals, by)
    write_csv(arguments.tables / f"{STUDY}.long.csv", long)
    write_csv(arguments.tables / f"{STUDY}.csv", comparison.summary(long, facts, goals))
    write_csv(arguments.tables / STUDY / "targets.csv", goals)
    write_csv(arguments.tables / STUDY / "flips.csv", comparison.flips(curves, long))
    write_csv(arguments.tables / STUDY / "optimizers.csv", comparison.entries(study.model_dump()["optimizers"], facts))
    write_parquet(arguments.curves / f"{STUDY}.parquet", comparison.drawn(curves))


if __name__ == "__main__":
    main()
