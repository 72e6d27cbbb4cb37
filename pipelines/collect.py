"""What training stages left in their folders, checked against params.yaml."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipelines.files import read_json
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
        _require(place, "scores.csv", f"rung {name}", wanted)
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
        _require(place, "runs.csv", f"contest {place.name}", study.settings(workload, optimizer))
        named = {"workload": workload, "optimizer": optimizer}
        rows.append(pd.read_csv(place / "runs.csv").assign(**named))
        curves.append(pd.read_parquet(place / "curves.parquet").assign(**named))
        facts[workload, optimizer] = read_json(place / "facts.json")
    return pd.concat(rows, ignore_index=True), pd.concat(curves, ignore_index=True), facts


def _require(place: Path, file: str, what: str, settings: dict) -> None:
    if not (place / file).is_file():
        raise ValueError(
            f"missing {what}: params.yaml asks for it; `dvc repro` trains it, `dvc pull` brings it if it was pushed"
        )
    if read_json(place / "settings.json") != settings:
        raise ValueError(f"{place} was trained with other settings than params.yaml has now: run `dvc repro`")
