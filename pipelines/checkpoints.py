"""How far a stage has progressed, for display; checkpoints from which an interrupted run continues; and what a finished
stage has made, until DVC has recorded it."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pipelines.files import STATE, read_yaml, replacing, write_json, write_text

CHECKPOINT_EVERY_S = float(os.environ.get("BENCH_CHECKPOINT_SECONDS", "20"))
PROGRESS_EVERY_S = 1.0


def progress(path: str):
    """The progress file of the stage at this path."""
    return STATE / "progress" / f"{path.replace('/', '@')}.json"


class Clock:
    """Writes the progress of a stage, once a second, to a file that ``bench`` reads."""

    def __init__(self, path: str):
        self.path = progress(path)
        self.last = 0.0
        self.ticked = False

    def tick(self, done: int, planned: int) -> None:
        """``done`` of ``planned`` steps, or runs, are done."""
        self.ticked = True
        if time.time() - self.last >= PROGRESS_EVERY_S or done == planned:
            self.last = time.time()
            write_json(self.path, {"done": done, "planned": planned})

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


class Checkpoints:
    """The last checkpoint of a stage, if it belongs to exactly this run: settings, seeds, data and code are its key."""

    def __init__(self, path: str, asked: dict):
        self.path = STATE / "checkpoints" / f"{path}.pt"
        self.key = _key(asked)
        self.earlier_s = 0.0
        self.resumed = False
        self.started = self.last = time.time()

    def resume(self) -> dict | None:
        """The state to continue from; None to start from the beginning."""
        saved = self._load()
        if saved is None:
            return None
        self.earlier_s, self.resumed = saved["seconds"], True
        print(f"continuing from step {saved['step']}", file=sys.stderr)
        return saved["state"]

    def observe(self, step: int, checkpoint: Callable[[], dict]) -> None:
        """Keep what ``checkpoint`` returns, if the last one is old enough."""
        if time.time() - self.last < CHECKPOINT_EVERY_S:
            return
        import torch

        with replacing(self.path) as temporary:
            seconds = self.earlier_s + time.time() - self.started
            torch.save({"key": self.key, "seconds": seconds, "state": checkpoint()}, temporary)
        self.last = time.time()

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def start_again(self) -> None:
        """After a checkpoint that cannot be continued."""
        self.forget()
        self.earlier_s, self.resumed = 0.0, False

    def _load(self) -> dict | None:
        """The saved checkpoint; None if there is none, it belongs to another run, or it cannot be read."""
        import torch

        if not self.path.is_file():
            return None
        try:
            saved = torch.load(self.path, weights_only=True)
            known = {"key": saved["key"], "seconds": float(saved["seconds"]), "state": saved["state"]}
            known["step"] = saved["state"]["loop"]["step"]
        except Exception as error:  # a damaged file can fail in any way that pickles and archives can
            print(f"ignoring an unreadable checkpoint, {self.path}: {error}", file=sys.stderr)
            return None
        return known if known["key"] == self.key else None


class Finished:
    """What a stage has made, linked to another place until DVC has recorded it: a disk that fills just then costs
    no training. Links take no room."""

    def __init__(self, path: str, asked: dict):
        self.folder = finished(path)
        self.key = _key(asked)

    def keep(self, outputs: Iterable[Path]) -> bool:
        """Whether the files of these outputs could be kept."""
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            for out in outputs:
                for file in [out] if out.is_file() else out.rglob("*"):
                    _link(file, self.folder / "files" / file)
            write_text(self.folder / "key", self.key)
        except OSError:
            return False
        return True

    def restore(self, recorded: bool) -> bool:
        """Whether the outputs of exactly this run were kept, and are now in their places.

        Args:
            recorded: DVC has them; this is another run of the same, which someone forced.
        """
        key = self.folder / "key"
        if recorded or not key.is_file() or key.read_text(encoding="utf-8") != self.key:
            return False
        for file in [path for path in (self.folder / "files").rglob("*") if path.is_file()]:
            place = file.relative_to(self.folder / "files")
            place.unlink(missing_ok=True)
            _link(file, place)
        return True


def finished(path: str) -> Path:
    """Where `Finished` keeps what the stage at this path has made."""
    return STATE / "finished" / path


def is_recorded(lock: Path, code: Path) -> bool:
    """Whether DVC's lock file has a run with this file of settings and fingerprints as it is now."""
    md5 = hashlib.md5(code.read_bytes(), usedforsecurity=False).hexdigest()
    stages = (read_yaml(lock) if lock.is_file() else {}).get("stages") or {}
    return any(dep.get("md5") == md5 for one in stages.values() for dep in one.get("deps", ()))


def _key(asked: dict) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, place)
