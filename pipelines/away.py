"""Training stages on other machines: what they need goes out, DVC's lock entry and the objects that it names come back.

`perform` runs on a worker, which needs Python with the benchmark's dependencies and nothing else: no clone, no shared
files, no DVC remote. It runs a stage as `bench repro` does here, by ``dvc repro --single-item`` in a folder of its own.
`work` gives stages to an engine (`pipelines.engines`) and takes in what comes back as it comes; whether that is what
this workspace asks for, DVC decides, as always.
"""

import fcntl
import hashlib
import importlib.metadata
import io
import itertools
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from benchmarks.studies import entries
from benchmarks.studies.schema import Strict
from pipelines import provenance
from pipelines.files import read_json, replacing
from pipelines.stages import Stage

LOG_END = 20_000
# A shell that ends what it runs when its parent ends, however that ends: only the parent holds the pipe open that it
# reads. Engines kill workers with SIGKILL, which a worker cannot pass on.
SUPERVISED = 'exec 3<&0; (cat <&3; kill -KILL 0) >/dev/null 2>&1 & exec 3<&-; "$@" </dev/null'


class AwayError(RuntimeError):
    """Stages cannot run on other machines; what was finished has been taken in."""


class Lost(Exception):
    """A worker or its job ended without a result; ``again`` says whether it is worth another try."""

    def __init__(self, why: str, again: bool = True):
        super().__init__(why)
        self.again = again


class Engine(Protocol):
    """Runs `perform` on other machines, for one bundle."""

    def send(self, job: dict, cpus: int, gpus: float) -> None:
        """Queue a job: the keyword arguments of `perform` besides the bundle and the scratch folder."""

    def ended(self) -> list[tuple[str, "dict | Lost"]]:
        """What has ended since the last call, by address; waits a moment for something to end."""


# --- on a worker. These functions travel by value and may use nothing of this project.


def perform(bundle: bytes, scratch: str | None, address: str, wanted: dict, environment: dict) -> dict:
    """Run one stage of a packed workspace here.

    Args:
        scratch: a folder for what is unpacked, and for checkpoints; None for one in the system's temporary folder.
        wanted: the versions of packages, and of Python, that this worker must have.
        environment: variables for the stage.

    Returns:
        The fields of `Returned`, as plain values.
    """
    started, host = time.time(), platform.node()
    done = {"host": host, "code": 1, "log": "", "seconds": 0.0, "refused": "", "entry": None, "objects": {}}
    if differing := _differing(wanted):
        return done | {"refused": f"worker {host} has {differing}"}
    try:
        with _attempt(bundle, Path(scratch or Path(tempfile.gettempdir(), f"bench-{os.getuid()}"))) as place:
            code, log = _run(place, address, environment)
            done |= {"code": code, "log": log, "seconds": time.time() - started}
            return done if code != 0 else done | _made(place, address)
    except OSError as error:  # a full disk, a folder that cannot be written
        return done | {"log": f"error: {error.strerror or error}: {error.filename or scratch}"}


def perform_file(path: str, *arguments: Any, **job: Any) -> dict:
    """`perform` with a bundle that a file holds."""
    return perform(Path(path).read_bytes(), *arguments, **job)


def _differing(wanted: dict) -> str:
    """The first version here that is not as wanted, in words; empty if all are. Of Python's, its minor version counts;
    of a package's, not which build it is (``2.14.1+cpu``)."""
    for name, version in wanted.items():
        try:
            found = platform.python_version() if name == "python" else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"no {name}, and {version} is wanted: install the versions of requirements.lock there"
        pair = [v.rpartition(".")[0] if name == "python" else v.partition("+")[0] for v in (found, version)]
        if pair[0] != pair[1]:
            return f"{name} {found}, and {version} is wanted: install the versions of requirements.lock there"
    return ""


