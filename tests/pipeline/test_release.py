"""`bench diff`, `bench check`, `bench release`: what moved, whether it may, and tables at a tag."""

import json
import time

import pandas as pd
import pytest
from workspaces import ROOT, Workspace

from benchmarks.studies import catalog

CARDS = catalog.cards()
CLAIMS = "results/tables/claims.csv"
CLAIMS_FILE = "benchmarks/studies/progressive_sharpening/claims.yaml"


def remake(space, *stages):
    """The stages after a change, and the manifest."""
    for stage in (*stages, "pages", "manifest"):
        space.dvc("repro", "-q", "-s", stage)
    space.dvc("repro", "-q", "fingerprint")


def announce(space, version):
    space.edit("CHANGELOG.md", "# Changelog\n", f"# Changelog\n\n## {version} (2026-11-25)\n\nA release.\n")


@pytest.fixture(scope="module")
def released(built, tmp_path_factory):
    """The built workspace after its first release, from a branch that announced it."""
    space = built.copy(tmp_path_factory.mktemp("released") / "work")
    space.git("config", "user.name", "test")
    space.git("config", "user.email", "test@example.org")
    announce(space, "7.1.0")
    remake(space)
    space.commit("announced")
    space.said = space.bench("release", "7.1.0").stdout
    return space


def test_a_release_commits_version_changes_and_manifest_and_tags_every_table(released):
    assert f"committed and tagged v7.1.0, and {len(CARDS)} tables" in released.said
    assert released.git("status", "--porcelain").stdout == ""
    assert released.git("log", "-1", "--format=%s").stdout.strip() == "Release 7.1.0"
    assert "version: 7.1.0" in (released.path / "CITATION.cff").read_text()
    assert 'version = "7.1.0"' in (released.path / "pyproject.toml").read_text()
    assert json.loads((released.path / "results/MANIFEST.json").read_text())["version"] == "7.1.0"
    changes = (released.path / "results/CHANGELOG.md").read_text()
    assert "## 7.1.0 (" in changes and "The first release." in changes
    assert "Version 7.1.0" in (released.path / "results/report.html").read_text()
    assert "\\newcommand{\\BenchVersion}{7.1.0}" in (released.path / "results/latex/numbers.tex").read_text()
    tags = set(released.git("tag", "--points-at", "HEAD").stdout.split())
    assert len(tags) == len(CARDS) + 1 and {"v7.1.0", "claims@v7.1.0", "deep-linear-solutions@v7.1.0"} <= tags
    assert released.git("cat-file", "-t", "claims@v7.1.0").stdout.strip() == "tag", "annotated"
    assert released.stale() == set()
    assert f"{len(CARDS)} tables agree" in released.bench("check").stdout


def test_a_table_comes_from_its_tag_in_three_ways(released, tmp_path):
    """From a clone that has another state, as a stranger would."""
    wanted = (released.path / CLAIMS).read_text()
    source = released.clone(tmp_path / "source")
    (source.path / CLAIMS).write_text("gone\n")
    source.git("config", "user.name", "test")
    source.git("config", "user.email", "test@example.org")
    source.commit("gone")
    there = str(source.path)
    tag = "claims@v7.1.0"
    source.dvc("get", there, CLAIMS, "--rev", tag, "-o", str(tmp_path / "got.csv"))
    assert (tmp_path / "got.csv").read_text() == wanted
    source.dvc("artifacts", "get", there, "claims", "--rev", "v7.1.0", "-o", str(tmp_path / "artifact"))
    (artifact,) = [path for path in (tmp_path / "artifact", tmp_path / "artifact/claims.csv") if path.is_file()]
    assert artifact.read_text() == wanted
    script = f"import dvc.api; print(dvc.api.read({CLAIMS!r}, repo={there!r}, rev={tag!r}), end='')"
    assert source.run("python", "-c", script).stdout == wanted


def test_nothing_needs_a_tag(released, tmp_path):
    source = released.clone(tmp_path / "fork")
    tags = source.git("tag").stdout.split()
    source.git("tag", "-d", *tags)
    assert "7.1.0 is comparable with 7.1.0: 0 cells moved" in source.bench("check").stdout


def lower(space):
    return "7.0.9", "below 7.1.0"


def no_version(space):
    return "7.2", "has the form X.Y.Z"


def again(space):
    return "7.1.0", "tag v7.1.0 exists"


def unannounced(space):
    return "7.2.0", "no section `## 7.2.0 (date)`"


def dirty(space):
    announce(space, "7.2.0")
    return "7.2.0", "the tree is dirty"


def stale(space):
    announce(space, "7.2.0")
    space.edit(CLAIMS_FILE, "Sharpness settles at $2/\\mathrm{lr}$ in other networks", "Another title")
    space.commit("stale")
    return "7.2.0", "stale: "


