"""Where files are, and how they are written: to a temporary file, then renamed, so that each is complete or absent."""

import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

CODE = Path("results/code")
RUNS = Path("runs")
META = Path("runs-meta")
TABLES = Path("results/tables")
CURVES = Path("results/curves")
FIGURES = Path("results/figures")
IMAGES = Path("data/images.npz")
CORPUS = Path("data/corpus.txt")
# Of every number in a table.
FLOAT = "%.10g"
# Neither result nor cache: progress, checkpoints, logs, locks.
STATE = Path(".bench")
# How the name of a file begins that is not yet whole; Git and DVC ignore it.
WRITING = ".writing."


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; renamed to ``path`` on success, removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{WRITING}{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object, sort_keys: bool = True) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    with _telling(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_yaml(path: Path) -> Any:
    """YAML 1.2, as DVC reads it."""
    with _telling(path):
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def read_csv(path: Path) -> pd.DataFrame:
    """A table."""
    with _telling(path):
        return pd.read_csv(path)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Raises ValueError, naming the file, for one that cannot be read as what it is."""
    try:
        yield
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}, is not UTF-8 text: save the file as UTF-8") from None
    except YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    except ValueError as error:  # of JSON and CSV too
        raise ValueError(f"{path} is damaged: {error}") from None


def write_yaml(path: Path, value: object) -> None:
    text, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(value, text)
    write_text(path, text.getvalue())


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Fixed column order, ten significant digits, LF, no index; missing values are empty cells."""
    write_text(path, table.to_csv(index=False, float_format=FLOAT, lineterminator="\n"))


def table_path(name: str) -> Path:
    return TABLES / f"{name}.csv"


def table_paths() -> dict[str, Path]:
    """Every results table that there is, by name."""
    return {path.relative_to(TABLES).with_suffix("").as_posix(): path for path in sorted(TABLES.rglob("*.csv"))}


def locks() -> list[Path]:
    """DVC's lock files, the root's first."""
    return [path for path in (Path("dvc.lock"), *sorted(Path("pipelines").glob("*/dvc.lock"))) if path.is_file()]


def read_tables(names: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Results tables by name."""
    return {name: read_csv(table_path(name)) for name in names}


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Zstandard parquet; equal tables give equal bytes with one version of pyarrow."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def prune(folder: Path, wanted: set[Path]) -> None:
    """Remove the files below a folder that are not wanted, and folders that are then empty."""
    for orphan in [path for path in folder.rglob("*") if path.is_file() and path not in wanted]:
        orphan.unlink()
    for left in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(left.iterdir()):
            left.rmdir()
