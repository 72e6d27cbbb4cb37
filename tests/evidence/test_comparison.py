"""The optimizer comparison's tables, its estimators and its claims, on small tables whose answer is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence import comparison, judge, ladder, register, report
from benchmarks.evidence.comparison import COLUMNS, LONG
from benchmarks.evidence.estimators import ESTIMATORS, NotRun
from benchmarks.evidence.statistics import t_interval
from benchmarks.studies import catalog
from benchmarks.studies.optimizer_comparison.study import contests, extra_contests
from pipelines import parameters

ROOT = Path(__file__).parents[2]
REGISTER = register.load(ROOT / path for path in catalog.claims())
SEEDS = (1, 2, 3)
STEPS = (0, 10, 20, 30, 40)
KEYS = ["workload", "optimizer", "role", "factor", "seed"]
SPREAD = np.array([-0.01, 0.0, 0.01])
# Student's t at two degrees of freedom, 97.5 %.
T_OF_THREE = 4.302653
FACTS = {
    "implementation": "a.library.Optimizer",
    "package": "a 1.0",
    "source": "A paper",
    "meaning": "It descends.",
    "parameters": 7,
    "state_per_parameter": 2.0,
    "scheduled": True,
    "finite_trials": 4,
    "note": "",
}


def attempts(workload, optimizer, curves_by_seed, role="final", factor=1.0, **columns):
    """Runs and curves as a contest writes them; a curve that ends early is that of a run that diverged there."""
    runs, curves = [], []
    for seed, values in curves_by_seed.items():
        lost = len(values) < len(STEPS)
        key = dict(zip(KEYS, (workload, optimizer, role, factor, seed)))
        told = {"trial": 0, "learning_rate": 0.1 * factor, "options": "{}", "diverged": int(lost)}
        told |= {"steps": STEPS[len(values)] if lost else STEPS[-1], "objective": np.inf if lost else values[-1]}
        runs.append(key | told | columns)
        curves += [key | {"step": s, "metric": "objective", "value": v} for s, v in zip(STEPS, values)]
    return pd.DataFrame(runs), pd.DataFrame(curves)


def joined(*parts):
    """Of contests, rows in an order that means nothing."""
    runs, curves = (pd.concat(tables, ignore_index=True) for tables in zip(*parts))
    return runs, curves.sample(frac=1, random_state=0, ignore_index=True)


def ran(workload, optimizer, objectives, role="final", factor=1.0, **columns):
    """Rows of the long table, a run an objective; infinite where it diverged."""
    count = len(objectives)
    row = dict(zip(KEYS, (workload, optimizer, role, factor, range(1, count + 1))))
    row |= {"objective": objectives, "diverged": np.isinf(objectives).astype(int), "steps": 40, "options": "{}"}
    return pd.DataFrame(row | columns).reindex(columns=list(COLUMNS))


def known(*parts, **tables):
    return {LONG: pd.concat(parts, ignore_index=True), **tables}


def estimate(name, tables, **arguments):
    return ESTIMATORS[name](tables, **arguments)


def values(name, tables, **arguments):
    return estimate(name, tables, **arguments).values


# Steps to a target


@pytest.mark.parametrize(
    ("target", "step"),
    [
        (5.0, 0.0),  # before training
        (4.0, 0.0),
        (3.5, 5.0),
        (3.0, 10.0),  # at a reading
        (2.0, 15.0),
        (0.75, 30.0),  # readings are not equally far apart
        (0.5, 40.0),
    ],
)
def test_steps_to_a_target_are_interpolated_between_readings(target, step):
    found = comparison.steps_to(np.array([0.0, 10.0, 20.0, 40.0]), np.array([4.0, 3.0, 1.0, 0.5]), target)
    assert found == pytest.approx(step)


def test_the_first_arrival_counts_and_who_never_arrives_has_no_steps():
    steps, readings = np.array([0.0, 10.0, 20.0, 30.0]), np.array([4.0, 2.0, 6.0, 1.0])
    assert comparison.steps_to(steps, readings, 3.0) == pytest.approx(5.0)
    assert np.isnan(comparison.steps_to(steps, readings, 0.9))


def adamw(workload="mlp"):
    """Tuned, and at four other learning rates."""
    return (
        attempts(workload, "adamw", {1: [5, 3, 2, 1, 1], 2: [3, 2, 1, 1, 0]}),
        attempts(workload, "adamw", {1: [5, 5, 4, 4, 3], 2: [3, 3, 2, 2, 1]}, "factor", 0.25),
        attempts(workload, "adamw", {1: [5, 4, 4, 4, 4], 2: [3, 3, 3, 3, 3]}, "factor", 4.0),
        attempts(workload, "adamw", {1: [5, 1, 1, 1, 1]}, "factor", 32.0),
        attempts(workload, "adamw", {1: [5, 0, 0, 0, -9]}, "trial"),
    )


def test_targets_are_a_share_of_the_fall_of_the_named_optimizer():
    runs, curves = joined(
        *adamw(),
        attempts("mlp", "sgd", {1: [5, 0, 0, 0, -7], 2: [3, 0, 0, 0, -7]}),
        attempts("cnn", "sgd", {1: [5, 0, 0, 0, 0]}),  # without the optimizer
        attempts("rising", "adamw", {1: [5, 5, 5, 5, 6]}),
    )
    goals = comparison.targets(runs, curves, "adamw", 0.8)
    # First 4 in the mean of seeds, last 0.5, 2 and 3.5.
    assert set(goals["workload"]) == {"mlp"} and len(goals) == 3
    found = goals.set_index("target")["objective"]
    assert found.to_dict() == pytest.approx({"target": 4 - 0.8 * 3.5, "quarter": 4 - 0.8 * 2, "fourfold": 4 - 0.8 / 2})
    assert goal_of(comparison.targets(runs, curves, "sgd", 0.5), "workload") == pytest.approx({"mlp": -1.5, "cnn": 2.5})
    assert comparison.targets(runs, curves, "lion", 0.5).empty


def goal_of(goals, by="target"):
    return goals.set_index(by)["objective"].to_dict()


def test_runs_that_diverged_take_no_part_in_targets():
    lost = (
        attempts("mlp", "adamw", {3: [90, 70, 50]}),
        attempts("mlp", "adamw", {3: [90, 70]}, "factor", 0.25),
        # In seeds whose tuned runs count.
        attempts("mlp", "adamw", {2: [9, 8, 7]}, "factor", 4.0),
        attempts("mlp", "sgd", {1: [9, 8], 2: [9, 8]}),
        attempts("cnn", "adamw", {1: [9, 8], 2: [9, 8]}),
    )
    final, quarter, _, *others = adamw()
    fourfold = attempts("mlp", "adamw", {1: [5, 4, 4, 4, 4]}, "factor", 4.0)
    runs, curves = joined(final, quarter, fourfold, *others, *lost)
    goals = comparison.targets(runs, curves, "adamw", 0.8)
    assert set(goals["workload"]) == {"mlp"}, "on cnn all diverged"
    # As without them: of the fourfold learning rate one seed is left, from 5 to 4.
    assert goal_of(goals) == pytest.approx({"target": 4 - 0.8 * 3.5, "quarter": 4 - 0.8 * 2, "fourfold": 5 - 0.8})
    runs["diverged"] = 0
    counted = goal_of(comparison.targets(runs, curves, "adamw", 0.8))
    assert min(counted["target"], counted["quarter"]) > 10, "they would have counted"


def test_a_run_that_diverged_at_its_last_reading_takes_no_part_in_targets():
    runs, curves = joined(attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [9, 9, 9, 9, 8]}))
    assert goal_of(comparison.targets(runs, curves, "adamw", 0.5)) == {"target": pytest.approx(7 - 0.5 * 2.5)}
    runs.loc[runs["seed"] == 2, "diverged"] = 1  # of a whole curve
    assert goal_of(comparison.targets(runs, curves, "adamw", 0.5)) == {"target": pytest.approx(3.0)}
    assert comparison.targets(runs.assign(diverged=1), curves, "adamw", 0.5).empty


@pytest.fixture(scope="module")
def measured():
    runs, curves = joined(
        *adamw(),
        attempts("mlp", "sgd", {1: [5, 4, 3, 2, 1], 2: [3, 3, 2, 2, 2]}),
        attempts("mlp", "sgd", {1: [5, 1, 1, 1, 1]}, "factor", 0.25),
        attempts("cnn", "sgd", {1: [5, 4, 3, 2, 1]}),
    )
    goals = comparison.targets(runs, curves, "adamw", 0.8)  # 1.2, a quarter's 2.4, four times' 3.6
    return comparison.long_table(runs, curves, goals, "adamw").set_index(KEYS), goals


def test_tuned_runs_are_measured_against_all_three_targets(measured):
    table, _ = measured
    names = [f"steps_to_{name}" for name in ("target", "quarter", "fourfold")]
    assert table.loc[("mlp", "sgd", "final", 1.0, 1), names].tolist() == pytest.approx([38.0, 26.0, 14.0])
    slow = table.loc[("mlp", "sgd", "final", 1.0, 2), names].tolist()
    assert np.isnan(slow[0]) and slow[1:] == pytest.approx([16.0, 0.0])
    assert table.loc[("mlp", "adamw", "final", 1.0, 1), names].tolist() == pytest.approx([28.0, 16.0, 7.0])
    assert table.loc[("cnn", "sgd", "final", 1.0, 1), names].isna().all(), "a workload without target"


def test_the_named_optimizer_at_another_learning_rate_is_measured_against_its_own_target(measured):
    table, _ = measured
    rate = table["steps_to_target"]
    assert rate["mlp", "adamw", "factor", 0.25, 2] == pytest.approx(16.0)  # 2.4 from 3, 3, 2
    assert np.isnan(rate["mlp", "adamw", "factor", 0.25, 1]), "ends at 3"
    assert rate["mlp", "adamw", "factor", 4.0, 2] == 0 and np.isnan(rate["mlp", "adamw", "factor", 4.0, 1])
    assert np.isnan(rate["mlp", "adamw", "factor", 32.0, 1]), "has no target"
    assert np.isnan(rate["mlp", "sgd", "factor", 0.25, 1]), "another optimizer"
    assert np.isnan(rate["mlp", "adamw", "trial", 1.0, 1])
    others = table.query("role != 'final'")[["steps_to_quarter", "steps_to_fourfold"]]
    assert others.isna().all(axis=None)


def test_the_long_table_has_every_run_its_first_and_its_lowest_reading(measured):
    table, _ = measured
    assert set(table.reset_index()) == set(COLUMNS) and len(table) == 12
    row = table.loc[("mlp", "adamw", "final", 1.0, 2)]
    assert (row.first_objective, row.best_objective, row.objective) == (3, 0, 0)
    assert np.isnan(table.loc[("mlp", "adamw", "trial", 1.0, 1), "first_objective"])


def test_steps_to_a_share_of_the_first_loss_are_exact_where_the_loss_falls_exponentially():
    """10^(-step / 25) is a tenth at 25 and a hundredth at 50, which is after the end; readings are every ten steps."""
    falling = [3 * 10 ** (-step / 25) for step in STEPS]
    runs, curves = joined(
        attempts("mlp", "sgd", {1: falling, 2: [1, 1, 0, 0, 0]}), attempts("mlp", "sgd", {1: falling}, "trial")
    )
    table = comparison.long_table(runs, curves, comparison.targets(runs, curves, "adamw", 0.8), "adamw").set_index(KEYS)
    tuned = table.loc[("mlp", "sgd", "final", 1.0, 1)]
    assert tuned["steps_to_tenth"] == pytest.approx(25.0) and np.isnan(tuned["steps_to_hundredth"])
    assert 10 < table.loc[("mlp", "sgd", "final", 1.0, 2), "steps_to_hundredth"] < 20, "a loss of zero"
    assert table.loc[("mlp", "sgd", "trial", 1.0, 1), ["steps_to_tenth", "steps_to_hundredth"]].isna().all()


def test_sensitivity_stands_with_the_tuned_run_from_it_and_its_other_learning_rates():
    flat = {1: [2, 1, 1, 1, 0.5], 2: [2, 1, 1, 1, 0.5]}
    runs, curves = joined(
        attempts("mlp", "adamw", flat),
        attempts("mlp", "adamw", {1: [2, 2, 2, 2, 1]}, "factor", 0.25),
        attempts("mlp", "adamw", {1: [2, 8]}, "factor", 4.0),  # diverged: as bad as before training, 2
        attempts("mlp", "adamw", {1: [2, 2, 2, 2, 0]}, "trial"),
        attempts("mlp", "sgd", flat),
    )
    table = comparison.long_table(runs, curves, comparison.targets(runs, curves, "adamw", 0.9), "adamw").set_index(KEYS)
    # Trapezia over two equal intervals of ln lr: (1 / 2 + 0.5 + 2 / 2) / 2, less 0.5.
    assert table.loc[("mlp", "adamw", "final", 1.0, 1), "lr_sensitivity"] == pytest.approx(0.5)
    assert table["lr_sensitivity"].notna().sum() == 1, "one seed had other learning rates, of one optimizer"


# Ranks


def contest(**objectives):
    return pd.concat([ran("mlp", name, each) for name, each in objectives.items()], ignore_index=True)


def test_a_clear_order_gives_each_its_place_however_far_seeds_are_apart():
    seeds = np.array([0.0, 5.0, -3.0])  # paired: what seeds share does not count
    table = contest(c=seeds + 2 + SPREAD, a=seeds, b=seeds + 1 - SPREAD)
    expected = {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert comparison.ranks(table) == expected
    assert comparison.ranks(table.sample(frac=1, random_state=1)) == expected


def test_all_share_all_places_where_no_difference_is_sure():
    table = contest(a=[1.0, 2.0, 3.0], b=[3.0, 1.0, 2.0], c=[2.0, 3.0, 1.0])
    assert set(comparison.ranks(table).values()) == {(1, 3)}
    assert comparison.ranks(contest(a=[1.0], b=[2.0])) == {"a": (1, 2), "b": (1, 2)}, "one seed has no interval"
    assert comparison.ranks(contest(a=[1.0, 2.0])) == {"a": (1, 1)}


def test_one_between_two_shares_with_both():
    table = contest(a=SPREAD, c=1 + SPREAD, b=np.array([-1.0, 0.5, 2.0]))
    assert comparison.ranks(table) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}


@pytest.mark.parametrize(("excess", "sure"), [(0.001, True), (-0.001, False)])
def test_a_difference_is_sure_beyond_the_95_percent_interval(excess, sure):
    half = T_OF_THREE * 0.01 / 3**0.5
    a, b = np.zeros(3), half + excess + SPREAD
    assert comparison.ranks(contest(a=a, b=b)) == ({"a": (1, 1), "b": (2, 2)} if sure else dict(a=(1, 2), b=(1, 2)))


def test_who_diverged_in_a_seed_is_behind_all_who_did_not():
    table = contest(lost=[0.0, 0.0, np.inf], a=1 + SPREAD, b=2 + SPREAD, also=[np.inf] * 3)
    assert comparison.ranks(table) == {"a": (1, 1), "b": (2, 2), "lost": (3, 4), "also": (3, 4)}


# Flips


def readings(workload, **means):
    """Runs and curves of optimizers with these means, all seeds at nearly the same distance of each other."""
    parts = []
    for place, (name, mean) in enumerate(means.items()):
        each = {seed: [m + 0.001 * seed * (place + 1) for m in mean] for seed in SEEDS}
        parts.append(attempts(workload, name, each))
    return joined(*parts)


def flips(*parts):
    """Of runs and curves; of a run's columns four are asked for."""
    runs, curves = joined(*parts)
    return comparison.flips(curves, runs[["workload", "optimizer", "role", "diverged"]])