@pytest.mark.parametrize("how", [lower, no_version, again, unannounced, dirty, stale])
def test_a_release_that_cannot_be_changes_nothing(released, tmp_path, how):
    space = released.copy(tmp_path / "work")
    version, message = how(space)
    before = [space.git(*command).stdout for command in (("status", "--porcelain"), ("rev-parse", "HEAD"), ("tag",))]
    done = space.bench("release", version, check=False)
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    after = [space.git(*command).stdout for command in (("status", "--porcelain"), ("rev-parse", "HEAD"), ("tag",))]
    assert after == before


@pytest.fixture(scope="module")
def announced(released, tmp_path_factory):
    space = released.copy(tmp_path_factory.mktemp("announced") / "work")
    announce(space, "7.2.0")
    space.commit("announced")
    return space


def is_released(space):
    assert space.git("status", "--porcelain").stdout == ""
    assert space.git("log", "-2", "--format=%s").stdout.splitlines() == ["Release 7.2.0", "announced"]
    assert len(space.git("tag", "--points-at", "HEAD").stdout.split()) == len(CARDS) + 1
    changes = (space.path / "results/CHANGELOG.md").read_text()
    return changes.count("## 7.2.0 (") == changes.count("## 7.1.0 (") == 1


def test_a_release_killed_while_writing_starts_again_when_its_stage_has_ended(announced, tmp_path):
    space = announced.copy(tmp_path / "work")
    process = space.start("python", "-m", "pipelines.cli", "release", "7.2.0")
    changes = space.path / "results/CHANGELOG.md"
    deadline = time.time() + 300
    while "## 7.2.0" not in changes.read_text() and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # the first stage runs, and goes on without its release
    process.kill()
    process.wait()
    assert "put aside what an interrupted release had written" in space.bench("release", "7.2.0").stdout
    assert is_released(space)


# Stops itself before the n-th tag, as `kill -9` would.
KILLED = """
import os, signal, sys
from pipelines import cli, release
left, git = int(sys.argv[1]), release._git
def counted(*arguments):
    global left
    left -= arguments[:2] == ("tag", "-a")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return git(*arguments)
release._git = counted
sys.exit(cli.main(["release", "7.2.0"]))
"""


def test_a_release_killed_between_tags_adds_the_missing_ones(announced, tmp_path):
    space = announced.copy(tmp_path / "work")
    assert space.run("python", "-c", KILLED, "18", check=False).returncode == -9
    assert len(space.git("tag", "--points-at", "HEAD").stdout.split()) == 17
    said = space.bench("release", "7.2.0").stdout
    assert "7.2.0 was committed before" in said and f"{len(CARDS) + 1 - 17} tags added" in said
    assert is_released(space)
    assert "tag v7.2.0 exists" in space.bench("release", "7.2.0", check=False).stderr


def test_a_number_moved_beyond_its_tolerance_needs_another_minor_version(released, tmp_path):
    space = released.copy(tmp_path / "work")
    # The threshold of gradient descent is exact: any other learning rate moves it, and the verdict of its check.
    space.set("progressive_sharpening.thresholds.optimizers.gd.lr", 0.02)
    space.bench("repro", "thresholds")
    study = "pipelines/progressive_sharpening/dvc.yaml"
    remake(space, f"{study}:tables", "judge", f"{study}:figures")
    space.commit("another learning rate")
    said = space.bench("diff", "v7.1.0").stdout
    table = pd.read_csv(space.path / "results/tables/stability_thresholds.csv").set_index("optimizer")
    assert table.loc["gd", "stability_threshold"] == pytest.approx(100)
    assert "stability_thresholds, optimizer gd, stability_threshold: 200 -> 100" in said
    assert "C5.gd: verified -> falsified" in said
    refused = space.bench("check", check=False)
    assert refused.returncode == 1
    assert "moved beyond tolerance since 7.1.0" in refused.stderr and "raise the MINOR version" in refused.stderr
    announce(space, "7.1.1")
    announce(space, "7.2.0")
    space.commit("announced")
    assert "comparable" in space.bench("release", "7.1.1", check=False).stderr
    space.bench("release", "7.2.0")
    changes = (space.path / "results/CHANGELOG.md").read_text()
    assert changes.index("## 7.2.0") < changes.index("## 7.1.0")
    assert "Verdict of `C5.gd`: verified, now falsified." in changes
    compared = space.bench("compare", "v7.1.0", "HEAD").stdout
    assert "progressive_sharpening.thresholds.optimizers.gd.lr  0.01" in compared and "C5.gd" in compared


def test_the_committed_results_agree_with_their_manifest_and_the_rule_of_versions():
    """The real ones, of this checkout."""
    assert "agree with the manifest" in Workspace(ROOT).bench("check").stdout
