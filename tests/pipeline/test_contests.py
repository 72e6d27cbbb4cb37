"""The optimizer comparison through the doors people use: its tables, what retrains, and what stops it."""

import json

import pandas as pd
import pytest

PIPELINE = "pipelines/optimizer_comparison/dvc.yaml"


def test_a_rebuild_leaves_the_tables_of_the_comparison(built):
    summary = pd.read_csv(built.path / "results/tables/optimizer_comparison.csv").set_index(["workload", "optimizer"])
    assert list(summary.index) == [("mlp", "adamw"), ("mlp", "hopeless"), ("balanced", "adamw")]
    long = pd.read_csv(built.path / "results/tables/optimizer_comparison.long.csv")
    counts = long.groupby(["workload", "optimizer", "role"]).size()
    assert counts["mlp", "adamw"].to_dict() == {"trial": 3, "final": 2, "factor": 4}
    assert counts["balanced", "adamw"].to_dict() == {"trial": 3, "final": 2}
    best = long[(long["role"] == "trial") & (long["optimizer"] == "adamw") & (long["workload"] == "mlp")]
    best = best.loc[best["objective"].idxmin()]
    assert summary.loc[("mlp", "adamw"), "learning_rate"] == pytest.approx(best["learning_rate"], rel=1e-9)
    finals = long[(long["role"] == "final") & (long["optimizer"] == "adamw") & (long["workload"] == "mlp")]
    assert set(finals["options"]) == {best["options"]} and set(finals["seed"]) == {1, 2}
    assert long[long["role"] != "final"]["test_loss"].isna().all() and finals["test_loss"].notna().all()
    entries = pd.read_csv(built.path / "results/tables/optimizer_comparison/optimizers.csv").set_index("optimizer")
    assert entries.loc["adamw", "package"].startswith("torch 2")
    page = (built.path / "results/report.html").read_text()
    assert "Optimizers compared" in page and "no trial of its search space stayed finite" in page


def test_explain_shows_the_contests_that_a_claim_rests_on(built):
    said = built.bench("explain", "W5").stdout
    listed = said.partition("contests (rows of results/tables/optimizer_comparison.csv):")[2].split("W5:")[0]
    assert listed.count("adamw") == 1 and "hopeless" not in listed
    assert "contests" not in built.bench("explain", "E1").stdout


def test_a_search_space_without_a_finite_trial_is_a_row_that_says_so(built):
    summary = pd.read_csv(built.path / "results/tables/optimizer_comparison.csv").set_index(["workload", "optimizer"])
    row = summary.loc[("mlp", "hopeless")]
    assert (row["finite_trials"], row["n"]) == (0, 0) and pd.isna(row["objective"]) and pd.isna(row["rank_best"])
    assert "no trial of its search space stayed finite" in row["note"]
    long = pd.read_csv(built.path / "results/tables/optimizer_comparison.long.csv")
    mine = long[long["optimizer"] == "hopeless"]
    assert set(mine["role"]) == {"trial"} and (mine["diverged"] == 1).all()


def test_the_runs_that_count_go_to_wandb(built, workspace):
    meta = json.loads((built.path / "runs-meta/optimizer_comparison/mlp-adamw.json").read_text())
    assert set(meta) == {"commit", "versions", "hardware", "device", "wall_s", "resumed", "wandb"}
    assert list(meta["wandb"]) == ["1", "2"]
    hopeless = json.loads((built.path / "runs-meta/optimizer_comparison/mlp-hopeless.json").read_text())
    assert hopeless["wandb"] == {}
    said = workspace.bench("publish", "mlp-hopeless")
    assert said.stdout.startswith("0 runs written, 0 had already been") and "W&B" not in said.stderr


def test_a_new_optimizer_runs_its_contests_alone_and_another_target_runs_none(workspace):
    workspace.set("optimizer_comparison.pair", ["adamw", "mine"])
    mine = {"optimizer": {"name": "lion"}, "space": {"lr": {"log": [1e-4, 1e-2]}}}
    workspace.set("optimizer_comparison.optimizers.mine", mine)
    workspace.bench("stages")
    ran = [name for name in workspace.ran() if name.startswith("pipelines/")]
    assert [name for name in ran if "timings" not in name and not name.endswith(":figures")] == [
        f"{PIPELINE}:contest@mlp-mine",
        f"{PIPELINE}:extra@balanced-mine",
        f"{PIPELINE}:tables",
    ]
    summary = pd.read_csv(workspace.path / "results/tables/optimizer_comparison.csv")
    assert summary.loc[summary["optimizer"] == "mine", "implementation"].tolist() == ["pytorch_optimizer.Lion"] * 2
    workspace.set("optimizer_comparison.target.share", 0.5)
    workspace.dvc("repro", "-q", "fingerprint")
    assert {name for name in workspace.stale() if "optimizer_comparison" in name} == {f"{PIPELINE}:tables"}


def test_a_contest_that_is_not_there_is_one_clear_error(workspace):
    before = workspace.bytes("results/tables/*.csv")
    (workspace.path / "runs/optimizer_comparison/mlp-adamw/run.json").unlink()
    done = workspace.run("python", "-m", "pipelines.tables", "optimizer_comparison", check=False)
    assert done.returncode == 1
    assert "missing optimizer_comparison/mlp-adamw: params.yaml asks for it" in done.stderr
    assert workspace.bytes("results/tables/*.csv") == before
