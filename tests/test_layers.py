"""Imports run one way, and a stage's fingerprint names exactly what a run of it imports."""

import ast
import functools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.studies import catalog, entries
from benchmarks.studies.schema import Optimizer
from pipelines import dvcfile, fingerprints, parameters, stages

ROOT = Path(__file__).parents[1]

# package: the packages of ours it may import (itself always)
ALLOWED = {
    "benchmarks": set(),
    "benchmarks.theory": set(),
    "benchmarks.evidence": {"benchmarks.theory"},
    "benchmarks.lab.registry": set(),
    "benchmarks.lab.losses": set(),
    "benchmarks.lab.datasets": set(),
    "benchmarks.lab.text": set(),
    "benchmarks.lab.history": set(),
    "benchmarks.lab.architectures": {"benchmarks.lab.registry"},
    "benchmarks.lab.optimizers": {"benchmarks.lab.registry", "benchmarks.theory"},
    "benchmarks.lab.functional": set(),
    "benchmarks.lab.contract": {"benchmarks.lab.functional"},
    "benchmarks.lab.problem": {"benchmarks.lab.contract", "benchmarks.lab.functional", "benchmarks.lab.losses"},
    "benchmarks.lab.minibatches": set(),
    "benchmarks.lab.augmentation": {"benchmarks.lab.minibatches"},
    "benchmarks.lab.measurements": {
        "benchmarks.lab.minibatches",
        "benchmarks.lab.optimizers",
        "benchmarks.lab.problem",
        "benchmarks.lab.registry",
    },
    "benchmarks.lab.loop": {"benchmarks.lab.optimizers", "benchmarks.lab.problem"},
    "benchmarks.lab.schedules": {"benchmarks.lab.loop"},
    "benchmarks.lab.training": {
        "benchmarks.lab.history",
        "benchmarks.lab.loop",
        "benchmarks.lab.measurements",
        "benchmarks.lab.optimizers",
        "benchmarks.lab.problem",
    },
    "benchmarks.studies": {"benchmarks.lab", "benchmarks.theory", "benchmarks.evidence"},
    "pipelines": {"benchmarks"},
}


