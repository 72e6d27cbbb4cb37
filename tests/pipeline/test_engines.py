"""Training stages on other machines: here, on a Ray cluster of this machine and on submitit's local executor."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from workspaces import Workspace

from pipelines import away, parameters, stages
from pipelines.away import Returned

pytest.importorskip("ray", reason='needs the extra: pip install ".[ray]"')
pytest.importorskip("submitit", reason='needs the extra: pip install ".[slurm]"')

STUDY = "progressive_sharpening"
STAGES = f"pipelines/{STUDY}/dvc.yaml:run@"
LOW, DIVERGING = f"{STAGES}lr-low-1-2", f"{STAGES}lr-diverging-1-2"
CONFIGURATIONS = f"{STUDY}.configurations"
LOCAL = ("--on", "slurm", "--cluster", "local")
# An architecture that only its stage finds impossible.
BROKEN = {"name": "bias_free_mlp", "hidden": [8], "activation": "tanh", "slope": 0.1}
# An architecture that only its stage finds impossible.
BROKEN = {"name": "bias_free_mlp", "hidden": [8], "activation": "tanh", "slope": 0.1}


def site(workspace: Workspace, text: str = "") -> None:
    """A bench.toml: scratch in the workspace's own folder, and two workers."""
    scratch = f'scratch = "{workspace.path}/.bench/scratch"\n'
    (workspace.path / "bench.toml").write_text(f"[ray]\n{scratch}{text}[slurm]\n{scratch}at_once = 2\n")


def histories(workspace: Workspace) -> dict[str, bytes]:
    return workspace.bytes(f"runs/{STUDY}/**/curves.parquet")


def files(workspace: Workspace) -> dict[str, int]:
    """When each file of its results, locks and cache was written."""
    parts = ("runs", "runs-meta", "pipelines", ".dvc/cache")
    return {str(path): path.stat().st_mtime_ns for part in parts for path in (workspace.path / part).rglob("*")}


def wait_for(condition, seconds=240):
    deadline = time.time() + seconds
    while time.time() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


@pytest.fixture
def longer(workspace) -> Workspace:
    """A workspace in which two stages are stale."""
    workspace.set(f"{CONFIGURATIONS}.lr-low.steps", 30)
    workspace.set(f"{CONFIGURATIONS}.lr-diverging.steps", 30)
    site(workspace)
    return workspace


@pytest.fixture
def expected(longer, tmp_path) -> dict[str, bytes]:
    """The histories of its stages when they are trained here."""
    here = longer.copy(tmp_path / "here")
    here.dvc("repro", "-q", "fingerprint")
    here.dvc("repro", "-q", "-s", LOW, DIVERGING)
    return histories(here)


def test_a_ray_cluster_trains_what_is_stale_and_nothing_is_left_for_the_closing_repro(longer, expected):
    sent = len(list(longer.path.glob("wandb/offline-run-*")))
    said = longer.bench("repro", STUDY, "--on", "ray").stdout
    assert "ran lr-low-1-2" in said and "ran lr-diverging-1-2" in said and "failed 0" in said
    assert not re.search(r"running pipelines/\S+:(run|control)", said), "the closing repro trained"
    assert histories(longer) == expected
    assert longer.stale().isdisjoint({LOW, DIVERGING})
    record = json.loads((longer.path / f"runs-meta/{STUDY}/lr-low/1-2.json").read_text())
    assert record["commit"] == longer.git("rev-parse", "HEAD").stdout.strip() and record["wandb"] == {}
    assert len(list(longer.path.glob("wandb/offline-run-*"))) == sent + 4, "two seeds of two stages, sent from here"
    # What came back is in the run-cache: an earlier setting's return trains nothing, and needs no cluster.
    longer.set(f"{CONFIGURATIONS}.lr-low.steps", 20)
    longer.bench("repro", "lr-low")
    longer.set(f"{CONFIGURATIONS}.lr-low.steps", 30)
    said = longer.bench("repro", "lr-low", "--on", "ray", "--cluster", "127.0.0.1:1").stdout
    assert "restored lr-low-1-2" in said and "ran 1, restored 1" in said
    assert histories(longer) == expected


