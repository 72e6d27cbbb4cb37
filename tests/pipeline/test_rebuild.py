"""`bench` and `dvc` from end to end: what a rebuild leaves, and what DVC's own views show of it."""

import json
import re
import socket
from pathlib import Path

import pandas as pd
import pytest

import benchmarks
from benchmarks.evidence.runs import COLUMNS
from benchmarks.studies import catalog

ADDRESS = "pipelines/progressive_sharpening/dvc.yaml"
CONFIGURATIONS = "progressive_sharpening.configurations"
CLAIMS = "benchmarks/studies/progressive_sharpening/claims.yaml"
FIGURES = [figure.name for study in catalog.studies().values() for figure in study.figures]


def test_a_rebuild_leaves_tables_verdicts_figures_and_a_report(built):
    said = json.loads((built.path / "built.json").read_text())
    assert "failed 0" in said and f"claims: {built.path.resolve()}/results/CLAIMS.md" in said and "report.html" in said
    assert "Deep linear networks" in said, "each section has its tally"
    tables = built.path / "results/tables"
    long = pd.read_csv(tables / "progressive_sharpening.long.csv")
    assert list(long.columns) == list(COLUMNS)
    assert long.groupby("configuration").seed.apply(list).to_dict() == {
        "lr-low": [1, 2],
        "lr-diverging": [1, 2],
        "adam-09": [1, 2],
        "edge-lr-mid": [1, 2],
    }
    diverged = long.set_index("configuration").diverged.to_dict()
    assert diverged == {"lr-low": 0, "lr-diverging": 1, "adam-09": 0, "edge-lr-mid": 0}
    assert long.set_index("configuration").late_preconditioned_ratio.dropna().index.unique().tolist() == ["adam-09"]
    cells = pd.read_csv(tables / "progressive_sharpening.csv")
    assert not cells.duplicated(["configuration", "metric"]).any()
    mean = cells.set_index(["configuration", "metric"]).loc[("lr-low", "last_loss"), "mean"]
    assert mean == pytest.approx(long[long.configuration == "lr-low"].last_loss.mean(), rel=1e-9)
    checks = pd.read_csv(tables / "claims.csv").set_index("check")
    assert checks.loc["C5.gd", "verdict"] == "verified"
    assert checks.loc["E1.level-mid", "verdict"] == "not-run"
    assert {p.stem for p in (built.path / "results/figures").glob("*.svg")} == set(FIGURES)
    assert len(FIGURES) == len(set(FIGURES))
    timings = {"training_step.csv", "eigensolvers.csv", "optimizer_steps.csv", "optimizer_costs.csv", "launches.csv"}
    assert {p.name for p in (tables / "timings").iterdir()} == timings
    written = {path.relative_to(tables).with_suffix("").as_posix() for path in tables.rglob("*.csv")}
    assert written == set(catalog.cards())
    curves = {name for name, study in catalog.studies().items() if study.curves}
    assert {p.stem for p in (built.path / "results/curves").iterdir()} == curves


def test_the_report_needs_nothing_but_what_lies_beside_it(built):
    page = (built.path / "results/report.html").read_text()
    assert page.index('id="answer"') < page.index('id="section-1"') < page.index('id="runs"')
    assert sorted(re.findall(r'<figure id="figure-(\w+)"', page)) == sorted(FIGURES)
    for link in set(re.findall(r'(?:src|href)="([^"#]+)', page)):
        assert (built.path / "results" / link).is_file(), f"the page reaches out to {link}"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "ids repeat"
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in ids


def test_a_rebuild_with_nothing_to_do_runs_nothing(workspace):
    assert workspace.stale() == set()
    assert workspace.ran() == []
    said = workspace.bench("repro", "-j", "2").stdout
    assert "ran 0, restored 0, failed 0" in said
    said = workspace.bench("repro", "W6").stdout
    assert re.match(r"W6 reads all of optimizer_comparison\.long, and so needs whatever feeds it: \d+ stages\n", said)
    assert "ran 0, restored 0, failed 0" in said and re.search("^W6: ", said, re.M)


