"""`bench verify`: a rebuild in a scratch clone against the committed tables."""

import hashlib
import json

import pandas as pd
import pytest

from pipelines import cite, compare, names

TABLE = "results/tables/deep_linear/solutions.csv"
MANIFEST = "results/MANIFEST.json"


def forge(space, name, old, new):
    """Change a table and the manifest's hash of it, as one who wants to get away with it."""
    space.edit(name, old, new)
    text = (space.path / name).read_text()
    manifest = json.loads((space.path / MANIFEST).read_text())
    entry = next(entry for entry in manifest["tables"].values() if entry["path"] == name)
    entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (space.path / MANIFEST).write_text(json.dumps(manifest))


def state(space):
    """Everything that a refused command must leave alone."""
    return space.git("status", "--porcelain").stdout, space.git("rev-parse", "HEAD").stdout, space.git("tag").stdout


def test_a_rebuild_of_a_seeded_sample_gives_every_committed_cell(workspace):
    before = state(workspace)
    said = workspace.bench("verify", "deep_linear", "--sample", "2", "--seed", "3").stdout
    found = json.loads((workspace.path / "verify.json").read_text())
    assert found["agrees"] and "no verdict moved" in said
    assert len(found["rebuilt"]) == 2 and all(name.startswith("deep_linear/") for name in found["rebuilt"])
    committed = {path.stem for path in (workspace.path / "results/tables").rglob("*.csv")}
    assert {name.rpartition("/")[2] for name in found["tables"]} >= committed - {"progressive_sharpening.long"}
    for name in found["rebuilt"]:
        table = found["tables"][name]
        assert table["cells_of_rebuilt_runs"] == table["cells"] > 0
        assert table["elsewhere"] == [], "made here, so every digit must be the same"
    # It ran in a clone of its own, from no cache: the runs of the sample are not those of this workspace.
    log = (
        workspace.path / ".verify/.bench/logs" / f"deep_linear@{found['rebuilt'][0].rpartition('/')[2]}.log"
    ).read_text()
    assert "Running stage" in log and "is cached" not in log
    assert not (workspace.path / ".verify/data/images.npz").exists(), "what needs no data asks for none"
    assert state(workspace) == before, "nothing here was changed"


def test_a_forged_number_is_found_by_the_rebuild_and_named(workspace):
    row = pd.read_csv(workspace.path / TABLE, dtype=str).iloc[0]
    line = ",".join(str(part) if str(part) != "nan" else "" for part in row)
    forge(workspace, TABLE, line, line.rpartition(",")[0] + ",0.5")
    workspace.commit("forged")
    done = workspace.bench("verify", "solutions", check=False)
    assert done.returncode == 1
    assert "DISAGREES" in done.stdout and f"0.5 -> {row['value']}" in done.stdout
    found = json.loads((workspace.path / "verify.json").read_text())
    assert not found["agrees"] and not found["tables"]["deep_linear/solutions"]["agrees"]
    (worst,) = [cell for cell in found["worst"] if cell["table"] == "deep_linear/solutions"]
    assert (worst["before"], worst["after"]) == ("0.5", row["value"])


def tampered(space):
    space.edit(TABLE, "sigmoid_error", "sigmoid_eror")
    return "verify", "is not the table that the manifest names"


def column_gone(space):
    path = space.path / TABLE
    pd.read_csv(path, dtype=str).drop(columns="quantity").to_csv(path, index=False)
    return "verify", "lacks the column quantity"


def table_gone(space):
    (space.path / TABLE).unlink()
    return "verify", "is in the manifest and not in"


def manifest_broken(space):
    (space.path / MANIFEST).write_text("{")
    return "check", "is not readable"


def manifest_of_other_parameters(space):
    space.set("progressive_sharpening.configurations.lr-low.optimizer.lr", 0.3)
    return "check", "its parameters are not those of params.yaml"


def band_of_finished_verdicts(space):
    space.edit("benchmarks/studies/deep_linear/claims.yaml", "band: {high: 0.05}", "band: {high: 5.0}")
    return "check", "judge: benchmarks/studies/deep_linear/claims.yaml has changed since it ran"


def code_of_finished_runs(space):
    space.edit("benchmarks/studies/carry_over/training.py", "DIVERGENCE = 20.0", "DIVERGENCE = 21.0")
    return "check", "carry_over/dvc.yaml:on_images@mlp: its code or settings have changed since it ran"


def no_results(space):
    first = space.git("rev-list", "--max-parents=0", "HEAD").stdout.strip()
    return ("verify", "--against", first), "has no results tables"


def no_revision(space):
    return ("verify", "--against", "v9.9.9"), "no revision 'v9.9.9'"


def unknown_target(space):
    return ("verify", "solutoins"), "is not a study, configuration, claim, check or table"


def unknown_setting(space):
    return ("verify", "solutions", "--set", "compute.thread=2"), "params.yaml has no such key"


def device_that_is_not_here(space):
    return ("verify", "lr-low", "--set", "compute.device=cuda"), "compute.device is 'cuda', and here there is only cpu"


def diff_of_nothing(space):
    return ("diff", "nowhere"), "no revision 'nowhere'"


def cite_of_nothing(space):
    return ("cite", "clams"), "did you mean claims"


def cite_of_no_row(space):
    return ("cite", "claims", "--row", "check=C5.gdd"), "did you mean C5.gd"


def cite_of_a_tampered_table(space):
    tampered(space)
    return ("cite", "claims"), "disagree"


def compare_of_nothing(space):
    return ("compare", "lr-low", "lr-lwo"), "; did you mean lr-low"


def compare_of_two_kinds(space):
    return ("compare", "lr-low", "HEAD"), "compare two of the same kind"


