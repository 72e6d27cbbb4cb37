"""The open question through the doors people use: the tables, the page, and what stops them."""

import json

import pandas as pd
import pytest


def test_a_rebuild_leaves_the_table_and_the_page(built):
    table = pd.read_csv(built.path / "results/tables/low_rank_progression.csv").set_index("rung")
    assert list(table.index) == ["small-gd-relu-hat", "default-adam-relu-real"]
    assert table["verdict"].notna().all() and (table["n"] == 2).all()
    long = pd.read_csv(built.path / "results/tables/low_rank_progression.long.csv")
    assert set(long["system"]) == {"net", "twin"}
    mean = long[
        (long["rung"] == "small-gd-relu-hat") & (long["system"] == "net") & (long["quantity"] == "waypoint_score")
    ]["value"].mean()
    assert table.loc["small-gd-relu-hat", "waypoint_score"] == pytest.approx(mean, rel=1e-9)
    page = (built.path / "results/open_question_4_1.html").read_text()
    assert "What the ladder does not show" in page and "What would change the verdict" in page
    assert page.count('<img src="figures/') == 15
    scale = pd.read_csv(built.path / "results/tables/low_rank_progression/output_scale.csv")
    assert set(scale["quantity"]) == {"scale", "largest_lr", "lazy_slope", "rich_slope"}
    meta = json.loads((built.path / "runs-meta/low_rank_progression/small-gd-relu-hat.json").read_text())
    assert (
        set(meta) == {"commit", "versions", "hardware", "device", "wall_s", "resumed", "wandb"}
        and len(meta["wandb"]) == 2
    )


def test_a_new_rung_trains_alone(workspace):
    workspace.set("low_rank_progression.rungs.mine", {"init": 0.1})
    workspace.bench("stages")
    ran = workspace.ran()
    assert [name for name in ran if "rung" in name] == ["pipelines/low_rank_progression/dvc.yaml:rung@mine"]
    others = [name for name in ran if name.startswith("pipelines/") and not name.endswith((":tables", ":figures"))]
    assert others == ["pipelines/low_rank_progression/dvc.yaml:rung@mine"]
    assert "mine" in set(pd.read_csv(workspace.path / "results/tables/low_rank_progression.csv")["rung"])


def test_more_modes_than_there_are_is_one_clear_error(workspace):
    before = workspace.bytes("results/tables/*.csv")
    workspace.set("low_rank_progression.rungs.small-gd-relu-hat", {"data": {"modes": 10}})
    done = workspace.dvc("repro", check=False)
    assert done.returncode != 0
    assert "low_rank_progression: small-gd-relu-hat: 10 modes asked for" in done.stderr
    assert workspace.bytes("results/tables/*.csv") == before


def test_a_broken_instrument_stops_the_stage_and_leaves_the_tables(workspace):
    before = workspace.bytes("results/tables/*.csv")
    toy = workspace.path / "results/tables/deep_linear/waypoints.csv"
    toy.write_text(toy.read_text() + "linear-1e-3,1,waypoint_score,0.7\n")
    done = workspace.run("python", "-m", "pipelines.tables", "low_rank_progression", check=False)
    assert done.returncode == 1
    assert "instrument broken: the toy's linear network scores 0.700; at least 0.9 is needed" in done.stderr
    assert workspace.bytes("results/tables/*.csv") == before


def test_a_claim_s_verdict_is_of_the_rungs_that_were_trained_for_it(workspace):
    workspace.set("low_rank_progression.rungs.small-gd-relu-hat", {"init": 1e-3, "steps": 200})
    before = workspace.bytes("results/tables/*.csv")
    said = workspace.bench("repro", "Q9").stdout
    assert workspace.bytes("results/tables/*.csv") == before
    (line,) = [line for line in said.splitlines() if line.split()[:1] == ["Q9.relu"]]
    measured = float(line.partition("measured ")[2].partition(",")[0])

    def mean(table):
        mine = table[(table["system"] == "net") & (table["quantity"] == "concurrency")]
        return mine["value"].mean()

    trained = pd.read_csv(workspace.path / "runs/low_rank_progression/small-gd-relu-hat/rows.csv")
    committed = pd.read_csv(workspace.path / "results/tables/low_rank_progression.long.csv")
    assert measured == pytest.approx(mean(trained), rel=1e-3)
    assert measured != pytest.approx(mean(committed[committed["rung"] == "small-gd-relu-hat"]), rel=1e-3)
