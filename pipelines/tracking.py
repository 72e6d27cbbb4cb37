"""W&B: publishes a finished run from its history. A view, never the truth: no failure here fails or stalls a run.

Online only by the user's own environment (``WANDB_MODE``, an API key). Without a key, or after a failure, runs are
written offline; a marker keeps the rest of a rebuild offline, so that a dead server is paid for once.
"""

import functools
import hashlib
import json
import os
import sys
import time

import pandas as pd

from pipelines.state import WANDB_UNREACHABLE

PROJECT = "optimization-dynamics-benchmark"
INIT_TIMEOUT_S = 10
FINISH_TIMEOUT_S = 10
# A later stage of the same rebuild still finds the marker; an older one is forgotten.
MARKER_LIFE_S = 3600


def run_id(study: str, configuration: str, seed: int, identity: dict) -> str:
    """The same for the same parameters, code and data: ``identity`` is all that determines a stage's numbers."""
    text = json.dumps([study, configuration, seed, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def publish(history: pd.DataFrame, rows: pd.DataFrame, summary: dict, identity: dict, commit: str) -> dict:
    """Write one W&B run per training run; returns {seed: {"id", "mode"}}, empty where W&B could not be used.

    Args:
        history: seed, step, metric, value.
        rows: the runs' rows of the long table; they become the summaries.
        summary: the stage's summary.json.
        identity: settings, seeds, data, compute and code fingerprint.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return {}
    try:
        published = {}
        for seed in summary["seeds"]:
            name = run_id(summary["study"], summary["configuration"], seed, identity)
            mode = _publish_one(history[history["seed"] == seed], rows, summary, identity, commit, seed, name)
            published[str(seed)] = {"id": name, "mode": mode}
        return published
    except Exception as error:  # whatever W&B raises, the run is finished and its files are the truth
        _warn(f"not published: {type(error).__name__}: {error}")
        return {}


def forget_failures() -> None:
    """A new rebuild tries the server again."""
    WANDB_UNREACHABLE.unlink(missing_ok=True)


def _publish_one(history, rows, summary, identity, commit, seed, name) -> str:
    study, configuration = summary["study"], summary["configuration"]
    run = _start(
        id=name,
        name=f"{configuration} seed {seed}",
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=study,
        job_type="train",
        tags=[study, configuration, summary["profile"], summary["settings"]["optimizer"]["name"]],
        config={**identity, "study": study, "configuration": configuration, "seed": seed, "commit": commit},
        resume="allow",
        reinit="finish_previous",
    )
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    wide = history.pivot(index="step", columns="metric", values="value")
    for step, values in wide.iterrows():
        run.log({"step": int(step), **values.dropna().to_dict()})
    row = rows[rows["seed"] == seed].iloc[0]
    run.summary.update({key: _plain(value) for key, value in row.items() if not pd.isna(value)})
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
    arguments["settings"] = settings
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun"):
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
