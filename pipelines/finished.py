"""What a training stage left in its folder, whichever it was."""

from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks.studies.declaration import Finished
from pipelines.files import read_json
from pipelines.stages import Stage


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


def require(stage: Stage) -> Finished:
    """A stage's runs, as params.yaml asks for them now.

    Raises:
        ValueError: if they are not here, or were made with other settings.
    """
    if not (stage.runs / "run.json").is_file():
        raise ValueError(
            f"missing {stage.path}: params.yaml asks for it; `dvc repro` trains it, or `dvc pull` brings it"
        )
    found = load(stage.runs)
    if found.record["settings"] != read_json(stage.code)["settings"]:
        raise ValueError(f"{stage.runs} was made with other settings than params.yaml has now: run `dvc repro`")
    return found


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For W&B: a history (seed, step, metric, value), and a row a seed."""
    return import_module(f"benchmarks.studies.{runs.record['study']}.tables").tracked(runs)