def modules():
    for package in ("benchmarks", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def ours(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in ("benchmarks", "pipelines"))


def within(name, package):
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize(("name", "path"), [pytest.param(n, p, id=n) for n, p in modules()])
def test_imports_run_one_way(name, path):
    layer = max((package for package in ALLOWED if within(name, package)), key=len)
    for imported in ours(path):
        allowed = any(within(imported, package) for package in {layer, *ALLOWED[layer]})
        # `from benchmarks.lab import registry` and `from benchmarks.lab.registry import check` are the same thing.
        assert allowed, f"{name} may not import {imported}"


@functools.cache
def training() -> dict[str, stages.Stage]:
    """Every training stage of the reference, by its path."""
    return {stage.path: stage for stage in stages.training(parameters.load(ROOT / "params.yaml"))}


def test_no_run_imports_what_says_or_shows_something_of_it():
    """A changed card, claim, caption or range of a setting would else train all again."""
    schema = {f"benchmarks.studies.{name}" for name in ("declaration", "catalog", "schema", "entries")}
    of_studies = {
        f"benchmarks.studies.{s}.{name}" for s in catalog.studies() for name in ("study", "tables", "figures")
    }
    for path, stage in training().items():
        imported = fingerprints.fingerprint(stage.roots, ROOT)["modules"]
        assert stage.dotted in imported, path
        forbidden = {name for name in imported if within(name, "benchmarks.evidence")}
        forbidden |= {name for name in imported if any(within(name, other) for other in schema | of_studies)}
        assert not forbidden, f"the run of {path} imports {', '.join(sorted(forbidden))}"


def test_the_committed_dvc_files_are_those_of_the_parameters_and_declarations(monkeypatch):
    monkeypatch.chdir(ROOT)
    dvcfile.require_current(parameters.load())


def hashed(one):
    return fingerprints.of_following(one, ROOT)["modules"]


LOADED = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
kept = [module for name, module in sys.modules.items() if name.split(".")[0] in ("benchmarks", "pipelines")]
print(*(module.__file__ for module in kept))
"""


@pytest.mark.parametrize(
    "name", ["prepare", "fingerprint", "judge", "pages", "manifest", "optimizer_comparison:tables", "timings:figures"]
)
def test_a_stage_that_trains_nothing_depends_on_what_it_imports(name):
    study, _, stage = name.rpartition(":")
    path = ROOT / "pipelines" / study / "dvc.yaml" if study else ROOT / "dvc.yaml"
    written = YAML(typ="safe").load(path)["stages"][stage]
    modules = [written["cmd"].split()[2]]
    if study:  # a card checks a table and makes none; which figures there are, `study` says
        parts = {"tables": ("tables",), "figures": ("study", "figures")}[stage]
        modules += [f"benchmarks.studies.{study}.{part}" for part in parts]
    elif stage in ("judge", "pages", "manifest"):
        modules += [f"benchmarks.studies.{study}.study" for study in catalog.studies()]
    done = subprocess.run([sys.executable, "-c", LOADED, *modules], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = [Path(file) for file in done.stdout.split()]
    assert ROOT / modules[0].replace(".", "/") in [file.with_suffix("") for file in loaded]
    files = [ROOT / path for path in written["deps"]]
    # What is made of the runs depends on one file of hashes, which the stage `fingerprint` writes.
    files += [ROOT / path for one in stages.following() if str(one.code) in written["deps"] for path in hashed(one)]
    missing = {file for file in loaded if not any(file.is_relative_to(path) for path in files)}
    assert {str(file.relative_to(ROOT)) for file in missing if file.read_text().strip()} == set()


def test_the_evidence_never_loads_torch():
    evidence = [f"benchmarks.evidence.{path.stem}" for path in sorted((ROOT / "benchmarks/evidence").glob("[a-z]*.py"))]
    of_studies = [
        f"benchmarks.studies.{study}.{name}"
        for study in catalog.studies()
        for name in ("study", "tables", "figures")
        if any((ROOT / "benchmarks/studies" / study).glob(f"{name}*"))
    ]
    made = [f"pipelines.{name}" for name in ("tables", "judge", "figures", "pages", "manifest", "cli")]
    code = "import sys; from importlib import import_module; [import_module(name) for name in sys.argv[1:]]"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, *evidence, *of_studies, *made], check=True, cwd=ROOT)


def test_parameters_are_checked_without_torch():
    code = (
        "import sys; from pipelines import parameters, stages; stages.training(parameters.load());"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def entries_named(path):
    """The entries that a module names in its code: as ``name``, or where it builds one."""
    for node in ast.walk(ast.parse(path.read_text())):
        found = []
        if isinstance(node, ast.Dict):
            found = [value for key, value in zip(node.keys, node.values) if getattr(key, "value", "") == "name"]
        elif isinstance(node, ast.Call):
            found = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
            if getattr(node.func, "attr", "") in ("build", "build_stack"):
                found += node.args[:1]
        yield from (value.value for value in found if isinstance(value, ast.Constant))


@pytest.mark.parametrize(
    ("name", "path"), [pytest.param(n, p, id=n) for n, p in modules() if n.startswith("benchmarks.studies.")]
)
def test_a_fingerprint_names_the_entries_that_a_study_names(name, path):
    packages = ("benchmarks.lab.architectures", "benchmarks.lab.optimizers")
    known = {entry: f"{package}.{entry}" for package in packages for entry in entries.names(package)}
    named = {known[entry] for entry in entries_named(path) if entry in known}
    assert named <= set(fingerprints.fingerprint([name], ROOT)["modules"])


RUN = """
import json, sys
from importlib import import_module
from inspect import signature
import numpy as np, torch
from benchmarks.lab import datasets, text
from benchmarks.studies import catalog
from benchmarks.studies.schema import Compute

asked = json.loads(sys.argv[1])
labels = np.arange(300) % 3
generator = np.random.default_rng(0)
means = np.array([120, 40, 0])[:, None] * np.linalg.qr(generator.standard_normal((64, 3)))[0].T
pixels = (128 + means.reshape(3, 1, 8, 8)[labels] + 30 * generator.standard_normal((300, 1, 8, 8))).clip(0, 255)
pixels = pixels.astype(np.uint8)
given = {
    "settings": catalog.part(asked["study"], asked["group"]).given.model_validate(asked["settings"]),
    "seeds": [1, 2],
    "images": datasets.images(pixels, labels, pixels, labels, dtype=torch.float32),
    "corpus": text.split("".join(map(chr, range(33, 98))) * 20),  # as many characters as Tiny Shakespeare has
    "compute": Compute(device="cpu", dtype="float32", threads=1, chunk_size=100),
    "device": "cpu",
}
# What makes settings of parameters is no part of training: the run imports anew what it needs.
for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
    del sys.modules[name]
run = import_module(asked["module"]).run
run(**{name: given[name] for name in signature(run).parameters if name in given})
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "benchmarks")))
"""


def imported_by(stage: stages.Stage, changes: dict) -> tuple[set[str], set[str]]:
    """What a run of a stage with changed settings imports of this package, and what its fingerprint names."""
    settings = changed(stage.settings.model_dump(), changes)
    stage = replace(stage, settings=catalog.part(stage.study, stage.group).given.model_validate(settings))
    asked = {"study": stage.study, "group": stage.group, "module": stage.dotted, "settings": settings}
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(asked)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1])), set(fingerprints.fingerprint(stage.roots, ROOT)["modules"])


def changed(settings: dict, changes: dict) -> dict:
    inner = {key: changed(settings[key], value) if isinstance(value, dict) else value for key, value in changes.items()}
    return settings | inner


MUON = Optimizer(name="muon", lr=0.01)


@pytest.mark.parametrize(
    "name", ["lr-high/1", "adam-09/all", "sam-01/all", "small-lr-mid/all", "sgd-b8/all", "edge-balanced/all", "muon"]
)
def test_a_fingerprint_names_what_training_imports(name):
    path = "lr-high/1" if name == "muon" else name
    stage = training()[f"progressive_sharpening/{path}"]
    changes = {"steps": 2, "images": min(stage.settings.images, 16), "pool": 1, "classes": None}
    if path != name:
        stage = replace(stage, settings=stage.settings.model_copy(update={"optimizer": MUON}))
    imported, named = imported_by(stage, changes)
    assert imported == named


@pytest.mark.parametrize("experiment", ["conservation", "waypoints"])
def test_a_fingerprint_names_what_an_experiment_imports(experiment):
    reference, changes = (parameters.read(ROOT / f"params{kind}.yaml") for kind in ("", ".quick"))
    quick = parameters.changed(reference, changes, "params.quick.yaml")["deep_linear"][experiment]
    imported, named = imported_by(training()[f"deep_linear/{experiment}"], quick)
    assert imported <= named


@pytest.mark.parametrize("pair", ["mlp-adam", "transformer-blockwise", "imbalanced-muon-flattened", "gpt-soap"])
def test_a_fingerprint_names_what_a_contest_imports(pair):
    stage = training()[f"optimizer_comparison/{pair}"]
    workload = {"steps": 2, "warmup": 0, "factors": [], "batch_size": None, "curvature_examples": 4}
    if stage.settings.workload.data.name == "images":
        workload["data"] = {"train": 20, "validation": 5, "pool": 1}
    if stage.settings.workload.on_text:
        workload["data"] = {"length": 8, "train": 20, "validation": 5, "test": 5}
    imported, named = imported_by(stage, {"protocol": {"trials": 1, "seeds": [1, 2], "marks": 2}, "workload": workload})
    assert imported <= named


@pytest.mark.parametrize("name", ["small-gd-relu-hat", "textbook-muon", "kernel-small"])
def test_a_fingerprint_names_what_a_rung_imports(name):
    data = {"images": 300, "pool": 1, "components": 8}
    stage = training()[f"low_rank_progression/{name}"]
    imported, named = imported_by(stage, {"data": data, "init": None, "steps": 5})
    assert imported <= named
