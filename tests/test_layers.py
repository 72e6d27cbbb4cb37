"""Imports run one way, and a configuration's fingerprint names exactly what a run of it imports."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines import entries, fingerprints, parameters

ROOT = Path(__file__).parents[1]

# package: the packages of ours it may import (itself always)
ALLOWED = {
    "benchmarks": set(),
    "benchmarks.theory": set(),
    "benchmarks.evidence": {"benchmarks.theory"},
    "benchmarks.lab.registry": set(),
    "benchmarks.lab.losses": set(),
    "benchmarks.lab.datasets": set(),
    "benchmarks.lab.history": set(),
    "benchmarks.lab.architectures": {"benchmarks.lab.registry"},
    "benchmarks.lab.optimizers": {"benchmarks.lab.registry", "benchmarks.theory"},
    "benchmarks.lab.functional": set(),
    "benchmarks.lab.contract": {"benchmarks.lab.functional"},
    "benchmarks.lab.problem": {"benchmarks.lab.contract", "benchmarks.lab.functional", "benchmarks.lab.losses"},
    "benchmarks.lab.minibatches": set(),
    "benchmarks.lab.measurements": {
        "benchmarks.lab.minibatches",
        "benchmarks.lab.optimizers",
        "benchmarks.lab.problem",
        "benchmarks.lab.registry",
    },
    "benchmarks.lab.loop": {"benchmarks.lab.optimizers", "benchmarks.lab.problem"},
    "benchmarks.lab.training": {
        "benchmarks.lab.history",
        "benchmarks.lab.loop",
        "benchmarks.lab.measurements",
        "benchmarks.lab.optimizers",
        "benchmarks.lab.problem",
    },
    "benchmarks.studies": {"benchmarks.lab", "benchmarks.theory"},
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


def table_stages():
    """The stages whose code is in no fingerprint: the files that they run, and what they depend on."""
    for path in (ROOT / "dvc.yaml", ROOT / "pipelines/timings/dvc.yaml"):
        for name, stage in YAML(typ="safe").load(path)["stages"].items():
            if not any(dependency.startswith("results/code/") for dependency in stage["deps"]):
                run = {file for file in stage["deps"] if file.startswith("pipelines/") and file.endswith(".py")}
                run.add(stage["cmd"].split()[2].replace(".", "/") + ".py")
                yield pytest.param(run, stage["deps"], id=f"{path.parent.name}:{name}")


@pytest.mark.parametrize(("run", "dependencies"), list(table_stages()))
def test_a_stage_without_a_fingerprint_depends_on_what_it_imports(run, dependencies):
    files = {name: path for name, path in modules() if within(name, "benchmarks") and path.name != "__init__.py"}
    roots = {part for file in run for name in ours(ROOT / file) for part in (name, name.rpartition(".")[0])}
    used = set(fingerprints.fingerprint(sorted(roots & set(files)), ROOT)["modules"]) & set(files)
    needed = {files[name] for name in used} | {ROOT / file for file in run}
    assert {file for file in needed if not any(file.is_relative_to(ROOT / path) for path in dependencies)} == set()


def test_the_evidence_never_loads_torch():
    code = (
        "import sys, benchmarks.evidence.report, benchmarks.evidence.claims, benchmarks.evidence.tables;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_parameters_are_checked_without_torch():
    code = "import sys; from pipelines import parameters; parameters.load(); assert 'torch' not in sys.modules"
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
from pathlib import Path
import numpy as np
from pipelines.stages import run
settings = json.loads(sys.argv[1])
identity = {"settings": settings, "compute": {"device": "cpu", "dtype": "float32", "threads": 1, "chunk_size": 64}}
clock = type("Clock", (), {"tick": lambda self, step: None})()
run.train("progressive_sharpening", [1, 2], identity, Path("images.npz"), Path("checkpoint.pt"), clock)
print(json.dumps(sorted(m for m in sys.modules if m.split(".")[0] == "benchmarks")))
"""