def test_no_provenance_names_a_machine_or_a_person(built):
    text = "".join(p.read_text() for p in built.path.glob("runs-meta/**/*.json"))
    assert '"torch"' in text and '"processor"' in text
    text += (built.path / "results/report.html").read_text()
    assert str(built.path) not in text
    assert f"{Path.home()}/" not in text
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_dvcs_own_views(workspace):
    shown = json.loads(workspace.dvc("metrics", "show", "--json").stdout)
    metrics = shown[""]["data"]["results/metrics.json"]["data"]
    assert set(metrics) == {"claims", "checks", "carries_over"}
    assert sum(map(len, metrics.values())) < 20, "few enough to read"
    assert metrics["claims"]["holds"] > 0
    workspace.set("progressive_sharpening.thresholds.optimizers.gd.lr", 0.02)
    changed = json.loads(workspace.dvc("params", "diff", "--json").stdout)
    assert changed["params.yaml"]["progressive_sharpening.thresholds.optimizers.gd.lr"] == {
        "old": 0.01,
        "new": 0.02,
        "diff": 0.01,
    }
    workspace.dvc("repro", "-q", "judge")
    moved = json.loads(workspace.dvc("metrics", "diff", "--json").stdout)["results/metrics.json"]
    assert moved["checks.holds"]["diff"] == -1, "C5.gd, whose threshold is not where it should be"
    moved = json.loads(workspace.dvc("metrics", "diff", "--json", "HEAD", "--targets", "results/measured.json").stdout)
    assert moved["results/measured.json"]["C5.gd"] == {"old": 200.0, "new": 100.0, "diff": -100.0}
    plots = json.loads(workspace.dvc("plots", "diff", "HEAD", "--json", "-o", "plots").stdout)["data"]
    figures = {name: kinds for name, kinds in plots.items() if name.endswith(".svg")}
    assert "results/figures/progressive_sharpening.svg" in figures and len(figures) == len(catalog.studies())
    assert all({one["type"] for one in kinds} == {"image"} for kinds in figures.values())
    (shares,) = [kinds for name, kinds in plots.items() if name not in figures]
    assert shares[0]["type"] == "vega" and set(shares[0]["revisions"]) == {"HEAD", "workspace"}
    graph = workspace.dvc("dag", "--mermaid", "--collapse-foreach-matrix").stdout
    for name in (
        "prepare",
        "fingerprint",
        f"{ADDRESS}:run",
        f"{ADDRESS}:tables",
        "judge",
        f"{ADDRESS}:figures",
        "pages",
    ):
        assert name in graph


def test_a_what_if_experiment_leaves_the_tables_alone(workspace):
    before = workspace.bytes("results/**/*.csv")
    setting = "progressive_sharpening.configurations.lr-low.steps=10"
    workspace.dvc("exp", "run", "--temp", "-q", "-n", "shorter", "-S", setting, f"{ADDRESS}:tables")
    assert workspace.bytes("results/**/*.csv") == before
    # What people read, and what an editor's extension does.
    drop = "params.yaml$|results/|runs"
    shown = workspace.dvc("exp", "show", "--only-changed", "--no-pager", "--drop", drop, COLUMNS="120").stdout
    (head,) = [line.split() for line in shown.splitlines() if "Experiment" in line]
    assert head == ["Experiment", "Created", setting.partition("=")[0]] and "…" not in shown
    (row,) = [line.split() for line in shown.splitlines() if "shorter" in line]
    assert row[-1] == "10"
    (baseline,) = [one for one in json.loads(workspace.dvc("exp", "show", "--json").stdout) if one["experiments"]]
    (tried,) = baseline["experiments"][0]["revs"]
    assert tried["name"] == "shorter" and "results/metrics.json" in tried["data"]["metrics"]


def test_a_study_or_a_claim_can_be_rebuilt_alone(clone):
    said = clone.bench("repro", "C5").stdout
    (check,) = [line for line in said.splitlines() if line.split()[:1] == ["C5.gd"]]
    assert check.split()[1] == "holds" and "measured 200, predicted 200" in check
    assert not (clone.path / "runs").exists()
    changed = clone.git("status", "--porcelain").stdout.splitlines()
    assert all(line.endswith("dvc.lock") for line in changed), "the tables are as they were"
    failed = clone.bench("repro", "C55", check=False)
    assert failed.returncode == 1 and "did you mean C5" in failed.stderr
    failed = clone.bench("explain", "scale_invariance", check=False)
    assert failed.returncode == 1 and "scale_invariance is a study: name a claim or check" in failed.stderr


