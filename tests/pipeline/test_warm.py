"""Stages that are started by a fork end as those of a process of their own do. (That their numbers are the same bytes:
test_interruption.py runs by `dvc repro` what `bench repro` has built.)"""

import os
import subprocess
import sys
import time

import psutil
import pytest

from pipelines import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every stage starts by itself")

RUN = (sys.executable, "-m", "pipelines.run", "progressive_sharpening/lr-low/1-2")


@pytest.fixture
def inside(workspace, monkeypatch):
    """Below a server, in a workspace whose one run takes minutes."""
    workspace.set("progressive_sharpening.configurations.lr-low.steps", 100_000)
    workspace.dvc("repro", "-q", "fingerprint")
    monkeypatch.chdir(workspace.path)
    monkeypatch.setenv("PYTHONPATH", str(workspace.path))
    with warm.serving():
        yield workspace


def server() -> psutil.Process:
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    (found,) = [child for child in alive if "pipelines.warm" in child.cmdline()]
    return found


def forks() -> list[psutil.Process]:
    return server().children()


def eventually(condition) -> bool:
    deadline = time.time() + 60
    while not condition() and time.time() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_stage_ends_when_whoever_asked_for_it_is_killed(inside):
    asking = subprocess.Popen(RUN)
    assert eventually(forks)
    asking.kill()
    asking.wait()
    assert eventually(lambda: not forks())


def test_who_asked_fails_when_the_stage_is_killed(inside):
    asking = subprocess.Popen(RUN)
    assert eventually(forks)
    forks()[0].kill()
    assert asking.wait(timeout=60) == 128 + 9


def test_a_stage_that_fails_says_and_returns_what_it_would_by_itself(inside):
    command = [*RUN[:-1], "progressive_sharpening/nothing"]
    here = subprocess.run(command, capture_output=True, text=True)
    alone = subprocess.run(
        command, capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != warm.SERVER}
    )
    assert (here.returncode, here.stdout, here.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    assert "error:" in here.stderr


def test_a_stage_runs_by_itself_when_the_server_has_ended(inside):
    ended = server()
    ended.kill()
    assert eventually(lambda: ended.status() == psutil.STATUS_ZOMBIE)
    command = [*RUN[:-1], "progressive_sharpening/nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "nothing.json" in done.stderr