def pairs(found):
    return set(found[["workload", "ahead", "behind"]].itertuples(index=False, name=None))


def test_a_flip_is_told_with_the_last_reading_at_which_the_order_was_the_reverse():
    found = flips(readings("mlp", a=[5, 4, 3, 2, 1], b=[5, 3, 2, 3, 4], c=[5, 5, 5, 5, 5]))
    assert found.to_dict("records") == [{"workload": "mlp", "ahead": "a", "behind": "b", "step": 20, "share": 0.5}]


def test_each_workload_has_its_own_flips():
    found = flips(
        readings("mlp", a=[5, 1, 1, 1, 1], b=[5, 2, 2, 2, 2]),
        readings("cnn", a=[5, 1, 1, 1, 2], b=[5, 2, 2, 2, 1]),
    )
    (row,) = found.to_dict("records")
    assert (row["workload"], row["ahead"], row["behind"], row["step"], row["share"]) == ("cnn", "b", "a", 30, 0.75)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([5, 2, 2, 2, 2], [5, 3, 3, 3, 3]),  # the same all along
        ([6, 2, 2, 2, 2], [5, 3, 3, 3, 3]),  # another before training alone
        ([5, 3, 3, 3, 2], [5, 2, 2, 2, 2]),  # a tie at the end
        ([5, 2, 2, 2, 2], [5, 2, 2, 2, 3]),  # a tie before it
    ],
)
def test_without_a_sure_reverse_there_is_no_flip(a, b):
    runs, curves = readings("mlp", a=a, b=b)
    # Ties: seeds differ by more than optimizers.
    noise = {1: 0.1, 2: -0.05, 3: -0.05}
    curves.loc[curves["optimizer"] == "b", "value"] += curves["seed"].map(noise)
    found = comparison.flips(curves, runs)
    assert found.empty and list(found) == ["workload", "ahead", "behind", "step", "share"]


