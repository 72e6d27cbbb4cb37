"""``bench publish``: finished runs, tables and figures to W&B, each once."""

from collections.abc import Iterable

from pipelines import finished, manifest, parameters, stages, tracking
from pipelines.files import FIGURES, RUNS, read_json, table_paths
from pipelines.stages import Stage


def publish(study: str | None, configurations: frozenset[str] | None) -> list[str]:
    """Send whatever is finished and was not yet sent from here; returns lines that say what was done.

    Args:
        study: send only its runs; None sends all runs, and the results too.
        configurations: send only those with these names; None sends all.
    """
    sent, known, absent = send(
        stage
        for stage in stages.training(parameters.load())
        if study in (None, stage.study) and (configurations is None or stage.name in configurations)
    )
    lines = [f"{sent} runs sent, {known} had already been sent"]
    if sent and tracking.is_offline():
        lines.append("written offline to wandb/: `wandb sync` uploads them")
    if absent:
        lines.append(f"{absent} configurations have no runs here: `dvc pull` restores them")
    if study is None and configurations is None:
        lines.append(_results())
    return lines


def send(training: Iterable[Stage]) -> tuple[int, int, int]:
    """Send the runs of stages; how many were sent, how many had been, and how many stages have none here."""
    sent, known, absent = 0, 0, 0
    for stage in training:
        if stage.table is not None:
            continue
        if not (RUNS / stage.path).is_dir():
            absent += 1
            continue
        runs = finished.load(RUNS / stage.path)
        if all(tracking.is_written(tracking.id_of(runs.record, seed)) for seed in stage.seeds):
            known += len(stage.seeds)
            continue
        commit = read_json(stage.meta)["commit"] if stage.meta.is_file() else "unknown"
        sent += len(tracking.publish(runs, commit))
    return sent, known, absent


def _results() -> str:
    tables = table_paths()
    figures = {path.stem: path for path in sorted(FIGURES.glob("*.svg"))}
    if tracking.is_written(tracking.results_id(tables, figures)):
        return "the results had already been sent"
    named = manifest.load()
    done = tracking.publish_results(named["version"], tables, figures, named["tables"])
    return f"{len(tables)} tables and {len(figures)} figures sent" if done else "the results were not sent"
