"""``bench publish``: finished runs, tables and figures to W&B, each once."""

from pathlib import Path

from pipelines import finished, manifest, parameters, tracking
from pipelines.files import read_json

RUNS, META = Path("runs"), Path("runs-meta")
TABLES, FIGURES = Path("results/tables"), Path("results/figures")


def publish(study: str | None, configurations: frozenset[str] | None) -> list[str]:
    """Send what is finished and was not sent from here; returns what was done, in lines.

    Args:
        study: its runs only; None is all, and then the results too.
        configurations: those of these names only; None is all.
    """
    checked = parameters.load()
    sent, known, absent = 0, 0, 0
    for name, configuration, folder in finished.places(checked, RUNS):
        if study not in (None, name) or (configurations is not None and configuration not in configurations):
            continue
        if not folder.is_dir():
            absent += 1
            continue
        runs = finished.load(name, configuration, folder, checked)
        if all(tracking.is_written(tracking.run_id(name, configuration, s, runs.identity)) for s in runs.seeds):
            known += len(runs.seeds)
            continue
        sent += len(tracking.publish(runs, _commit(folder)))
    lines = [f"{sent} runs sent, {known} had been"]
    if sent and tracking.is_offline():
        lines.append("offline, into wandb/: `wandb sync` takes them to the server")
    if absent:
        lines.append(f"{absent} configurations have no runs here: `dvc pull` brings them")
    if study is None and configurations is None:
        lines.append(_results())
    return lines


def _results() -> str:
    tables = {p.relative_to(TABLES).with_suffix("").as_posix(): p for p in sorted(TABLES.rglob("*.csv"))}
    figures = {path.stem: path for path in sorted(FIGURES.glob("*.svg"))}
    if tracking.is_written(tracking.results_id(tables, figures)):
        return "the results had been sent"
    named = manifest.load()
    done = tracking.publish_results(named["version"], tables, figures, named["tables"])
    return f"{len(tables)} tables and {len(figures)} figures sent" if done else "the results were not sent"


def _commit(folder: Path) -> str:
    """The commit that the runs were trained at, from their word in runs-meta."""
    path = META / f"{folder.relative_to(RUNS)}.json"
    return read_json(path)["commit"] if path.is_file() else "unknown"
