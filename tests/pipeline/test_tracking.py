"""W&B: what was written offline, read back with W&B's own tool; and servers that are not there."""

import base64
import hashlib
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import wandb_server

import benchmarks
from pipelines import finished, layout

STAGE = "pipelines/progressive_sharpening/dvc.yaml:run@lr-low-1-2"
META = "runs-meta/progressive_sharpening/lr-low/1-2.json"


def records(folder):
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def offline_folder(space, run_id):
    (folder,) = space.path.glob(f"wandb/offline-run-*-{run_id}")
    return folder


def logged(entries):
    """The history as W&B has it: {(step, name): value}."""
    return values_of(entry["history"]["item"] for entry in entries if entry["type"] == "history")


def values_of(lines):
    return {
        (line["step"], name): value
        for line in lines
        for name, value in line.items()
        if name != "step" and not name.startswith("_")
    }


def expected_of(history, met, threshold):
    """What W&B is to have of the history of one seed: every value, and the threshold at each reading that meets it."""
    values = {(row.step, layout.key(row.metric)): row.value for row in history.itertuples()}
    readings = history[history.metric == met]
    return values | {(step, f"sharpness/{met}_threshold"): threshold for step in readings.step}


@pytest.mark.parametrize(
    ("name", "seed", "met"),
    [("lr-low", 1, "sharpness"), ("lr-low", 2, "sharpness"), ("adam-09", 1, "preconditioned_sharpness")],
)
def test_an_offline_run_is_the_history_value_by_value(built, name, seed, met):
    (meta,) = built.path.glob(f"runs-meta/progressive_sharpening/{name}/*.json")
    published = json.loads(meta.read_text())["wandb"][str(seed)]
    assert published["mode"] == "offline"
    entries = records(offline_folder(built, published["id"]))
    history = benchmarks.load_history("progressive_sharpening", name, root=built.path)
    table = pd.read_csv(built.path / "results/tables/progressive_sharpening.long.csv")
    row = table[(table.configuration == name) & (table.seed == seed)].iloc[0].dropna()
    expected = expected_of(history[history.seed == seed], met, row.stability_threshold)
    assert f"sharpness/{met}_threshold" in {name for _, name in expected}
    assert logged(entries) == pytest.approx(expected, rel=1e-9)
    assert {layout.metric_of(layout.key(metric)) for metric in set(history.metric)} == set(history.metric)

    (folder,) = built.path.glob(f"runs/progressive_sharpening/{name}/*")
    record = json.loads((folder / "run.json").read_text())
    settings = record["settings"]
    run = next(entry["run"] for entry in entries if entry["type"] == "run")
    assert run["run_group"] == f"progressive_sharpening/{name}" and run["job_type"] == "train"
    assert run["display_name"] == f"{name} seed {seed}"
    assert {"progressive_sharpening", name, f"seed {seed}", "quick", settings["optimizer"]["name"], "mlp"} <= set(
        run["tags"]
    )
    assert run["notes"].startswith("Progressive sharpening and the edge of stability: ")
    config = run["config"]["update"]
    assert config["settings"] == record["settings"] and config["compute"] == record["compute"]
    assert config["data"] == record["data"] and config["code"] == record["code"]
    assert len(config["commit"]) == 40
    named = {"study": "progressive_sharpening", "configuration": name, "seed": seed, "profile": "quick"}
    named |= {"learning_rate": settings["optimizer"]["lr"], "optimizer": settings["optimizer"]["name"]}
    named |= {"architecture": "mlp", "architecture_hidden": "8", "steps": settings["steps"], "dataset": "digits"}
    assert {key: config[key] for key in named} == named
    (axis,) = [entry["metric"] for entry in entries if entry["type"] == "metric" and "glob_name" in entry["metric"]]
    assert (axis["glob_name"], axis["step_metric"]) == ("*", "step")

    last = {}
    for entry in entries:
        if entry["type"] == "summary":
            last |= entry["summary"]["update"]
    for column, value in row.items():
        assert last[column] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), column