@pytest.mark.parametrize(
    "configuration", ["lr-high", "adam-09", "sam-01", "small-lr-mid", "sgd-b8", "edge-balanced", "muon"]
)
def test_a_fingerprint_names_what_a_run_imports(configuration, tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(32, dtype=np.uint8) % 4
    pixels = rng.integers(0, 16, (32, 1, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    study = parameters.load(ROOT / "params.quick.yaml").progressive_sharpening
    name = configuration if configuration in study.named else "lr-high"
    settings = study.settings(name)
    if configuration != name:
        settings["optimizer"] = {"name": configuration, "lr": 0.01}
    settings |= {"steps": 2, "images": min(settings["images"], 16)}
    command = [sys.executable, "-c", RUN, json.dumps(settings)]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    roots = [
        "benchmarks.studies.progressive_sharpening",
        f"benchmarks.lab.architectures.{settings['architecture']['name']}",
        f"benchmarks.lab.optimizers.{settings['optimizer']['name']}",
        *(
            f"benchmarks.lab.measurements.{name}"
            for name, options in settings["measure"].items()
            if options is not None
        ),
    ]
    # What checking the parameters imports is no part of training.
    checking = {"benchmarks.studies.settings"}
    imported = set(json.loads(done.stdout.splitlines()[-1])) - checking
    assert imported == set(fingerprints.fingerprint(roots, ROOT)["modules"]) - checking


COMPUTE = """
import json, sys
from importlib import import_module
from pipelines import parameters
experiment, profile = sys.argv[1:]
settings = parameters.load(profile).deep_linear.experiments[experiment]
import_module(f"benchmarks.studies.deep_linear.{experiment}").run(settings, [1])
print(json.dumps(sorted(m for m in sys.modules if m.split(".")[0] == "benchmarks")))
"""


@pytest.mark.parametrize("experiment", ["conservation", "waypoints"])
def test_a_fingerprint_names_what_an_experiment_imports(experiment):
    profile = str(ROOT / "params.quick.yaml")
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE, experiment, profile], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    roots = fingerprints.configurations(parameters.load(profile))["deep_linear", experiment]
    checking = {"benchmarks.studies.settings"}
    imported = set(json.loads(done.stdout.splitlines()[-1])) - checking
    assert imported <= set(fingerprints.fingerprint(roots, ROOT)["modules"])


COMPETE = """
import json, sys
import numpy as np, torch
from benchmarks.lab import datasets
from benchmarks.studies.optimizer_comparison import contest
settings = json.loads(sys.argv[1])
pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8)).astype(np.uint8)
images = datasets.images(pixels, np.arange(60) % 3, pixels, np.arange(60) % 3, dtype=torch.float32)
contest.run(settings, images, {"device": "cpu", "dtype": "float32", "chunk_size": 60})
print(json.dumps(sorted(m for m in sys.modules if m.split(".")[0] == "benchmarks")))
"""


@pytest.mark.parametrize("pair", [("mlp", "adam"), ("transformer", "blockwise"), ("imbalanced", "muon-flattened")])
def test_a_fingerprint_names_what_a_contest_imports(pair):
    checked = parameters.load(ROOT / "params.yaml")
    settings = checked.optimizer_comparison.settings(*pair)
    settings["protocol"] |= {"trials": 1, "seeds": [1], "marks": 2}
    settings["workload"] |= {"steps": 2, "warmup": 0, "factors": [], "batch_size": None, "curvature_examples": 4}
    if settings["workload"]["data"]["name"] == "images":
        settings["workload"]["data"] |= {"train": 20, "validation": 5, "pool": 1}
    done = subprocess.run(
        [sys.executable, "-c", COMPETE, json.dumps(settings)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    roots = fingerprints.configurations(checked)["optimizer_comparison", "-".join(pair)]
    assert set(json.loads(done.stdout.splitlines()[-1])) <= set(fingerprints.fingerprint(roots, ROOT)["modules"])


CLIMB = """
import json, sys
import numpy as np, torch
from benchmarks.lab import datasets
from benchmarks.studies.low_rank_progression import rung
settings = json.loads(sys.argv[1])
generator = np.random.default_rng(0)
labels = np.arange(300) % 3
means = np.array([120, 40, 0])[:, None] * np.linalg.qr(generator.standard_normal((36, 3)))[0].T
pixels = (128 + means.reshape(3, 1, 6, 6)[labels] + 30 * generator.standard_normal((300, 1, 6, 6))).clip(0, 255)
images = datasets.images(pixels.astype(np.uint8), labels, pixels.astype(np.uint8), labels, dtype=torch.float32)
rung.run(settings, images, [1, 2], torch.float32)
print(json.dumps(sorted(m for m in sys.modules if m.split(".")[0] == "benchmarks")))
"""


@pytest.mark.parametrize("name", ["small-gd-relu-hat", "textbook-muon", "kernel-small"])
def test_a_fingerprint_names_what_a_rung_imports(name):
    checked = parameters.load(ROOT / "params.yaml")
    settings = checked.low_rank_progression.settings(name)
    settings["data"] |= {"images": 300, "pool": 1, "components": 8}
    settings |= {"init": None, "steps": 5}
    done = subprocess.run([sys.executable, "-c", CLIMB, json.dumps(settings)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    roots = fingerprints.configurations(checked)["low_rank_progression", name]
    assert set(json.loads(done.stdout.splitlines()[-1])) <= set(fingerprints.fingerprint(roots, ROOT)["modules"])
