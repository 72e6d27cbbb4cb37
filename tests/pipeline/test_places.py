"""Wherever a copy of the repository lies, and however it came there: it works, or says what does not."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from workspaces import Workspace

STUDY = "progressive_sharpening"
RUN = f"runs/{STUDY}/lr-low/1-2"
STEPS = f"{STUDY}.configurations.lr-low.steps"


def fails(space, *command, **environment):
    """What a command says that fails as it should."""
    done = space.bench(*command, check=False, **environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stdout + done.stderr
    said = done.stderr.removeprefix("error: ").strip()
    assert said and len(said.splitlines()) < 12, done.stderr
    return said


def test_a_downloaded_archive_in_a_folder_with_signs_and_without_a_home(built, tmp_path):
    place = tmp_path / "it's a b#c%20&(d) $x é"
    ignored = shutil.ignore_patterns(".git", "cache", "tmp", "runs", "runs-meta", "wandb", ".bench")
    shutil.copytree(built.path, place, ignore=ignored)
    space, homeless = Workspace(place), {"HOME": "/proc", "XDG_CONFIG_HOME": None, "XDG_CACHE_HOME": None}
    doctor = space.bench("doctor", check=False, **homeless)
    assert "note  no Git history, as in a downloaded archive" in doctor.stdout and "Traceback" not in doctor.stderr
    space.bench("status", **homeless)
    space.dvc("pull", "-q", **homeless)
    assert "everything is up to date" in space.bench("status", **homeless).stdout
    assert "0 superseded entries dropped" in space.bench("push", **homeless).stdout
    space.bench("report", **homeless)
    space.set(STEPS, 12)
    assert "ran 2, restored 0, failed 0" in space.bench("repro", "lr-low", **homeless).stdout
    published = json.loads((place / f"runs-meta/{STUDY}/lr-low/1-2.json").read_text())["wandb"]
    assert {run["mode"] for run in published.values()} == {"offline"}
    assert "this is no Git checkout" in fails(space, "diff", "HEAD", **homeless)


def test_a_clone_that_changes_line_ends_has_every_byte(built, tmp_path):
    place = tmp_path / "clone"
    built.git("clone", "-q", "-c", "core.autocrlf=true", str(built.path), str(place))
    clone = Workspace(place)
    assert clone.bytes("results/**/*.csv") == built.bytes("results/**/*.csv")
    assert "0 superseded entries dropped" in clone.bench("push").stdout
    clone.dvc("pull", "-q")
    clone.dvc("repro", "-q", "prepare", "prepare_corpus")
    assert clone.git("status", "--porcelain").stdout == "" and clone.stale() == set()


def test_a_worktree_is_a_checkout_of_its_own(workspace, tmp_path):
    place = tmp_path / "tree"
    workspace.git("worktree", "add", "-q", str(place))
    tree = Workspace(place)
    tree.dvc("pull", "-q")
    assert (place / RUN / "curves.parquet").is_file()
    tree.dvc("repro", "-q", "prepare", "prepare_corpus")
    assert tree.stale() == set()


def test_two_rebuilds_wait_for_each_other_and_who_only_looks_is_told(workspace):
    workspace.set(STEPS, 900000)
    command = [sys.executable, "-m", "pipelines.cli", "repro", "lr-low"]
    first = workspace.start(*command)
    progress = workspace.path / f".bench/progress/{STUDY}@lr-low@1-2.json"
    deadline = time.time() + 120
    while not progress.is_file() and time.time() < deadline:
        time.sleep(0.1)
    assert "another `bench` is at work in this checkout" in fails(workspace, "status")
    second = workspace.start(*command, stderr=subprocess.PIPE)
    assert b"waiting until another `bench` in this checkout has ended" in second.stderr.readline()
    workspace.set(STEPS, 12)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=60) == 130
    assert second.wait(timeout=300) == 0
    run = json.loads((workspace.path / RUN / "run.json").read_text())
    assert run["settings"]["steps"] == 12


def test_what_a_full_disk_left_of_dvcs_notes_stops_nobody(workspace):
    notes = workspace.path / ".dvc/tmp/rwlock"
    notes.write_text('{"runs": {"read": [{"pid": 1')
    assert f"WRONG DVC's {notes.relative_to(workspace.path)}" in workspace.bench("doctor", check=False).stdout
    assert "everything is up to date" in workspace.bench("status").stdout
    notes.write_text("")
    workspace.bench("report")


def test_a_finished_run_that_dvc_could_not_record_is_not_trained_again(workspace):
    """A cache that cannot be written, as on a full disk."""
    workspace.set(STEPS, 12)
    config = workspace.path / ".dvc/config.local"
    config.write_text("[cache]\n    dir = /proc/nowhere\n")
    done = workspace.bench("repro", "lr-low", check=False)
    assert done.returncode == 1 and "failed lr-low-1-2" in done.stdout and "Traceback" not in done.stderr
    config.unlink()
    kept = workspace.path / f".bench/finished/{STUDY}/lr-low/1-2"
    record = next(kept.rglob("1-2.json")).read_text()
    assert "failed 0" in workspace.bench("repro", "lr-low").stdout
    assert (workspace.path / f"runs-meta/{STUDY}/lr-low/1-2.json").read_text() == record
    assert json.loads((workspace.path / RUN / "run.json").read_text())["settings"]["steps"] == 12
    assert not kept.exists()


def test_conflict_marks_in_a_lock_file_are_one_sentence(workspace):
    lock = workspace.path / f"pipelines/{STUDY}/dvc.lock"
    text = lock.read_text()
    lock.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> theirs\n")
    for command in ("status", "report", "push", "repro"):
        assert f"pipelines/{STUDY}/dvc.lock is damaged or has a merge's conflict marks" in fails(workspace, command)


def test_a_store_that_was_changed_is_refused_before_anything_is_taken_from_it(clone):
    objects = clone.path / "results/store/files/md5"
    listing = next(path for path in sorted(objects.glob("*/*.dir")) if b"curves" in path.read_bytes())
    entries = json.loads(listing.read_text())
    (curves,) = [entry for entry in entries if entry["relpath"] == "curves.parquet"]
    changed = objects / curves["md5"][:2] / curves["md5"][2:]
    changed.write_bytes(changed.read_bytes() + b" ")
    # A listing under the hash that it has, as whoever changes the lock file too would write it.
    entries[0]["relpath"] = "../../../outside"
    text = json.dumps(entries).encode()
    name = hashlib.md5(text).hexdigest()
    outside = objects / name[:2] / f"{name[2:]}.dir"
    outside.parent.mkdir(exist_ok=True)
    outside.write_bytes(text)
    said = fails(clone, "check")
    assert f"{changed.relative_to(clone.path)}: its content does not match its name" in said
    assert f"{outside.relative_to(clone.path)}: it names a file outside, ../../../outside" in said
    outside.unlink()
    assert clone.dvc("pull", check=False).returncode != 0, "DVC looks too"
    clone.git("restore", "results/store")
    assert "the manifest" in clone.bench("check").stdout


def test_images_that_were_changed_train_nothing(workspace):
    path = workspace.path / "data/images.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["x_train"][0, 0, 0, 0] += 1
    np.savez(path, **arrays)
    done = workspace.dvc("repro", "-s", f"pipelines/{STUDY}/dvc.yaml:run@lr-low-1-2", check=False)
    assert done.returncode != 0 and "array x_train from data/images.npz has SHA-256" in done.stderr
    assert "remove data/images.npz; `dvc repro prepare` makes it again" in done.stderr
