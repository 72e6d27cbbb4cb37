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

    Raises:
        TrackingError: if W&B is disabled, a setting is wrong, or the server did not take everything.
    """
    tracking.require_settings()
    if tracking.is_disabled():
        raise tracking.TrackingError("WANDB_MODE is disabled: nothing was sent")
    asked = [
        stage
        for stage in stages.training(parameters.load())
        if study in (None, stage.study) and (configurations is None or stage.name in configurations)
    ]
    is_done, word = (tracking.is_written, "written") if tracking.is_offline() else (tracking.is_sent, "sent")
    new, known, absent = [], 0, 0
    for stage in with_runs(asked):
        if not (RUNS / stage.path).is_dir():
            absent += 1
            continue
        runs = finished.load(RUNS / stage.path)
        missing = [seed for seed in stage.seeds if not is_done(tracking.id_of(runs.record, seed))]
        known += len(stage.seeds) - len(missing)
        if missing:
            names = tracking.write(runs, _commit(stage))
            new += [names[seed] for seed in missing if seed in names]
    lines = [f"{len(new)} runs {word}, {known} had already been {word}"]
    if absent:
        lines.append(f"{absent} configurations have no runs here: `dvc pull` restores them")
    if study is None and configurations is None:
        tables = table_paths()
        figures = {path.stem: path for path in sorted(FIGURES.glob("*.svg"))}
        results = tracking.results_id(tables, figures)
        if is_done(results):
            lines.append(f"the results had already been {word}")
        else:
            named = manifest.load()
            tracking.write_results(named["version"], tables, figures, named["tables"])
            new.append(results)
            lines.append(f"{len(tables)} tables and {len(figures)} figures {word}")
    if tracking.is_offline():
        lines.append("to wandb/, offline: `bench publish` sends them where WANDB_MODE and a key allow it")
    elif why := tracking.send(new, tracking.PUBLISH_TIMEOUT_S + tracking.EACH_RUN_S * len(new)):
        raise tracking.TrackingError(f"{why}; what is left waits in wandb/ for the next `bench publish`")
    return lines


def with_runs(training: Iterable[Stage]) -> list[Stage]:
    """The stages that leave runs; the others write a table."""
    return [stage for stage in training if stage.table is None]


def after(training: Iterable[Stage]) -> None:
    """Send the runs of stages that other machines have just run, as each stage here does itself."""
    for stage in with_runs(training):
        tracking.publish(finished.load(RUNS / stage.path), _commit(stage))


def _commit(stage: Stage) -> str:
    return read_json(stage.meta)["commit"] if stage.meta.is_file() else "unknown"
