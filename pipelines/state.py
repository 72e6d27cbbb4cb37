"""Where a rebuild keeps what is neither result nor cache: progress, checkpoints, logs, and word of a dead server."""

from pathlib import Path

ROOT = Path(".bench")
WANDB_UNREACHABLE = ROOT / "wandb-unreachable"


def progress(study: str, configuration: str, stack: str) -> Path:
    return ROOT / "progress" / f"{study}@{configuration}@{stack}.json"


def checkpoint(study: str, configuration: str, stack: str) -> Path:
    return ROOT / "checkpoints" / study / configuration / f"{stack}.pt"


def log(study: str, label: str) -> Path:
    return ROOT / "logs" / f"{study}@{label}.log"
