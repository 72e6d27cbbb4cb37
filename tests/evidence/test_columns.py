"""The columns that judge more than the sharpness: each from series whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence.estimators import NotRun, catapult, computed, log_ratio
from benchmarks.evidence.runs import run_rows
from benchmarks.theory import stability

STEPS = 40
STEP = np.arange(STEPS + 1)
READ = STEP[::10]


def row(series, optimizer=None, threshold=20.0, batch_size=None):
    """A run's row; ``series``: by metric, values at all steps or at the readings 0, 10, 20, 30, 40."""
    given = {"loss": np.ones(len(STEP)), "sharpness": [8.0, 16.0, 22.0, 20.0, 18.0], **series}
    given |= {"sharpness_hvps": [9.0] + [3.0] * 4, "sharpness_error": [1e-4] * 5}
    rows = []
    for metric, values in given.items():
        steps = STEP if len(values) == len(STEP) else READ
        rows += [(1, step, metric, value) for step, value in zip(steps, values) if not np.isnan(value)]
    record = {
        "study": "progressive_sharpening",
        "name": "main",
        "seeds": [1],
        "settings": {
            "architecture": {"name": "mlp"},
            "loss": "mse",
            "optimizer": optimizer or {"name": "sgd", "lr": 0.1},
            "images": 7,
            "batch_size": batch_size,
            "steps": STEPS,
        },
        "facts": {"optimizer": "a library's", "parameters": 5, "stability_threshold": threshold, "diverged": {}},
    }
    return run_rows(pd.DataFrame(rows, columns=["seed", "step", "metric", "value"]), record).iloc[0]


def test_sharpening_is_over_the_smallest_reading_before_the_largest():
    mine = row({"sharpness": [9.0, 6.0, 18.0, 3.0, 9.0]})
    assert mine.sharpening == 3.0
    assert mine.sharpness_drop == 0.5


def test_the_edge_of_a_preconditioned_optimizer_is_met_in_the_preconditioned_sharpness():
    mine = row({"preconditioned_sharpness": [np.nan, 10.0, 19.0, 21.0, 22.0]})
    assert mine.edge_step == 30
    assert mine.late_preconditioned_ratio == pytest.approx(21 / 20)
    assert mine.late_sharpness_ratio == pytest.approx(1.0)


def test_sams_edge_moves_with_the_gradient_norm():
    norms = np.array([1.0, 0.5, 0.2, 0.1, 0.05])
    edge = stability.sam_edge(0.1, 0.05, norms)
    mine = row(
        {"sharpness": 1.1 * edge, "gradient_norm": norms}, {"name": "sam", "lr": 0.1, "rho": 0.05}, threshold=None
    )
    assert mine.late_sam_ratio == pytest.approx(1.1)
    assert mine.late_sharpness_ratio == pytest.approx(1.1 * edge[3] / 20)


def test_sams_edge_is_the_curvature_of_a_two_cycle_and_tends_to_that_of_gradient_descent():
    lr, rho, w = 0.1, 0.3, 0.7
    for curvature in (5.0, 12.0):
        moved = w - lr * curvature * (w + rho)
        returns = stability.sam_edge(lr, rho, curvature * w) - curvature
        assert np.sign(moved + w) == np.sign(returns)
    curvature = 2 * w / (lr * (w + rho))
    assert stability.sam_edge(lr, rho, curvature * w) == pytest.approx(curvature)
    assert stability.sam_edge(lr, 1e-7, 1.0) == pytest.approx(2 / lr, rel=1e-5)


def test_a_violation_is_a_rise_below_the_threshold():
    series = {"segment_rise": [-1.0, 1.0, 1.0, -1.0, 1e-9], "segment_curvature": [5.0, 19.0, 30.0, 10.0, 10.0]}
    mine = row(series | {"segment_sharpness": [10.0, 19.0, 25.0, 25.0, 10.0]})
    assert mine.descent_violations == pytest.approx(1 / 5)
    assert mine.largest_step_excess == pytest.approx(0.2)


def test_entry_is_interpolated_and_compared_with_the_flows():
    series = {"sharpness": [8.0, 16.0, 24.0, 20.0, 20.0], "flow_sharpness": [0.0, 10.0, 30.0, 40.0, 50.0]}
    mine = row(series | {"flow_distance": [0.0, 1.0, 3.0, 6.0, 12.0]})
    assert mine.entry_time_ratio == pytest.approx(15 / 15)
    assert mine.departure == pytest.approx(12 / 2)
    never = row({"sharpness": [8.0] * 5, "flow_sharpness": [8.0] * 5, "flow_distance": [1.0] * 5})
    assert pd.isna(never.entry_time_ratio)


def test_the_variance_is_the_mean_square_of_the_second_half_over_its_mean_prediction():
    swing = np.where(STEP % 2, 0.2, -0.2) * (STEP >= 20) + 9.0 * (STEP < 20)
    series = {
        "oscillation": swing,
        "sharpness_pull": [-1.0, 1.0, -1.0, -1.0, -1.0],
        "predicted_variance": [9.0, 9.0, 0.04, 0.02, 0.03],
        "midpoint_sharpness_2": [40.0, 40.0, 12.0, 15.0, 10.0],
    }
    mine = row(series)
    assert mine.variance_ratio == pytest.approx(0.04 / 0.03)
    assert mine.rising_fraction == 0.5, "the edge is met at step 20"
    assert mine.single_mode_gap == pytest.approx(1 - 15 / 20)


