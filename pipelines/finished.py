"""What a training stage left in its folder, as runs: a history and a row a seed, whatever kind of stage it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.evidence.histories import load_stage
from benchmarks.evidence.runs import run_rows
from pipelines import provenance
from pipelines.files import read_json
from pipelines.parameters import Parameters

CODE = Path("results/code")


@dataclass(frozen=True)
class Finished:
    """A stage's runs.

    Attributes:
        history: seed, step, metric, value.
        rows: a row a seed, with the column ``seed``.
        identity: settings, compute, data and code: all that determines the numbers, apart from the seeds.
    """

    study: str
    configuration: str
    profile: str
    seeds: list[int]
    history: pd.DataFrame
    rows: pd.DataFrame
    identity: dict


def of_run(folder: Path) -> Finished:
    """What the stage ``run`` left."""
    history, summary = load_stage(folder)
    identity = {name: summary[name] for name in ("settings", "compute", "data", "code")}
    named = summary["study"], summary["configuration"], summary["profile"], summary["seeds"]
    return Finished(*named, history, run_rows(history, summary), identity)


def of_rung(folder: Path, checked: Parameters, code: Path) -> Finished:
    """What the stage ``climb`` left: a network and its twin are one run a seed, curves its history, scores its row.

    Args:
        code: the rung's fingerprint file.
    """
    scores, curves = pd.read_csv(folder / "scores.csv"), pd.read_parquet(folder / "curves.parquet")
    history = curves.melt(["system", "seed", "step"], var_name="metric").dropna()
    history["metric"] = history["system"] + "/" + history["metric"]
    names = scores["system"] + "/" + scores["quantity"]
    rows = scores.assign(name=names).pivot(index="seed", columns="name", values="value").reset_index()
    identity = provenance.identity(read_json(folder / "settings.json"), checked, code)
    seeds = sorted(rows["seed"].tolist())
    return Finished(
        "low_rank_progression", folder.name, checked.profile, seeds, history.drop(columns="system"), rows, identity
    )


def of_contest(folder: Path, checked: Parameters, code: Path) -> Finished:
    """What the stage ``compete`` left: the tuned runs.

    Args:
        code: the contest's fingerprint file.
    """
    runs, curves = pd.read_csv(folder / "runs.csv"), pd.read_parquet(folder / "curves.parquet")
    rows = runs[runs["role"] == "final"]
    history = curves[curves["role"] == "final"].drop(columns=["role", "factor"])
    identity = provenance.identity(read_json(folder / "settings.json"), checked, code)
    seeds = sorted(rows["seed"].tolist())
    return Finished("optimizer_comparison", folder.name, checked.profile, seeds, history, rows, identity)


def places(checked: Parameters, runs: Path) -> Iterator[tuple[str, str, Path]]:
    """Every training stage that params.yaml asks for: study, configuration and its folder of runs, there or not."""
    for study, settings in checked.studies.items():
        for configuration, stack, _ in settings.runs():
            yield study, configuration, runs / study / configuration / stack
    for rung in checked.low_rank_progression.rungs:
        yield "low_rank_progression", rung, runs / "low_rank_progression" / rung
    for workload, optimizer in checked.optimizer_comparison.contests():
        name = f"{workload}-{optimizer}"
        yield "optimizer_comparison", name, runs / "optimizer_comparison" / name


def load(study: str, configuration: str, folder: Path, checked: Parameters) -> Finished:
    """What any training stage left.

    Raises:
        FileNotFoundError: if it has not run here.
    """
    if study in checked.studies:
        return of_run(folder)
    read = of_rung if study == "low_rank_progression" else of_contest
    return read(folder, checked, CODE / study / f"{configuration}.json")