def test_what_the_store_has_is_restored_and_not_sent(clone):
    site(clone)
    said = clone.bench("repro", "lr-low", "--on", "ray", "--cluster", "127.0.0.1:1").stdout
    assert "restored lr-low-1-2" in said and "failed 0" in said


def test_a_killed_workers_stage_goes_elsewhere_and_the_history_is_the_same(longer, expected):
    process = longer.start(sys.executable, "-m", "pipelines.cli", "repro", STUDY, *LOCAL, BENCH_CHECKPOINT_SECONDS="0")
    (worker, *_) = wait_for(lambda: workers(process))
    trains = wait_for(lambda: worker.children(recursive=True))
    worker.kill()
    gone, alive = psutil.wait_procs(trains, timeout=30)
    assert not alive, "a killed worker leaves orphans"
    assert process.wait(timeout=600) == 0
    assert histories(longer) == expected
    assert longer.stale().isdisjoint({LOW, DIVERGING})


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    """Those of submitit that have started a stage."""
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            found += [one] if "submitit.core._submit" in one.cmdline() and one.children() else []
    return found


def test_ctrl_c_ends_the_workers_keeps_what_is_finished_and_lets_a_second_coordinator_wait(longer):
    longer.set(f"{CONFIGURATIONS}.lr-low.steps", 900000)
    process = longer.start(sys.executable, "-m", "pipelines.cli", "repro", STUDY, *LOCAL, stderr=subprocess.PIPE)
    done = longer.path / f"runs/{STUDY}/lr-diverging/1-2/run.json"
    before = done.stat().st_mtime
    wait_for(lambda: done.is_file() and done.stat().st_mtime > before)
    trains = wait_for(lambda: workers(process))
    second = longer.start(sys.executable, "-m", "pipelines.cli", "repro", "lr-low", *LOCAL, stderr=subprocess.PIPE)
    assert b"waiting until another `bench` in this checkout has ended" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=60) == 130
    below = psutil.Process(process.pid).children(recursive=True)
    assert set(trains) <= set(below)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert not psutil.wait_procs(below, timeout=30)[1]
    stale = longer.stale()
    assert LOW in stale and DIVERGING not in stale


def test_a_failed_stage_is_reported_with_its_log_and_the_others_go_on(longer):
    longer.set(f"{CONFIGURATIONS}.lr-low.architecture", BROKEN)
    done = longer.bench("repro", STUDY, *LOCAL, check=False)
    assert done.returncode == 1
    assert "failed lr-low-1-2" in done.stdout and "only ReLU takes a slope below zero" in done.stdout
    assert "ran lr-diverging-1-2" in done.stdout and "failed 1" in done.stdout


