"""Stage: the contests' runs as tables and curves."""

import argparse
from pathlib import Path

from benchmarks.evidence import comparison
from pipelines import collect, parameters
from pipelines.files import write_csv, write_parquet
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
    pairs = study.contests()
    collect.keep(arguments.runs / STUDY, [f"{w}-{o}" for w, o in pairs])
    runs, curves, facts = collect.contests(arguments.runs, study, pairs)
    goals, long, flips = comparison.measured(runs, curves, **study.target.model_dump())
    write_csv(arguments.tables / f"{STUDY}.long.csv", long)
    write_csv(arguments.tables / f"{STUDY}.csv", comparison.summary(long, facts, goals))
    write_csv(arguments.tables / STUDY / "targets.csv", goals)
    write_csv(arguments.tables / STUDY / "flips.csv", flips)
    write_csv(arguments.tables / STUDY / "optimizers.csv", comparison.entries(study.model_dump()["optimizers"], facts))
    write_parquet(arguments.curves / f"{STUDY}.parquet", comparison.drawn(curves))


if __name__ == "__main__":
    main()
