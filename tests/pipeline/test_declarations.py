"""What a study declares, and the dvc.yaml files written from it: a fault is one sentence before anything runs."""

import pytest

STUDY = "benchmarks/studies/scale_invariance"
CLAIMS = f"{STUDY}/claims.yaml"
PIPELINE = "pipelines/scale_invariance/dvc.yaml"


def refused(space, *command):
    """The one line in which a command says why it does nothing."""
    done = space.bench(*command, check=False)
    assert done.returncode == 1 and done.stdout == "", done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert not (space.path / "runs").exists() and not (space.path / "results").exists(), "nothing ran"
    return line


@pytest.mark.parametrize("command", ["stages", "repro"])
@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "study.py",
            'Experiment("norm_growth", NormGrowth, NORM_GROWTH)',
            'Experiment("homogeneity", NormGrowth, NORM_GROWTH)',
            f"{STUDY}/study.py: two experiments are named 'homogeneity': rename one of them",
        ),
        (
            "study.py",
            'Experiment("norm_growth", NormGrowth, NORM_GROWTH)',
            'Experiment("norm_growth", NormGrowth, NORM_GROWTH, table="scale_invariance/homogeneity")',
            f"{STUDY}/study.py: there is another table 'scale_invariance/homogeneity': rename",
        ),
        (
            "study.py",
            'Experiment("norm_growth", NormGrowth',
            'Experiment("norm_grwth", NormGrowth',
            f"{STUDY}/study.py: 'norm_grwth' needs a file scale_invariance/norm_grwth.py with a function `run`",
        ),
        (
            "study.py",
            '    "No weight decay; random Gaussian data.",\n    {',
            '    "No weight decay; random Gaussian data.",\n    n="seeds", quantities={',
            f"{STUDY}/study.py: the card 'Growth of the norm of scale-invariant weights' names the column 'seeds'",
        ),
        (
            "study.py",
            "STUDY = Study(",
            "STUDIES = Study(",
            f"{STUDY}/study.py: bind a Study to the name STUDY",
        ),
        (
            "study.py",
            '    "scale_invariance",\n    place=12',
            '    "invariance",\n    place=12',
            f"{STUDY}/study.py: the study is named 'invariance': name it as its folder, 'scale_invariance'",
        ),
        (
            "norm_growth.py",
            "def run(",
            "def walk(",
            f"{STUDY}/study.py: 'norm_growth' needs a file scale_invariance/norm_growth.py with a function `run`",
        ),
        (
            "figures.py",
            "def intrinsic_learning_rate(",
            "def learning_rate(",
            f"{STUDY}/study.py: figure 'intrinsic_learning_rate' needs a function of that name in "
            "scale_invariance/figures.py",
        ),
    ],
    ids=["experiments", "tables", "module", "column", "study", "folder", "run", "figure"],
)
def test_a_wrong_declaration_is_refused_where_it_is(unbuilt, command, name, old, new, says):
    unbuilt.edit(f"{STUDY}/{name}", old, new)
    assert says in refused(unbuilt, command)
    assert not (unbuilt.path / "dvc.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        ("primary: U1.orthogonality", "primary: U1.orthogonalty", "U1.primary", "'U1.orthogonalty' is not a check of"),
        (
            "estimator: {name: computed, study: scale_invariance, experiment: homogeneity, system: network, "
            "quantity: orthogonality}",
            "estimator: {name: compted, experiment: homogeneity, system: network, quantity: orthogonality}",
            "U1.checks.U1.orthogonality.estimator",
            "unknown estimator 'compted'",
        ),
        (
            "experiment: homogeneity, system: network, quantity: orthogonality",
            "experiment: homogenity, system: network, quantity: orthogonality",
            "U1.checks.U1.orthogonality.estimator",
            "no table scale_invariance/homogenity.csv",
        ),
        (
            "system: network, quantity: orthogonality",
            "system: network, quantity: orthogonalty",
            "U1.checks.U1.orthogonality.estimator",
            "no 'orthogonalty' in scale_invariance/homogeneity.csv",
        ),
    ],
    ids=["check", "estimator", "table", "quantity"],
)
def test_a_wrong_claim_is_refused_where_it_is(unbuilt, old, new, place, says):
    unbuilt.bench("stages")
    unbuilt.edit(CLAIMS, old, new)
    for target in ([], ["U1"]):
        line = refused(unbuilt, "repro", *target)
        assert line.startswith(f"error: {CLAIMS}: {place}: ") and says in line


def test_a_dvc_file_that_was_edited_by_hand_is_refused_and_written_again(unbuilt):
    assert PIPELINE in unbuilt.bench("stages").stdout
    assert unbuilt.bench("stages").stdout == "", "they are as they should be"
    written = (unbuilt.path / PIPELINE).read_bytes()
    unbuilt.edit(PIPELINE, "pipelines.run scale_invariance/rescaling", "pipelines.run scale_invariance/equilibrium")
    for command in (["repro"], ["repro", "scale_invariance"], ["status"], ["report"]):
        line = refused(unbuilt, *command)
        assert f"{PIPELINE}, line " in line and "'cmd: python -m pipelines.run scale_invariance/equilibrium'" in line
        assert "Do not edit these files; `bench stages` writes them" in line
    assert unbuilt.bench("stages").stdout == f"wrote {PIPELINE}\n"
    assert (unbuilt.path / PIPELINE).read_bytes() == written
    (unbuilt.path / "dvc.yaml").unlink()
    assert "dvc.yaml, line 1, " in refused(unbuilt, "repro")


def test_parameters_that_ask_for_other_stages_than_there_are_are_refused_by_both_doors(workspace):
    workspace.set("scale_invariance.norm_growth.steps", 5)
    workspace.bench("stages")
    assert workspace.git("status", "--porcelain").stdout.split() == ["M", "params.yaml"], "no value is in a dvc.yaml"
    before = workspace.bytes("results/**/*.csv")
    workspace.set("progressive_sharpening.configurations.lr-new", {"optimizer": {"lr": 0.1}, "steps": 10})
    for done in (workspace.bench("repro", check=False), workspace.dvc("repro", check=False)):
        assert done.returncode != 0 and "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "pipelines/progressive_sharpening/dvc.yaml, line " in line and "`bench stages`" in line
    assert workspace.bytes("results/**/*.csv") == before


def test_a_table_that_its_card_does_not_describe_is_refused_and_the_old_one_stays(workspace):
    before = workspace.bytes("results/tables/scale_invariance/*.csv")
    workspace.edit(f"{STUDY}/norm_growth.py", '"growth"', '"grwth"')
    done = workspace.dvc("repro", "fingerprint", f"{PIPELINE}:norm_growth", check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "table scale_invariance/norm_growth has quantity grwth and its card does not" in line
    assert "study.py" in line
    assert workspace.bytes("results/tables/scale_invariance/*.csv") == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'reads=("scale_invariance/equilibrium", ',
            'reads=("scale_invariance/equilibrum", ',
            "unknown table 'scale_invariance/equilibrum': did you mean",
        ),
        ('claims=("U4", ', 'claims=("U77", ', "unknown claim 'U77': "),
    ],
)
def test_a_figure_of_what_there_is_not_is_refused_before_anything_runs(unbuilt, old, new, says):
    unbuilt.edit(f"{STUDY}/study.py", old, new)
    for command in ("stages", "repro"):
        assert f"error: {STUDY}/study.py: {says}" in refused(unbuilt, command)