def reverse(role, factor):
    """Of an a that is ahead of b all along."""
    runs, curves = readings("mlp", a=[5, 3, 3, 3, 3], b=[5, 2, 2, 2, 2])
    return runs.assign(role=role, factor=factor), curves.assign(role=role, factor=factor)


def test_trials_and_other_learning_rates_make_no_flip():
    along = readings("mlp", a=[5, 2, 2, 2, 2], b=[5, 3, 3, 3, 3])
    assert flips(along, reverse("factor", 0.25), reverse("trial", 1.0)).empty


def test_without_any_tuned_run_there_are_no_flips():
    found = flips(attempts("mlp", "a", {1: [5, 4, 3, 2, 1]}, "trial"))
    assert found.empty and list(found) == ["workload", "ahead", "behind", "step", "share"]


# Whoever is ahead at the end was behind before.
LATE, MIDDLE, EARLY = [5, 4, 4, 4, 1], [5, 3, 3, 3, 2], [5, 2, 2, 2, 3]


def test_an_optimizer_of_which_a_tuned_run_diverged_is_left_out_of_its_workload():
    whole = {"a": LATE, "b": MIDDLE, "c": EARLY}
    runs, curves = joined(readings("mlp", **whole), readings("cnn", **whole))
    every = {(w, *pair) for w in ("mlp", "cnn") for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    assert pairs(comparison.flips(curves, runs)) == every
    lost = (runs["workload"] == "mlp") & (runs["optimizer"] == "b") & (runs["seed"] == 2)
    gone = (curves["workload"] == "mlp") & (curves["optimizer"] == "b") & (curves["seed"] == 2) & (curves["step"] > 20)
    expected = every - {("mlp", "a", "b"), ("mlp", "b", "c")}
    assert pairs(comparison.flips(curves[~gone], runs.assign(diverged=lost.astype(int)))) == expected
    # Its readings may be whole, the last one included.
    assert pairs(comparison.flips(curves, runs.assign(diverged=lost.astype(int)))) == expected


def test_other_runs_of_an_optimizer_may_diverge_without_its_being_left_out_of_flips():
    lost = (
        attempts("mlp", "a", {1: [5, 9]}, "trial"),
        attempts("mlp", "b", {1: [5, 9]}, "factor", 4.0),
        attempts("cnn", "a", {1: [5, 9]}),
    )
    assert pairs(flips(readings("mlp", a=LATE, b=EARLY), *lost)) == {("mlp", "a", "b")}


@pytest.mark.parametrize("lost", [["a"], ["b"], ["a", "b"]])
def test_where_all_but_one_or_all_diverged_there_is_no_flip(lost):
    runs, curves = readings("mlp", a=LATE, b=EARLY)
    assert comparison.flips(curves, runs.assign(diverged=runs["optimizer"].isin(lost).astype(int))).empty


# The summary


def summarised(*parts, facts=None, share=0.8):
    runs, curves = joined(*parts)
    goals = comparison.targets(runs, curves, "adamw", share)
    long = comparison.long_table(runs, curves, goals, "adamw")
    told = dict.fromkeys(long[["workload", "optimizer"]].itertuples(index=False, name=None), FACTS)
    told |= {pair: FACTS | change for pair, change in (facts or {}).items()}
    return comparison.summary(long, told, goals).set_index(["workload", "optimizer"])


def test_a_row_has_the_tuned_setting_means_and_students_intervals():
    told = {1: [5, 4, 3, 2, 0.9], 2: [5, 4, 3, 2, 1.0], 3: [5, 4, 3, 2, 1.4]}
    table = summarised(
        attempts("mlp", "adamw", told, learning_rate=0.3, options='{"beta1": 0.5}', test_accuracy=0.5),
        attempts("mlp", "adamw", {1: [5, 5, 5, 5, 0.1]}, "trial", learning_rate=0.7, options="{}"),
    )
    row = table.loc[("mlp", "adamw")]
    assert (row.learning_rate, row.options, row.n, row.diverged) == (0.3, '{"beta1": 0.5}', 3, 0)
    assert (row.implementation, row.parameters, row.state_per_parameter) == ("a.library.Optimizer", 7, 2.0)
    error = np.std([0.9, 1.0, 1.4], ddof=1) / 3**0.5
    assert row[["objective", "objective_low", "objective_high"]].tolist() == pytest.approx(
        [1.1, 1.1 - T_OF_THREE * error, 1.1 + T_OF_THREE * error], rel=1e-6
    )
    assert row[["test_accuracy", "test_accuracy_low"]].tolist() == [0.5, 0.5] and np.isnan(row.train_loss)
    assert row[["rank_best", "rank_worst", "arrived", "note"]].tolist() == [1, 1, 3, ""]


def test_a_run_that_diverged_is_in_no_mean_and_the_note_says_so():
    table = summarised(
        attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1], 3: [5, 4, 3, 2, 1]}),
        attempts("mlp", "lost", {1: [5, 4, 3, 2, 0.5], 2: [5, 4, 3, 2, 0.7], 3: [5, 9]}),
    )
    row = table.loc[("mlp", "lost")]
    assert (row.n, row.diverged, row.rank_best, row.rank_worst) == (2, 1, 2, 2)
    assert row.objective == pytest.approx(0.6) and row.note == "1 tuned runs diverged"
    assert table.loc[("mlp", "adamw"), ["rank_best", "rank_worst"]].tolist() == [1, 1]


def test_a_run_that_diverged_after_it_arrived_has_not_arrived():
    table = summarised(
        attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1]}),  # target 1.8
        attempts("mlp", "lost", {1: [5, 4, 3, 2, 1], 2: [5, 5, 5, 5, 5], 3: [5, 1, 9]}),
    )
    row = table.loc[("mlp", "lost")]
    assert row["note"] == "1 tuned runs diverged; 1 of 2 runs reached the target"
    assert row["arrived"] == 1 and row["steps_to_target"] == pytest.approx(32.0)


def test_means_are_over_the_runs_that_did_not_diverge_whatever_is_told_of_the_others():
    lost = attempts("mlp", "lost", {1: [5, 0, 9]}, test_accuracy=0.1, sharpness_end=900.0, alignment=0.1)
    kept = attempts("mlp", "lost", {2: [5, 4, 3, 2, 1]}, test_accuracy=0.5, sharpness_end=30.0, alignment=0.2)
    also = attempts("mlp", "lost", {3: [5, 4, 3, 2, 1.5]}, test_accuracy=0.7, sharpness_end=50.0, alignment=0.4)
    goal = attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1], 3: [5, 9]})
    row = summarised(goal, lost, kept, also).loc[("mlp", "lost")]
    assert (row.n, row.diverged, row.arrived) == (2, 1, 2)
    names = ["best_objective", "test_accuracy", "sharpness_end", "alignment", "steps_to_target"]
    # The target is 1.8, for adamw's third run diverged: after 30 steps and 2 / 10 or 4 / 10 of the next 10.
    assert row[names].tolist() == pytest.approx([1.25, 0.6, 40.0, 0.3, (32 + 34) / 2])
    half = 12.706205 * 0.25  # Student's t at one degree of freedom; the standard error of 1 and 1.5
    assert row[["objective_low", "objective_high"]].tolist() == pytest.approx([1.25 - half, 1.25 + half], rel=1e-6)


def test_of_an_optimizer_whose_every_run_diverged_the_setting_is_told_and_no_mean():
    table = summarised(
        attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1]}),
        attempts("mlp", "lost", {1: [5, 0, 9], 2: [5, 0, 9]}, learning_rate=0.3, options='{"beta1": 0.5}'),
    )
    row = table.loc[("mlp", "lost")]
    assert (row.n, row.diverged, row.arrived, row.learning_rate, row.options) == (0, 2, 0, 0.3, '{"beta1": 0.5}')
    means = [name + end for name in comparison.SUMMARISED for end in ("", "_low", "_high")]
    assert row[means].isna().all() and row["note"] == "2 tuned runs diverged"
    assert row[["rank_best", "rank_worst"]].tolist() == [2, 2]


def test_the_setting_is_told_where_the_first_run_diverged():
    lost = attempts("mlp", "lost", {1: [5, 9], 2: [5, 4, 3, 2, 1]}, learning_rate=0.3, options='{"beta1": 0.5}')
    row = summarised(lost).loc[("mlp", "lost")]
    assert (row.n, row.diverged, row.learning_rate, row.options) == (1, 1, 0.3, '{"beta1": 0.5}')


