"""What training stages left in their folders, checked against params.yaml."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipelines.files import prune, read_json
from pipelines.parameters import LowRankProgression, OptimizerComparison


def rungs(
    runs: Path, ladder: LowRankProgression, names: Iterable[str]
) -> tuple[dict[str, dict], pd.DataFrame, pd.DataFrame]:
    """Settings by rung, scores and curves of rungs of the ladder.

    Raises:
        ValueError: for one that is missing, or was trained with other settings.
    """
    settings = {name: ladder.settings(name) for name in names}
    scores, curves = [], []
    for name, wanted in settings.items():
        place = runs / "low_rank_progression" / name
        require(place / "scores.csv", f"rung {name}")
        require_settings(place, read_json(place / "settings.json"), wanted)
        scores.append(pd.read_csv(place / "scores.csv").assign(rung=name))
        curves.append(pd.read_parquet(place / "curves.parquet").assign(rung=name))
    long = pd.concat(scores, ignore_index=True)[["rung", "system", "seed", "quantity", "value"]]
    return settings, long, pd.concat(curves, ignore_index=True)


def contests(
    runs: Path, study: OptimizerComparison, pairs: Iterable[tuple[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[tuple[str, str], dict]]:
    """Runs, curves, and facts by workload and optimizer, of contests.

    Raises:
        ValueError: for one that is missing, or was run with other settings.
    """
    rows, curves, facts = [], [], {}
    for workload, optimizer in pairs:
        place = runs / "optimizer_comparison" / f"{workload}-{optimizer}"
        require(place / "runs.csv", f"contest {place.name}")
        require_settings(place, read_json(place / "settings.json"), study.settings(workload, optimizer))
        named = {"workload": workload, "optimizer": optimizer}
        rows.append(pd.read_csv(place / "runs.csv").assign(**named))
        curves.append(pd.read_parquet(place / "curves.parquet").assign(**named))
        facts[workload, optimizer] = read_json(place / "facts.json")
    return pd.concat(rows, ignore_index=True), pd.concat(curves, ignore_index=True), facts


def require(path: Path, what: str) -> None:
    """Raises ValueError unless a file that a training stage makes is there."""
    if not path.is_file():
        raise ValueError(
            f"missing {what}: params.yaml asks for it; `dvc repro` trains it, `dvc pull` brings it if it was pushed"
        )


def require_settings(place: Path, trained: dict, wanted: dict) -> None:
    """Raises ValueError unless a stage was trained with the settings that params.yaml has now."""
    if trained != wanted:
        raise ValueError(f"{place} was trained with other settings than params.yaml has now: run `dvc repro`")


def keep(folder: Path, names: Iterable[str]) -> None:
    """Remove all other runs from a folder, and say so."""
    for orphan in prune(folder, {folder / name for name in names}, shutil.rmtree):
        print(f"pruned {orphan}: params.yaml no longer asks for it")
