"""The embedded store, from which a clone restores runs; it holds only what the current configurations produce.

It has the layout of DVC's cache: ``files/md5`` holds each file under the hash of its content (a directory is a list of
such hashes), ``runs`` the run cache.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines import rebuild
from pipelines.files import WRITING, locks, read_yaml, replacing

STORE = Path("results/store")
OBJECTS = Path("files/md5")
RUNS = Path("runs")
SHOWN = 3


class StoreError(RuntimeError):
    """The store could not be completed; nothing that the lock files name was removed from it."""


@dataclass(frozen=True)
class Pushed:
    """``dropped``: superseded run-cache entries. ``unfinished``: stages without a result, because of which nothing was
    dropped."""

    dropped: int
    megabytes: float
    unfinished: list[str]


@dataclass(frozen=True)
class _Pipelines:
    """What DVC says about the existing stages. ``outs``: their cached outputs, path by hash."""

    cache: Path
    outs: dict[str, str]
    unfinished: list[str]


def push() -> Pushed:
    """Make the store hold the current runs and their run-cache entries, and nothing else.

    First whatever is missing is added, then everything is checked, and only then is anything removed: if interrupted at
    any moment, the store has at least what it had before. ``dvc push`` is not used: it takes a directory as complete if
    its list of files is in the store, and does not notice when the cache lacks a file.

    Raises:
        StoreError: if an output is intact in neither the store nor the cache.
    """
    with rebuild.alone():
        present = _present()
        named = _named_by_locks() | present.outs
        try:
            kept = _bring_outputs(named, present) | _bring_runs(set(named), present.cache)
            dropped = 0 if present.unfinished else _drop_all_but(kept)
        except OSError as error:
            said = f"{error.strerror}: {error.filename}; nothing that the lock files name was removed"
            raise StoreError(said) from error
        return Pushed(dropped, megabytes(), present.unfinished)


def require_sound() -> None:
    """Every file of the store must be what its name says, and name nothing outside this folder: DVC takes its word.

    Raises:
        StoreError: naming the first that are not.
    """
    faults = [f"  {path}: {fault}" for path in sorted(STORE.rglob("*")) if (fault := _fault(path))]
    if faults:
        listed = "\n".join(faults[:SHOWN]) + ("\n  ..." if len(faults) > SHOWN else "")
        raise StoreError(
            f"{len(faults)} files of {STORE} are damaged or were changed; `git restore {STORE}` brings the committed "
            f"ones back, and if they are these, do not `dvc pull`:\n{listed}"
        )


def _fault(path: Path) -> str:
    """What is wrong with a file of the store, or nothing."""
    if path.is_symlink():
        return "a link"
    if not path.is_file() or path.name.startswith(WRITING):
        return ""
    kind = path.relative_to(STORE).parts[0]
    if kind == OBJECTS.parts[0]:
        if not _whole(path):
            return "its content does not match its name"
        named = [entry["relpath"] for entry in json.loads(path.read_bytes())] if path.suffix == ".dir" else []
    elif kind == RUNS.name:
        if (outs := _outs(path)) is None:
            return "it cannot be read"
        named = [out["path"] for out in outs]
    else:
        return "nothing that DVC keeps there"
    leads_out = [name for name in map(PurePosixPath, named) if name.is_absolute() or ".." in name.parts]
    return f"it names a file outside, {leads_out[0]}" if leads_out else ""


def megabytes() -> float:
    """The size of the store."""
    return sum(p.stat().st_size for p in STORE.rglob("*") if p.is_file()) / 1e6


def _present() -> _Pipelines:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = [out for out in repo.index.outs if out.use_cache and out.can_push]
            return _Pipelines(
                Path(repo.cache.legacy.path),
                {out.hash_info.value: str(out) for out in outs if out.hash_info},
                sorted({out.stage.addressing for out in outs if not out.hash_info}),
            )
    except DvcException as error:
        raise StoreError(f"DVC cannot read the pipelines: {rebuild.explained(str(error))}") from error


def _named_by_locks() -> dict[str, str]:
    """Path by hash of every output in the lock files."""
    return {
        out["md5"]: out["path"]
        for lock in locks()
        for stage in (read_yaml(lock) or {}).get("stages", {}).values()
        for out in stage.get("outs", [])
        if "md5" in out
    }


def _bring_outputs(named: dict[str, str], present: _Pipelines) -> set[Path]:
    """Add the current outputs that the store lacks; returns the places of all that the lock files name.

    Raises:
        StoreError: naming the files that are intact in neither the store nor the cache.
    """
    places, wrong, total = set(), [], 0
    for md5, out in named.items():
        for path, label in _files(md5, out):
            places.add(path)
            # What no stage produces any more, and what is not cached, may stay, but is not required.
            if md5 in present.outs:
                total += 1
                if not _bring(path, present.cache):
                    wrong.append(f"{'damaged' if (STORE / path).exists() else 'missing'} {STORE / path} ({label})")
    if wrong:
        listed = "\n".join(f"  {line}" for line in wrong[:SHOWN]) + ("\n  ..." if len(wrong) > SHOWN else "")
        raise StoreError(
            f"{len(wrong)} of the {total} files that the lock files name are intact in neither {STORE} nor the cache "
            f"here; nothing was removed:\n{listed}\n`git restore {STORE}`, then `dvc pull`, restore what is "
            "committed; `bench repro` remakes the rest"
        )
    return places


def _files(md5: str, out: str) -> Iterator[tuple[Path, str]]:
    """The place of an output in the store, and those of its files if it is a directory that the store has by then."""
    path = _place(md5)
    yield path, out
    if md5.endswith(".dir") and _whole(STORE / path):
        for entry in json.loads((STORE / path).read_bytes()):
            yield _place(entry["md5"]), f"{out}/{entry['relpath']}"


def _place(md5: str) -> Path:
    return Path(OBJECTS, md5[:2], md5[2:])


def _bring(path: Path, cache: Path) -> bool:
    """Whether the store has that file whole, from the cache if need be."""
    if not _whole(STORE / path):
        if not _whole(cache / path):
            return False
        _copy(path, cache)
    return True


def _whole(path: Path) -> bool:
    """Whether the file exists, and its content matches its name."""
    if not path.is_file():
        return False
    name = path.parent.name + path.name.removesuffix(".dir")
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == name


def _bring_runs(named: set[str], cache: Path) -> set[Path]:
    """Add to the store the run-cache entries all of whose outputs are named; the places of those that it then has."""
    kept = set()
    for folder in (STORE, cache):
        for entry in sorted((folder / RUNS).glob("*/*/[!.]*")):
            path = entry.relative_to(folder)
            outs = _outs(entry)
            if path not in kept and outs is not None and {out["md5"] for out in outs} <= named:
                kept.add(path)
                if folder == cache:
                    _copy(path, cache)
    return kept


def _outs(entry: Path) -> list[dict] | None:
    """The outputs of a run-cache entry; None if it is damaged, as a full disk leaves one."""
    try:
        return (read_yaml(entry) or {}).get("outs", [])
    except ValueError:
        return None


def _copy(path: Path, cache: Path) -> None:
    with replacing(STORE / path) as temporary:
        shutil.copyfile(cache / path, temporary)


def _drop_all_but(kept: set[Path]) -> int:
    """Remove the other files of the store; how many run-cache entries were among them."""
    others = [path for path in STORE.rglob("*") if path.is_file() and path.relative_to(STORE) not in kept]
    for path in others:
        path.unlink(missing_ok=True)
    return sum(STORE / RUNS in path.parents for path in others)