def test_the_note_says_who_did_not_reach_the_target():
    table = summarised(
        attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1]}),
        attempts("mlp", "never", {1: [5, 5, 5, 5, 5], 2: [5, 5, 5, 5, 4]}),
        attempts("mlp", "partly", {1: [5, 4, 3, 2, 1], 2: [5, 5, 5, 5, 4]}),
        attempts("cnn", "never", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1]}),
    )
    assert table["note"].to_dict() == {
        ("mlp", "adamw"): "",
        ("mlp", "never"): "no run reached the target",
        ("mlp", "partly"): "1 of 2 runs reached the target",
        ("cnn", "never"): "the workload has no target",
    }
    assert np.isnan(table.loc[("mlp", "never"), "steps_to_target"]) and table.loc[("mlp", "never"), "arrived"] == 0
    assert table.loc[("mlp", "partly"), "steps_to_target"] == pytest.approx(32.0)


def test_a_contest_without_a_finite_trial_is_a_row_that_says_so_and_takes_no_place():
    def table(*hopeless, **facts):
        return summarised(
            attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1], 2: [5, 4, 3, 2, 1.1], 3: [5, 4, 3, 2, 1.2]}),
            attempts("mlp", "sgd", {1: [5, 4, 3, 2, 2], 2: [5, 4, 3, 2, 2.1], 3: [5, 4, 3, 2, 2.2]}),
            *hopeless,
            **facts,
        )

    hopeless = attempts("mlp", "hopeless", {1: [5, 9]}, "trial")
    told = {("mlp", "hopeless"): {"finite_trials": 0}, ("cnn", "hopeless"): {"finite_trials": 0}}
    found = table(hopeless, attempts("cnn", "hopeless", {1: [5, 9]}, "trial"), facts=told)
    row = found.loc[("mlp", "hopeless")]
    assert row["note"] == "no trial of its search space stayed finite"
    assert (row["finite_trials"], row["n"], row["diverged"], row["arrived"], row["options"]) == (0, 0, 0, 0, "")
    assert row[["learning_rate", "objective", "objective_low", "rank_best", "rank_worst"]].isna().all()
    assert found.loc[("cnn", "hopeless"), "note"] == (
        "no trial of its search space stayed finite; the workload has no target"
    )
    places = ["rank_best", "rank_worst"]
    assert found.loc["mlp", places].drop("hopeless").astype(int).equals(table().loc["mlp", places])
    assert found.loc[("mlp", "sgd"), places].tolist() == [2, 2]


def test_the_note_begins_with_what_the_contest_says():
    told = {("mlp", "adamw"): {"note": "Muon takes 98% of the parameters, Adam the rest", "scheduled": False}}
    table = summarised(attempts("mlp", "adamw", {1: [5, 4, 3, 2, 1]}), facts=told)
    note = "Muon takes 98% of the parameters, Adam the rest; uses no learning-rate decay"
    assert table.loc[("mlp", "adamw"), "note"] == note


def test_the_page_lists_the_best_first_and_those_without_a_place_last():
    rows = [("mlp", "none", np.nan, np.nan, np.nan), ("mlp", "second", 2, 2, 0.5), ("mlp", "shared", 1, 2, 0.3)]
    rows += [("mlp", "first", 1, 1, 0.2), ("mlp", "shared-too", 1, 2, 0.25), ("cnn", "alone", 1, 1, 9.0)]
    summary = pd.DataFrame(rows, columns=["workload", "optimizer", "rank_best", "rank_worst", "objective"])
    found = {name: [row["optimizer"] for row in mine] for name, mine in report.ranking(summary).items()}
    assert found == {"mlp": ["first", "shared-too", "shared", "second", "none"], "cnn": ["alone"]}
    assert list(found) == ["mlp", "cnn"], "workloads in the order of the table"


# What else the tables hold


def test_an_optimizer_is_listed_with_what_is_fixed_and_what_was_tuned():
    contenders = {
        "nesterov": {
            "optimizer": {"name": "sgd", "nesterov": True},
            "space": {"lr": {"log": [0.003, 3.0]}, "momentum": {"one_minus": [0.02, 0.5]}},
        },
        "unused": {"optimizer": {"name": "lion"}, "space": {"lr": {"log": [1e-4, 1e-2]}}},
    }
    (row,) = comparison.entries(contenders, {("mlp", "nesterov"): FACTS}).to_dict("records")
    assert row == {
        "optimizer": "nesterov",
        **{name: FACTS[name] for name in ("implementation", "package", "source", "meaning")},
        "fixed": "nesterov = True",
        "space": "lr in [0.003, 3], 1 - momentum in [0.02, 0.5]",
    }


def test_figures_get_means_and_ranges_of_what_they_draw():
    _, curves = joined(
        attempts("mlp", "sgd", {1: [5, 4, 3, 2, 1], 2: [7, 4, 3, 2, 1], 3: [9, 2]}),
        attempts("mlp", "sgd", {1: [5, 1, 1, 1, 1]}, "factor", 4.0),
        attempts("mlp", "sgd", {1: [5, 1, 1, 1, 1]}, "trial"),
    )
    curves = pd.concat([curves, curves[curves["seed"] == 1].assign(metric="group_loss_0")])
    table = comparison.drawn(curves).set_index(["role", "metric", "step"]).sort_index()
    assert table.loc[("final", "objective", 0), ["mean", "low", "high", "n"]].tolist() == [7, 5, 9, 3]
    assert table.loc[("final", "objective", 10), ["mean", "low", "high", "n"]].tolist() == pytest.approx(
        [10 / 3, 2, 4, 3]
    )
    assert table.loc[("final", "objective", 40), "n"] == 2, "of three, one had diverged"
    assert set(table.index.droplevel("step")) == {
        ("final", "objective"),
        ("final", "group_loss_0"),
        ("factor", "objective"),
    }


def ratios(*parts, **options):
    found = comparison.profile(pd.concat(parts, ignore_index=True), **options)
    assert list(found) == ["workload", "optimizer", "seed", "ratio"]
    return {pair: mine["ratio"].tolist() for pair, mine in found.groupby(["workload", "optimizer"])}


NEVER = float("nan")


def test_the_performance_profile_is_in_units_of_the_best_of_each_workload_and_seed():
    found = ratios(
        timed("mlp", "a", (10.0, 40.0, NEVER)),
        timed("mlp", "b", (25.0, 10.0, 30.0)),
        timed("mlp", "never", (NEVER, NEVER, NEVER)),
        timed("cnn", "a", (7.0,)),
        timed("cnn", "b", (3.5, 8.0)),  # alone in its second seed
        timed("none", "a", (NEVER, NEVER)),
    )
    assert found == {
        ("mlp", "a"): [1.0, 4.0, np.inf],
        ("mlp", "b"): [2.5, 1.0, 1.0],
        ("mlp", "never"): [np.inf] * 3,
        ("cnn", "a"): [2.0],
        ("cnn", "b"): [1.0, 1.0],
        ("none", "a"): [np.inf] * 2,
    }


def test_a_run_that_diverged_after_it_arrived_is_infinite_in_the_profile_and_not_the_best():
    found = ratios(
        timed("mlp", "a", (10.0, 10.0, 10.0)),
        timed("mlp", "b", (30.0, 20.0, 10.0)),
        timed("mlp", "lost", (5.0, 1.0, 20.0), objectives=[1.0, np.inf, 1.0]),
    )
    assert found == {
        ("mlp", "a"): [2.0, 1.0, 1.0],
        ("mlp", "b"): [6.0, 2.0, 1.0],
        ("mlp", "lost"): [1.0, np.inf, 2.0],
    }


def test_the_profile_is_of_tuned_runs_and_of_the_quantity_that_is_asked_for():
    parts = (
        timed("mlp", "a", (10.0, 10.0), steps_to_quarter=(8.0, NEVER)),
        timed("mlp", "b", (20.0, 30.0), steps_to_quarter=(4.0, 2.0)).iloc[::-1],
        timed("mlp", "b", (1.0, 1.0), "factor", 0.25, steps_to_quarter=(1.0, 1.0)),
        timed("mlp", "c", (1.0, 1.0), "trial", steps_to_quarter=(1.0, 1.0)),
    )
    assert ratios(*parts) == {("mlp", "a"): [1.0, 1.0], ("mlp", "b"): [3.0, 2.0]}
    assert ratios(*parts, quantity="steps_to_quarter") == {("mlp", "a"): [2.0, np.inf], ("mlp", "b"): [1.0, 1.0]}


