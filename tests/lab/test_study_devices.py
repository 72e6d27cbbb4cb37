"""The studies that train in `compute.dtype` give the CPU's tables on a device: contests, fits, kernels, rungs."""

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.lab import datasets, digits
from benchmarks.lab.pretend_device import NAME
from benchmarks.studies.low_rank_progression import rung
from benchmarks.studies.optimizer_comparison import contest
from benchmarks.studies.optimizer_comparison.study import contests
from benchmarks.studies.schema import Compute
from pipelines import parameters, stages

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

# The parameters of the pipelines' own tests, the smallest that there are.
_FOUND = spec_from_file_location("workspaces", ROOT / "tests/pipeline/workspaces.py")
_WORKSPACES = module_from_spec(_FOUND)
_FOUND.loader.exec_module(_WORKSPACES)
TINY = parameters.checked(_WORKSPACES.tiny(), "params.tiny.yaml")
EXPERIMENTS = [stage for stage in stages.training(TINY) if stage.table is not None and "device" in stage.takes]


@pytest.fixture(scope="module")
def images():
    return datasets.images(**digits.arrays(), dtype=torch.float32)


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


def test_the_experiments_that_take_a_device_are_these():
    assert {stage.path for stage in EXPERIMENTS} == {
        "overparameterization/random_labels",
        "overparameterization/initialization",
        "overparameterization/distance",
        "overparameterization/bad_minima",
        "lazy_training/widths",
        "lazy_training/critical_rate",
        "lazy_training/alignment",
        "low_rank_progression/output_scale",
        "optimizer_comparison/heterogeneity",
    }


@pytest.mark.parametrize("stage", [pytest.param(stage, id=stage.path) for stage in EXPERIMENTS])
def test_an_experiment_has_the_same_table_on_the_device(stage, images):
    run = import_module(stage.dotted).run
    here, there = (run(stage.settings, [1, 2], images, device=place) for place in ("cpu", NAME))
    pd.testing.assert_frame_equal(there, here, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["small-gd-relu-hat", "default-adam-relu-real"])
def test_a_rung_has_the_same_scores_and_curves_on_the_device(name, images):
    settings = TINY.low_rank_progression.resolved("rungs", name).model_copy(update={"steps": 20})
    computes = (TINY.compute.model_copy(update={"device": place, "dtype": "float32"}) for place in ("cpu", NAME))
    here, there = (rung.run(settings, [1, 2], images, compute) for compute in computes)
    pd.testing.assert_frame_equal(there.rows, here.rows, rtol=0, atol=0)
    pd.testing.assert_frame_equal(there.curves, here.curves, rtol=0, atol=0)
