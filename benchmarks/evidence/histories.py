"""Reading the saved histories of runs, for notebooks."""

from pathlib import Path

import pandas as pd

CURVES = "curves.parquet"


def load_history(study: str, configuration: str, root: Path | str | None = None) -> pd.DataFrame:
    """The history of every seed of a configuration; available after ``dvc repro``, or after a clone and ``dvc pull``.

    Args:
        root: the repository's root; found from the working directory upwards if not given.

    Returns:
        the curves of its runs: for training, one row per seed, step and metric, with the columns seed, step, metric,
        value.

    Raises:
        FileNotFoundError: naming the configurations that exist, or the command that restores them.
    """
    root = Path(root) if root is not None else _root()
    runs = root / "runs" / study
    paths = sorted((runs / configuration).rglob(CURVES))
    if not paths:
        there = sorted({path.relative_to(runs).parts[0] for path in runs.rglob(CURVES)})
        known = f"there are {', '.join(there)}" if there else "there are no runs: run `dvc pull`"
        raise FileNotFoundError(f"no history of {study}/{configuration} in {root.resolve()}: {known}")
    history = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    by = [column for column in ("seed", "metric", "step") if column in history]
    return history.sort_values(by, kind="stable", ignore_index=True)


def _root() -> Path:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "params.yaml").is_file()), here)