def test_the_best_of_some_has_the_lowest_mean_of_its_tuned_runs():
    long = pd.concat(
        [
            ran("mlp", "a", [1.0, 3.0]),
            ran("mlp", "b", [1.9, 1.9]),
            ran("mlp", "lost", [0.0, np.inf]),
            ran("mlp", "a", [0.0, 0.0], "trial"),
            ran("mlp", "a", [0.0, 0.0], "factor", 4.0),
            ran("cnn", "a", [0.0, 0.0]),
        ]
    )
    assert comparison.best_of(long, "mlp", ["a", "b", "lost"]) == "b"
    assert comparison.best_of(long, "mlp", ["a", "lost"]) == "a"
    assert comparison.best_of(long, "cnn", ["a", "b"]) == "a"
    more = pd.concat([ran("mlp", "a", [1.0, 3.0, 0.0, 0.0]), ran("mlp", "b", [1.9, 1.9])])
    assert comparison.best_of(more, "mlp", ["a", "b"]) == "b"  # over the seeds of both
    assert comparison.best_of(long, "cnn", ["b"]) is None and comparison.best_of(long, "nowhere", ["a"]) is None


# Estimators: differences and ratios of contests


def term(optimizer, workload="mlp", **options):
    return {"workload": workload, "optimizer": optimizer, **options}


def test_a_difference_of_contests_is_paired_by_seed():
    tables = known(
        ran("mlp", "sgd", [3.0, 4.0, 5.0]),
        ran("mlp", "adam", [1.0, 1.5, 2.0]).iloc[::-1],
        ran("mlp", "adam", [0.0, 0.0, 0.0], "factor", 4.0),
        ran("mlp", "sgd", [0.0], "trial"),
    )
    found = estimate("contests", tables, terms=[term("sgd"), term("adam", weight=-2)])
    assert found.values == pytest.approx([1.0, 1.0, 1.0]) and found.unit == "nats" and not found.exact


def test_of_several_optimizers_a_term_takes_the_one_that_is_best_on_its_workload():
    tables = known(
        ran("mlp", "sgd", [3.0, 3.0], train_loss=[0.3, 0.4]),
        ran("mlp", "polyak", [2.0, 3.0], train_loss=[0.5, 0.6]),
        ran("cnn", "sgd", [1.0, 1.0]),
        ran("cnn", "polyak", [0.0, np.inf]),
        ran("mlp", "adam", [1.0, 1.0]),
    )
    either = ["sgd", "polyak"]
    assert values("contests", tables, terms=[term(either), term("adam", weight=-1)]) == pytest.approx([1.0, 2.0])
    assert values("contests", tables, terms=[term(either, "cnn")]) == pytest.approx([1.0, 1.0])
    # Chosen by the objective, whatever is read of it.
    assert values("contests", tables, terms=[term(either, quantity="train_loss")]) == pytest.approx([0.5, 0.6])
    assert values("contests", tables, terms=[term(["lion", "adam"])]) == pytest.approx([1.0, 1.0])


def test_at_equal_loss_a_gap_is_the_ln_of_how_many_times_the_steps_one_needs():
    tables = known(
        ran("mlp", "sgd", [1.0, 1.0, 1.0, np.inf], steps_to_tenth=[20.0, np.nan, 30.0, 5.0]),  # 40 steps in all
        ran("mlp", "adam", [0.5] * 4, steps_to_tenth=[10.0, 5.0, 10.0, 5.0]),
        ran("mlp", "signum", [0.6] * 4, steps_to_tenth=[10.0] * 4),
    )
    slow, fast, sign = (term(name, quantity="steps_to_tenth") for name in ("sgd", "adam", "signum"))
    gap = [slow, fast | {"weight": -1}]
    found = estimate("contests", tables, terms=gap, log=True)
    assert found.values == pytest.approx(np.log([2.0, 8.0, 3.0])) and found.unit == ""
    closed = values("contests", tables, terms=[slow, sign | {"weight": -1}], over=[slow], log=True)
    assert closed.mean() == pytest.approx(np.log(2 * 4 * 3) / np.log(20 * 40 * 30))
    with pytest.raises(NotRun, match=r"no 'steps_to_tenth' in optimizer_comparison\.long\.csv"):
        estimate("contests", {LONG: tables[LONG].drop(columns="steps_to_tenth")}, terms=gap, log=True)


def test_quantities_have_their_units_and_a_ratio_none():
    tables = known(ran("mlp", "sgd", [1.0, 1.1, 1.2], steps_to_target=[10.0, 20.0, 30.0]))
    assert estimate("contests", tables, terms=[term("sgd", quantity="steps_to_target")]).unit == "steps"
    assert estimate("contests", tables, terms=[term("sgd")], over=[term("sgd")]).unit == ""


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([term("sgd"), term("adam", "cnn")], "no run of 'adam' on 'cnn' in optimizer_comparison.long.csv"),
        ([term(["adam", "nadam"])], "no run of 'adam' or 'nadam' on 'mlp'"),
        ([term("hopeless")], "no run of 'hopeless' on 'mlp'"),
    ],
)
def test_a_contest_that_was_not_run_is_named(terms, message):
    tables = known(ran("mlp", "sgd", [1.0, 2.0]), ran("mlp", "hopeless", [np.inf], "trial"))
    with pytest.raises(NotRun, match=message):
        estimate("contests", tables, terms=terms)
    with pytest.raises(NotRun, match=r"no table optimizer_comparison\.long\.csv"):
        estimate("contests", {}, terms=terms)


def test_a_seed_in_which_a_run_diverged_is_left_out():
    tables = known(ran("mlp", "sgd", [3.0, np.inf, 5.0, 7.0]), ran("mlp", "adam", [1.0, 1.0, np.inf, 2.0]))
    gap = [term("sgd"), term("adam", weight=-1)]
    assert values("contests", tables, terms=gap) == pytest.approx([2.0, 5.0])
    assert values("contests", tables, terms=[term("sgd")]) == pytest.approx([3.0, 5.0, 7.0])


def test_a_seed_in_which_a_run_diverged_is_left_out_whatever_is_read_of_it():
    tables = known(ran("mlp", "sgd", [3.0, np.inf, 5.0], best_objective=[2.0, 1.0, 4.0]))
    assert values("contests", tables, terms=[term("sgd", quantity="best_objective")]) == pytest.approx([2.0, 4.0])
    tables[LONG]["objective"] = [3.0, 4.0, 5.0]  # it is the run that diverged, not what is read of it
    assert values("contests", tables, terms=[term("sgd")]) == pytest.approx([3.0, 5.0])


@pytest.mark.parametrize(("top", "bottom"), [([1.0, 2.0, np.inf, 3.0], 4.0), ([1.0, 2.0, 90.0, 3.0], np.inf)])
def test_a_seed_in_which_a_run_diverged_is_in_neither_part_of_a_ratio(top, bottom):
    tables = known(ran("mlp", "sgd", top), ran("mlp", "adam", [4.0, 4.1, bottom, 3.9]))
    found = values("contests", tables, terms=[term("sgd")], over=[term("adam")])
    assert len(found) == 3 and found.mean() == pytest.approx(0.5)


def test_the_ratio_is_that_of_means_and_its_interval_fiellers():
    generator = np.random.default_rng(1)
    top, bottom = 0.06 + 0.002 * generator.standard_normal(5), 0.08 + 0.002 * generator.standard_normal(5)
    # A denominator far below a fifth, at which the ladder's ratios have no value.
    tables = known(ran("mlp", "sgd", top), ran("mlp", "adam", bottom))
    found = values("contests", tables, terms=[term("sgd")], over=[term("adam")])
    assert found.mean() == pytest.approx(top.mean() / bottom.mean())
    exact, mine = ladder.fieller(top, bottom), t_interval(found, 0.95)
    assert (mine.low, mine.high) == pytest.approx((exact.low, exact.high), abs=2e-3)


@pytest.mark.parametrize(("excess", "has"), [(0.001, True), (-0.001, False)])
def test_a_ratio_has_no_value_unless_its_denominator_is_surely_positive(excess, has):
    half = T_OF_THREE * 0.01 / 3**0.5
    tables = known(ran("mlp", "sgd", 1 + SPREAD), ran("mlp", "adam", half + excess + SPREAD))
    found = values("contests", tables, terms=[term("sgd")], over=[term("adam")])
    assert np.isfinite(found).all() == has and (has or np.isnan(found).all())


def test_a_ratio_of_one_seed_or_over_a_negative_gap_has_no_value():
    tables = known(ran("mlp", "sgd", -1 + SPREAD), ran("mlp", "adam", [1.0]))
    assert np.isnan(values("contests", tables, terms=[term("adam")], over=[term("adam")])).all()
    assert np.isnan(values("contests", tables, terms=[term("sgd")], over=[term("sgd")])).all()


