"""Files of the project as they were committed: tables, claims and parameters at a Git revision."""

import shutil
import subprocess

from pipelines.files import TABLES, table_paths


class RevisionError(ValueError):
    """A revision that does not exist or holds no results; the message says which."""


def resolve(revision: str) -> str:
    """The full hash of a commit.

    Raises:
        RevisionError: if there is no such revision, or no Git history at all.
    """
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode != 0:
        if not is_checkout():
            raise RevisionError("this is no Git checkout (a downloaded archive has no history): clone the repository")
        cure = "`git log` and `git tag` list those that are"
        if is_shallow():
            cure = "this clone has only the newest commits, and `git fetch --unshallow --tags` brings the others"
        raise RevisionError(f"no revision {revision!r} here: {cure}")
    return found.stdout.strip()


def read(revision: str, path: str) -> str:
    """A file's text at a revision.

    Raises:
        RevisionError: if it was not there.
    """
    found = _git("show", f"{revision}:{path}")
    if found.returncode != 0:
        raise RevisionError(f"revision {revision[:12]} has no {path}")
    return found.stdout


def tables(revision: str | None) -> dict[str, str]:
    """The text of every results table at a revision, or in the working tree if None, by name.

    Raises:
        RevisionError: if it has none.
    """
    if revision is None:
        texts = {name: path.read_text(encoding="utf-8") for name, path in table_paths().items()}
    else:
        listed = _git("ls-tree", "-r", "--name-only", "-z", revision, f"{TABLES}/").stdout.split("\0")
        tables = [path for path in listed if path.endswith(".csv")]
        texts = {path.removeprefix(f"{TABLES}/").removesuffix(".csv"): read(revision, path) for path in tables}
    if not texts:
        raise RevisionError(f"{f'revision {revision[:12]}' if revision else 'the working tree'} has no results tables")
    return dict(sorted(texts.items()))


def changed() -> list[str]:
    """What in the working tree is not committed, untracked files included."""
    return [line[3:] for line in _git("status", "--porcelain").stdout.splitlines()]


def last_change_of(path: str) -> str | None:
    """The last commit that changed a file; None if there is none, or no history.

    Raises:
        RevisionError: if the clone has only the newest commits, the oldest of which seems to have changed every file.
    """
    found = _git("log", "-1", "--format=%H %p", "--", path)
    commit, _, parents = found.stdout.strip().partition(" ")
    if commit and not parents and is_shallow():
        raise RevisionError(
            f"this clone has only the newest commits, and not the last change of {path}: `git fetch --unshallow` "
            "brings the others"
        )
    return commit or None if found.returncode == 0 else None


def is_checkout() -> bool:
    """Whether this folder has a Git history, as a downloaded archive has not."""
    return shutil.which("git") is not None and _git("rev-parse", "--git-dir").returncode == 0


def is_shallow() -> bool:
    """Whether this clone lacks older commits (``git clone --depth``)."""
    return _git("rev-parse", "--is-shallow-repository").stdout.strip() == "true"


def _git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
