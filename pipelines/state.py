"""Where a rebuild keeps what is neither result nor cache: progress, checkpoints, logs, word of a dead server, and
a lock."""

from pathlib import Path

ROOT = Path(".bench")
WANDB_UNREACHABLE = ROOT / "wandb-unreachable"
RELEASE = ROOT / "release.lock"


def progress(study: str, configuration: str, stack: str) -> Path:
    return ROOT / "progress" / f"{study}@{configuration}@{stack}.json"


def checkpoint(study: str, configuration: str, stack: str) -> Path:
    return ROOT / "checkpoints" / study / configuration / f"{stack}.pt"


def log(study: str, label: str) -> Path:
    return ROOT / "logs" / f"{study}@{label}.log"