def shares(**means):
    """Of the gap between polyak and adam that each of these closes."""
    tables = known(*(ran("tokens", name, mean + SPREAD) for name, mean in means.items()))
    gap = [term("polyak", "tokens"), term("adam", "tokens", weight=-1)]
    top = [term("polyak", "tokens"), term("signum", "tokens", weight=-1)]
    return values("contests", tables, terms=top, over=gap)


def test_the_share_of_a_gap_that_is_closed():
    assert shares(polyak=1.0, adam=0.2, signum=0.4) == pytest.approx([0.75] * 3)
    assert shares(polyak=1.0, adam=0.2, signum=1.2) == pytest.approx([-0.25] * 3)


# Speed-up


def timed(workload="mlp", optimizer="muon", to=(10.0, 20.0, 40.0), role="final", factor=1.0, **columns):
    objectives = columns.pop("objectives", np.full(len(to), 1.0))
    return ran(workload, optimizer, objectives, role, factor, steps_to_target=to, **columns)


FASTER = {"optimizer": "muon", "against": "adamw"}


def test_the_speedup_is_the_geometric_mean_over_workloads_seed_by_seed():
    tables = known(
        timed(to=(10.0, 20.0, 40.0)),
        timed(optimizer="adamw", to=(20.0, 20.0, 20.0)),  # ratios 2, 1, 1/2
        timed("cnn", to=(5.0, 20.0, 10.0)),
        timed("cnn", "adamw", to=(40.0, 80.0, 20.0)),  # 8, 4, 2
    )
    found = estimate("speedup", tables, workloads=["mlp", "cnn"], **FASTER)
    assert found.values == pytest.approx([4.0, 2.0, 1.0]) and not found.exact
    assert values("speedup", tables, workloads=["mlp"], **FASTER) == pytest.approx([2.0, 1.0, 0.5])
    back = values("speedup", tables, workloads=["mlp", "cnn"], optimizer="adamw", against="muon")
    assert back == pytest.approx([0.25, 0.5, 1.0])


def test_an_optimizer_has_no_speedup_over_itself():
    tables = known(timed(to=(10.3, 27.1, 39.7)), timed("cnn", to=(1 / 3, 20.0, 3.1)))
    same = values("speedup", tables, workloads=["mlp", "cnn"], optimizer="muon", against="muon")
    assert same.tolist() == [1.0, 1.0, 1.0]


def test_against_another_learning_rate_the_target_is_the_one_of_its_runs():
    tables = known(
        timed(to=(9.0, 9.0, 9.0), steps_to_quarter=(5.0, 10.0, 20.0), steps_to_fourfold=(2.0, 4.0, 8.0)),
        timed(optimizer="adamw", to=(11.0, 11.0, 11.0)),
        timed(optimizer="adamw", to=(30.0, 30.0), role="factor", factor=0.25),  # fewer seeds
        timed(optimizer="adamw", to=(16.0, 16.0, 16.0), role="factor", factor=4.0),
        timed(optimizer="adamw", to=(1.0, 1.0, 1.0), role="factor", factor=32.0),
        timed(to=(1.0, 1.0, 1.0), role="factor", factor=0.25),
    )
    found = {target: values("speedup", tables, workloads=["mlp"], target=target, **FASTER) for target in TARGETS}
    assert found["quarter"] == pytest.approx([6.0, 3.0])
    assert found["fourfold"] == pytest.approx([8.0, 4.0, 2.0])
    assert found["target"] == pytest.approx([11 / 9] * 3)


TARGETS = ("target", "quarter", "fourfold")


def test_who_never_arrives_counts_as_if_at_the_last_step_and_a_reference_that_does_not_has_no_value():
    tables = known(timed(to=(10.0, np.nan, 10.0)), timed(optimizer="adamw", to=(20.0, 20.0, np.nan)))
    assert values("speedup", tables, workloads=["mlp"], **FASTER) == pytest.approx([2.0, 0.5])


def test_a_run_that_diverged_is_no_arrival_at_its_last_step():
    lost = timed(to=(10.0, np.nan, 10.0), objectives=[1.0, np.inf, 1.0]).assign(steps=[40, 2, 40])
    tables = known(lost, timed(optimizer="adamw", to=(20.0, 20.0, 20.0)))
    assert values("speedup", tables, workloads=["mlp"], **FASTER) == pytest.approx([2.0, 2.0])


LOST = {"objectives": [1.0, np.inf, 1.0]}


def test_a_seed_in_which_either_run_diverged_has_no_speedup_even_if_it_had_arrived():
    mine, theirs = (10.0, 5.0, 40.0), (20.0, 20.0, 20.0)
    for lost in (
        known(timed(to=mine, **LOST), timed(optimizer="adamw", to=theirs)),
        known(timed(to=mine), timed(optimizer="adamw", to=theirs, **LOST)),
    ):
        assert values("speedup", lost, workloads=["mlp"], **FASTER) == pytest.approx([2.0, 0.5])
    # Of all workloads, where it was one.
    cnn = (timed("cnn", to=(5.0, 5.0, 5.0)), timed("cnn", "adamw", to=(40.0, 40.0, 10.0)))
    tables = known(timed(to=mine), timed(optimizer="adamw", to=theirs, **LOST), *cnn)
    assert values("speedup", tables, workloads=["mlp", "cnn"], **FASTER) == pytest.approx([4.0, 1.0])
    gone = known(timed(to=mine, objectives=[np.inf] * 3), timed(optimizer="adamw", to=theirs))
    assert not len(values("speedup", gone, workloads=["mlp"], **FASTER))


def test_against_another_learning_rate_it_is_its_runs_that_may_have_diverged():
    tables = known(
        timed(to=(9.0, 9.0, 9.0), steps_to_quarter=(5.0, 10.0, 20.0)),
        timed(optimizer="adamw", to=(10.0, 10.0, 10.0), objectives=[np.inf, 1.0, 1.0]),
        timed(optimizer="adamw", to=(30.0, 30.0, 30.0), role="factor", factor=0.25, **LOST),
    )
    assert values("speedup", tables, workloads=["mlp"], target="quarter", **FASTER) == pytest.approx([6.0, 1.5])


@pytest.mark.parametrize(
    ("workloads", "target", "message"),
    [
        (["mlp", "cnn"], "target", r"no runs of 'muon' and 'adamw' \(target\) on 'cnn' in optimizer_comparison.long"),
        (["mlp"], "quarter", r"no runs of 'muon' and 'adamw' \(quarter\) on 'mlp'"),
    ],
)
def test_a_speedup_without_its_runs_is_not_run(workloads, target, message):
    tables = known(timed(), timed(optimizer="adamw"), timed("cnn"), timed("cnn", "adamw", role="trial"))
    with pytest.raises(NotRun, match=message):
        estimate("speedup", tables, workloads=workloads, target=target, **FASTER)
    with pytest.raises(NotRun, match=r"no table optimizer_comparison\.long\.csv"):
        estimate("speedup", {}, workloads=workloads, **FASTER)


# Flips and heterogeneity


def flipped(*rows):
    columns = ["workload", "ahead", "behind", "step", "share"]
    ends = [ran(workload, name, [1.0, 1.0]) for workload in ("mlp", "cnn") for name in ("a", "b", "c")]
    return known(*ends, **{"optimizer_comparison/flips": pd.DataFrame(rows, columns=columns)})


def test_workloads_with_a_flip_between_these_optimizers_are_counted_once():
    tables = flipped(
        ("mlp", "a", "b", 10, 0.25),
        ("mlp", "b", "a", 20, 0.5),
        ("cnn", "a", "b", 10, 0.25),
        ("cnn", "a", "c", 30, 0.75),
    )
    both = {"workloads": ["mlp", "cnn"]}
    found = estimate("rank_flips", tables, optimizers=["a", "b"], **both)
    assert found.values.tolist() == [2.0] and found.exact and found.unit == "workloads"
    assert values("rank_flips", tables, optimizers=["a", "c"], **both).tolist() == [1.0]
    assert values("rank_flips", tables, optimizers=["b", "c"], **both).tolist() == [0.0]
    assert values("rank_flips", tables, optimizers=["a", "b"], workloads=["cnn"]).tolist() == [1.0]
    assert values("rank_flips", tables, optimizers=["a", "b"], after=0.3, **both).tolist() == [1.0]


def test_without_the_runs_there_is_no_count_of_flips():
    with pytest.raises(NotRun, match=r"no run of 'a' on 'tokens' in optimizer_comparison\.long\.csv"):
        estimate("rank_flips", flipped(), optimizers=["a", "b"], workloads=["mlp", "tokens"])
    only_runs = {LONG: flipped()[LONG]}
    with pytest.raises(NotRun, match=r"no table optimizer_comparison/flips\.csv"):
        estimate("rank_flips", only_runs, optimizers=["a", "b"], workloads=["mlp"])


