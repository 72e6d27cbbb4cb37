"""How far a stage has progressed, for display, and checkpoints from which an interrupted run continues."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable

from pipelines.files import STATE, replacing, write_json

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

    def tick(self, done: int, planned: int) -> None:
        """``done`` of ``planned`` steps, or runs, are done."""
        if time.time() - self.last >= PROGRESS_EVERY_S or done == planned:
            self.last = time.time()
            write_json(self.path, {"done": done, "planned": planned})

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


class Checkpoints:
    """The last checkpoint of a stage, if it belongs to exactly this run: settings, seeds, data and code are its key."""

    def __init__(self, path: str, asked: dict):
        self.path = STATE / "checkpoints" / f"{path}.pt"
        self.key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        self.earlier_s = 0.0
        self.resumed = False
        self.started = self.last = time.time()

    def resume(self) -> dict | None:
        """The state to continue from; None to start from the beginning."""
        saved = self._load()
        if saved is None:
            return None
        self.earlier_s, self.resumed = saved["seconds"], True
        print(f"continuing from step {saved['state']['loop']['step']}", file=sys.stderr)
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

    def _load(self) -> dict | None:
        """The saved checkpoint; None if there is none, it belongs to another run, or it cannot be read."""
        import torch

        if not self.path.is_file():
            return None
        try:
            saved = torch.load(self.path, weights_only=True)
        except Exception as error:  # a damaged file can fail in any way that pickles and archives can
            print(f"ignoring an unreadable checkpoint, {self.path}: {error}", file=sys.stderr)
            return None
        return saved if saved.get("key") == self.key else None
