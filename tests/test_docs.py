"""What the documentation tells people to type or paste."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.S)


@pytest.mark.parametrize("example", blocks("docs/measuring.md", "python"))
def test_the_examples_of_measuring_a_network_run_as_printed(example, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_example_optimizer_is_a_valid_entry(monkeypatch, tmp_path):
    from benchmarks.lab import optimizers
    from pipelines import entries

    (example,) = blocks("docs/adding.md", "python")
    for path in (ROOT / "benchmarks/lab/optimizers").glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "adagrad.py").write_text(example)
    monkeypatch.setattr(optimizers, "__path__", [str(tmp_path)])
    monkeypatch.setattr(entries, "_folder", lambda _: tmp_path)
    entries.check_options("benchmarks.lab.optimizers", "adagrad", {"lr": 0.1})
    import torch

    entry = optimizers.named("adagrad", lr=0.1)
    (optimizer,) = entry.build([torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, torch.optim.Adagrad)
    assert entry.implementation == "torch.optim.Adagrad"


def test_the_readmes_verdicts_are_the_results():
    metrics = json.loads((ROOT / "results/metrics.json").read_text())
    told = dict(re.findall(r"^\| ([\w-]+): [^|]+ \| ([a-z-]+) \|", (ROOT / "README.md").read_text(), re.M))
    assert told == {name: claim["verdict"] for name, claim in metrics.items()}


def test_the_readmes_bench_commands_exist():
    from pipelines.cli import _parser

    lines = [line.split("#")[0].split() for block in blocks("README.md", "sh") for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[:1] == ["bench"]]
    assert {command[0] for command in commands} == {
        "repro",
        "status",
        "report",
        "explain",
        "carry-over",
        "push",
        "doctor",
        "verify",
        "diff",
        "compare",
        "cite",
        "publish",
        "check",
        "release",
    }
    for command in commands:
        _parser().parse_args(command)


def test_the_readmes_targets_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"make (\w+)", " ".join(blocks("README.md", "sh"))))
    assert named and named <= targets


def test_files_the_documentation_links_to_exist():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data/README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