def test_of_an_optimizer_that_was_not_run_there_is_no_count_of_flips():
    with pytest.raises(NotRun, match="no run of 'soap' on 'mlp'"):
        estimate("rank_flips", flipped(), optimizers=["a", "soap"], workloads=["mlp"])


@pytest.mark.parametrize(("role", "workload"), [("trial", "mlp"), ("factor", "mlp"), ("final", "cnn")])
def test_flips_are_counted_where_every_optimizer_has_tuned_runs_on_every_workload(role, workload):
    asked = {"optimizers": ["b", "soap", "a"], "workloads": ["cnn", "mlp"]}
    rows = [("cnn", "a", "soap", 10, 0.25), ("mlp", "a", "b", 10, 0.25)]
    soap = [ran("cnn", "soap", [1.0, 1.0]), ran(workload, "soap", [1.0, 1.0], role)]
    tables = flipped(*rows)
    with pytest.raises(NotRun, match="no run of 'soap' on 'mlp'"):
        estimate("rank_flips", tables | known(tables[LONG], *soap), **asked)
    tables |= known(tables[LONG], *soap, ran("mlp", "soap", [1.0, np.inf]))
    assert values("rank_flips", tables, **asked).tolist() == [2.0]


MODELS = ("one", "two", "three", "four")


def models(gaps, distances, firsts=(1.0, 1.0, 1.0, 1.0)):
    """Four models, whose gap between sgd and adam and whose distance are these in every seed."""
    parts, rows = [], []
    for name, gap, distance, first in zip(MODELS, gaps, distances, firsts):
        parts += [ran(name, "adam", 1 + SPREAD, first_objective=first), ran(name, "sgd", 1 + gap + SPREAD)]
        rows += [(name, seed, quantity, v) for seed in SEEDS for quantity, v in (("js_distance", distance), ("n", 9))]
    table = pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])
    return known(*parts, **{"optimizer_comparison/heterogeneity": table})


PAIR = {"workloads": list(MODELS), "slow": "sgd", "fast": "adam"}


def test_the_rank_correlation_of_heterogeneity_and_gap():
    found = estimate("heterogeneity_rank", models([0.1, 0.2, 0.3, 0.9], [0.2, 0.3, 0.4, 0.5]), **PAIR)
    assert found.values == pytest.approx([1.0] * 3) and not found.exact
    assert values("heterogeneity_rank", models([0.9, 0.3, 0.2, 0.1], [0.2, 0.3, 0.4, 0.5]), **PAIR) == pytest.approx(
        [-1.0] * 3
    )
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 (4 of squared differences 1) / (4 x 15).
    assert values("heterogeneity_rank", models([0.1, 0.2, 0.3, 0.9], [0.3, 0.2, 0.5, 0.4]), **PAIR) == pytest.approx(
        [0.6] * 3
    )


def test_a_gap_is_a_share_of_the_loss_before_training():
    gaps, distances = [0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2]
    firsts = [1.0, 4.0, 10.0, 100.0]  # the shares fall
    assert values("heterogeneity_rank", models(gaps, distances, firsts), **PAIR) == pytest.approx([1.0] * 3)


def test_a_seed_without_a_gap_or_a_distance_has_no_correlation():
    tables = models([0.1, 0.2, 0.3, 0.9], [0.2, 0.3, 0.4, 0.5])
    long, table = tables[LONG], tables["optimizer_comparison/heterogeneity"]
    lost = (long["workload"] == "two") & (long["optimizer"] == "sgd") & (long["seed"] == 2)
    long.loc[lost, ["objective", "diverged"]] = [np.inf, 1]
    tables["optimizer_comparison/heterogeneity"] = table[(table["system"] != "three") | (table["seed"] != 3)]
    assert values("heterogeneity_rank", tables, **PAIR) == pytest.approx([1.0])


def test_a_model_that_lacks_is_named():
    tables = models([0.1, 0.2, 0.3, 0.9], [0.2, 0.3, 0.4, 0.5])
    with pytest.raises(NotRun, match=r"no 'five' in optimizer_comparison/heterogeneity\.csv"):
        estimate("heterogeneity_rank", tables, workloads=[*MODELS, "five"], slow="sgd", fast="adam")
    with pytest.raises(NotRun, match="no run of 'lion' on 'one'"):
        estimate("heterogeneity_rank", tables, workloads=list(MODELS), slow="lion", fast="adam")
    with pytest.raises(NotRun, match=r"no table optimizer_comparison/heterogeneity\.csv"):
        estimate("heterogeneity_rank", {LONG: tables[LONG]}, **PAIR)


def test_a_computed_difference_is_paired_by_seed():
    rows = [("transformer", seed, "js_distance", 0.5 + 0.1 * seed) for seed in SEEDS]
    rows += [("cnn", seed, "js_distance", 0.1 * seed) for seed in reversed(SEEDS)] + [("cnn", 1, "blocks", 4.0)]
    rows += [("exact", None, "slope", -1.0), ("other", None, "slope", 0.5)]
    table = pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])
    tables = {"optimizer_comparison/heterogeneity": table, "deep_linear/waypoints": table}
    where = {"study": "optimizer_comparison", "experiment": "heterogeneity"}
    found = estimate("computed", tables, system="transformer", minus="cnn", quantity="js_distance", **where)
    assert found.values == pytest.approx([0.5] * 3) and not found.exact
    less = estimate("computed", tables, system="cnn", minus="transformer", quantity="js_distance", **where)
    assert less.values == pytest.approx([-0.5] * 3)
    alone = estimate("computed", tables, system="transformer", quantity="js_distance", **where)
    assert alone.values == pytest.approx([0.6, 0.7, 0.8])
    exact = estimate("computed", tables, system="exact", minus="other", quantity="slope", experiment="waypoints")
    assert exact.values.tolist() == [-1.5] and exact.exact
    with pytest.raises(NotRun, match=r"no 'js_distance' of 'mlp' in optimizer_comparison/heterogeneity\.csv"):
        estimate("computed", tables, system="transformer", minus="mlp", quantity="js_distance", **where)
    with pytest.raises(NotRun, match=r"no table optimizer_comparison/other\.csv"):
        estimate(
            "computed", tables, study="optimizer_comparison", experiment="other", system="cnn", quantity="js_distance"
        )


# Orders over workloads


def league(*orders, seeds=2):
    """A workload an order, the best first; objectives 1, 2, 3 and so on."""
    return [
        ran(f"workload-{place}", name, np.full(seeds, 1.0 + rank))
        for place, order in enumerate(orders)
        for rank, name in enumerate(order)
    ]


def test_the_share_of_workloads_in_an_order():
    tables = known(*league("abcd", "dabc", "acbd", "dcba"))
    found = estimate("workloads_in_order", tables, order=["a", "b", "c"], needed=4)
    assert found.values.tolist() == [0.5] and found.exact and found.unit == "fraction"
    assert values("workloads_in_order", tables, order=["c", "b", "a"], needed=4).tolist() == [0.25]
    assert values("workloads_in_order", tables, order=["a", "d"], needed=4).tolist() == [0.5]
    level = known(*(ran("one", name, [1.0, 2.0]) for name in "ab"))
    assert values("workloads_in_order", level, order=["b", "a"], needed=1).tolist() == [1.0], "as good is good enough"


def test_the_median_is_that_of_the_others():
    tables = known(*league("abcd", "bacd", "bcad", "bcda"))  # the median of b, c and d is 3, 3, 2, 2; a's 1, 2, 3, 4
    assert values("workloads_in_order", tables, order=["a", "median"], needed=4).tolist() == [0.5]
    assert values("workloads_in_order", tables, order=["median", "a"], needed=4).tolist() == [0.5]
    for mine, share in ((2.4, 1.0), (2.6, 0.0)):  # of two others it is their middle, 2.5
        even = known(ran("one", "a", [mine]), ran("one", "b", [1.0]), ran("one", "c", [4.0]))
        assert values("workloads_in_order", even, order=["a", "median"], needed=1).tolist() == [share]


def test_who_diverges_loses():
    tables = known(ran("one", "a", [0.0, np.inf]), ran("one", "b", [5.0, 5.0]))
    assert values("workloads_in_order", tables, order=["a", "b"], needed=1).tolist() == [0.0]
    assert values("workloads_in_order", tables, order=["b", "a"], needed=1).tolist() == [1.0]
    assert values("largest_share_of_wins", known(*league("ab"), tables[LONG]), needed=2).tolist() == [0.5]


def test_the_largest_share_of_wins():
    assert values("largest_share_of_wins", known(*league("abc", "acb", "bca", "cab")), needed=4).tolist() == [0.5]
    assert values("largest_share_of_wins", known(*league("abc", "acb", "abc", "cab")), needed=4).tolist() == [0.75]
    spread = known(ran("one", "a", [0.0, 5.0]), ran("one", "b", [2.0, 2.0]))
    found = estimate("largest_share_of_wins", spread, needed=1)
    assert found.values.tolist() == [1.0] and found.exact, "in the mean"


