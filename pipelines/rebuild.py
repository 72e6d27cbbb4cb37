"""Rebuilding through DVC: which stages are stale, two at a time where they are independent, and what came of it.

DVC alone decides what is stale. Training stages go to workers, each a ``dvc repro`` of one stage; everything else, and
the timing stages last of all, is one ordinary ``dvc repro``.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import state, tracking
from pipelines.files import read_json
from pipelines.parameters import Parameters

ROOTS = ("prepare", "fingerprint")
CODE = Path("results/code")
POLL_S = 0.5
PLAIN_LINE_EVERY_S = 30.0


class RebuildError(RuntimeError):
    """DVC failed; the message names the stage and its log."""


@dataclass(frozen=True)
class TrainingStage:
    """A stage that workers may run beside others. ``weight``: its steps times seeds times examples, a guess at its
    length."""

    address: str
    study: str
    configuration: str
    stack: str
    weight: float

    @property
    def label(self) -> str:
        return f"{self.configuration}-{self.stack}" if self.stack else self.configuration

    @property
    def progress(self) -> Path:
        return state.progress(self.study, self.configuration, self.stack)

    @property
    def log(self) -> Path:
        return state.log(self.study, self.label)


@dataclass
class Report:
    """What a rebuild did, stage by stage."""

    ran: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


def training_stages(parameters: Parameters) -> list[TrainingStage]:
    """Every stage that trains or computes apart from the tables, longest first."""
    stages = []
    for study, settings in parameters.studies.items():
        pipeline = f"pipelines/{study}/dvc.yaml"
        for configuration, stack, seeds in settings.runs():
            resolved = settings.settings(configuration)
            weight = resolved["steps"] * len(seeds) * max(resolved["images"], 100)
            if configuration in settings.configurations:
                name = f"run@{configuration}-{stack}"
            else:
                name = f"{'compare' if configuration in settings.comparisons else 'control'}@{configuration}"
            stages.append(TrainingStage(f"{pipeline}:{name}", study, configuration, stack, weight))
        stages += [TrainingStage(f"{pipeline}:{name}", study, name, "", 1.0) for name in ("thresholds", "catapult")]
    stages += [
        TrainingStage(
            f"pipelines/{study}/dvc.yaml:compute{'_on_images' if name in settings.on_images else ''}@{name}",
            study,
            name,
            "",
            1.0,
        )
        for study, settings in parameters.computed.items()
        for name in settings.experiments
    ]
    stages += [
        TrainingStage(f"pipelines/low_rank_progression/dvc.yaml:{name}", "low_rank_progression", name, "", 1e5)
        for name in parameters.low_rank_progression.experiments
    ]
    for name in parameters.low_rank_progression.rungs:
        rung = parameters.low_rank_progression.settings(name)
        address = f"pipelines/low_rank_progression/dvc.yaml:rung@{name}"
        stages.append(TrainingStage(address, "low_rank_progression", name, "", rung["steps"] * rung["seeds"]))
    comparison = parameters.optimizer_comparison
    pipeline = "pipelines/optimizer_comparison/dvc.yaml"
    for workload, optimizer in comparison.contests():
        name, resolved = f"{workload}-{optimizer}", comparison.workload(workload)
        kind = "contest" if workload in comparison.workloads else "extra"
        weight = 100.0 * resolved["steps"] * (comparison.protocol.trials + len(comparison.protocol.seeds))
        stages.append(TrainingStage(f"{pipeline}:{kind}@{name}", "optimizer_comparison", name, "", weight))
    stages += [
        TrainingStage(f"{pipeline}:{name}", "optimizer_comparison", name, "", 1e5) for name in comparison.experiments
    ]
    return sorted(stages, key=lambda stage: -stage.weight)


def dvc(*arguments: str, **options) -> subprocess.CompletedProcess:
    """DVC in this environment: its stages find this Python as ``python``."""
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], env=environment(), check=False, **options)


def environment() -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([here, os.environ.get("PATH", "")])}


def stale() -> dict[str, list]:
    """What DVC would run, and why: {stage: reasons}.

    Raises:
        RebuildError: with what DVC said, if it cannot tell.
    """
    # Of everything: asked for stages one by one, DVC reads the pipelines again for each.
    found = dvc("status", "--json", capture_output=True, text=True)
    if found.returncode != 0:
        raise RebuildError(f"dvc status failed:\n{found.stderr.strip()}")
    return json.loads(found.stdout or "{}")


def rerun(stages: list[TrainingStage], jobs: int) -> Report:
    """Run training stages whether stale or not, and restore none of them from a cache."""
    started = time.time()
    report = Report()
    _work(list(stages), jobs, report, "--force", "--no-run-cache")
    report.seconds = time.time() - started
    return report


def rebuild(stages: list[TrainingStage], jobs: int, then: list[str] | None) -> Report:
    """Run what is stale among the training stages, ``jobs`` at a time, then what DVC makes of them.

    Args:
        then: the targets of the closing ``dvc repro``; an empty list is everything, None is nothing.

    Raises:
        RebuildError: if the data, the parameters or a table stage fails. A failed training stage is in the report, the
            others go on, and the closing ``dvc repro`` is left out.
    """
    started = time.time()
    tracking.forget_failures()
    report = Report()
    _run_dvc(["repro", *ROOTS], report)
    # DVC does not watch the files of a user's own code.
    if "fingerprint" not in report.ran and any(read_json(path)["outside"] for path in CODE.rglob("*.json")):
        _run_dvc(["repro", "--force", "--single-item", "fingerprint"], report)
    if stages:
        reasons = stale()
        _work([stage for stage in stages if stage.address in reasons], jobs, report)
    if then is not None and not report.failed:
        _run_dvc(["repro", *then], report)
    report.seconds = time.time() - started
    return report


def _work(pending: list[TrainingStage], jobs: int, report: Report, *flags: str) -> None:
    queue, running, finished_weight = list(pending), {}, 0.0
    total = len(pending)
    display = _Display(total)
    try:
        while queue or running:
            while queue and len(running) < jobs:
                stage = queue.pop(0)
                running[stage] = _start(stage, *flags)
            time.sleep(POLL_S)
            for stage, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[stage]
                finished_weight += stage.weight
                text = stage.log.read_text(encoding="utf-8", errors="replace")
                if process.returncode != 0:
                    report.failed.append(stage.address)
                    display.line(f"failed {stage.label}; the end of {stage.log}:\n{_tail(text)}")
                else:
                    restored = "is cached - skipping run" in text
                    (report.restored if restored else report.ran).append(stage.address)
                    display.line(f"{'restored' if restored else 'ran'} {stage.label}")
            display.show(running, queue, jobs, finished_weight)
    except BaseException:
        for process in running.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in running.values():
            process.wait()
        raise
    finally:
        display.close()


def _start(stage: TrainingStage, *flags: str) -> subprocess.Popen:
    stage.log.parent.mkdir(parents=True, exist_ok=True)
    stage.progress.unlink(missing_ok=True)
    with stage.log.open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *flags, stage.address],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )


def _run_dvc(arguments: list[str], report: Report) -> None:
    """A serial ``dvc repro``; each stage that it runs or restores is told and entered into the report."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
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
        raise RebuildError(f"dvc {' '.join(arguments)} failed:\n{_tail(''.join(said))}")


