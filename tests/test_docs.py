"""What the documentation tells people to type or paste."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "data/README.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.S)


@pytest.mark.parametrize("example", blocks("docs/how-to/measure.md", "python"))
def test_the_examples_of_measuring_a_network_run_as_printed(example, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if "how-to" in page])
def test_the_examples_of_adding_things_are_python(page):
    for example in blocks(page, "python"):
        ast.parse(example)


def test_the_example_optimizer_is_a_valid_entry(monkeypatch, tmp_path):
    from benchmarks.lab import optimizers
    from benchmarks.studies import entries

    (example,) = [block for block in blocks("docs/how-to/optimizer.md", "python") if "def build(" in block]
    for path in (ROOT / "benchmarks/lab/optimizers").glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "adadelta.py").write_text(example)
    monkeypatch.setattr(optimizers, "__path__", [str(tmp_path)])
    monkeypatch.setattr(entries, "_folder", lambda _: tmp_path)
    entries.check_options("benchmarks.lab.optimizers", "adadelta", {"lr": 0.1})
    import torch

    entry = optimizers.named("adadelta", lr=0.1)
    (optimizer,) = entry.build([torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, torch.optim.Adadelta)
    assert entry.implementation == "torch.optim.Adadelta"


def test_what_the_readme_says_of_the_results_is_what_they_say(monkeypatch):
    from pipelines import readme

    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text()
    assert readme.filled(text) == text, "`bench report` writes these parts anew"
    assert readme.filled(text.replace("<!-- /tally -->", "\nNo claim holds.\n<!-- /tally -->")) == text


def bench_commands(page):
    """What a page has people type in a terminal."""
    lines = [re.split("[#|>]", line)[0].split() for block in blocks(page, "sh") for line in block.splitlines()]
    return [line[1:] for line in lines if line[:1] == ["bench"]]


@pytest.mark.parametrize("page", PAGES)
def test_the_bench_commands_of_a_page_exist(page):
    from pipelines.cli import _parser

    for command in bench_commands(page):
        _parser().parse_args(command)


def test_every_bench_command_is_told_somewhere():
    from pipelines.cli import _parser

    (commands,) = [action.choices for action in _parser()._actions if action.dest == "command"]
    text = "\n".join((ROOT / page).read_text() for page in [*PAGES, "Makefile"])
    told = set(re.findall(r"\bbench ([a-z-]+)", text))
    # A word after `bench` is a command wherever it stands in code.
    in_code = {command for code in re.findall(r"`bench ([a-z][a-z-]*)", text) for command in [code]}
    assert set(commands) <= told and in_code <= set(commands)
    assert {command[0] for command in bench_commands("README.md")} >= {"repro", "status", "report", "verify", "cite"}


def test_the_readmes_targets_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake (\w+)", " ".join(blocks("README.md", "sh"))))
    assert named and named <= targets


def test_files_the_documentation_links_to_exist():
    """In a clone as it is; `make docs` checks anchors too, and the links of the site."""
    for page in [ROOT / "CHANGELOG.md", *NOTEBOOKS, *(ROOT / page for page in PAGES)]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_site():
    """The site's other pages, `make docs` makes or misses."""
    listed = re.findall(r"- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    notebooks = [path.relative_to(ROOT).with_suffix(".md").as_posix() for path in NOTEBOOKS]
    assert len(listed) == len(set(listed)) and {*PAGES, *notebooks} <= set(listed)


def cells(path):
    """The code of a notebook, cell by cell."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    """`make docs` executes them."""
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path))


def test_a_notebook_without_data_says_what_to_do(tmp_path):
    code = "".join(cells(ROOT / "docs/notebooks/figure.ipynb")[0]["source"])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 1 and "is missing: open this notebook" in said
