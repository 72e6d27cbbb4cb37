"""The way of somebody new: an experiment with its claim, a figure, a study; each is what its author writes, no more."""

import json
import re
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

STUDY = "benchmarks/studies/scale_invariance"
PIPELINE = "pipelines/scale_invariance/dvc.yaml"

# What docs/how-to/claim.md has its reader write, word for word.
PAGE = (Path(__file__).parents[2] / "docs/how-to/claim.md").read_text()
RUN, SETTINGS, EXPERIMENT, FIGURE, LINE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
VALUES, CLAIM = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


def test_an_experiment_with_its_claim_and_then_a_figure(workspace):
    """A file with `run`, its settings and card, values, a claim."""
    (workspace.path / STUDY / "shrinkage.py").write_text(RUN)
    workspace.edit(f"{STUDY}/study.py", "HOMOGENEITY = ", f"{SETTINGS}\nHOMOGENEITY = ")
    workspace.edit(f"{STUDY}/study.py", "    experiments=(\n", f"    experiments=(\n{EXPERIMENT},\n")
    claims = workspace.path / STUDY / "claims.yaml"
    claims.write_text(claims.read_text() + CLAIM)

    missing = workspace.bench("stages", check=False)
    assert missing.returncode == 1 and "scale_invariance.shrinkage: missing" in missing.stderr
    (values,) = YAML(typ="safe").load(VALUES).values()
    workspace.set("scale_invariance.shrinkage", values)
    forgotten = workspace.bench("repro", "U9", check=False)
    assert forgotten.returncode == 1 and "`bench stages`" in forgotten.stderr
    assert workspace.bench("stages").stdout.splitlines() == ["wrote dvc.yaml", f"wrote {PIPELINE}"]
    before = workspace.bytes("results/tables/**/*.csv")
    said = workspace.bench("repro", "U9").stdout
    assert "ran shrinkage" in said and "failed 0" in said
    (check,) = [line for line in said.splitlines() if line.split()[:1] == ["U9.shrinkage"]]
    assert check.split()[1] == "holds" and "measured 0.81, predicted 0.81" in check
    (verdict,) = [line for line in said.splitlines() if line.startswith("U9: ")]
    assert "holds" in verdict
    made = workspace.bytes("results/tables/**/*.csv")
    assert set(made) - set(before) == {"results/tables/scale_invariance/shrinkage.csv"}
    assert made.items() >= before.items(), "the other tables are as they were"
    assert "U9.shrinkage" in workspace.bench("explain", "U9").stdout

    # A figure is a function and a line.
    figures = workspace.path / STUDY / "figures.py"
    figures.write_text(figures.read_text() + "\n\n" + FIGURE)
    workspace.edit(f"{STUDY}/study.py", "FIGURES = (\n", f"FIGURES = (\n{LINE},\n")
    assert workspace.bench("stages").stdout.splitlines() == ["wrote dvc.yaml", f"wrote {PIPELINE}"]
    said = workspace.bench("repro").stdout
    assert "running judge" in said and "failed 0" in said
    trained = [
        word for word in said.split() if word.startswith("pipelines/") and not word.endswith((":tables", ":figures"))
    ]
    assert "ran shrinkage" not in said and trained == [], "nothing was trained again"
    checks = pd.read_csv(workspace.path / "results/tables/claims.csv").set_index("check")
    assert checks.loc["U9.shrinkage", "verdict"] == "verified"
    assert "| U9 |" in (workspace.path / "results/CLAIMS.md").read_text()
    assert (workspace.path / "results/figures/shrinkage.svg").is_file()
    page = (workspace.path / "results/report.html").read_text()
    assert "A weight shrinks." in page and "A weight under decay alone shrinks geometrically" in page
    assert "Shrinkage of a weight" in (workspace.path / "results/README.md").read_text()
    manifest = json.loads((workspace.path / "results/MANIFEST.json").read_text())
    assert manifest["tables"]["scale_invariance/shrinkage"]["stage"] == f"{PIPELINE}:shrinkage"
    assert workspace.stale() == set()


DECLARATION = '''"""Weights that shrink."""

from benchmarks.evidence.card import Column, relative, tidy
from benchmarks.studies.declaration import Experiment, Study
from benchmarks.studies.schema import Count, Positive, Strict


class Shrinkage(Strict):
    seeds: Count
    lr: Positive
    decay: Positive
    steps: Count


SHRINKAGE = tidy(
    "Shrinkage of a weight",
    "a loop",
    "One weight.",
    {"shrinkage": Column("", "weight at the end over that at the start", relative(1e-9))},
    system="a setting",
)

STUDY = Study("shrinking", place=20, experiments=(Experiment("shrinkage", Shrinkage, SHRINKAGE),))
'''
SECTION = """title: Shrinking weights
known: Decay shrinks weights.
measured: By {U9.shrinkage}.
open: Whether that matters.
surprise: U9.shrinkage
"""


def test_a_study_is_a_folder(workspace):
    folder = workspace.path / "benchmarks/studies/shrinking"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "study.py").write_text(DECLARATION)
    (folder / "shrinkage.py").write_text(RUN)
    (folder / "claims.yaml").write_text(CLAIM.replace("scale_invariance", "shrinking"))
    (folder / "section.yaml").write_text(SECTION)
    workspace.set("shrinking", {"shrinkage": {"seeds": 3, "lr": 0.1, "decay": 1.0, "steps": 2}})
    wrote = workspace.bench("stages").stdout.splitlines()
    assert wrote == ["wrote dvc.yaml", "wrote pipelines/shrinking/dvc.yaml"]
    said = workspace.bench("repro", "shrinking").stdout
    assert "ran shrinkage" in said and "ran 2, restored 0, failed 0" in said, "the fingerprints and that one"
    table = pd.read_csv(workspace.path / "results/tables/shrinking/shrinkage.csv")
    table = table[table["system"] == "plain"]
    assert table["seed"].tolist() == [1, 2, 3] and table["value"].round(9).eq(0.81).all()
    said = workspace.bench("repro").stdout
    assert "failed 0" in said and "ran shrinkage" not in said
    checks = pd.read_csv(workspace.path / "results/tables/claims.csv").set_index("check")
    assert checks.loc["U9.shrinkage", "verdict"] == "verified"
    page = (workspace.path / "results/report.html").read_text()
    assert "Shrinking weights" in page and "Decay shrinks weights." in page
    assert workspace.stale() == set()
    assert "tables agree" in workspace.bench("check").stdout
