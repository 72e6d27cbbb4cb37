"""Stage: the rungs' scores and curves as the tables that answer Open Question 4.1, once the instrument has passed its
gate."""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from benchmarks.evidence import carry_over
from pipelines import parameters
from pipelines.files import prune, read_json, read_tables, write_csv, write_parquet
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
    folder = arguments.runs / STUDY
    settings = {name: ladder.settings(name) for name in ladder.rungs}
    for orphan in prune(folder, {folder / name for name in settings}, shutil.rmtree):
        print(f"pruned {orphan}: params.yaml no longer asks for it")
    scores, curves = [], []
    for name, wanted in settings.items():
        place = folder / name
        if not (place / "scores.csv").is_file():
            raise ValueError(
                f"missing rung {name}: params.yaml asks for it; `dvc repro` trains it, `dvc pull` brings it if it "
                f"was pushed"
            )
        if read_json(place / "settings.json") != wanted:
            raise ValueError(f"{place} was trained with other settings than params.yaml has now: run `dvc repro`")
        scores.append(pd.read_csv(place / "scores.csv").assign(rung=name))
        curves.append(pd.read_parquet(place / "curves.parquet").assign(rung=name))
    long = pd.concat(scores, ignore_index=True)[["rung", "system", "seed", "quantity", "value"]]
    toy = read_tables(arguments.tables, "deep_linear/waypoints.csv")["deep_linear/waypoints"]
    carry_over.require_gate(toy, long)
    write_csv(arguments.tables / f"{STUDY}.long.csv", long)
    write_csv(arguments.tables / "open_question_4_1.csv", carry_over.answer(long, settings))
    drawn = pd.concat(
        [part for part in curves if part["rung"].iloc[0] in carry_over.DRAWN] or curves, ignore_index=True
    )
    write_parquet(arguments.curves / f"{STUDY}.parquet", drawn)


if __name__ == "__main__":
    main()