def test_nothing_of_a_history_is_left_out(built):
    """But what contests tried before they were tuned, which has no run of its own and is in their table."""
    records = sorted((built.path / "runs").rglob("run.json"))
    for record in records:
        runs = finished.load(record.parent)
        history, _ = finished.tracked(runs)
        curves = runs.curves[runs.curves["role"] != "trial"] if "factor" in runs.curves else runs.curves
        what = {"seed", "step", "metric", "role", "system", "factor"}
        held = curves[[column for column in curves if column not in what]].to_numpy(float)
        assert history["value"].notna().sum() == (~pd.isna(held)).sum(), record
        assert not history.duplicated(["seed", "step", "metric"]).any()
    assert {record.relative_to(built.path).parts[1] for record in records} >= {"carry_over", "optimizer_comparison"}


def test_run_ids_are_stable_for_the_same_parameters_and_code(workspace):
    before = json.loads((workspace.path / META).read_text())["wandb"]
    workspace.dvc("repro", "-q", "-f", "--no-run-cache", "-s", STAGE)
    after = json.loads((workspace.path / META).read_text())["wandb"]
    assert {seed: run["id"] for seed, run in before.items()} == {seed: run["id"] for seed, run in after.items()}
    workspace.set("progressive_sharpening.configurations.lr-low.optimizer.lr", 0.25)
    workspace.dvc("repro", "-q", "-s", "fingerprint", STAGE)
    changed = json.loads((workspace.path / META).read_text())["wandb"]
    assert {run["id"] for run in changed.values()}.isdisjoint({run["id"] for run in before.values()})


def test_without_a_key_runs_are_offline_with_a_warning(workspace):
    keyless = {"WANDB_MODE": None, "WANDB_API_KEY": None, "HOME": str(workspace.path), "NETRC": "nowhere"}
    folders = len(list(workspace.path.glob("wandb/offline-run-*")))
    done = workspace.dvc("repro", "-f", "--no-run-cache", "-s", STAGE, **keyless)
    assert "W&B: no API key" in done.stderr
    assert modes(workspace) == {"offline"}
    # Nobody took them: each is written once, however often one asks.
    for said in ("0 runs written, 2 had already been written", "0 runs written, 2"):
        assert said in workspace.bench("publish", "lr-low", **keyless).stdout
    assert len(list(workspace.path.glob("wandb/offline-run-*"))) == folders


def test_disabled_writes_nothing(workspace):
    workspace.run("rm", "-rf", "wandb")
    workspace.dvc("repro", "-q", "-f", "--no-run-cache", "-s", STAGE, WANDB_MODE="disabled")
    assert json.loads((workspace.path / META).read_text())["wandb"] == {}
    assert not (workspace.path / "wandb").exists()


def modes(space):
    return {run["mode"] for run in json.loads((space.path / META).read_text())["wandb"].values()}


def train(space, **environment):
    return space.dvc("repro", "-f", "--no-run-cache", "-s", STAGE, HOME=str(space.path), **environment)


def test_what_a_closed_port_did_not_take_is_sent_once_when_the_server_is_back(workspace):
    with wandb_server.serving("good") as server:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and does not listen
            nowhere = {**server.environment, "WANDB_BASE_URL": f"http://127.0.0.1:{closed.getsockname()[1]}"}
            said = "".join(train(workspace, **nowhere).stderr for _ in range(2))
        assert said.count("the server did not answer") == 1 and modes(workspace) == {"offline"}
        environment = {**server.environment, "HOME": str(workspace.path)}
        assert "2 runs sent, 0 had already" in workspace.bench("publish", "lr-low", **environment).stdout
        assert "0 runs sent, 2 had already" in workspace.bench("publish", "lr-low", **environment).stdout
        history = benchmarks.load_history("progressive_sharpening", "lr-low", root=workspace.path)
        ids = {seed: run["id"] for seed, run in json.loads((workspace.path / META).read_text())["wandb"].items()}
        for seed, name in ids.items():
            threshold = 2 / 0.2
            expected = expected_of(history[history.seed == int(seed)], "sharpness", threshold)
            assert values_of(server.histories[name]) == pytest.approx(expected, rel=1e-9)
        heard = "".join(server.heard)
        assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", heard) and str(workspace.path) not in heard
        # And a stage that trains while the server is well says so itself.
        workspace.set("progressive_sharpening.configurations.lr-low.optimizer.lr", 0.25)
        workspace.dvc("repro", "-q", "-s", "fingerprint", STAGE, **environment)
        assert modes(workspace) == {"online"}


