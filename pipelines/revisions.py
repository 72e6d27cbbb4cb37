"""Files of the project as they were committed: tables, claims and parameters at a Git revision."""

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
        if _git("rev-parse", "--git-dir").returncode != 0:
            raise RevisionError("this is no Git checkout (a downloaded archive has no history): clone the repository")
        raise RevisionError(f"no revision {revision!r} here: `git log --oneline` and `git tag` list the revisions")
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
    """The last commit that changed a file; None if there is none, or no history."""
    found = _git("log", "-1", "--format=%H", "--", path)
    return found.stdout.strip() or None if found.returncode == 0 else None


def _git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
