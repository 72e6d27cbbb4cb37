"""Killed runs continue, and equal runs are equal bytes."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

STAGE = "pipelines/progressive_sharpening/dvc.yaml:run@lr-low-1-2"
RUN = Path("runs/progressive_sharpening/lr-low/1-2")
META = Path("runs-meta/progressive_sharpening/lr-low/1-2.json")
STEPS = 1500


def history(workspace):
    return (workspace.path / RUN / "curves.parquet").read_bytes()


def test_a_killed_run_continues_and_ends_with_the_identical_history(workspace, tmp_path):
    workspace.set("progressive_sharpening.configurations.lr-low.steps", STEPS)
    workspace.dvc("repro", "-q", "fingerprint")
    # In a copy, for DVC would restore a run it has seen whole.
    uninterrupted = workspace.copy(tmp_path / "uninterrupted")
    uninterrupted.dvc("repro", "-q", "-s", STAGE)
    whole = history(uninterrupted)
    assert json.loads((uninterrupted.path / META).read_text())["resumed"] is False

    environment = {"BENCH_CHECKPOINT_SECONDS": "0.3"}
    command = [sys.executable, "-m", "dvc", "repro", "-s", STAGE]
    process = workspace.start(*command, **environment)
    progress = workspace.path / ".bench/progress/progressive_sharpening@lr-low@1-2.json"
    checkpoint = workspace.path / ".bench/checkpoints/progressive_sharpening/lr-low/1-2.pt"
    deadline = time.time() + 90
    while time.time() < deadline:
        if checkpoint.is_file() and progress.is_file() and json.loads(progress.read_text())["done"] > STEPS // 4:
            break
        time.sleep(0.05)
    (training,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "pipelines.run" in child.cmdline() and Path(child.exe()).name.startswith("python")
    ]
    training.kill()
    assert process.wait(timeout=60) != 0
    assert not (workspace.path / RUN).exists(), "a killed run leaves no half-written output"

    done = workspace.dvc("repro", "-s", STAGE, **environment)
    assert "continuing from step" in done.stderr
    assert history(workspace) == whole
    assert json.loads((workspace.path / META).read_text())["resumed"] is True
    assert not checkpoint.exists()


def test_the_same_configuration_twice_is_the_same_bytes(workspace):
    before = workspace.bytes("runs/**/*.parquet")
    assert len(before) == 10
    group = "pipelines/progressive_sharpening/dvc.yaml"
    rungs = "pipelines/low_rank_progression/dvc.yaml:rung"
    contests = "pipelines/optimizer_comparison/dvc.yaml:contest"
    systems = "pipelines/carry_over/dvc.yaml:on_images"
    again = (f"{group}:run", f"{group}:control", rungs, systems, contests)
    workspace.dvc("repro", "-q", "-f", "--no-run-cache", "-s", *again)
    assert workspace.bytes("runs/**/*.parquet") == before


def test_another_configurations_checkpoint_is_not_used(workspace):
    import torch

    path = workspace.path / ".bench/checkpoints/progressive_sharpening/lr-low/1-2.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = history(workspace)
    torch.save({"key": "another", "seconds": 1.0, "state": {"loop": {"step": 3}}}, path)
    workspace.dvc("repro", "-q", "-f", "--no-run-cache", "-s", STAGE)
    assert history(workspace) == before
    # Of this run, and not one that its loop can continue.
    asked = json.loads((workspace.path / "results/code/progressive_sharpening/lr-low/1-2.json").read_text())
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    torch.save({"key": key, "seconds": 1.0, "state": {"loop": {"step": 3}}}, path)
    done = workspace.dvc("repro", "-f", "--no-run-cache", "-s", STAGE)
    assert "the checkpoint cannot be continued" in done.stderr and "Traceback" not in done.stderr
    assert history(workspace) == before
    path.write_bytes(b"half a checkpoint")
    done = workspace.dvc("repro", "-f", "--no-run-cache", "-s", STAGE)
    assert "ignoring an unreadable checkpoint" in done.stderr
    assert history(workspace) == before


def test_a_full_disk_is_one_clear_error_and_keeps_what_there_was(workspace):
    before = workspace.bytes("results/**/*.csv")
    code = (
        "import resource, runpy, signal, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "sys.argv = ['tables', 'progressive_sharpening'];"
        "runpy.run_module('pipelines.tables', run_name='__main__')"
    )
    done = workspace.run(sys.executable, "-c", code, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: File too large"), done.stderr
    assert workspace.bytes("results/**/*.csv") == before
    assert not list(workspace.path.glob("results/**/.*")), "a temporary file was left"


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_however_a_rebuild_ends_its_workers_do_too_and_the_next_one_begins(workspace, ending):
    if ending == "SIGKILL" and sys.platform != "linux":
        pytest.skip("nobody is left there to end the workers")
    workspace.set("progressive_sharpening.configurations.lr-low.steps", 900000)
    command = [sys.executable, "-m", "pipelines.cli", "repro", "-j", "2", "lr-low"]
    process = workspace.start(*command, stderr=subprocess.PIPE)
    progress = workspace.path / ".bench/progress/progressive_sharpening@lr-low@1-2.json"
    deadline = time.time() + 90
    while not progress.is_file() and time.time() < deadline:
        time.sleep(0.1)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(getattr(signal, ending))
    assert process.wait(timeout=30) == (-signal.SIGKILL if ending == "SIGKILL" else 130)
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    workspace.set("progressive_sharpening.configurations.lr-low.steps", 10)
    workspace.bench("repro", "lr-low")
