"""Entries that params.yaml names, and what may be said of them without importing any."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.studies import entries

ROOT = Path(__file__).parents[2]
OPTIMIZERS = "benchmarks.lab.optimizers"
ARCHITECTURES = "benchmarks.lab.architectures"
MEASUREMENTS = "benchmarks.lab.measurements"


def test_the_entries_of_a_package_are_its_files_that_build():
    assert {"cnn", "gpt", "mlp", "two_layer", "vgg"} <= set(architectures := entries.names(ARCHITECTURES))
    assert architectures == sorted(architectures) and "__init__" not in architectures
    measured = entries.names(MEASUREMENTS)
    assert {"sharpness", "path", "central_flow", "batch_sharpness"} <= set(measured)
    assert not {"eigensolvers", "peers", "linear_stability", "__init__"} & set(measured)


@pytest.mark.parametrize(
    ("package", "name", "options", "message"),
    [
        (MEASUREMENTS, "fit", dict(every=2.0), "option 'every' of 'fit' must be int, got 2.0"),
        (MEASUREMENTS, "fit", dict(every=True), "option 'every' of 'fit' must be int, got True"),
        (MEASUREMENTS, "fit", {}, "'fit' needs the option 'every'"),
        (MEASUREMENTS, "fit", dict(evry=2), "unknown option of 'fit' 'evry': did you mean 'every'"),
        (OPTIMIZERS, "sgd", dict(lr="0.1"), "option 'lr' of 'sgd' must be float, got '0.1'"),
        (OPTIMIZERS, "sgd", dict(lr=0.1, nesterov=1), "option 'nesterov' of 'sgd' must be bool, got 1"),
        (ARCHITECTURES, "cnn", dict(channels=[4, 4.0], activation="tanh"), "'channels' of 'cnn' must be Sequence"),
        (ARCHITECTURES, "cnn", dict(channels=4, activation="tanh"), "'channels' of 'cnn' must be Sequence"),
        (ARCHITECTURES, "cnn", dict(channels=[4], activation=1), "'activation' of 'cnn' must be str, got 1"),
        (OPTIMIZERS, "sdg", dict(lr=0.1), "unknown entry of optimizers 'sdg': did you mean 'sgd'"),
    ],
)
def test_options_are_checked_by_name_and_type(package, name, options, message):
    with pytest.raises(ValueError) as caught:
        entries.check_options(package, name, options)
    assert message in str(caught.value)


def test_options_of_the_right_types_pass():
    entries.check_options(OPTIMIZERS, "sgd", dict(lr=1, momentum=0.9, nesterov=True))
    entries.check_options(ARCHITECTURES, "cnn", dict(channels=[4, 4], activation="tanh"))
    entries.check_options(OPTIMIZERS, "torch.optim:SGD", dict(anything="goes"))


def test_an_entry_defines_its_functions():
    assert entries.defines(OPTIMIZERS, "adam", "preconditioner")
    assert not entries.defines(OPTIMIZERS, "sgd", "preconditioner")
    assert not entries.defines(OPTIMIZERS, "torch.optim:SGD", "build")
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        entries.defines(OPTIMIZERS, "adm", "build")


FILES = {
    "mynets.py": "raise SystemExit('executed')\n\ndef wide(): ...\n",
    "kit/__init__.py": "raise SystemExit('executed')\n",
    "kit/nets.py": "from kit._all import *\n",
    "spread/deep/nets.py": "build = 1\n",
    "odd.py": "def __getattr__(name): ...\n",
}


@pytest.fixture
def users(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "name", ["mynets:wide", "kit.nets:any", "spread.deep.nets:build", "odd:any", "torch.optim:SGD"]
)
def test_an_entry_from_outside_is_found_and_not_executed(users, name):
    entries.check(ARCHITECTURES, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:build", "there is no module 'nowhere'"),
        ("torch.optmi:SGD", "there is no module 'torch.optmi'"),
        ("kit.nest:any", "there is no module 'kit.nest'"),
        ("spread:build", "there is no module 'spread'"),
        ("mynets:wied", "module 'mynets' has no 'wied'"),
        ("mynets:", "is not of the form package.module:factory"),
        (":wide", "is not of the form package.module:factory"),
        (".mynets:wide", "is not of the form package.module:factory"),
        ("my nets:wide", "is not of the form package.module:factory"),
        ("mynets:wide:wide", "is not of the form package.module:factory"),
    ],
)
def test_an_entry_from_outside_that_cannot_be_is_refused(users, name, message):
    with pytest.raises(ValueError) as caught:
        entries.check(ARCHITECTURES, name)
    assert str(caught.value).startswith(f"unknown entry of architectures {name!r}: ") and message in str(caught.value)


def test_an_entry_from_outside_is_checked_without_importing_it():
    code = f"from benchmarks.studies import entries; entries.check({OPTIMIZERS!r}, 'torch.optim:SGD')"
    code += "; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