def _tail(text: str, lines: int = 25) -> str:
    kept = [line for line in text.strip().splitlines() if line.strip()][-lines:]
    return "\n".join(f"    {line}" for line in kept)


class _Display:
    """One line that says how far the workers are and how long is left; on a terminal it is rewritten in place."""

    def __init__(self, total: int):
        self.total = total
        self.started = self.last = time.time()
        self.live = sys.stderr.isatty()
        self.width = 0

    def show(self, running: dict, queue: list, jobs: int, finished_weight: float) -> None:
        if not running or (not self.live and time.time() - self.last < PLAIN_LINE_EVERY_S):
            return
        parts, left_s, rates = [], [], []
        for stage in running:
            told = _progress(stage)
            if told is None:
                parts.append(stage.label)
                continue
            fraction = told["step"] / told["steps"]
            left_s.append(told["left_s"])
            rates.append(told["left_s"] / max((1 - fraction) * stage.weight, 1e-9))
            parts.append(f"{stage.label} step {told['step']}/{told['steps']}")
        text = f"{self.total - len(queue) - len(running)} of {self.total} stages done; {', '.join(parts)}"
        per_weight = max(rates) if rates else None
        if per_weight is None and finished_weight:
            per_weight = jobs * (time.time() - self.started) / finished_weight
        if per_weight is not None:
            waiting_s = per_weight * sum(stage.weight for stage in queue)
            remaining = max([(sum(left_s) + waiting_s) / jobs, *left_s])
            text += f"; about {_duration(remaining)} left"
        self._write(text)

    def line(self, text: str) -> None:
        if self.live and self.width:
            print("\r" + " " * self.width + "\r", end="", file=sys.stderr, flush=True)
            self.width = 0
        print(text, flush=True)

    def close(self) -> None:
        if self.live and self.width:
            print(file=sys.stderr)

    def _write(self, text: str) -> None:
        self.last = time.time()
        if self.live:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            print("\r" + text[:columns].ljust(min(self.width, columns)), end="", file=sys.stderr, flush=True)
            self.width = min(len(text), columns)
        else:
            print(text, file=sys.stderr, flush=True)


def _progress(stage: TrainingStage) -> dict | None:
    try:
        return read_json(stage.progress)
    except (FileNotFoundError, ValueError):
        return None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