def test_explain_status_and_report(workspace):
    said = workspace.bench("explain", "e1").stdout
    for part in (
        "Cohen et al. 2021",
        "band 0.95 – 1.15",
        "estimator   cell(configuration=lr-low",
        "lr-low",
        "verdict     not run: no run of 'lr-mid'",
    ):
        assert part in said
    assert "up to date" in workspace.bench("status").stdout
    workspace.set(f"{CONFIGURATIONS}.lr-low.optimizer.lr", 0.3)
    said = workspace.bench("status").stdout
    assert f"stale: {ADDRESS}:run@lr-low-1-2" in said and "lr-low" in said
    workspace.set(f"{CONFIGURATIONS}.lr-low.optimizer.lr", 0.2)
    workspace.edit(CLAIMS, "title: Momentum has its own edge", "title: Another title")
    workspace.bench("report")
    assert "Another title" in (workspace.path / "results/report.html").read_text()


def test_doctor_says_what_is_wrong_and_how_to_mend_it(workspace):
    (workspace.path / "data/images.npz").write_bytes(b"PK damaged")
    workspace.set(f"{CONFIGURATIONS}.lr-low.stpes", 20)
    done = workspace.bench("doctor", check=False)
    assert done.returncode == 1
    assert "unknown key 'stpes' (did you mean 'steps'?)" in done.stdout
    workspace.drop(f"{CONFIGURATIONS}.lr-low.stpes")
    done = workspace.bench("doctor", check=False)
    assert "data/images.npz is truncated or not an npz archive" in done.stdout
    assert "fix: remove data/images.npz" in done.stdout
    assert "ok    the dvc.yaml files are those of params.yaml" in done.stdout
    workspace.drop(f"{CONFIGURATIONS}.lr-diverging")
    done = workspace.bench("doctor", check=False)
    assert f"WRONG {ADDRESS}, line " in done.stdout and "fix: `bench stages`" in done.stdout


def test_histories_load_after_a_clone_and_a_pull(clone):
    with pytest.raises(FileNotFoundError, match="dvc pull"):
        benchmarks.load_history("progressive_sharpening", "lr-low", root=clone.path)
    clone.dvc("pull", "-q")
    history = benchmarks.load_history("progressive_sharpening", "lr-low", root=clone.path)
    assert list(history.columns) == ["seed", "step", "metric", "value"]
    assert history.groupby(["seed", "metric"]).size().loc[(2, "loss")] == 21
    with pytest.raises(FileNotFoundError, match="there are adam-09, edge-lr-mid, lr-diverging, lr-low"):
        benchmarks.load_history("progressive_sharpening", "lr-lwo", root=clone.path)


def test_a_missing_run_is_named_and_an_orphan_is_pruned(workspace):
    orphan = workspace.path / "runs/progressive_sharpening/lr-diverging"
    assert orphan.is_dir()
    workspace.drop(f"{CONFIGURATIONS}.lr-diverging")
    workspace.bench("stages")
    said = workspace.dvc("repro", "judge").stdout
    assert "pruned runs/progressive_sharpening/lr-diverging" in said
    assert not orphan.exists()
    long = pd.read_csv(workspace.path / "results/tables/progressive_sharpening.long.csv")
    assert set(long.configuration) == {"adam-09", "edge-lr-mid", "lr-low"}
    figures = {f"pipelines/{study}/dvc.yaml:figures" for study in catalog.studies()}
    assert workspace.stale() <= {"pages", "manifest", *figures}

    (workspace.path / "runs/progressive_sharpening/lr-low/1-2/run.json").unlink()
    done = workspace.run("python", "-m", "pipelines.tables", "progressive_sharpening", check=False)
    assert done.returncode == 1
    assert "missing progressive_sharpening/lr-low/1-2: params.yaml asks for it" in done.stderr


def test_a_failed_run_is_reported_with_its_log_and_the_others_go_on(workspace):
    architecture = {"name": "bias_free_mlp", "hidden": [8], "activation": "tanh", "slope": 0.1}
    bad = {"optimizer": {"lr": 0.1}, "architecture": architecture, "steps": 10}
    workspace.set(f"{CONFIGURATIONS}.lr-bad", bad)
    workspace.set(f"{CONFIGURATIONS}.lr-good", {"optimizer": {"lr": 0.1}, "steps": 10})
    workspace.bench("stages")
    before = workspace.bytes("results/tables/*.csv")
    done = workspace.bench("repro", "-j", "2", check=False)
    assert done.returncode == 1
    assert "failed lr-bad-1-2" in done.stdout and "only ReLU takes a slope below zero" in done.stdout
    assert "ran lr-good-1-2" in done.stdout and "failed 1" in done.stdout
    assert re.search(r"\((1 of 2; (about|more than|time left)[^)]*|2 of 2)\)", done.stdout)
    assert workspace.bytes("results/tables/*.csv") == before
