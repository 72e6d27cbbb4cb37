"""Stage: a study's runs as tables and curves. Enumerates the runs that params.yaml asks for."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.evidence.histories import load_stage
from benchmarks.evidence.runs import run_rows
from benchmarks.evidence.tables import cells, curves
from pipelines import collect, parameters
from pipelines.files import write_csv, write_parquet
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--curves", type=Path, default=Path("results/curves"))
    arguments = parser.parse_args()
    study = parameters.load().studies[arguments.study]
    folder = arguments.runs / arguments.study
    wanted = list(study.runs())

    for configuration, stack, _ in wanted:
        path = folder / configuration / stack / "history.parquet"
        collect.require(path, f"run {arguments.study}/{configuration}, stack {stack}")
    kept = sorted({configuration for configuration, _, _ in wanted})
    collect.keep(folder, kept)
    for configuration in kept:
        collect.keep(folder / configuration, [stack for name, stack, _ in wanted if name == configuration])

    rows: list[pd.DataFrame] = []
    histories: dict[str, list[pd.DataFrame]] = {}
    for configuration, stack, _ in wanted:
        place = folder / configuration / stack
        history, summary = load_stage(place)
        collect.require_settings(place, summary["settings"], study.settings(configuration))
        rows.append(run_rows(history, summary))
        histories.setdefault(configuration, []).append(history)
    long = pd.concat(rows, ignore_index=True)
    write_csv(arguments.tables / f"{arguments.study}.long.csv", long)
    write_csv(arguments.tables / f"{arguments.study}.csv", cells(long))
    write_parquet(
        arguments.curves / f"{arguments.study}.parquet",
        curves({name: pd.concat(parts) for name, parts in histories.items()}),
    )


if __name__ == "__main__":
    main()
