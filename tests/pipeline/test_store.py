"""`bench push`: nothing that is committed is ever lost, wherever it is stopped, and success means a whole store."""

import json
import shutil

import pytest

STORE = "results/store/**/*"
# Stops itself at the n-th file that it renames or removes, as `kill -9` would.
KILLED = """
import os, signal, sys
from pathlib import Path
left = int(sys.argv[1])
def counted(function):
    def wrapper(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return wrapper
Path.replace, Path.unlink = counted(Path.replace), counted(Path.unlink)
from pipelines import cli
sys.exit(cli.main(["push"]))
"""


def stored(space):
    store = space.path / "results/store"
    return {str(p.relative_to(space.path)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def object_of(space, out, file=None):
    """Where the store has an output, or a file in it."""
    locks = [(space.path / "dvc.lock"), *space.path.glob("pipelines/*/dvc.lock")]
    lines = "".join(lock.read_text() for lock in locks).split(f"- path: {out}\n")[1].splitlines()
    md5 = lines[1].split("md5: ")[1]
    listing = space.path / "results/store/files/md5" / md5[:2] / md5[2:]
    if file is None:
        return listing
    (entry,) = [entry for entry in json.loads(listing.read_text()) if entry["relpath"] == file]
    return listing.parents[1] / entry["md5"][:2] / entry["md5"][2:]


RUN = "runs/progressive_sharpening/lr-low/1-2"


@pytest.mark.parametrize("pulled", [False, True])
def test_a_push_in_a_fresh_clone_leaves_the_store_as_it_is(clone, pulled):
    before = stored(clone)
    if pulled:
        clone.dvc("pull", "-q")
    assert ("have no run here: `dvc pull`" in clone.bench("status").stdout) != pulled
    assert "0 superseded entries dropped" in clone.bench("push").stdout
    assert stored(clone) == before


def test_what_the_store_lacks_or_has_damaged_comes_from_the_cache(workspace):
    before = stored(workspace)
    # The list of the directory stays: `dvc push` would take it for whole.
    object_of(workspace, RUN, "curves.parquet").unlink()
    object_of(workspace, RUN, "run.json").write_text("{}")
    object_of(workspace, "runs/low_rank_progression/small-gd-relu-hat").unlink()
    workspace.bench("push")
    assert stored(workspace) == before


def test_what_is_nowhere_is_named_and_nothing_is_removed(clone):
    before = stored(clone)
    lost = object_of(clone, RUN, "curves.parquet")
    damaged = object_of(clone, RUN, "run.json")
    lost.unlink()
    damaged.write_text("{}")
    (clone.path / "results/store/superseded").write_text("kept until the store is whole")
    remaining = stored(clone)
    done = clone.bench("push", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"missing {lost.relative_to(clone.path)} ({RUN}/curves.parquet)" in done.stderr
    assert f"damaged {damaged.relative_to(clone.path)} ({RUN}/run.json)" in done.stderr
    assert stored(clone) == remaining
    # As the message says.
    clone.git("restore", "results/store")
    clone.dvc("pull", "-q")
    clone.bench("push")
    assert stored(clone) == before


def test_what_was_never_stored_is_made_again_as_the_message_says(workspace):
    lost = object_of(workspace, RUN, "curves.parquet")
    lost.unlink()
    (workspace.path / ".dvc/cache" / lost.relative_to(workspace.path / "results/store")).unlink()
    assert "`bench repro` remakes the rest" in workspace.bench("push", check=False).stderr
    workspace.bench("repro")
    workspace.bench("push")
    assert lost.is_file()


def test_nothing_is_dropped_while_a_lock_file_is_gone(workspace):
    before = stored(workspace)
    (workspace.path / "pipelines/progressive_sharpening/dvc.lock").unlink()
    assert "stages have no result" in workspace.bench("push").stdout
    assert stored(workspace) == before


def test_killed_anywhere_a_push_loses_nothing_and_the_next_one_ends_like_one_alone(workspace, tmp_path):
    old = stored(workspace)
    workspace.set("progressive_sharpening.configurations.lr-low.steps", 25)
    workspace.dvc("repro", "-q", "pipelines/progressive_sharpening/dvc.yaml:tables")
    alone = workspace.copy(tmp_path / "alone")
    alone.bench("push")
    whole = stored(alone)
    assert whole.keys() - old.keys() and old.keys() - whole.keys()
    for at in range(2, 100, 5):
        space = workspace.copy(tmp_path / str(at))
        killed = space.run("python", "-c", KILLED, str(at), check=False).returncode == -9
        halfway = stored(space)
        assert halfway.items() >= old.items() or halfway.items() >= whole.items()
        space.bench("push")
        assert stored(space) == whole, at
        shutil.rmtree(space.path)
        if not killed:
            break
    assert at > 7
