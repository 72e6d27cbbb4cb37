"""``bench doctor``: what is wrong with the environment and the data, and how to fix it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.evidence import register
from benchmarks.studies import catalog
from pipelines import dvcfile, parameters, rebuild, revisions, sources, store, text_sources, tracking
from pipelines.files import CORPUS, IMAGES

FREE_GB = 2.0
STORE_MB = 40
# Whether it is fine, or None for what only some stages need; what was found; how to fix it.
Finding = tuple[bool | None, str, str]
MARKS = {True: "ok   ", False: "WRONG", None: "note "}


def main() -> int:
    """Print every finding; 1 if anything is wrong."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _place,
        _python,
        _packages,
        _tools,
        _parameters,
        _claims,
        _images,
        _text,
        _tracking,
        _disk,
    ]
    wrong = 0
    for check in checks:
        for fine, what, mend in check():
            print(f"{MARKS[fine]} {what}")
            if not fine:
                wrong += fine is False
                print(f"      fix: {mend}")
    print("\nall is well" if not wrong else f"\n{wrong} thing{'s' if wrong > 1 else ''} to fix")
    return 1 if wrong else 0


def _place() -> Iterator[Finding]:
    fine = Path("params.yaml").is_file() and Path("dvc.yaml").is_file()
    yield fine, "repository root" if fine else "no params.yaml here", "run from the repository's root"
    if not revisions.is_checkout():
        yield (
            None,
            "no Git history, as in a downloaded archive",
            (
                "rebuilding works all the same (plain DVC too, after the first `bench status`); releases, `bench diff` "
                "and `bench verify` need `git clone`"
            ),
        )
    elif revisions.is_shallow():
        yield (
            None,
            "a clone of the newest commits only",
            ("`bench check`, `bench diff` and `bench release` need the others: `git fetch --unshallow --tags`"),
        )


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield (
        (3, 11) <= sys.version_info[:2] <= (3, 12),
        f"Python {found}",
        "use Python 3.11 or 3.12: `make clean env PYTHON=python3.12`",
    )


def _packages() -> Iterator[Finding]:
    lock = Path("requirements.lock")
    if not lock.is_file():
        yield False, "no requirements.lock", "restore it from Git"
        return
    for name in ("torch", "torchvision", "dvc", "wandb", "numpy", "pandas", "pyarrow", "scipy"):
        pins = re.findall(rf"^{name}==([^ \n]+)(?: ;[^\n]*python_full_version (<|>=) '3\.12')?", lock.read_text(), re.M)
        new = sys.version_info >= (3, 12)
        wanted = next((pin for pin, side in pins if not side or (side == ">=") == new), None)
        try:
            found = version(name)
        except PackageNotFoundError:
            found = None
        yield found == wanted, f"{name} {found or 'is not installed'}", f"`make env` installs {name} {wanted}"


def _tools() -> Iterator[Finding]:
    yield shutil.which("git") is not None, "git on the path", "install git"
    python = shutil.which("python")
    same = python is not None and os.path.samefile(python, sys.executable)
    # Stages call `python`; bench and the Makefile put the environment first, a bare `dvc repro` needs it activated.
    yield (
        same,
        "`python` is this environment's",
        "`source .venv/bin/activate` before a bare `dvc repro` (make and bench do it themselves)",
    )


def _parameters() -> Iterator[Finding]:
    for path in (parameters.PATH, *sorted(Path().glob("params.*.yaml"))):
        try:
            parameters.load() if path == parameters.PATH else parameters.profile(path.name.split(".")[1])
            yield True, f"{path} is valid", ""
        except parameters.ParametersError as error:
            yield False, str(error), f"correct {path}"
            return
    try:
        dvcfile.require_current(parameters.load())
        yield True, "the dvc.yaml files are those of params.yaml and the declarations", ""
    except dvcfile.DvcFileError as error:
        yield False, str(error), "`bench stages`"


def _claims() -> Iterator[Finding]:
    try:
        yield True, f"{len(catalog.registered())} claims are registered", ""
    except register.ClaimsError as error:
        yield False, str(error), "correct the claims"


def _images() -> Iterator[Finding]:
    try:
        data = parameters.load().data
    except parameters.ParametersError:
        return
    yield _data(
        IMAGES,
        "digits, which are installed with scikit-learn" if data.source == "digits" else "CIFAR-10",
        lambda: sources.from_archive(IMAGES),
        sources.cifar10_routes(Path.cwd(), data.source) if data.source != "digits" else [],
        lambda arrays, origin: sources.checked(arrays, data.source, data.sha256.model_dump(), origin),
        False,
        f"put {sources.ARCHIVE} or cifar-10-batches-py into data/raw or where CIFAR10_ROOT points, or be online: "
        "torchvision then downloads it. `make quick` needs no data",
    )


def _text() -> Iterator[Finding]:
    try:
        asked = parameters.load().corpus
    except parameters.ParametersError:
        return
    own = asked.source == "markov-chain"
    yield _data(
        CORPUS,
        "a Markov chain's text, which this package writes" if own else "Tiny Shakespeare",
        CORPUS.read_bytes,
        [] if own else text_sources.routes(Path.cwd(), asked.sha256),
        lambda content, origin: text_sources.verified(content, asked.sha256, origin),
        None,
        "only stages that take text need it: be online when one runs (it is then downloaded), or put "
        f"{text_sources.NAMES[0]} into data/raw or where TINYSHAKESPEARE points",
    )


def _data(
    prepared: Path,
    data: str,
    load: Callable[[], Any],
    routes: list[sources.Route],
    verified: Callable[[Any, str], Any],
    absent: bool | None,
    mend: str,
) -> Finding:
    """Whether the prepared file or, before there is one, a route other than the download has the pinned data.

    Args:
        data: what they are.
        routes: the last is the download; empty if the data need none.
        absent: what to find where none has them.
    """
    if prepared.is_file():
        try:
            verified(load(), str(prepared))
            return True, f"{prepared} holds the pinned data: {data}", ""
        except sources.DataError as error:
            return False, str(error), f"remove {prepared}; `bench repro` makes it again"
    if not routes:
        return True, f"data: {data}", ""
    try:
        _, route = sources.first_of(routes[:-1], verified)
        return True, f"{data} by {route}", ""
    except sources.DataError as error:
        return absent, f"{data} is not here ({'; '.join(map(str.strip, str(error).splitlines()))})", mend


def _tracking() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE", "online where a key is found, else offline")
    try:
        tracking.require_settings()
        yield True, f"W&B mode: {mode}", ""
    except tracking.TrackingError as error:
        yield False, str(error), "unset the variable, or correct it"
    answered = not tracking.WANDB_UNREACHABLE.exists()
    yield (
        answered,
        "no W&B failure on record" if answered else "W&B did not answer in the last rebuild, which continued offline",
        "`bench repro` tries again; `bench publish` sends what was written offline",
    )


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / 1e9
    yield free > FREE_GB, f"{free:.0f} GB of disk free", f"free at least {FREE_GB:.0f} GB"
    yield rebuild.is_readable(rebuild.RWLOCK), f"DVC's {rebuild.RWLOCK}", "`bench status` removes the damaged file"
    try:
        store.require_sound()
    except store.StoreError as error:
        yield False, str(error), f"`git restore {store.STORE}`"
    size = store.megabytes()
    yield size < STORE_MB, f"embedded store: {size:.1f} MB", "`bench push` prunes it of superseded runs"
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "list"], capture_output=True, text=True, check=False
    ).stdout.split()
    yield bool(listed), f"DVC remote: {listed[0] if listed else 'none'}", "restore .dvc/config from Git"
