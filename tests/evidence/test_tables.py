"""From a history to a run's row, to cells, to curves: against histories whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence.runs import COLUMNS, run_rows
from benchmarks.evidence.tables import CELL_COLUMNS, cells, curves, thin

STEPS = 40


def history(seed, sharpness, loss=None, every=10):
    loss = loss or [1.0 / (1 + t) for t in range(STEPS + 1)]
    rows = [(seed, t, "loss", value) for t, value in enumerate(loss)]
    for i, value in enumerate(sharpness):
        rows += [
            (seed, i * every, "sharpness", value),
            (seed, i * every, "sharpness_hvps", 9.0 if i == 0 else 3.0),
            (seed, i * every, "sharpness_error", 1e-4),
            (seed, i * every, "train_accuracy", i / 10),
        ]
    if len(sharpness) > 2:
        rows += [(seed, 20, "sharpness_warm", sharpness[2]), (seed, 20, "sharpness_cold", sharpness[2] * 1.001)]
    return pd.DataFrame(rows, columns=["seed", "step", "metric", "value"])


def record(seeds, diverged=None, steps=STEPS):
    return {
        "study": "progressive_sharpening",
        "name": "main",
        "seeds": seeds,
        "settings": {
            "architecture": {"name": "mlp"},
            "loss": "mse",
            "optimizer": {"name": "sgd", "lr": 0.1},
            "images": 7,
            "batch_size": None,
            "steps": steps,
        },
        "facts": {
            "optimizer": "torch.optim.SGD",
            "parameters": 5,
            "stability_threshold": 20.0,
            "diverged": diverged or {},
        },
    }


def row(sharpness, **given):
    return run_rows(history(1, sharpness, **given), record([1])).iloc[0]


def test_a_runs_row():
    # readings at 0, 10, 20, 30, 40; the second half is 20 to 40
    mine = row([8.0, 12.0, 20.0, 22.0, 21.0])
    assert mine.late_sharpness == 21.0
    assert mine.late_sharpness_ratio == pytest.approx(1.05)
    assert (mine.edge_step, mine.edge_fraction) == (20, 0.5)
    assert (mine.first_sharpness, mine.lowest_sharpness, mine.highest_sharpness) == (8.0, 8.0, 22.0)
    assert mine.hvps_per_reading == 3.0
    assert mine.largest_cold_gap == pytest.approx(1e-3)
    assert (mine.first_loss, mine.last_loss, mine.late_loss_increases) == (1.0, pytest.approx(1 / 41), 0.0)
    assert (mine.steps, mine.diverged, mine.last_train_accuracy) == (STEPS, 0, 0.4)


def test_the_edge_is_reached_from_below():
    assert pd.isna(row([8.0, 9.0, 10.0, 11.0, 12.0]).edge_step)
    assert pd.isna(row([30.0, 29.0, 28.0, 27.0, 26.0]).edge_step)
    assert row([30.0, 10.0, 15.0, 21.0, 21.0]).edge_step == 30


def test_steps_that_raise_the_loss_are_counted_in_the_second_half_alone():
    early = [1.0 + (t % 2) * (t < 20) for t in range(STEPS + 1)]
    late = [1.0 + (t % 2) * (t >= 20) for t in range(STEPS + 1)]
    assert row([1.0] * 5, loss=early).late_loss_increases == 0.0
    assert row([1.0] * 5, loss=late).late_loss_increases == 0.5


def test_a_diverged_run_has_a_row_that_says_so_and_no_late_phase():
    loss = [1.0, 10.0, 1e5]
    mine = run_rows(history(1, [8.0], loss=loss), record([1], {"1": 2})).iloc[0]
    assert (mine.diverged, mine.steps, mine.last_loss) == (1, 2, 1e5)
    assert pd.isna(mine.late_sharpness) and pd.isna(mine.late_sharpness_ratio)


def test_a_row_has_every_column_and_each_is_explained():
    assert list(row([1.0] * 5).index) == list(COLUMNS)
    assert all(what for _, what in COLUMNS.values())


def test_cells_are_means_over_the_seeds_that_have_a_value():
    long = run_rows(
        pd.concat([history(1, [8.0] * 5), history(2, [10.0] * 5), history(3, [12.0] * 5)]), record([1, 2, 3])
    )
    long.loc[2, "edge_fraction"] = np.nan
    table = cells(long)
    assert list(table.columns) == CELL_COLUMNS
    level = table.set_index("metric").loc["late_sharpness"]
    # t at n = 3 and 95 % is 4.302653
    assert (level.n, level["mean"], level.sd) == (3, 10.0, 2.0)
    assert level.ci95_high == pytest.approx(10 + 4.302653 * 2 / np.sqrt(3), rel=1e-6)
    assert level.unit == "loss/parameter^2"


def test_curves_are_mean_and_range_over_seeds_and_never_long():
    long = pd.concat([history(1, [8.0] * 5), history(2, [10.0] * 5)])
    table = curves({"main": long}).set_index(["metric", "step"])
    at = table.loc[("sharpness", 20)]
    assert (at["mean"], at.low, at.high, at.n) == (9.0, 8.0, 10.0, 2)
    steps = np.arange(2101)
    kept = thin(steps)
    assert len(kept) <= 400 and kept[0] == 0 and kept[-1] == 2100
    assert np.diff(kept[:-1]).min() % 2 == 1, "an even stride hides an oscillation of period two"
