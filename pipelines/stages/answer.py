"""Stage: the rungs' scores and curves as the tables that answer Open Question 4.1, once the instrument has passed its
gate."""

import argparse
from pathlib import Path

from benchmarks.evidence import carry_over
from pipelines import collect, parameters
from pipelines.files import read_tables, write_csv, write_parquet
from pipelines.stages import stage

STUDY = "low_rank_progression"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--curves", type=Path, default=Path("results/curves"))
    arguments = parser.parse_args()
    ladder = parameters.load().low_rank_progression
    collect.keep(arguments.runs / STUDY, ladder.rungs)
    settings, long, curves = collect.rungs(arguments.runs, ladder, ladder.rungs)
    toy = read_tables(arguments.tables, "deep_linear/waypoints.csv")["deep_linear/waypoints"]
    carry_over.require_gate(toy, long)
    write_csv(arguments.tables / f"{STUDY}.long.csv", long)
    write_csv(arguments.tables / "open_question_4_1.csv", carry_over.answer(long, settings))
    drawn = curves[curves["rung"].isin(carry_over.DRAWN)].dropna(axis=1, how="all").reset_index(drop=True)
    write_parquet(arguments.curves / f"{STUDY}.parquet", curves if drawn.empty else drawn)


if __name__ == "__main__":
    main()
