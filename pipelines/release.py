"""``bench check`` and ``bench release``: results under one MAJOR.MINOR are comparable; a release is a commit and tags.

The state of the last release is found in the history, as the last commit that changed results/CHANGELOG.md, which only
a release writes: no tag is needed.
"""

import datetime
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from pipelines import diff, manifest, parameters, rebuild, revisions, store
from pipelines.files import write_text

CHANGES = Path("results/CHANGELOG.md")
PROJECT = Path("pyproject.toml")
LOG = Path("CHANGELOG.md")
# What a release writes; undone if it fails halfway.
WRITTEN = ("pyproject.toml", "CITATION.cff", "results", "dvc.lock")
# The root stages that hold the version.
STAGES = ("pages", "manifest")
PUSH = "push with: git push --follow-tags"
HEAD = (
    "# Releases of the results\n\nResults under the same MAJOR.MINOR are comparable: no number moved beyond the "
    "tolerance of its column, no verdict moved. Written by `bench release`.\n"
)


class ReleaseError(ValueError):
    """Why there is no release; nothing was changed."""


@dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int
    patch: int

    @classmethod
    def of(cls, text: str) -> "Version":
        """Raises ReleaseError unless the text has the form X.Y.Z."""
        if not re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", text):
            raise ReleaseError(f"a version has the form X.Y.Z, such as 1.4.0, not {text!r}")
        return cls(*map(int, text.split(".")))

    def comparable_with(self, other: "Version") -> bool:
        return (self.major, self.minor) == (other.major, other.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def check(version: str | None = None) -> list[str]:
    """Check the manifest, the tables and the versioning rule; returns lines that say what was checked.

    Args:
        version: the version that the results are about to get; that of CITATION.cff if not given.

    Raises:
        ManifestError: if anything here disagrees with the manifest.
        StoreError: if a file of the store is not what its name says.
        ReleaseError: if a number moved beyond tolerance since the last release, under its MAJOR.MINOR.
        RevisionError: if this clone lacks the commit of the last release.
    """
    store.require_sound()
    checked = parameters.load()
    named = manifest.load()
    tables = revisions.tables(None)
    manifest.require_agreement(named, checked, tables)
    lines = [f"{len(tables)} tables agree with the manifest, their cards, parameters, code and locks"]
    written = re.search(r'^version = "(.+)"$', PROJECT.read_text(encoding="utf-8"), re.MULTILINE)
    if written is None or written[1] != manifest.version():
        raise ReleaseError(f"{PROJECT} has version {written and written[1]}, {manifest.CITATION} {manifest.version()}")
    base = revisions.last_change_of(str(CHANGES))
    if base is None:
        lines.append("no earlier release in this history: nothing to compare with")
        return lines
    before = Version.of(manifest.load(revisions.read(base, str(manifest.MANIFEST)))["version"])
    now = Version.of(version or manifest.version())
    found = diff.diff(base, None)
    if now.comparable_with(before) and found.beyond:
        raise ReleaseError(
            f"{len(found.beyond)} numbers moved beyond tolerance since {before}, and {now} is comparable with it:\n"
            + "\n".join(f"  {line}" for line in found.beyond[:10])
            + ("\n  ..." if len(found.beyond) > 10 else "")
            + f"\nraise the MINOR version (`bench release {now.major}.{now.minor + 1}.0`), or find out why they moved"
        )
    how = "comparable with" if now.comparable_with(before) else "another MAJOR.MINOR than"
    lines.append(f"{now} is {how} {before}: {len(found.moved)} cells moved, {len(found.beyond)} beyond tolerance")
    return lines


def release(text: str, since: str | None) -> list[str]:
    """Check, write, commit and tag a release; returns lines that say what was done.

    An interrupted release is resumed: half-written files are put aside first, and missing tags are added.

    Args:
        since: the revision that the first release is compared with; later ones know their predecessor.

    Raises:
        ReleaseError, ManifestError, RevisionError, RebuildError: with nothing changed.
    """
    version = Version.of(text)
    with rebuild.alone() as held:  # a stage of a release that was killed inherits the lock
        _put_aside()
        last = revisions.last_change_of(str(CHANGES))
        if last and (missing := _missing_tags(last, version)):
            _tag(last, version, missing)
            return [f"{version} was committed before ({last[:12]}): {len(missing)} tags added", PUSH]
        tags = _tags(version, Path("dvc.yaml").read_text(encoding="utf-8"))
        _require_ready(version, tags)
        lines = check(text)
        _commit(version, last or since, held)
        _tag("HEAD", version, tags)
        done = f"committed and tagged v{version}, and {len(tags) - 1} tables as NAME@v{version}"
        return [*lines, done, PUSH]


def _put_aside() -> None:
    """Put aside what a killed release had written: its section of results/CHANGELOG.md comes first, and only a release
    writes one."""
    sections = CHANGES.read_text(encoding="utf-8").count("\n## ") if CHANGES.is_file() else 0
    if sections > _git("show", f"HEAD:{CHANGES}").stdout.count("\n## "):
        _git("stash", "push", "-q", "-u", "-m", "half of a release", "--", *WRITTEN)
        print("put aside what an interrupted release had written: `git stash drop` discards it", flush=True)


def _commit(version: Version, base: str | None, held: int) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        _write(version, today, diff.markdown(diff.diff(base, None)) if base else "- The first release.")
        for stage in STAGES:
            if rebuild.dvc("repro", "-q", "--single-item", stage, pass_fds=(held,)).returncode != 0:
                raise ReleaseError(f"stage {stage} failed; its output is above")
        if rebuild.dvc("repro", "-q", "fingerprint", pass_fds=(held,)).returncode != 0:
            raise ReleaseError("stage fingerprint failed; its output is above")
        _git("add", "--", *WRITTEN)
        _git("commit", "-q", "-m", f"Release {version}")
    except BaseException:
        _git("reset", "-q")
        _git("checkout", "-q", "--", *WRITTEN)
        if not revisions.last_change_of(str(CHANGES)):
            CHANGES.unlink(missing_ok=True)
        raise


def _tags(version: Version, pipeline: str) -> list[str]:
    """The tags of the repository and of the tables that a dvc.yaml registers as artifacts."""
    whole = YAML(typ="safe").load(pipeline)
    return [f"v{version}", *(f"{name}@v{version}" for name in whole.get("artifacts") or {})]


def _missing_tags(commit: str, version: Version) -> list[str]:
    """The tags that the last release does not have, if it is this version and nothing else has one of its tags."""
    if manifest.load(revisions.read(commit, str(manifest.MANIFEST)))["version"] != str(version):
        return []
    tags = _tags(version, revisions.read(commit, "dvc.yaml"))
    there = set(_git("tag", "--points-at", commit).stdout.split())
    missing = [tag for tag in tags if tag not in there]
    return [] if set(missing) & set(_git("tag", "--list").stdout.split()) else missing


def _tag(commit: str, version: Version, tags: list[str]) -> None:
    for tag in tags:
        _git("tag", "-a", tag, "-m", f"Release {version}", commit)


def _require_ready(version: Version, tags: list[str]) -> None:
    dirty = revisions.changed()
    if dirty:
        listed = ", ".join(dirty[:5]) + (", ..." if len(dirty) > 5 else "")
        raise ReleaseError(f"the tree is dirty: commit or stash first ({listed})")
    if version < Version.of(manifest.version()):
        raise ReleaseError(f"{version} is below {manifest.version()}, which the results already have")
    known = set(_git("tag", "--list").stdout.split())
    if taken := [tag for tag in tags if tag in known]:
        raise ReleaseError(f"tag {taken[0]} exists: a release is never changed, choose a higher version")
    if f"## {version} " not in LOG.read_text(encoding="utf-8"):
        raise ReleaseError(f"{LOG} has no section `## {version} (date)`: say what changed, commit, then release")
    if stale := rebuild.stale():
        raise ReleaseError(f"stale: {', '.join(list(stale)[:5])}: `bench repro` first, commit, then release")


def _write(version: Version, today: str, changes: str) -> None:
    earlier = CHANGES.read_text(encoding="utf-8").removeprefix(HEAD) if CHANGES.is_file() else ""
    write_text(CHANGES, f"{HEAD}\n## {version} ({today})\n\n{changes}\n{earlier}")
    _substitute(PROJECT, r'^version = ".*"$', f'version = "{version}"')
    _substitute(manifest.CITATION, r"^version: .*$", f"version: {version}")
    _substitute(manifest.CITATION, r"^date-released: .*$", f"date-released: {today}")


def _substitute(path: Path, pattern: str, line: str) -> None:
    text, count = re.subn(pattern, line, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    if count != 1:
        raise ReleaseError(f"{path} has no line like {line!r}")
    write_text(path, text)


def _git(*arguments: str) -> subprocess.CompletedProcess:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0 and arguments[0] in ("add", "commit", "stash", "tag"):
        raise ReleaseError(f"git {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done
