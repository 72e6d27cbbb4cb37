"""W&B: publishes a finished run from its history. It is only a view: no failure here fails or stalls a run.

A run is first written offline, into ``wandb/``. Where the user's own environment says so (``WANDB_MODE``, an API key),
``wandb sync`` then sends it, and marks what the server has taken: this mark alone says what was sent. After a failure,
a marker of our own keeps the rest of a rebuild from trying, so that its stages do not each wait for a dead server.
"""

import copy
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.studies import catalog
from benchmarks.studies.declaration import Finished
from pipelines import finished, layout
from pipelines.files import CODE, STATE, read_json, write_text

PROJECT = "optimization-dynamics-benchmark"
WANDB_UNREACHABLE = STATE / "wandb-unreachable"
# All that determines a run's numbers, apart from its seed.
IDENTITY = ("settings", "compute", "data", "code")
# How long a stage waits for the server; `bench publish` is more patient, run by run.
STAGE_TIMEOUT_S = 20
PUBLISH_TIMEOUT_S, EACH_RUN_S = 60, 5
SEND_LOG = STATE / "logs" / "wandb.log"
# A later stage of the same rebuild still finds the marker; an older one is forgotten.
MARKER_LIFE_S = 3600
MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
# In a run's folder: all of it was written. A process may be killed before.
WRITTEN = "written"
# The column of a table in W&B that identifies a row, by which two versions are joined.
ROW = "row"
NO_KEY = "there is no API key"


class TrackingError(ValueError):
    """What keeps runs from W&B: a setting, or a server that does not take them."""