def test_a_worker_with_another_version_is_refused_by_name(longer, tmp_path):
    other = tmp_path / "other" / "scipy-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.0.1\n")
    site(longer, f'runtime_env = {{ env_vars = {{ PYTHONPATH = "{other.parent}" }} }}\n')
    done = longer.bench("repro", "lr-low", "--on", "ray", check=False)
    assert done.returncode == 1
    assert re.search(r"error: worker \S+ has scipy 0\.0\.1, and [\d.]+ is wanted", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--on", "ray", "--cluster", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["--on", "slurm"], "Slurm cannot be used here"),
        (["--gpus", "0.5"], "--gpus is about other machines: add --on"),
        (["--on", "ray", "--gpus", "0.5"], "compute.device in params.yaml is 'cpu'"),
        ([*LOCAL, "--gpus", "-1"], "--gpus must be above 0"),
        ([*LOCAL, "--retries", "-1"], "--retries at least 0"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(longer, arguments, said):
    done = longer.bench("repro", "lr-low", *arguments, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_cannot_write_says_so_and_its_stage_fails(longer):
    (longer.path / "bench.toml").write_text('[slurm]\nscratch = "/dev/null/scratch"\n')
    done = longer.bench("repro", "lr-low", *LOCAL, check=False)
    assert done.returncode == 1 and "error: Not a directory: /dev/null/scratch" in done.stdout
    assert "on worker" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_an_unknown_key_of_bench_toml_is_named(longer):
    (longer.path / "bench.toml").write_text('[slurm]\npartitoin = "gpu"\n')
    done = longer.bench("repro", "lr-low", *LOCAL, check=False)
    assert done.returncode == 1 and "unknown key 'partitoin' (did you mean 'partition'?)" in done.stderr


def test_an_engine_that_is_not_installed_is_named(longer):
    hidden = "import sys; sys.modules['submitit'] = None; from pipelines import cli; sys.exit(cli.main())"
    done = longer.run(sys.executable, "-c", hidden, "repro", "lr-low", *LOCAL, check=False)
    assert done.returncode == 1 and 'pip install ".[slurm]"' in done.stderr


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


CONTENT, LISTED = b"numbers", b'[{"md5": "%s", "relpath": "%s"}]'


def returned(**changes) -> dict:
    """What an honest worker sends of a stage with one file and one folder, with changes."""
    file = md5(CONTENT)
    listed = changes.pop("listed", LISTED % (file.encode(), b"rows.csv"))
    folder = f"{md5(listed)}.dir"
    outs = [
        {"path": "runs/a", "hash": "md5", "md5": folder, "size": 7, "nfiles": 1},
        {"path": "runs-meta/a.json", "hash": "md5", "md5": file, "size": 7},
    ]
    entry = {"cmd": "run a", "deps": [{"path": "a", "hash": "md5", "md5": file, "size": 7}], "outs": outs}
    whole = {"host": "w", "code": 0, "log": "", "seconds": 1.0, "refused": ""}
    return whole | {"entry": entry | changes.pop("entry", {}), "objects": {folder: listed, file: CONTENT}} | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"entry": {"cmd": "rm"}}, "another stage"),
        ({"entry": {"outs": []}}, "outputs"),
        ({"entry": {"outs": [{"path": "../a", "hash": "md5", "md5": "0" * 32, "size": 7}] * 2}}, "outputs are ../a"),
        ({"objects": {}}, "lacks contents"),
        ({"objects": {"0" * 32: b"other"}}, "another hash"),
        ({"listed": LISTED % (md5(CONTENT).encode(), b"../../rows.csv")}, "'../../rows.csv'"),
        ({"listed": LISTED % (md5(CONTENT).encode(), b"/rows.csv")}, "'/rows.csv'"),
        ({"listed": b"[1]"}, "not a list of files"),
        ({"entry": None}, "no lock entry"),
    ],
)
def test_a_hostile_result_is_refused_before_anything_is_written(changes, said):
    whole = returned(**changes) if changes.get("entry", {}) is not None else returned() | changes
    objection = Returned.model_validate(whole).objected("run a", {"a"}, {"runs/a", "runs-meta/a.json"})
    assert said in objection and bool(said) == bool(objection)


def test_nothing_of_a_hostile_result_is_written(workspace, monkeypatch):
    monkeypatch.chdir(workspace.path)
    (stage,) = [one for one in stages.training(parameters.load()) if one.address == LOW]
    before = files(workspace)
    out = {"path": "../stolen", "hash": "md5", "md5": md5(CONTENT), "size": 7}
    ((_, code, log),) = away.take({stage: returned(entry={"outs": [out]})})
    assert code == 1 and "was not kept" in log
    ((_, code, log),) = away.take({stage: {"objects": {"../stolen": CONTENT}}})
    assert code == 1 and "nothing of it was kept" in log
    assert files(workspace) == before
    assert not (workspace.path.parent / "stolen").exists()
