"""The embedded store: what a clone restores runs from, kept to what the present configurations produce."""

import shutil
from pathlib import Path

from ruamel.yaml import YAML

from pipelines.rebuild import RebuildError, dvc

STORE = Path("results/store")
RUN_CACHE = Path(".dvc/cache/runs")


def push() -> tuple[int, float]:
    """Make the store hold the present runs and their run-cache entries, and nothing else.

    Returns:
        run-cache entries dropped, megabytes in the store.

    Raises:
        RebuildError: with what DVC said, if it cannot push; the old store is then still in place.
    """
    dropped = _drop_superseded_entries()
    old = STORE.with_name(STORE.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if STORE.is_dir():
        STORE.rename(old)
    done = dvc("push", "-q", "--run-cache", capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(STORE, ignore_errors=True)
        if old.is_dir():
            old.rename(STORE)
        raise RebuildError(f"dvc push failed: {done.stderr.strip()}")
    shutil.rmtree(old, ignore_errors=True)
    return dropped, megabytes()


def megabytes() -> float:
    """The size of the store."""
    return sum(p.stat().st_size for p in STORE.rglob("*") if p.is_file()) / 1e6


def _drop_superseded_entries() -> int:
    """Remove the run-cache entries whose outputs no lock file names."""
    present = {
        out["md5"]
        for lock in [Path("dvc.lock"), *Path("pipelines").glob("*/dvc.lock")]
        if lock.is_file()
        for stage in _yaml(lock)["stages"].values()
        for out in stage.get("outs", [])
        if "md5" in out
    }
    superseded = [
        path for path in RUN_CACHE.glob("*/*/*") if not {out["md5"] for out in _yaml(path).get("outs", [])} <= present
    ]
    for path in superseded:
        path.unlink()
    return len(superseded)


def _yaml(path: Path) -> dict:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