def id_of(record: dict, seed: int) -> str:
    """The id of a run: the same for the same settings, code and data.

    Args:
        record: the record of a stage's runs, as in `pipelines.finished.Finished`.
    """
    text = json.dumps([record[name] for name in ("study", "name", *IDENTITY)] + [seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_settings() -> None:
    """The user's settings of W&B must be ones that W&B takes.

    Raises:
        TrackingError: naming the variable.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode is not None and mode not in MODES:
        raise TrackingError(f"WANDB_MODE is {mode!r}: it may be {', '.join(MODES[:3])}, or not set")
    if (address := os.environ.get("WANDB_BASE_URL")) is not None:
        import wandb  # here, because it takes seconds

        try:
            wandb.Settings(base_url=address)
        except ValueError as error:
            why = error.errors()[0]["msg"] if hasattr(error, "errors") else error
            raise TrackingError(f"WANDB_BASE_URL is {address!r}, which W&B does not take: {why}") from None


def publish(runs: Finished, commit: str) -> dict:
    """Write one W&B run per training run and send them; returns {seed: {"id", "mode"}}, empty where W&B could not be
    used.

    Any error from W&B becomes a warning: the runs are finished, and their files are authoritative.
    """
    try:
        if is_disabled():
            return {}
        names = write(runs, commit)
        if names and not is_offline() and not _recently_unreachable() and (why := send(names.values())):
            warn(f"{why}; the rest of this rebuild writes runs without sending them, and `bench publish` sends them")
        modes = {True: "online", False: "offline"}
        return {str(seed): {"id": name, "mode": modes[is_sent(name)]} for seed, name in names.items()}
    except Exception as error:
        warn(f"not published: {type(error).__name__}: {error}")
        return {}


def write(runs: Finished, commit: str) -> dict[int, str]:
    """Write one W&B run per training run to ``wandb/``, each once; returns their ids by seed."""
    history, rows = finished.tracked(runs)
    names = {}
    # In a contest without a finite trial, no seed ran.
    for seed in [seed for seed in runs.record["seeds"] if seed in set(rows["seed"])]:
        names[seed] = id_of(runs.record, seed)
        if not is_written(names[seed]):
            own = history[history["seed"] == seed], rows[rows["seed"] == seed]
            _write_one(runs.record, *own, commit, seed, names[seed])
    return names


def send(names: Iterable[str], timeout_s: float = STAGE_TIMEOUT_S) -> str:
    """Send those of these written runs that were not yet sent; returns why some were not, or nothing."""
    missing = [name for name in names if not is_sent(name)]
    if not missing:
        return ""
    folders = [str(max(_folders(name))) for name in missing]
    # A process of its own, which can be ended: a server may take a request and never answer. With W&B's variable, it
    # would ask the process that this one has started.
    alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", *folders],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=alone,
        start_new_session=True,
    )
    why = "it did not take all of them"
    try:
        said = process.stdout.readline()  # it has started, which takes a while itself
        said += process.communicate(timeout=timeout_s)[0]
    except subprocess.TimeoutExpired as error:
        said += (error.stdout or b"").decode(errors="replace")
        why = f"not within {timeout_s:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    left = [name for name in missing if not is_sent(name)]
    if not left:
        forget_failures()
        return ""
    write_text(SEND_LOG, said)
    if len(left) == len(missing):
        WANDB_UNREACHABLE.parent.mkdir(parents=True, exist_ok=True)
        WANDB_UNREACHABLE.touch()
    return f"the server did not answer for {len(left)} of {len(missing)} runs ({why}; {SEND_LOG} has what W&B said)"


def write_results(version: str, tables: dict[str, Path], figures: dict[str, Path], entries: dict[str, dict]) -> str:
    """Write one W&B run that holds the results tables, each as a table to look at and as a versioned artifact, and the
    figures, to ``wandb/``; returns its id.

    Args:
        entries: entries of the manifest, by table; they become the artifacts' metadata.
    """
    name = results_id(tables, figures)
    if not is_written(name):
        _write_results(name, version, tables, figures, entries)
    return name


def results_id(tables: dict[str, Path], figures: dict[str, Path]) -> str:
    """An id that is the same for the same bytes."""
    digest = hashlib.sha256()
    for path in [*tables.values(), *figures.values()]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@functools.cache
def _mode() -> str:
    """What the user's environment says, or else what ``wandb offline`` and ``wandb disabled`` have written."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    import wandb

    return wandb.setup().settings.mode


def is_disabled() -> bool:
    """Whether the user wants nothing of W&B."""
    return _mode() == "disabled"


def is_offline() -> bool:
    """Whether the user keeps W&B offline: the settings say so, or there is no key."""
    why = why_offline()
    if why == NO_KEY:
        warn("no API key: writing offline runs (`wandb login`, then `bench publish`, sends them)")
    return bool(why)


@functools.cache
def why_offline() -> str:
    """Why nothing may be sent; empty if it may."""
    if (mode := _mode()) in ("offline", "dryrun"):
        return f"W&B is set to {mode}"
    import wandb

    return "" if wandb.login(prompt=False, verify=False) else NO_KEY


def is_asked_online() -> bool:
    """Whether the user's environment says that all is to be sent."""
    return os.environ.get("WANDB_MODE") in ("online", "run")


def project() -> str:
    return os.environ.get("WANDB_PROJECT", PROJECT)


def app_url() -> str:
    """Of the server that is set, for people."""
    import wandb

    return wandb.Settings().app_url


def profile() -> str:
    """The profile of the runs here."""
    return read_json(CODE / "profile.json")["profile"]


def is_written(name: str) -> bool:
    """Whether this checkout has written the W&B run of this id."""
    return bool(_folders(name))


def is_sent(name: str) -> bool:
    """Whether a server has taken the W&B run of this id from this checkout."""
    return any((folder / f"run-{name}.wandb.synced").exists() for folder in _folders(name))


def _folders(name: str) -> list[Path]:
    around = Path(os.environ.get("WANDB_DIR", "."))
    return [path.parent for path in around.glob(f"wandb/offline-run-*-{name}/{WRITTEN}")]


def forget_failures() -> None:
    """Let the next stage try the server again."""
    WANDB_UNREACHABLE.unlink(missing_ok=True)


def _write_one(record: dict, history: pd.DataFrame, rows: pd.DataFrame, commit: str, seed: int, name: str) -> None:
    here, flat, row = profile(), layout.settings_of(record["settings"]), rows.iloc[0].dropna()
    study, configuration = record["study"], record["name"]
    with _run(
        id=name,
        name=f"{configuration} seed {seed}",
        group=f"{study}/{configuration}",
        job_type="train",
        tags=layout.tags_of(record, flat, here, seed),
        notes=layout.notes_of(study, configuration),
        config={
            **flat,
            **({"learning_rate": _plain(row["learning_rate"])} if "learning_rate" in row else {}),
            **{key: record[key] for key in IDENTITY},
            "study": study,
            "configuration": configuration,
            "profile": here,
            "dataset": layout.data_of(record, flat),
            "seed": seed,
            "commit": commit,
        },
    ) as run:
        metrics = set(history["metric"])
        run.define_metric(layout.STEP)
        run.define_metric("*", step_metric=layout.STEP)
        for metric in sorted(metrics):
            if (axis := layout.axis(metric, metrics)) != layout.STEP:
                run.define_metric(layout.key(metric), step_metric=axis)
        met, threshold = layout.met(metrics), row.get("stability_threshold")
        for step, values in history.pivot(index="step", columns="metric", values="value").iterrows():
            read = {layout.key(metric): value for metric, value in values.dropna().items()}
            if threshold is not None and met is not None and pd.notna(values[met]):
                read[layout.threshold(met)] = threshold
            run.log({layout.STEP: int(step), **read})
        run.summary.update({key: _plain(value) for key, value in row.items()})


def _write_results(name, version, tables, figures, entries) -> None:
    # W&B copies artifacts to this folder until they are sent; by default it is in the user's home.
    os.environ.setdefault("WANDB_DATA_DIR", str(Path("wandb").absolute()))
    import wandb

    with _run(
        id=name,
        name=f"results {version}",
        group=layout.RESULTS,
        job_type="results",
        tags=["results", version, profile()],
        notes=f"The results tables and figures of version {version}.",
        config={
            "version": version,
            "study": layout.RESULTS,
            "configuration": version,
            "profile": profile(),
            "tables": entries,
        },
    ) as run:
        for table, path in tables.items():
            shown = _table(table, path)
            kept = copy.copy(shown)  # an object belongs to one artifact, and `log` makes one
            run.log({layout.table_key(table): shown})
            artifact = wandb.Artifact(layout.slug(table), type="results-table", metadata=entries.get(table, {}))
            artifact.add_file(str(path), name=path.name)
            artifact.add(kept, "table")
            run.log_artifact(artifact, aliases=["latest", f"release-{version}"])
        for figure, path in figures.items():
            run.log({layout.figure_key(figure): wandb.Html(path.read_text(encoding="utf-8"), inject=False)})


def _table(table: str, path: Path):
    """A table as W&B shows it, with a first column of what identifies a row: the keys of its data card."""
    import wandb

    keys = pd.read_csv(path, dtype=str, keep_default_na=False)[list(catalog.cards()[table].keys)]
    # Empty cells stay empty: as numbers they would be nan, which W&B cannot tell from a result.
    frame = pd.read_csv(path).astype(object)
    frame = frame.where(frame.notna(), None)
    frame.insert(0, ROW, [", ".join(row) for row in keys.itertuples(index=False)])
    shown = wandb.Table(dataframe=frame, allow_mixed_types=True)
    shown.set_pk(ROW)
    return shown


@contextmanager
def _run(**arguments) -> Iterator:
    """A W&B run, written to a folder that is marked as whole at the end. It names neither machine nor person."""
    # W&B's own telemetry would wait at exit for a server that does not answer.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(
        mode="offline",
        host="",
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    with wandb.init(settings=settings, project=project(), reinit="finish_previous", **arguments) as run:
        folder = Path(run.dir).parent
        yield run
    (folder / WRITTEN).touch()


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


@functools.cache  # once a process
def warn(message: str) -> None:
    print(f"W&B: {message}", file=sys.stderr)
