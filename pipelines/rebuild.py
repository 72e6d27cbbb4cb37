"""Rebuilding through DVC: which stages are stale, running several at once if they are independent, and the outcome.

DVC alone decides what is stale. Training stages go to workers, each a ``dvc repro`` of one stage; everything else,
ending with the timing stages, is one ordinary ``dvc repro``.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from pipelines import away, checkpoints, devices, pacing, publish, revisions, schedule, tracking, warm
from pipelines.files import CODE, STATE, locks, read_json, read_yaml, write_text
from pipelines.stages import Stage, preparing

POLL_S = 0.5
# Up to this many stages are passed to `dvc status` by name.
FEW = 5
# The assumed duration of a stage that has not run here: short.
UNKNOWN_S = 10.0
ALONE = STATE / "alone.lock"
# Where DVC reads that there is no Git history, without which it else refuses every command.
NO_SCM = Path(".dvc/config.local")
# Where DVC notes who reads and writes what.
RWLOCK = Path(".dvc/tmp/rwlock")
BUSY = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")


class RebuildError(RuntimeError):
    """DVC failed; the message names the stage and its log."""


@dataclass
class Report:
    """What a rebuild did, stage by stage."""

    ran: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def alone(waits: bool = True, lock: Path = ALONE) -> Iterator[int]:
    """Let no other `bench` of this checkout rebuild, or read what is half rebuilt; gives the lock's descriptor. The
    lock ends with its process, and with what inherits the descriptor.

    Raises:
        RebuildError: if another is at work and this one does not wait.
    """
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                raise RebuildError("another `bench` is at work in this checkout: ask again when it has ended") from None
            print("waiting until another `bench` in this checkout has ended", file=sys.stderr, flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        if not is_readable(RWLOCK):
            RWLOCK.unlink()
        if Path(".dvc").is_dir() and not NO_SCM.exists() and not revisions.is_checkout():
            write_text(NO_SCM, "[core]\n    no_scm = true\n")
        yield held.fileno()


def is_readable(rwlock: Path) -> bool:
    """Whether DVC can read its list of who is busy: a full disk cuts it off, and then DVC refuses every command."""
    try:
        read_json(rwlock)
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def longest_first(stages: list[Stage]) -> list[Stage]:
    """Sorted by how long each took when it last ran."""
    return sorted(stages, key=_expected_s, reverse=True)


def _expected_s(stage: Stage) -> float:
    last = _last_s(stage)
    return UNKNOWN_S if last is None else last


def _last_s(stage: Stage) -> float | None:
    return read_json(stage.meta)["wall_s"] if stage.meta.is_file() else None


def dvc(*arguments: str, **options) -> subprocess.CompletedProcess:
    """DVC in this environment: its stages run with this Python."""
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], env=environment(), check=False, **options)


def environment() -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([here, os.environ.get("PATH", "")])}


def stale(addresses: Iterable[str] = ()) -> dict[str, list]:
    """What DVC would run of these stages, or of all, and why: {stage: reasons}.

    Raises:
        RebuildError: with DVC's output, if it fails.
    """
    asked = list(addresses)
    # DVC takes longer for many named stages than for all of them.
    done = dvc("status", "--json", *(asked if len(asked) <= FEW else []), capture_output=True, text=True)
    if done.returncode != 0:
        raise RebuildError(f"dvc status failed: {explained(done.stderr)}")
    return json.loads(done.stdout or "{}")


def rerun(stages: list[Stage], jobs: int) -> Report:
    """Run training stages whether stale or not, and restore none of them from a cache."""
    started = time.time()
    report = Report()
    with warm.serving():
        _work(longest_first(stages), jobs, report, "--force", "--no-run-cache")
    report.seconds = time.time() - started
    return report


def rebuild(
    stages: list[Stage],
    jobs: int,
    then: list[str] | None,
    elsewhere: Callable[[list[Stage]], Iterator[tuple[Stage, int, str]]] | None = None,
) -> Report:
    """Run what is stale among the training stages, ``jobs`` at a time, then what DVC makes of them.

    Args:
        elsewhere: runs stages on other machines (`pipelines.away.work`); None for here.
        then: the targets of the closing ``dvc repro``; an empty list is everything, None is nothing.

    Raises:
        TrackingError: if W&B would refuse a setting, before anything runs.
        ValueError: if a device is not here, before anything trains.
        RebuildError: if the data, the parameters or a table stage fails. A failed training stage is in the report, the
            others go on, and the closing ``dvc repro`` is left out.
    """
    tracking.require_settings()
    with alone():
        return _rebuild(stages, jobs, then, elsewhere)


def remake(targets: list[str]) -> None:
    """Run what is stale among stages after training, none before them.

    Raises:
        RebuildError: if one fails.
    """
    with alone():
        _run_dvc(["repro", "--single-item", *targets], Report())


def _rebuild(stages: list[Stage], jobs: int, then: list[str] | None, elsewhere: Callable | None) -> Report:
    started = time.time()
    tracking.forget_failures()
    report = Report()
    if elsewhere is None:
        require_devices(stages)
    # Data that none of these stages takes are not asked for.
    _run_dvc(["repro", *preparing(stages), "fingerprint"], report)
    # DVC does not watch the files of code from outside.
    if "fingerprint" not in report.ran and any(read_json(path).get("outside") for path in CODE.rglob("*.json")):
        _run_dvc(["repro", "--force", "--single-item", "fingerprint"], report)
    together = longest_first([stage for stage in stages if not stage.alone])
    reasons = stale([stage.address for stage in together]) if together else {}
    queue = [stage for stage in together if stage.address in reasons]
    for stage in set(together) - set(queue):
        shutil.rmtree(checkpoints.finished(stage.path), ignore_errors=True)
    if elsewhere is None:
        for device in {stage.device for stage in queue}:
            devices.require(device)
    with warm.serving() if queue else nullcontext():
        if elsewhere is None:
            _work(queue, jobs, report)
        elif queue:
            _work_elsewhere(queue, elsewhere, report)
        if then is not None and not report.failed:
            _run_dvc(["repro", *then], report)
    report.seconds = time.time() - started
    return report


def require_devices(training: Iterable[Stage]) -> None:
    """The devices of stages that have not run on them must be here; raises as `devices.require`."""
    for stage in training:
        if stage.device != "cpu" and not (stage.code.is_file() and read_json(stage.code)["device"] == stage.device):
            devices.require(stage.device)


def _work(queue: list[Stage], jobs: int, report: Report, *flags: str) -> None:
    running: dict[Stage, subprocess.Popen] = {}
    left = schedule.TimeLeft({stage: _last_s(stage) for stage in queue}, jobs, time.monotonic)
    with _display(len(queue), TimeElapsedColumn(), left=left) as display:
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    stage = queue.pop(0)
                    running[stage] = _start(stage, *flags)
                    display.begin(stage)
                display.tell_left()
                time.sleep(POLL_S)
                for stage, process in list(running.items()):
                    display.update(stage)
                    if process.poll() is not None:
                        del running[stage]
                        display.end(stage, _outcome(stage, process.returncode, report))
        except BaseException:
            for process in running.values():
                os.killpg(process.pid, signal.SIGTERM)
            for process in running.values():
                process.wait()
            raise


def _work_elsewhere(queue: list[Stage], elsewhere: Callable, report: Report) -> None:
    restored = away.restore(queue)
    for stage in restored:
        report.restored.append(stage.address)
        print(f"restored {stage.label}", flush=True)
    expected = {stage: _expected_s(stage) for stage in queue if stage not in restored}
    if not expected:
        return
    started, total = time.time(), sum(expected.values())
    with _display(len(expected), TimeElapsedColumn()) as display, closing(elsewhere(list(expected))) as ended:
        for stage, code, log in ended:
            log_of(stage).parent.mkdir(parents=True, exist_ok=True)
            log_of(stage).write_text(log, encoding="utf-8")
            display.end(stage, _outcome(stage, code, report))
            left = sum(expected.values()) - expected.pop(stage)
            display.say(f"stages, about {(time.time() - started) * left / (total - left) / 60:.0f} min left")
    publish.after([stage for stage in queue if stage.address in report.ran])  # workers send nothing


def _outcome(stage: Stage, code: int, report: Report) -> str:
    """Record the outcome of a stage in the report; returns a line for the terminal."""
    log = log_of(stage)
    text = log.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        report.failed.append(stage.address)
        return f"failed {stage.label}; the end of {log}:\n{_tail(text)}"
    shutil.rmtree(checkpoints.finished(stage.path), ignore_errors=True)
    restored = "is cached - skipping run" in text
    (report.restored if restored else report.ran).append(stage.address)
    return f"{'restored' if restored else 'ran'} {stage.label}"


def log_of(stage: Stage) -> Path:
    """Where a stage's output goes while it runs."""
    return STATE / "logs" / f"{stage.path.replace('/', '@')}.log"


