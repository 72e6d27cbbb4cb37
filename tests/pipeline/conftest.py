"""Workspaces, built once and copied."""

import json
import os
import shutil

import pytest
from filelock import FileLock
from workspaces import CODE, ROOT, WRITTEN, Workspace, tiny

from pipelines.files import write_yaml


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Workspace:
    """A workspace after a whole `bench repro -j 2`, pushed and committed. Not to be changed: see ``workspace``."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    path = shared / "built"
    with FileLock(shared / "built.lock"):
        space = Workspace(path)
        if not (path / "built.json").is_file():
            write_code(path)
            space.bench("stages")
            space.git("init", "-q", "-b", "main")
            space.dvc("init", "-q")
            (path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
            space.commit("code")
            said = space.bench("repro", "-j", "2").stdout
            space.dvc("push", "-q", "--run-cache")
            (path / "built.json").write_text(json.dumps(said))
            space.commit("results")
    return space


@pytest.fixture
def unbuilt(tmp_path) -> Workspace:
    """The code and parameters alone, without a dvc.yaml: where nothing gets as far as to run."""
    write_code(tmp_path / "unbuilt")
    return Workspace(tmp_path / "unbuilt")


@pytest.fixture
def workspace(built, tmp_path) -> Workspace:
    """A copy of the built workspace, with its cache, to change at will."""
    return built.copy(tmp_path / "work")


@pytest.fixture
def clone(built, tmp_path) -> Workspace:
    """A fresh clone of the built workspace: no cache, no data, no runs."""
    return built.clone(tmp_path / "clone")


def write_code(path) -> None:
    path.mkdir()
    for part in CODE:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, path / part, ignore=shutil.ignore_patterns(*WRITTEN))
        else:
            shutil.copy2(source, path / part)
    write_yaml(path / "params.yaml", tiny())
