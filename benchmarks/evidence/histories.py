"""Reading what runs left behind, for notebooks and for the table stage."""

import json
from pathlib import Path

import pandas as pd


def load_history(study: str, configuration: str, root: Path | str | None = None) -> pd.DataFrame:
    """The history of every seed of a configuration, as after ``dvc repro`` or a clone and ``dvc pull``.

    Args:
        root: the repository's root; found from the working directory upwards if not given.

    Returns:
        one row a seed, step and metric, with the columns seed, step, metric, value.

    Raises:
        FileNotFoundError: naming the configurations there are, or the command that brings them.
    """
    root = Path(root) if root is not None else _root()
    folder = root / "runs" / study / configuration
    paths = sorted(folder.glob("*/history.parquet"))
    if not paths:
        there = sorted(p.parent.parent.name for p in folder.parent.glob("*/*/history.parquet"))
        known = f"there are {', '.join(dict.fromkeys(there))}" if there else "there are no runs: `dvc pull` brings them"
        raise FileNotFoundError(f"no history of {study}/{configuration} in {root.resolve()}: {known}")
    history = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    return history.sort_values(["seed", "metric", "step"], kind="stable", ignore_index=True)


def _root() -> Path:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "params.yaml").is_file()), here)


def load_stage(folder: Path) -> tuple[pd.DataFrame, dict]:
    """The history and the summary of one stage's run folder."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return pd.read_parquet(folder / "history.parquet"), summary
