"""Experiments that are a table alone: what they cannot be asked, before any work, and what a fault leaves in place."""

import pytest


@pytest.mark.parametrize(
    ("study", "experiment", "changes", "says"),
    [
        ("scale_invariance", "exponential_rate", {"eps": 0.1}, "is not scale-invariant"),
        ("lazy_training", "widths", {"systems.tanh.widths": [8, 200000]}, "are allowed"),
        ("lazy_training", "max_margin", {"images": 50, "pool": 8}, "are not linearly separable"),
        ("convex_rates", "logistic_regression", {"images": 3}, "a plane separates"),
    ],
    ids=["no scale-invariance", "a kernel that does not fit", "not separable", "separable"],
)
def test_what_cannot_be_is_one_clear_error_and_leaves_the_table(workspace, study, experiment, changes, says):
    before = workspace.bytes(f"results/tables/{study}/*.csv")
    for key, value in changes.items():
        workspace.set(f"{study}.{experiment}.{key}", value)
    done = workspace.dvc(
        "repro", "--single-item", "fingerprint", f"pipelines/{study}/dvc.yaml:{experiment}", check=False
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert says in line and line.startswith(f"error: {study}: {experiment}: ")
    assert "Traceback" not in done.stderr
    assert workspace.bytes(f"results/tables/{study}/*.csv") == before