@pytest.mark.parametrize("name", ["workloads_in_order", "largest_share_of_wins"])
def test_only_workloads_count_on_which_all_ran(name):
    tables = known(*league("abc", "abc", "bac", "cb", "ca"), ran("trials", "a", [0.0], "trial"))
    arguments = {"order": ["a", "b"]} if name == "workloads_in_order" else {}
    assert values(name, tables, needed=3, **arguments) == pytest.approx([2 / 3])
    with pytest.raises(NotRun, match="3 of 4 workloads"):
        estimate(name, tables, needed=4, **arguments)
    with pytest.raises(NotRun, match="0 of 1 workloads"):
        estimate(name, known(ran("one", "a", [0.0], "trial")), needed=1, **arguments)
    with pytest.raises(NotRun, match=r"no table optimizer_comparison\.long\.csv"):
        estimate(name, {}, needed=1, **arguments)


def test_an_optimizer_that_ran_nowhere_is_named():
    with pytest.raises(NotRun, match="no run of 'soap' on 'workload-0'"):
        estimate("workloads_in_order", known(*league("ab", "ab")), order=["soap", "a"], needed=2)


def test_an_optimizer_that_ran_on_other_workloads_alone_is_named():
    tables = known(*league("ab", "ab"), ran("extra", "soap", [1.0, 1.0]))
    with pytest.raises(NotRun, match="no run of 'soap' on 'workload-0'"):
        estimate("workloads_in_order", tables, order=["soap", "a"], needed=2)


def test_an_optimizer_that_did_not_run_on_every_workload_of_an_order_is_named():
    tables = known(*league("ab", "ab", "ac"), ran("workload-2", "b", [1.0, 1.0], "trial"))
    with pytest.raises(NotRun, match="no run of 'b' on 'workload-2'"):
        estimate("workloads_in_order", tables, order=["a", "b"], needed=2)
    assert values("workloads_in_order", tables, order=["a", "median"], needed=3).tolist() == [1.0]


# Claims


def judged(claim, tables):
    checks = judge.judge({claim: REGISTER[claim]}, tables, ["cifar10"])
    return judge.claim_verdict(checks), checks.set_index("check")


GOOD = ("soap", "schedule-free-adamw", "adamw", "adam-untuned", "sgd", "lion", "polyak")
BAD = ("adamw", "soap", "schedule-free-adamw", "sgd", "lion", "polyak", "adam-untuned")
MIXED = ("lion", "soap", "adam-untuned", "sgd", "adamw", "schedule-free-adamw", "polyak")


@pytest.mark.parametrize(("claim", "check"), [("W6", "W6.order"), ("W8", "W8.untuned"), ("W8", "W8.winner")])
def test_on_five_workloads_the_order_is_not_run(claim, check):
    _, checks = judged(claim, known(*league(*[GOOD] * 5)))
    assert (checks.loc[check, "verdict"], checks.loc[check, "reason"]) == ("not-run", "5 of 6 workloads")
    found, _ = judged(claim, known(*league(*[GOOD] * 5)))
    assert (found.verdict, found.word) == ("not-run", "not run") and "5 of 6 workloads" in found.reason


@pytest.mark.parametrize(
    ("claim", "orders", "word", "measured"),
    [
        ("W6", [GOOD] * 4 + [BAD] * 2, "verified", {"W6.order": 4 / 6}),
        ("W6", [GOOD] * 3 + [BAD] * 3, "falsified", {"W6.order": 0.5}),
        ("W8", [GOOD] * 3 + [BAD] * 3, "verified", {"W8.untuned": 0.5, "W8.winner": 0.5}),
        ("W8", [GOOD] * 2 + [BAD] * 4, "falsified", {"W8.untuned": 1 / 3, "W8.winner": 4 / 6}),
        ("W8", [GOOD] * 2 + [BAD] * 2 + [MIXED] * 2, "verified", {"W8.untuned": 4 / 6, "W8.winner": 1 / 3}),
    ],
)
def test_on_six_workloads_the_order_is_judged(claim, orders, word, measured):
    found, checks = judged(claim, known(*league(*orders)))
    assert found.verdict == word, found.reason
    assert checks["measured"].to_dict() == pytest.approx(measured)


def sensitivities(plain):
    parts = [ran("transformer", name, 1 + SPREAD, lr_sensitivity=0.5 + SPREAD) for name in ("adam", "nadam")]
    parts.append(ran("transformer-plain", "adam", 1 + SPREAD, lr_sensitivity=plain + SPREAD))
    rows = [("both", seed, "ratio", 30.0 + seed) for seed in SEEDS]
    exact = pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])
    return known(*parts, **{"optimizer_comparison/normalised_quadratic": exact})


@pytest.mark.parametrize(("plain", "word"), [(1.5, "verified"), (0.6, "falsified")])
def test_a_claim_about_sensitivities_is_judged_from_its_ratio(plain, word):
    found, checks = judged("W7", sensitivities(plain))
    assert found.verdict == word, found.reason
    assert checks.loc["W7.ratio", "measured"] == pytest.approx(plain / 0.5)
    assert checks.loc[["W7.quadratic", "W7.nadam"], "behaves"].tolist() == ["yes", "yes"]


@pytest.mark.parametrize(
    "claim", ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9"], ids=lambda claim: f"claim-{claim}"
)
def test_without_tables_every_check_is_not_run_and_says_what_it_lacks(claim):
    _, checks = judged(claim, {})
    assert (checks["verdict"] == "not-run").all() and checks["reason"].str.startswith("no table ").all()


def contests_of(claim, check):
    return REGISTER[claim].checks[check].estimator.contests


def test_a_check_tells_which_contests_it_reads():
    pair = {("imbalanced-long", name) for name in ("sgd", "polyak", "rmsprop", "adam")}
    assert contests_of("W2", "W2.late-steps") == pair
    assert contests_of("W3", "W3.batch-64") == {(w, o) for w in ("tokens", "tokens-b64") for o in ("polyak", "adam")}
    eight = REGISTER["W4"].checks["W4.rank"].estimator.model_extra["workloads"]
    assert len(eight) == 8
    assert contests_of("W4", "W4.rank") == {(w, o) for w in eight for o in ("polyak", "adam")}
    three = ("mlp", "cnn", "transformer")
    assert contests_of("W5", "W5.muon") == {(w, o) for w in three for o in ("muon-flattened", "adamw")}
    assert contests_of("W5", "W5.flips") == {(w, o) for w in three for o in ("muon-flattened", "adamw", "soap")}
    # No workload is named: all are read.
    assert contests_of("W6", "W6.order") == contests_of("W8", "W8.winner") == set()


def test_what_is_not_a_contest_is_read_from_none():
    for claim in ("W1", "W9", "C5"):
        assert not set().union(*(contests_of(claim, check) for check in REGISTER[claim].checks))
    assert not REGISTER["W2"].checks["W2.late-steps"].estimator.rungs


def test_every_contest_that_a_claim_reads_is_in_the_reference_profile():
    study = parameters.load(ROOT / "params.yaml").optimizer_comparison
    members = [*contests(study), *extra_contests(study)]
    asked = {(member.values["workload"], member.values["optimizer"]) for member in members}
    named = {
        pair for claim in REGISTER.values() for check in claim.checks.values() for pair in check.estimator.contests
    }
    assert named and named <= asked


def test_seconds_to_target_are_steps_times_seconds():
    table = pd.DataFrame(
        [("mlp", "sgd", 0.0, np.nan), ("mlp", "adamw", 2.0, 50.0)],
        columns=["workload", "optimizer", "state_per_parameter", "steps_to_target"],
    )
    timings = pd.DataFrame(
        [("mlp", "sgd", 0.01, 1.0), ("mlp", "adamw", 0.02, 2.0), ("cnn", "adamw", 0.5, 1.0)],
        columns=["workload", "optimizer", "loop_seconds", "over_sgd"],
    )
    costs = comparison.costs(table, timings).set_index(["workload", "optimizer"])
    assert list(costs.index) == [("mlp", "sgd"), ("mlp", "adamw"), ("cnn", "adamw")]
    assert costs.loc[("mlp", "adamw")].to_dict() == {
        "seconds_per_step": 0.02,
        "step_over_sgd": 2.0,
        "state_per_parameter": 2.0,
        "steps_to_target": 50.0,
        "seconds_to_target": 1.0,
    }
    assert np.isnan(costs.loc[("mlp", "sgd"), "seconds_to_target"])
    assert np.isnan(costs.loc[("cnn", "adamw"), "seconds_to_target"])
