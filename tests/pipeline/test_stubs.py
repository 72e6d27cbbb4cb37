"""`bench new`: stubs that work as they are, or nothing at all; and what helps to find one's way: help, completion."""

import itertools
import os
import re
import shlex
import shutil
import signal
import sys

import pytest
from workspaces import ROOT

from pipelines import cli, parameters, scaffold, stages

LAYERS = "imports_run_one_way or names_the_entries or are_those_of_the_parameters or says_or_shows"


def test_every_stub_trains_and_is_judged_and_keeps_the_layers(unbuilt):
    for kind, name in (("optimizer", "mysgd"), ("architecture", "mynet"), ("experiment", "warm_start")):
        said = unbuilt.bench("new", kind, name).stdout
        assert "wrote params.yaml" in said and "next: bench stages" in said
    for folder in ("tests", ".dvc"):
        (unbuilt.path / folder).mkdir()
    (unbuilt.path / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    unbuilt.bench("stages")
    addresses = [f"pipelines/progressive_sharpening/dvc.yaml:compare@{name}" for name in ("mysgd", "mynet")]
    ran = unbuilt.ran("prepare", "fingerprint", *addresses)
    assert {"fingerprint", *addresses} <= set(ran)
    said = unbuilt.bench("repro", "warm_start-1").stdout
    assert "ran warm_start" in said and "failed 0" in said
    assert re.search(r"^warm_start-1: holds", said, re.M), said
    assert re.search(r"^  warm_start-1\.undamped +does not hold|not reproduced here", said, re.M), said

    said = unbuilt.bench("new", "claim", "X1", "--table", "warm_start").stdout
    assert said.startswith("wrote benchmarks/studies/warm_start/claims.yaml\nnext: edit X1")
    assert re.search(r"^X1: holds", unbuilt.bench("repro", "X1").stdout, re.M)

    shutil.copy(ROOT / "tests/test_layers.py", unbuilt.path / "tests")
    unbuilt.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", LAYERS, "tests/test_layers.py")


@pytest.fixture(scope="module")
def training():
    return stages.training(parameters.load(ROOT / "params.yaml"))


@pytest.mark.parametrize(
    ("kind", "name", "table", "says"),
    [
        ("optimizer", "sgd", None, "there is an optimizer 'sgd' already"),
        ("architecture", "cnn", None, "there is a configuration 'cnn' already"),
        ("experiment", "deep_linear", None, "there is a study 'deep_linear' already"),
        ("experiment", "catapult", None, "there is a configuration 'catapult' already"),
        ("claim", "e1", None, "there is a claim 'E1' already"),
        ("claim", "X.1", None, "'X.1' cannot be the name of a claim: use letters, digits and -"),
        ("optimizer", "../mine", None, "'../mine' cannot be the name of an optimizer"),
        ("optimizer", "lambda", None, "'lambda' cannot be the name of an optimizer"),
        ("experiment", "Mine", None, "use lower case, digits and _"),
        ("claim", "X1", "progressive_sharpening", "progressive_sharpening is no experiment's table"),
        ("optimizer", "mine", "claims", "--table is for a claim"),
    ],
)
def test_a_name_that_is_there_or_cannot_be_is_refused(kind, name, table, says, training, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(parameters, "load", lambda: None)
    monkeypatch.setattr(stages, "training", lambda _: training)
    monkeypatch.setattr(scaffold, "_write", lambda _: pytest.fail("it was written"))
    with pytest.raises(scaffold.ScaffoldError) as caught:
        scaffold.new(kind, name, table)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def contents(folder):
    found = {path for path in folder.rglob("*") if ".bench" not in path.parts and path.is_file()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("kind", ["optimizer", "experiment"])
def test_a_killed_new_leaves_nothing_half(kind, training, tmp_path, monkeypatch):
    """Killed before and after each file is put into its place, and undone by the next command."""
    monkeypatch.chdir(ROOT)
    texts, _ = scaffold.KINDS[kind]("mine", None, training)
    monkeypatch.chdir(tmp_path)
    for path in texts:
        if (ROOT / path).exists():
            path.write_text((ROOT / path).read_text())
    (tmp_path / "benchmarks/studies").mkdir(parents=True)
    (tmp_path / "benchmarks/lab/optimizers").mkdir(parents=True)
    before = contents(tmp_path)
    moments = 2 * (1 + len(texts))  # before and after the journal is renamed into its place, and each file
    for at in range(moments):
        assert killed(at, texts) == signal.SIGKILL
        scaffold.undo_unfinished()
        assert contents(tmp_path) == before, f"killed at {at}"
    assert killed(moments, texts) == 0
    scaffold.undo_unfinished()
    assert contents(tmp_path) == before | {str(path): text.encode() for path, text in texts.items()}


def killed(at, texts):
    """Write in a process that is killed at a moment; returns the signal that ended it, 0 if none."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        moments = itertools.count()

        def renamed(*arguments):
            for step in (lambda: None, lambda: os.rename(*arguments)):
                step()
                if next(moments) == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        scaffold.Path.replace = renamed
        scaffold._write(texts)
    except BaseException:
        os._exit(1)
    os._exit(0)


def test_what_somebody_edited_since_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("edited")
    (tmp_path / "b").write_text("new")
    scaffold.write_json(scaffold.JOURNAL, {"a": {"old": "old", "new": "new"}, "b": {"old": None, "new": "new"}})
    scaffold.undo_unfinished()
    assert (tmp_path / "a").read_text() == "edited" and not (tmp_path / "b").exists()
    assert not scaffold.JOURNAL.exists()


def commands():
    (found,) = [action.choices for action in cli._parser()._actions if action.dest == "command"]
    return found


def test_help_lists_every_command_in_a_group_and_each_has_examples_that_parse():
    listed = re.findall(r"^  ([a-z-]+)  +\w", cli._parser().epilog, re.M)
    assert sorted(listed) == sorted(commands())
    for name, command in commands().items():
        first, *examples = command.epilog.splitlines()
        assert first == "examples:" and examples, name
        for example in examples:
            bench, *words = shlex.split(re.split("[#>|]", example)[0])
            assert bench == "bench" and cli._parser().parse_args(words).command == name, example


ASKED = """
source "$1"; shift
COMP_WORDS=(bench "$@"); COMP_CWORD=$#
_shtab_bench
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_bash_completes_commands_options_and_names(unbuilt):
    """Names of each kind that an argument takes, and those that were added since."""
    (unbuilt.path / "bin").mkdir()
    bench = unbuilt.path / "bin/bench"
    bench.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipelines.cli "$@"\n')
    bench.chmod(0o755)
    script = unbuilt.path / "completion.sh"
    script.write_text(unbuilt.bench("completion", "bash").stdout)
    path = os.pathsep.join([str(bench.parent), unbuilt.environment()["PATH"]])

    def asked(*words):
        return unbuilt.run("bash", "-c", ASKED, "-", str(script), *words, PATH=path).stdout.split()

    assert asked("rep") == ["repro", "report"]
    assert asked("repro", "--clu") == ["--cluster"]
    assert asked("new", "arch") == ["architecture"]
    assert asked("explain", "E1.level-m") == ["E1.level-mid"]
    assert asked("explain", "lr-l") == [], "a configuration is nothing to explain"
    assert asked("repro", "lr-l") == ["lr-low"]
    assert asked("cite", "scale_invariance/homo") == ["scale_invariance/homogeneity"]
    unbuilt.set("progressive_sharpening.configurations.lr-lower", {"optimizer": {"lr": 0.1}, "steps": 10})
    assert asked("compare", "lr-low", "lr-l") == ["lr-low", "lr-lower"]
    assert "#compdef bench" in unbuilt.bench("completion", "zsh").stdout
