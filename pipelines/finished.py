"""The output of training stages, in one format."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks.studies.declaration import Finished, Made
from pipelines.files import CODE, RUNS, read_json


def load(folder: Path) -> Finished:
    """What is in a stage's folder of runs.

    Raises:
        FileNotFoundError: if it has not run here.
    """
    rows, curves = folder / "rows.csv", folder / "curves.parquet"
    return Finished(
        pd.read_csv(rows) if rows.is_file() else None,
        pd.read_parquet(curves) if curves.is_file() else None,
        read_json(folder / "run.json"),
    )


def require(path: str) -> Finished:
    """The runs at a stage's path, which must match params.yaml as it is now.

    Raises:
        ValueError: if they are missing, or were made with different settings.
    """
    if not (RUNS / path / "run.json").is_file():
        raise ValueError(f"missing {path}: params.yaml asks for it; `dvc repro` trains it, `dvc pull` restores it")
    runs = load(RUNS / path)
    if runs.record["settings"] != read_json(CODE / f"{path}.json")["settings"]:
        raise ValueError(f"{RUNS / path} was made with settings other than those in params.yaml now: run `dvc repro`")
    return runs


def prune(study: str, paths: Iterable[str]) -> None:
    """Remove a study's runs that are not at these paths, and say so."""
    wanted = {RUNS / path for path in paths}
    for record in sorted((RUNS / study).rglob("run.json")):
        if record.parent not in wanted:
            shutil.rmtree(record.parent)
            if not any(record.parent.parent.iterdir()):
                record.parent.parent.rmdir()
            print(f"pruned {record.parent}: params.yaml no longer asks for it")


def tables(study: str, runs: Sequence[Finished], read: Mapping[str, pd.DataFrame]) -> Made:
    """What a study's ``tables.py`` makes of runs."""
    settings = read_json(CODE / f"{study}.json")["settings"]
    return import_module(f"benchmarks.studies.{study}.tables").tables(runs, read, settings)


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For W&B: a history (seed, step, metric, value), and one row per seed."""
    return import_module(f"benchmarks.studies.{runs.record['study']}.tables").tracked(runs)
