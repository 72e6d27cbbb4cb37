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
from benchmarks.studies.optimizer_comparison.study import contests
from benchmarks.studies.schema import Compute
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
    asked = {"workload": workload, "optimizer": optimizer}
    settings = next(member.settings for member in contests(COMPARISON) if member.values == asked)
    protocol = settings.protocol.model_copy(update={"trials": 1, "seeds": [1], "marks": 2})
    data, batch_size = settings.workload.data, settings.workload.batch_size
    small = {
        "images": {"train": 60, "validation": 20, "pool": 1},
        "imbalanced": {"size": 3},
        "tokens": {"examples": 64},
    }[data.name]
    changes = {"data": data.model_copy(update=small), "steps": 4, "warmup": 1, "factors": []}
    changes |= {"batch_size": batch_size and 20, "curvature_examples": 20}
    made = settings.workload.model_copy(update=changes)
    settings = settings.model_copy(update={"protocol": protocol, "workload": made})
    compute = Compute(device="cpu", dtype="float32", threads=1, chunk_size=60)
    here, there = (
        contest.run(settings, images, compute.model_copy(update={"device": place})) for place in ("cpu", NAME)
    )
    # numpy rounds a norm by where in memory its argument begins; nothing that trains moves.
    pd.testing.assert_frame_equal(there.rows, here.rows, rtol=1e-12, atol=0)
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
    settings = tiny.low_rank_progression.resolved("rungs", name).model_copy(update={"steps": 20})
    computes = (tiny.compute.model_copy(update={"device": place, "dtype": "float32"}) for place in ("cpu", NAME))
    here, there = (rung.run(settings, [1, 2], images, compute) for compute in computes)
    pd.testing.assert_frame_equal(there.rows, here.rows, rtol=0, atol=0)
    pd.testing.assert_frame_equal(there.curves, here.curves, rtol=0, atol=0)
