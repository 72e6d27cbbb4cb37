"""The studies that train in `compute.dtype` give the CPU's tables on a device: contests, fits, kernels, rungs."""

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path

import pandas as pd
import pytest
import torch
from pretend_device import NAME

from benchmarks.lab import datasets
from benchmarks.studies.low_rank_progression import rung
from benchmarks.studies.optimizer_comparison import contest
from pipelines import parameters, sources

pytestmark = pytest.mark.usefixtures("deterministic")

ROOT = Path(__file__).parents[2]
COMPARISON = parameters.load(ROOT / "params.yaml").optimizer_comparison
# Every architecture, and the optimizers that do what others do not.
CONTESTS = [
    ("mlp", "blockwise"),
    ("cnn", "soap"),
    ("cnn", "muon-flattened"),
    ("transformer", "schedule-free-adamw"),
    ("tokens", "muon"),
    ("imbalanced", "lion"),
]

QUICK = parameters.load(ROOT / "params.quick.yaml")


def takes_a_device(study: str, name: str) -> bool:
    return "device" in signature(import_module(f"benchmarks.studies.{study}.{name}").run).parameters


EXPERIMENTS = [
    (study, name)
    for study in (*QUICK.computed, "low_rank_progression", "optimizer_comparison")
    for name in getattr(QUICK, study).experiments
    if takes_a_device(study, name)
]


@pytest.fixture(scope="module")
def images():
    return datasets.images(**sources.digits(), dtype=torch.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> parameters.Parameters:
    """The parameters of the pipelines' own tests, the smallest that there are."""
    found = spec_from_file_location("workspaces", ROOT / "tests/pipeline/conftest.py")
    workspaces = module_from_spec(found)
    found.loader.exec_module(workspaces)
    path = tmp_path_factory.mktemp("tiny") / "params.yaml"
    path.write_text(workspaces.PARAMS)
    return parameters.load(path)


@pytest.mark.parametrize("workload, optimizer", CONTESTS)
def test_a_contest_has_the_same_runs_and_curves_on_the_device(workload, optimizer, images):
    settings = COMPARISON.settings(workload, optimizer)
    settings["protocol"] |= {"trials": 1, "seeds": [1], "marks": 2}
    small = {"train": 60, "validation": 20, "pool": 1} if settings["workload"]["data"]["name"] == "images" else {}
    small |= {"size": 3} if "size" in settings["workload"]["data"] else {}
    small |= {"examples": 64} if "examples" in settings["workload"]["data"] else {}
    settings["workload"] |= {"data": settings["workload"]["data"] | small, "steps": 4, "warmup": 1, "factors": []}
    settings["workload"] |= {"batch_size": settings["workload"]["batch_size"] and 20, "curvature_examples": 20}
    here, there = (
        contest.run(settings, images, {"device": place, "dtype": "float32", "chunk_size": 60})
        for place in ("cpu", NAME)
    )
    # numpy rounds a norm by where in memory its argument begins; nothing that trains moves.
    pd.testing.assert_frame_equal(there.runs, here.runs, rtol=1e-12, atol=0)
    pd.testing.assert_frame_equal(there.curves, here.curves, rtol=1e-12, atol=0)
    assert there.facts == here.facts


@pytest.mark.parametrize("study, name", EXPERIMENTS)
def test_an_experiment_has_the_same_table_on_the_device(study, name, images, tiny):
    settings = getattr(tiny, study).experiments[name]
    run = import_module(f"benchmarks.studies.{study}.{name}").run
    here, there = (run(settings, [1, 2], images, device=place) for place in ("cpu", NAME))
    pd.testing.assert_frame_equal(there, here, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["small-gd-relu-hat", "default-adam-relu-real"])
def test_a_rung_has_the_same_scores_and_curves_on_the_device(name, images, tiny):
    settings = tiny.low_rank_progression.settings(name) | {"steps": 20}
    here, there = (rung.run(settings, images, [1, 2], torch.float32, device=place) for place in ("cpu", NAME))
    for one, other in zip(here, there):
        pd.testing.assert_frame_equal(other, one, rtol=0, atol=0)
