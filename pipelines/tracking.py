"""W&B: publishes a finished run from its history. It is only a view: no failure here fails or stalls a run.

Online only by the user's own environment (``WANDB_MODE``, an API key). Without a key, or after a failure, runs are
written offline; a marker keeps the rest of a rebuild offline, so that its runs do not each wait for a dead server.
"""

import functools
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pandas as pd

from benchmarks.studies.declaration import Finished
from pipelines import finished
from pipelines.files import CODE, STATE, read_json

PROJECT = "optimization-dynamics-benchmark"
WANDB_UNREACHABLE = STATE / "wandb-unreachable"
# All that determines a run's numbers, apart from its seed.
IDENTITY = ("settings", "compute", "data", "code")
INIT_TIMEOUT_S = 10
FINISH_TIMEOUT_S = 10
# A later stage of the same rebuild still finds the marker; an older one is forgotten.
MARKER_LIFE_S = 3600
# Key in a run's summary: how much was sent, set once all of it was.
COMPLETE = "published"


def id_of(record: dict, seed: int) -> str:
    """The id of a run: the same for the same settings, code and data.

    Args:
        record: the record of a stage's runs, as in `pipelines.finished.Finished`.
    """
    text = json.dumps([record[name] for name in ("study", "name", *IDENTITY)] + [seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def publish(runs: Finished, commit: str) -> dict:
    """Write one W&B run per training run; returns {seed: {"id", "mode"}}, empty where W&B could not be used.

    Any error from W&B becomes a warning: the runs are finished, and their files are authoritative.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return {}
    try:
        published = {}
        history, rows = finished.tracked(runs)
        # In a contest without a finite trial, no seed ran.
        for seed in [seed for seed in runs.record["seeds"] if seed in set(rows["seed"])]:
            own = history[history["seed"] == seed], rows[rows["seed"] == seed]
            name = id_of(runs.record, seed)
            published[str(seed)] = {"id": name, "mode": _publish_one(runs.record, *own, commit, seed, name)}
        return published
    except Exception as error:
        _warn(f"not published: {type(error).__name__}: {error}")
        return {}


def publish_results(version: str, tables: dict[str, Path], figures: dict[str, Path], entries: dict[str, dict]) -> dict:
    """Write one W&B run that holds the results tables, each as a table to look at and as a versioned artifact, and the
    figures; returns {"id", "mode"}, empty where W&B could not be used.

    Args:
        entries: entries of the manifest, by table; they become the artifacts' metadata.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return {}
    name = results_id(tables, figures)
    try:
        return {"id": name, "mode": _publish_results(name, version, tables, figures, entries)}
    except Exception as error:
        _warn(f"results not published: {type(error).__name__}: {error}")
        return {}


def results_id(tables: dict[str, Path], figures: dict[str, Path]) -> str:
    """An id that is the same for the same bytes."""
    digest = hashlib.sha256()
    for path in [*tables.values(), *figures.values()]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def is_offline() -> bool:
    """Whether the user's environment keeps W&B offline."""
    return os.environ.get("WANDB_MODE") in ("offline", "dryrun")


def is_written(name: str) -> bool:
    """Whether this checkout has written the W&B run of this id where runs go now: offline, or to the server."""
    kind = "offline-run" if is_offline() else "run"
    return any(Path(os.environ.get("WANDB_DIR", ".")).glob(f"wandb/{kind}-*-{name}"))


def forget_failures() -> None:
    """A new rebuild tries the server again."""
    WANDB_UNREACHABLE.unlink(missing_ok=True)


def _publish_one(record: dict, history: pd.DataFrame, rows: pd.DataFrame, commit: str, seed: int, name: str) -> str:
    profile = read_json(CODE / "profile.json")["profile"]
    run = _start(
        id=name,
        name=f"{record['name']} seed {seed}",
        group=record["study"],
        job_type="train",
        tags=[record["study"], record["name"], profile, record["settings"]["optimizer"]["name"]],
        config={
            **{key: record[key] for key in IDENTITY},
            "study": record["study"],
            "configuration": record["name"],
            "seed": seed,
            "commit": commit,
        },
    )
    # A run with this id has these numbers: if the server has all of it, it is not sent again.
    if not (run.resumed and run.summary.get(COMPLETE) == len(history)):
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        for step, values in history.pivot(index="step", columns="metric", values="value").iterrows():
            run.log({"step": int(step), **values.dropna().to_dict()})
        run.summary.update({key: _plain(value) for key, value in rows.iloc[0].items() if not pd.isna(value)})
        run.summary[COMPLETE] = len(history)
    return _finish(run)


def _publish_results(name, version, tables, figures, entries) -> str:
    # W&B copies artifacts to this folder until they are sent; by default it is in the user's home.
    os.environ.setdefault("WANDB_DATA_DIR", str(Path("wandb").absolute()))
    run = _start(
        id=name,
        name=f"results {version}",
        group="results",
        job_type="results",
        tags=["results", version],
        config={"version": version, "tables": entries},
    )
    import wandb

    if not (run.resumed and run.summary.get(COMPLETE) == len(tables) + len(figures)):
        for table, path in tables.items():
            # Empty cells stay empty: as numbers they would be nan, which W&B cannot tell from a result.
            frame = pd.read_csv(path).astype(object)
            frame = frame.where(frame.notna(), None)
            slug = table.replace("/", "-")
            run.log({f"tables/{slug}": wandb.Table(dataframe=frame, allow_mixed_types=True)})
            artifact = wandb.Artifact(slug, type="results-table", metadata=entries.get(table, {}))
            artifact.add_file(str(path), name=path.name)
            run.log_artifact(artifact, aliases=["latest", f"release-{version}"])
        for figure, path in figures.items():
            run.log({f"figures/{figure}": wandb.Html(path.read_text(encoding="utf-8"), inject=False)})
        run.summary[COMPLETE] = len(tables) + len(figures)
    return _finish(run)


def _finish(run) -> str:
    offline = run.settings.mode == "offline" or run.offline
    run.finish()
    return "offline" if offline else "online"


def _start(**arguments):
    """A W&B run: online if the user's environment says so and the server answers, else offline."""
    # W&B's own telemetry would wait at exit for a server that does not answer.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(
        init_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    arguments |= {"settings": settings, "project": project, "resume": "allow", "reinit": "finish_previous"}
    if is_offline():
        return wandb.init(**arguments)
    if _recently_unreachable():
        return wandb.init(mode="offline", **arguments)
    if not wandb.login(prompt=False, verify=False):
        _warn("no API key: writing offline runs (`wandb login`, then `wandb sync`, publishes them)")
        return wandb.init(mode="offline", **arguments)
    try:
        return wandb.init(**arguments)
    except wandb.errors.Error as error:
        WANDB_UNREACHABLE.parent.mkdir(parents=True, exist_ok=True)
        WANDB_UNREACHABLE.touch()
        _warn(f"the server did not answer ({error}): writing offline runs for the rest of this rebuild")
        wandb.teardown()
        return wandb.init(mode="offline", **arguments)


def _recently_unreachable() -> bool:
    try:
        age = time.time() - WANDB_UNREACHABLE.stat().st_mtime
    except FileNotFoundError:
        return False
    if age > MARKER_LIFE_S:
        return False
    WANDB_UNREACHABLE.touch()
    return True


def _plain(value):
    return value.item() if hasattr(value, "item") else value


@functools.cache  # once a process: a stack of seeds meets the same trouble for each
def _warn(message: str) -> None:
    print(f"W&B: {message}", file=sys.stderr)