@pytest.mark.parametrize("health", ["no stream", "empty"])
def test_a_server_that_is_half_there_costs_a_rebuild_seconds_once_and_no_run(workspace, health):
    with wandb_server.serving(health) as server:
        took = []
        for _ in range(2):
            started = time.time()
            train(workspace, **server.environment)
            took.append(time.time() - started)
            assert modes(workspace) == {"offline"}
        # Not a timing of our code: the bound on what such a server may cost a rebuild.
        assert took[0] - took[1] < 30
        if health == "empty":  # the other makes one wait
            done = workspace.bench("publish", "lr-low", HOME=str(workspace.path), check=False, **server.environment)
            assert done.returncode == 1 and "did not answer for 2 of 2 runs" in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("WANDB_BASE_URL", "api.wandb.ai", "which W&B does not take"),
        ("WANDB_MODE", "on", "it may be online, offline, disabled, or not set"),
        ("WANDB_MODE", "disabled", "nothing was sent"),
    ],
)
def test_a_setting_that_sends_nothing_is_refused(workspace, variable, value, says):
    commands = [["publish"], *([["repro"]] if value != "disabled" else [])]
    for command in commands:
        done = workspace.bench(*command, check=False, **{variable: value})
        assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_publish_sends_restored_runs_tables_and_figures_once_and_as_they_are(workspace):
    written = {path.name.rpartition("-")[2]: records(path) for path in workspace.path.glob("wandb/offline-run-*")}
    workspace.run("rm", "-rf", "wandb", "runs", ".dvc/cache")
    workspace.dvc("pull", "-q")
    said = workspace.bench("publish").stdout
    assert said.startswith(f"{len(written)} runs written, 0 had already been")
    sent = {path.name.rpartition("-")[2]: path for path in workspace.path.glob("wandb/offline-run-*")}
    assert len(sent) == len(written) + 1, "and one that holds the results"
    for run_id, entries in written.items():
        assert logged(records(sent[run_id])) == logged(entries), "the same run, value by value"

    (results,) = [path for run_id, path in sent.items() if run_id not in written]
    entries = records(results)
    tables = sorted((workspace.path / "results/tables").rglob("*.csv"))
    artifacts = [entry["artifact"] for entry in entries if entry["type"] == "artifact"]
    kept = {artifact["name"]: artifact for artifact in artifacts if artifact["type"] == "results-table"}
    manifest = json.loads((workspace.path / "results/MANIFEST.json").read_text())
    assert len(kept) == len(tables) == len(manifest["tables"])
    for name, entry in manifest["tables"].items():
        artifact = kept[name.replace("/", "-")]
        contents = {content["path"]: content for content in artifact["manifest"]["contents"]}
        csv = contents.pop(f"{name.rpartition('/')[2]}.csv")
        assert (
            csv["digest"]
            == base64.b64encode(hashlib.md5((workspace.path / entry["path"]).read_bytes()).digest()).decode()
        )
        # What the app compares two versions by: the same rows, each with a name of its own.
        (joined,) = contents.values()
        shown = json.loads(Path(joined["local_path"]).read_text())
        assert joined["path"] == "table.table.json" and shown["columns"] == ["row", *entry["columns"]]
        assert shown["column_types"]["params"]["type_map"]["row"]["wb_type"] == "primaryKey"
        assert len({row[0] for row in shown["data"]}) == len(shown["data"]) == entry["rows"]
        assert json.loads(artifact["metadata"])["sha256"] == entry["sha256"]
        assert f"release-{manifest['version']}" in artifact["aliases"]
    values = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    shown = {key.rpartition("._type")[0]: value for item in values for key, value in item.items() if "._type" in key}
    assert sum(kind == "table-file" for kind in shown.values()) == len(tables)
    assert sum(kind == "html-file" for kind in shown.values()) == len(
        list(workspace.path.glob("results/figures/*.svg"))
    )

    again = workspace.bench("publish").stdout
    assert (
        again.startswith(f"0 runs written, {len(written)} had already been")
        and "results had already been written" in again
    )
    assert len(list(workspace.path.glob("wandb/offline-run-*"))) == len(sent)
    workspace.run("rm", "-rf", "wandb")
    assert workspace.bench("publish", "lr-low").stdout.startswith("2 runs written")
    assert len(list(workspace.path.glob("wandb/offline-run-*"))) == 2