def _start(stage: Stage, *flags: str) -> subprocess.Popen:
    log = log_of(stage)
    log.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.progress(stage.path).unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *flags, stage.address],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )


def _run_dvc(arguments: list[str], report: Report) -> None:
    """A serial ``dvc repro``; each stage that it runs or restores is printed and recorded in the report."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if match := re.match(r"Running stage '(.+)':", line):
            report.ran.append(match[1])
            print(f"running {match[1]}", flush=True)
        elif match := re.match(r"Stage '(.+)' is cached - skipping run", line):
            report.restored.append(match[1])
            print(f"restored {match[1]}", flush=True)
    if process.wait() != 0:
        raise RebuildError(f"dvc {' '.join(arguments[:3])} failed: {explained(''.join(said))}")


def explained(said: str) -> str:
    """Why DVC failed, in a sentence where its own words are many or none; else the end of what it said."""
    if BUSY.search(said):
        return "another `dvc` is at work in this checkout: try again when it has ended"
    for path in locks():
        try:
            read_yaml(path)
        except ValueError:
            return (
                f"{path} is damaged or has a merge's conflict marks: keep one side, or `git checkout -- {path}`; what "
                "the file then lacks is restored from the cache, not trained"
            )
    return f"\n{_tail(said)}" if said.strip() else "it gave no reason; `bench doctor` looks for one"


def _tail(text: str, lines: int = 25) -> str:
    kept = [line for line in text.strip().splitlines() if line.strip()][-lines:]
    return "\n".join(f"    {line}" for line in kept)


class _Display:
    """A progress bar for all stages, and one per running stage; without a terminal, a line per finished stage."""

    def __init__(self, progress: Progress, total: int, left: schedule.TimeLeft | None):
        self.progress, self.total, self.left = progress, total, left
        self.whole = progress.add_task("stages", total=total)
        self.bars: dict[Stage, int] = {}
        self.ended = 0

    def begin(self, stage: Stage) -> None:
        self.bars[stage] = self.progress.add_task(stage.label, total=None)
        self.left.begin(stage)

    def update(self, stage: Stage) -> None:
        try:
            progress = read_json(checkpoints.progress(stage.path))
        except (FileNotFoundError, ValueError):
            return
        self.progress.update(self.bars[stage], completed=progress["done"], total=progress["planned"])
        self.left.progress(stage, progress["done"] / max(progress["planned"], 1))

    def end(self, stage: Stage, said: str) -> None:
        self.ended += 1
        if stage in self.bars:
            self.progress.remove_task(self.bars.pop(stage))
            self.left.end(stage, restored=said.startswith("restored"))
        self.progress.advance(self.whole)
        if self.progress.disable:  # no bar shows it
            first, *rest = said.split("\n")
            left = "" if self.left is None or self.ended == self.total else f"; {self._left()}"
            said = "\n".join([f"{first} ({self.ended} of {self.total}{left})", *rest])
        self.progress.console.print(said, markup=False, highlight=False, soft_wrap=True)

    def tell_left(self) -> None:
        if not self.progress.disable:
            self.say(f"stages, {self._left()}")

    def say(self, text: str) -> None:
        self.progress.update(self.whole, description=text)

    def _left(self) -> str:
        seconds, uncounted = self.left.seconds()
        if not uncounted:
            return f"about {pacing.spoken(seconds)} left"
        known = f"more than {pacing.spoken(seconds)} left" if seconds else "time left not known yet"
        return f"{known}: of {uncounted} of these stages nothing is known yet"


@contextmanager
def _display(total: int, *times: ProgressColumn, left: schedule.TimeLeft | None = None) -> Iterator[_Display]:
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, *times, console=console, disable=not console.is_terminal or not total, transient=True
    ) as progress:
        yield _Display(progress, total, left)
