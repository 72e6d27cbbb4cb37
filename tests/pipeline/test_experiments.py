"""Experiments that are a table alone: what they cannot be asked, before any work, and what a fault leaves in place."""

import pytest

ON_IMAGES = "compute_on_images"


@pytest.mark.parametrize(
    ("study", "experiment", "old", "new", "says"),
    [
        (
            "scale_invariance",
            "exponential_rate",
            "eps: 0, batch_size: 10",
            "eps: 0.1, batch_size: 10",
            "is not scale-invariant",
        ),
        (
            "lazy_training",
            "widths",
            "readout: ntk, widths: [8, 16]",
            "readout: ntk, widths: [8, 200000]",
            "are allowed",
        ),
        (
            "lazy_training",
            "max_margin",
            "images: 8, pool: 1, log_time",
            "images: 50, pool: 8, log_time",
            "no plane separates",
        ),
        ("convex_rates", "logistic_regression", "{seeds: 2, images: 50", "{seeds: 2, images: 3", "a plane separates"),
    ],
    ids=["no scale-invariance", "a kernel that does not fit", "not separable", "separable"],
)
def test_what_cannot_be_is_one_clear_error_and_leaves_the_table(workspace, study, experiment, old, new, says):
    before = workspace.bytes(f"results/tables/{study}/*.csv")
    workspace.edit("params.yaml", old, new)
    stage = f"pipelines/{study}/dvc.yaml:{ON_IMAGES}@{experiment}"
    done = workspace.dvc("repro", "--single-item", stage, check=False)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert says in line
    assert "Traceback" not in done.stderr
    assert workspace.bytes(f"results/tables/{study}/*.csv") == before