def test_the_central_flow_is_compared_with_what_the_run_does_on_average():
    series = {
        "loss": np.where(STEP % 2, 1.2, 1.0),
        "oscillation": np.full(len(STEP), 0.3),
        "central_loss": [1.0, 0.9, 0.95, 0.8, 0.7],
        "central_predicted_loss": [1.0, 1.0, 1.1, 1.1, 1.1],
        "central_variance": [0.0, 0.0, 0.09, 0.09, 0.09],
        "central_distance": [0.0, 0.1, 0.1, 0.1, 0.1],
        "flow_sharpness": [8.0, 16.0, 30.0, 40.0, 50.0],
        "flow_distance": [0.0, 0.1, 0.2, 0.5, 1.0],
    }
    mine = row(series)
    assert mine.central_loss_ratio == pytest.approx(np.where(STEP[20:] % 2, 1.2, 1.0).mean() / 1.1)
    assert mine.central_variance_ratio == pytest.approx(1.0)
    assert mine.central_distance_ratio == pytest.approx(0.1)
    assert mine.central_loss_rises == pytest.approx(1 / 4)


def test_minibatches_have_no_step_by_step_loss_and_two_batch_sharpnesses():
    series = {
        "loss": [1.0, 0.9, 0.8, 0.7, 0.6],
        "batch_loss": np.ones(len(STEP)),
        "batch_sharpness": [1.0, 2.0, 18.0, 20.0, 22.0],
        "batch_sharpness_mean_ratio": [1.0, 2.0, 10.0, 10.0, 10.0],
    }
    mine = row(series, batch_size=2)
    assert pd.isna(mine.late_loss_increases)
    assert (mine.late_batch_sharpness_ratio, mine.late_batch_mean_ratio) == (1.0, 0.5)
    assert mine.batch_size == 2


def test_a_settled_sharpness_is_told_from_one_that_moves():
    assert row({"sharpness": [1.0, 1.0, 10.0, 10.0, 10.0]}).late_sharpness_settled == 1.0
    assert row({"sharpness": [1.0, 1.0, 20.0, 10.0, 10.0]}).late_sharpness_settled == 0.5


def test_a_preconditioned_sharpness_that_starts_above_its_threshold_can_have_settled():
    series = {"sharpness": [9.0, 1.0, 20.0, 10.0, 10.0], "preconditioned_sharpness": [90.0, 50.0, 40.0, 30.0, 30.0]}
    mine = row(series)
    assert pd.isna(mine.edge_step)
    assert mine.late_preconditioned_settled == 0.75


def long(**by_configuration):
    rows = [
        {"configuration": name, "seed": seed, "sharpening": value}
        for name, values in by_configuration.items()
        for seed, value in enumerate(values, 1)
    ]
    return {"progressive_sharpening.long": pd.DataFrame(rows)}


def test_a_log_ratio_is_taken_seed_by_seed():
    tables = long(few=[2.0, 4.0, 8.0], many=[4.0, 4.0, np.nan])
    estimate = log_ratio(tables, configurations=["many", "few"], metric="sharpening")
    assert estimate.values[:2] == pytest.approx([np.log(2), 0.0]) and np.isnan(estimate.values[2])
    with pytest.raises(NotRun, match="absent"):
        log_ratio(tables, configurations=["many", "absent"], metric="sharpening")


def test_the_catapults_boundaries_are_read_by_system():
    table = pd.DataFrame({"system": ["linear", "linear", "relu"], "monotone_boundary": [2.0, 2.1, 5.0]})
    assert list(catapult({"catapult": table}, system="linear", column="monotone_boundary").values) == [2.0, 2.1]
    with pytest.raises(NotRun, match="quadratic"):
        catapult({"catapult": table}, system="quadratic", column="monotone_boundary")


def test_a_system_none_of_whose_runs_got_to_a_quantity_has_no_values_and_was_run():
    rows = [("net", 1, "slope", -1), ("net", 2, "slope", -2), ("layer", 1, "learned", 1), ("layer", 2, "learned", 2)]
    tables = {"planted_modes/planted_text": pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])}
    asked = {"study": "planted_modes", "experiment": "planted_text", "quantity": "slope"}
    for estimate in (
        computed(tables, **asked, system="layer"),
        computed(tables, **asked, system="net", minus="layer"),
    ):
        assert np.isnan(estimate.values).tolist() == [True, True] and not estimate.exact
    for wrong in ({"system": "lair"}, {"system": "layer", "quantity": "slop"}):
        with pytest.raises(NotRun):
            computed(tables, **(asked | wrong))


def test_a_computed_quantity_is_exact_where_it_has_no_seed():
    rows = [("drawn", 1, "error", 0.1), ("drawn", 2, "error", 0.2), ("known", None, "error", 0.3)]
    tables = {"deep_linear/solutions": pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])}
    drawn = computed(tables, experiment="solutions", system="drawn", quantity="error")
    assert (list(drawn.values), drawn.exact) == ([0.1, 0.2], False)
    known = computed(tables, experiment="solutions", system="known", quantity="error")
    assert (list(known.values), known.exact) == ([0.3], True)
    with pytest.raises(NotRun, match="'slope' of 'drawn'"):
        computed(tables, experiment="solutions", system="drawn", quantity="slope")
    with pytest.raises(NotRun, match="kernels"):
        computed(tables, experiment="kernels", system="drawn", quantity="error")