@contextmanager
def _attempt(bundle: bytes, scratch: Path) -> Iterator[Path]:
    """A folder of its own for one attempt, of hard links to what was unpacked once. What attempts left whose workers
    were killed is removed, but for their checkpoints, from which the next attempt here continues."""
    (scratch / "checkpoints").mkdir(parents=True, exist_ok=True)
    base, place = scratch / hashlib.sha256(bundle).hexdigest()[:16], scratch / f"attempt-{uuid.uuid4().hex}"
    with (scratch / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for alive in scratch.glob("attempt-*.alive"):
            with alive.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
            shutil.rmtree(alive.with_suffix(""), ignore_errors=True)
            alive.unlink()
        if not (base / ".dvc/config").is_file():  # written last
            for old in scratch.iterdir():
                if len(old.name) == len(base.name):
                    shutil.rmtree(old)
            with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
                archive.extractall(base, filter="data")
            (base / ".dvc").mkdir()
            (base / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
        held = place.with_suffix(".alive").open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        shutil.copytree(base, place, copy_function=os.link)
        (place / ".bench").mkdir()
        (place / ".bench/checkpoints").symlink_to((scratch / "checkpoints").absolute())
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        place.with_suffix(".alive").unlink(missing_ok=True)
        held.close()


def _run(place: Path, address: str, environment: dict) -> tuple[int, str]:
    """The exit code of a stage, and the end of what it said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # DVC would keep a folder in /var/tmp for every workspace that it has ever seen.
    own = {"PATH": path, "DVC_SITE_CACHE_DIR": str(place / ".dvc/site")}
    with subprocess.Popen(
        ["sh", "-c", SUPERVISED, "sh", sys.executable, "-m", "dvc", "repro", "--single-item", address],
        cwd=place,
        env={**os.environ, **environment, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        log = process.stdout.read()
        return process.wait(), log[-LOG_END:]


def _made(place: Path, address: str) -> dict:
    """The lock entry of a stage that has run, and the contents that it names, by their hashes."""
    import ruamel.yaml

    pipeline, _, name = address.rpartition(":")
    entry = ruamel.yaml.YAML(typ="safe", pure=True).load((place / pipeline).with_name("dvc.lock"))["stages"][name]
    objects = {}
    for out in entry["outs"]:
        cached = _cached(place / ".dvc/cache/files/md5", out["md5"])
        objects[out["md5"]] = (cached if cached.is_file() else place / out["path"]).read_bytes()
        if out["md5"].endswith(".dir"):
            for member in json.loads(objects[out["md5"]]):
                objects[member["md5"]] = _cached(place / ".dvc/cache/files/md5", member["md5"]).read_bytes()
    return {"entry": entry, "objects": objects}


def _cached(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]


# --- here


class Dependency(Strict):
    path: str
    hash: Literal["md5"]
    md5: str
    size: int


class Output(Strict):
    path: str
    hash: Literal["md5"]
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
    size: int
    nfiles: int | None = None


class Entry(Strict):
    """A stage in dvc.lock."""

    cmd: str
    deps: list[Dependency]
    outs: list[Output]


class Member(Strict):
    """A file of a directory, in DVC's list of them."""

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    relpath: str


class Returned(Strict):
    """What a worker sends: ``refused`` says why it did not try; ``entry`` and ``objects`` (contents, by md5) are there
    if the stage's exit code is 0."""

    host: str
    code: int
    log: str
    seconds: float
    refused: str
    entry: Entry | None
    objects: dict[str, bytes]

    def objected(self, cmd: str, deps: set[str], outs: set[str]) -> str:
        """Why this is not the result of a stage with this command, dependencies and outputs; empty if it is."""
        if self.entry is None:
            return "there is no lock entry"
        if self.entry.cmd != cmd or {dep.path for dep in self.entry.deps} != deps:
            return "it is of another stage"
        if len(self.entry.outs) != len(outs) or {out.path for out in self.entry.outs} != outs:
            return f"its outputs are {', '.join(out.path for out in self.entry.outs)}"
        for digest, content in self.objects.items():
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest.removesuffix(".dir"):
                return f"the content of {digest} has another hash"
        named = {out.md5 for out in self.entry.outs}
        for listed in [digest for digest in named & set(self.objects) if digest.endswith(".dir")]:
            try:
                members = TypeAdapter(list[Member]).validate_json(self.objects[listed])
            except ValidationError:
                return f"{listed} is not a list of files"
            for member in members:
                relative = PurePosixPath(member.relpath)
                if relative.is_absolute() or ".." in relative.parts or not relative.parts:
                    return f"a file is called {member.relpath!r}"
                named.add(member.md5)
        return "" if named == set(self.objects) else "it lacks contents that it names, or has others"


def work(
    stages: list[Stage],
    engine: Callable[[bytes], AbstractContextManager[Engine]],
    gpus: float,
    retries: int,
) -> Iterator[tuple[Stage, int, str]]:
    """Run stages on other machines; each with its exit code and log as it ends, after its result has been taken in.

    Args:
        gpus: how many a stage gets whose device is a GPU.
        retries: how often a stage is sent again whose worker was lost.

    Raises:
        AwayError: if a worker has other versions, or the engine cannot be used. What runs elsewhere is then ended, as
            it is by Ctrl-C.
    """
    environment = {"WANDB_MODE": "disabled", provenance.COMMIT: provenance.commit()}
    waiting, lost, wanted = {stage.address: stage for stage in stages}, Counter(), _versions(stages)

    def send(stage: Stage) -> None:
        job = {"address": stage.address, "wanted": wanted, "environment": environment}
        running.send(job, stage.compute.threads, gpus if stage.device.startswith("cuda") else 0)

    with engine(pack(stages)) as running:
        for stage in stages:
            send(stage)
        while waiting:
            ended, came = [], {}
            for address, result in running.ended():
                stage = waiting[address]
                if isinstance(result, Lost) and result.again and lost[address] < retries:
                    lost[address] += 1
                    send(stage)
                    continue
                del waiting[address]
                if isinstance(result, Lost):
                    tries = f" ({lost[address] + 1} attempts)" if lost[address] else ""
                    ended.append((stage, 1, f"error: {result}{tries}"))
                else:
                    came[stage] = result
            if came:
                ended += take(came)
            yield from ended


def restore(stages: list[Stage]) -> list[Stage]:
    """Restore from the run-cache and the DVC remote what is there of stale stages; returns those that are restored."""
    from dvc.stage.cache import RunCacheNotFoundError

    restored = []
    with _dvc() as repo:
        remote = "remote" in repo.config["core"]
        if remote:
            repo.stage_cache.pull(None)
        for stage in stages:
            (found,) = repo.stage.collect(stage.address)
            with _uninterrupted():
                try:
                    repo.stage_cache.restore(found, pull=remote)
                except RunCacheNotFoundError:
                    continue
                found.save()
                found.commit()
                found.dump(update_pipeline=False)
            restored.append(stage)
    return restored


def pack(stages: Iterable[Stage]) -> bytes:
    """What stages need of this workspace, committed or not, as a tar; the same bytes for the same contents.

    Raises:
        AwayError: if one uses a module from outside the workspace that no version identifies.
    """
    code = (path for part in ("benchmarks", "pipelines") for path in Path(part).rglob("*"))
    files = {path for path in code if path.is_file() and path.suffix in (".py", ".yaml") and path.name != "dvc.yaml"}
    files |= {Path(".dvcignore")} & set(Path().iterdir())
    for stage in stages:
        files |= {Path(stage.address.rpartition(":")[0]), stage.code, *stage.data}
        for module in [name for name in read_json(stage.code)["outside"] if ":" not in name]:
            path = Path(entries.find(module)).absolute()
            if not path.is_relative_to(Path.cwd()):
                raise AwayError(
                    f"{stage.label} uses {module} from {path}, which workers do not have: put it into this folder, or "
                    "install it as a released package here and there"
                )
            files.add(path.relative_to(Path.cwd()))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:  # the images do not compress
        for path in sorted(files):
            entry = tarfile.TarInfo(path.as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()


def _versions(stages: Iterable[Stage]) -> dict[str, str]:
    """What a worker must have: the versions that provenance records, and those of released packages that stages use."""
    outside = {text for stage in stages for name, text in read_json(stage.code)["outside"].items() if ":" in name}
    released = [one.rpartition(" ") for text in outside for one in text.split(", ") if " " in one]
    return provenance.versions() | {name: version for name, _, version in released}


def take(came: dict[Stage, Any]) -> list[tuple[Stage, int, str]]:
    """Take in what workers sent of stages: into the cache, in their places, into dvc.lock and the run-cache.

    Returns:
        Each stage with its exit code and log; 1 where what was sent is not a result of that stage, of which nothing is
        written.

    Raises:
        AwayError: if a worker refused, after the others' results were taken in.
    """
    ended, entered, refused = [], {}, ""
    with _uninterrupted(), _dvc() as repo:
        for stage, sent in came.items():
            try:
                returned = Returned.model_validate(sent)
            except ValidationError as error:
                fault = error.errors()[0]
                objection = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                ended.append(
                    (stage, 1, f"error: what a worker sent is not a result, and nothing of it was kept: {objection}")
                )
                continue
            refused = refused or returned.refused
            if returned.refused:
                continue
            (known,) = repo.stage.collect(stage.address)
            code, log = returned.code, f"{returned.log}\non worker {returned.host}, {returned.seconds:.0f} s"
            if code == 0:
                places = [{one.def_path for one in part} for part in (known.deps, known.outs)]
                if objection := returned.objected(known.cmd, *places):
                    code, log = 1, f"error: what worker {returned.host} sent was not kept: {objection}"
                else:
                    _enter(repo, known, returned)
                    entered.setdefault(known.path, []).append(known)
            elif "out of memory" in log.lower():
                log += "\nerror: the GPU ran out of memory: give each stage more of it, by a higher --gpus"
            ended.append((stage, code, log))
        for together in entered.values():  # DVC takes long to write a lock file
            together[0].dvcfile.dump_stages(together, update_pipeline=False)
        for known in itertools.chain(*entered.values()):
            repo.stage_cache.save(known)
    if refused:
        raise AwayError(refused)
    return ended


def _enter(repo: Any, stage: Any, returned: Returned) -> None:
    """Put what a result holds into the cache and in its places, as DVC does after a run; its hashes into `stage`."""
    from dvc.stage.loader import StageLoader

    StageLoader.fill_from_lock(stage, returned.entry.model_dump(exclude_none=True))
    for out in stage.outs:
        if not out.use_cache:
            with replacing(Path(out.fs_path)) as temporary:
                temporary.write_bytes(returned.objects[out.hash_info.value])
            continue
        listed = [out.hash_info.value]
        if out.hash_info.isdir:
            listed += [member["md5"] for member in json.loads(returned.objects[out.hash_info.value])]
        for digest in listed:
            path = _cached(Path(repo.cache.local.path), digest)
            if not path.is_file():
                with replacing(path) as temporary:
                    temporary.write_bytes(returned.objects[digest])
                path.chmod(0o444)
        out.checkout(force=True)


@contextmanager
def _dvc() -> Iterator[Any]:
    """This workspace's DVC repository, locked, and silent about what it does with lock files."""
    from dvc.repo import Repo, lock_repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    with Repo(_wait_for_lock=True) as repo, lock_repo(repo):
        yield repo


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until a result has been written whole."""
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