def compare_before_the_tables(space):
    (space.path / "results/tables/progressive_sharpening.long.csv").unlink()
    (space.path / "results/tables/progressive_sharpening.csv").unlink()
    return ("compare", "lr-low", "lr-diverging"), "is missing: `bench repro progressive_sharpening` makes it"


@pytest.mark.parametrize(
    "break_it",
    [
        tampered,
        column_gone,
        table_gone,
        manifest_broken,
        manifest_of_other_parameters,
        band_of_finished_verdicts,
        code_of_finished_runs,
        no_results,
        no_revision,
        unknown_target,
        unknown_setting,
        device_that_is_not_here,
        diff_of_nothing,
        cite_of_nothing,
        cite_of_no_row,
        cite_of_a_tampered_table,
        compare_of_nothing,
        compare_of_two_kinds,
        compare_before_the_tables,
    ],
)
def test_bad_input_is_one_clear_error_and_changes_nothing(workspace, break_it):
    command, message = break_it(workspace)
    before = state(workspace)
    done = workspace.bench(*([command] if isinstance(command, str) else command), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert state(workspace) == before


def test_without_a_history_there_is_nothing_to_verify(workspace):
    workspace.run("rm", "-rf", ".git")
    done = workspace.bench("verify", check=False)
    assert done.returncode == 1 and "clone the repository" in done.stderr
    assert "tables agree" in workspace.bench("check").stdout, "and what needs none works"


def test_cells_are_cited_with_how_to_get_rebuild_and_verify_them(built):
    said = built.bench("cite", "results/tables/claims.csv", "--row", "check=C5.gd").stdout
    commit = built.git("log", "-1", "--format=%H", "--", "results/tables/claims.csv").stdout.strip()
    table = (built.path / "results/tables/claims.csv").read_text()
    for part in (
        f"commit {commit[:12]}",
        hashlib.sha256(table.encode()).hexdigest(),
        "cell      check C5.gd, measured: 200 loss/parameter^2",
        "rebuild   bench repro C5",
        f"verify    bench verify C5 --against {commit[:12]}",
    ):
        assert part in said
    assert built.run("git", "show", f"{commit}:results/tables/claims.csv").stdout == table
    rows = ["--row", "claim=C5", "--column", "check", "--column", "measured"]
    assert "\\toprule" in built.bench("cite", "claims", *rows, "--format", "latex").stdout
    assert "| C5.gd" in built.bench("cite", "claims", *rows, "--format", "markdown").stdout


def test_runs_and_configurations_are_compared(built):
    said = built.bench("compare", "lr-low", "lr-diverging").stdout
    assert "optimizer.lr  0.2     100.0" in said and "last_loss" in said and "lr-low alone has" in said
    runs = built.bench("compare", "lr-low:1", "lr-low:2").stdout
    assert "no parameter differs" in runs
    long = pd.read_csv(built.path / "results/tables/progressive_sharpening.long.csv")
    mine = long[long["configuration"] == "lr-low"].set_index("seed")["last_loss"]
    assert f"{mine[1]:.4g}" in runs and f"{mine[2]:.4g}" in runs
    assert "net/waypoint_score" in built.bench("compare", "small-gd-relu-hat", "default-adam-relu-real").stdout
    contests = built.bench("compare", "mlp-adamw:1", "balanced-adamw:1").stdout
    assert "workload.batch_size" in contests and "objective" in contests


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("C5.gd", "cell      check C5.gd, measured: 200 loss/parameter^2"),
        ("c5", "cell      check C5.gd, measured: 200 loss/parameter^2"),
        ("lr-low", "cell      configuration lr-low, metric last_loss, mean: "),
        ("small-gd-relu-hat", "cell      rung small-gd-relu-hat, waypoint_score: "),
        ("norm_growth", "table     results/tables/scale_invariance/norm_growth.csv"),
        ("scale_invariance", "scale_invariance/homogeneity              Gradients and Hessians of"),
        ("claims", "table     results/tables/claims.csv"),
    ],
)
def test_whatever_has_a_name_is_cited(built, monkeypatch, name, says):
    monkeypatch.chdir(built.path)
    assert says in cite.cite(name, [], [], "text")


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("C5", "E1", "verdict "),
        ("C5.gd", "E1.level-mid", "verdict  holds  not run"),
        ("scale_invariance", "deep_linear", "stages  7 "),
        ("norm_growth", "homogeneity", "norm_growth alone has network/deviation"),
        ("homogeneity:1", "homogeneity:2", "network/orthogonality"),
        ("deep_linear/solutions", "deep_linear/kernels", "rows "),
        ("claims", "CLAIMS", "no parameter differs"),
    ],
)
def test_two_of_whatever_has_a_name_are_compared(built, monkeypatch, first, second, says):
    monkeypatch.chdir(built.path)
    assert says in compare.compare(first, second)


@pytest.mark.parametrize(
    ("name", "only", "says"),
    [
        ("E1.levl-mid", names.KINDS, "did you mean E1.level-mid, E1.level-high?"),
        ("E1.zzz", names.KINDS, ": the checks of that claim are E1.level-low, "),
        ("E99", ("claim", "check"), "'E99' is not a claim or check; did you mean E9?"),
        ("lr-low", ("claim", "check"), "lr-low is a configuration: name a claim or check"),
        ("xyzzy", names.KINDS, ": `bench names` lists all"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones_of_its_kind(built, monkeypatch, name, only, says):
    monkeypatch.chdir(built.path)
    with pytest.raises(names.UnknownNameError) as caught:
        names.find(name, only=only)
    assert says in str(caught.value)
