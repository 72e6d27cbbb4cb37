"""Figures of the optimizer comparison from synthetic runs: what is absent or diverged is left out, down to a
sentence."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from declared import STUDY_OF, source_of
from declared import draw as draw_figure
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from benchmarks.evidence import comparison, drawing
from benchmarks.evidence.comparison import LONG
from benchmarks.studies.optimizer_comparison import figures as optimizers
from pipelines import parameters

ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3)
STEPS = np.arange(0, 101, 10)
# By how fast they fall; two without a colour of their own, one of them torch's Muon beside the flattened one.
RATES = {
    "sgd": 0.01,
    "polyak": 0.03,
    "signum": 0.04,
    "adamw": 0.05,
    "muon-flattened": 0.08,
    "soap": 0.07,
    "schedule-free-adamw": 0.06,
    "lion": 0.045,
    "muon": 0.075,
}
IMAGES = ("mlp", "cnn", "transformer")
WORKLOADS = (*IMAGES, "imbalanced", "tokens")
PANELS = {name: optimizers.TITLES[name] for name in WORKLOADS}
PLAIN = {"adam": 0.05, "sgd": 0.01}  # on the transformer without normalization
FACTORS = (0.25, 4.0)
GROUPS = 4
NAMES = [name for name, study in STUDY_OF.items() if "optimizer_comparison" in (study, source_of(name))]
LABELS = [label for label, _ in optimizers.SHOWN.values()]


def objective(rate, factor, seed):
    return 0.2 + 2 * np.exp(-rate * factor**0.5 * STEPS) + 0.01 * seed


def contest(workload, optimizer, rate, lost):
    """Runs and curves; of a lost contest the tuned runs have readings up to step 30."""
    factors = FACTORS if workload in (*IMAGES, "transformer-plain") else ()
    runs, curves = [], []
    for role, factor in (("final", 1.0), *(("factor", factor) for factor in factors)):
        for seed in SEEDS:
            gone = lost and role == "final"
            key = {"workload": workload, "optimizer": optimizer, "role": role, "factor": factor, "seed": seed}
            values = objective(rate, factor, seed)
            run = {"learning_rate": 0.1 * factor, "options": "{}", "trial": 0, "steps": 30 if gone else 100}
            run |= {"diverged": int(gone), "objective": np.inf if gone else values[-1]}
            if not gone and role == "final":
                run["sharpness_end"] = 100 * rate * (1 + 0.1 * seed)
            runs.append(key | run)
            readings = {"objective": values}
            if role == "final":
                readings |= {f"group_loss_{g}": (g + 1) * values for g in range(GROUPS)}
            for metric, each in readings.items():
                kept = len(STEPS) if not gone else 4
                curves.append(pd.DataFrame({"step": STEPS, "value": each, "metric": metric}).iloc[:kept].assign(**key))
    return pd.DataFrame(runs), pd.concat(curves)


@cache
def made(lost=(), workloads=WORKLOADS):
    """Tables and curves; ``lost`` are (workload, optimizer) whose tuned runs all diverged."""
    wanted = [(w, o, rate) for w in workloads for o, rate in RATES.items()]
    wanted += [("transformer-plain", o, rate) for o, rate in PLAIN.items()]
    runs, curves = zip(*(contest(w, o, rate, (w, o) in lost) for w, o, rate in wanted))
    runs, curves = pd.concat(runs, ignore_index=True), pd.concat(curves, ignore_index=True)
    goals = comparison.targets(runs, curves, "adamw", 0.95)
    long = comparison.long_table(runs, curves, goals, "adamw")
    fact = {"implementation": "", "finite_trials": 1, "parameters": 1, "state_per_parameter": 1, "note": ""}
    summary = comparison.summary(long, {(w, o): fact | {"scheduled": True} for w, o, _ in wanted}, goals)
    timed = [(w, o, 0.001 / rate) for w, o, rate in wanted if w in WORKLOADS]
    tables = {
        LONG: long,
        "optimizer_comparison": summary,
        "optimizer_comparison/targets": goals,
        "optimizer_comparison/class_imbalance": classes(),
        "timings/optimizer_steps": pd.DataFrame(timed, columns=["workload", "optimizer", "loop_seconds"]),
    }
    return tables, comparison.drawn(curves)


FREQUENCIES = np.array([0.48, 0.24, 0.16, 0.12])
TIME = 500.0


def classes():
    """Class k has a loss of a little less than (c - 1) / (c pi_k t)."""
    rows = []
    losses = 0.75 / (FREQUENCIES * TIME) * np.array([0.97, 0.98, 0.99, 1.0])
    for system, each in (("gradient-descent", losses), ("sign-descent", np.full(4, 0.007))):
        told = {f"frequency_{k}": v for k, v in enumerate(FREQUENCIES)} | {f"loss_{k}": v for k, v in enumerate(each)}
        limits = each * FREQUENCIES * TIME
        told |= {"slope": -1.0, "limit_low": limits.min(), "limit_high": limits.max()}
        rows += [(system, np.nan, quantity, value) for quantity, value in told.items()]
    return pd.DataFrame(rows, columns=["system", "seed", "quantity", "value"])


@pytest.fixture
def draw(tmp_path):
    def drawn(name, tables, curves):
        figure = draw_figure(name, tables, curves)
        drawing.save(figure, tmp_path / f"{name}.svg")
        return figure, (tmp_path / f"{name}.svg").read_text()

    yield drawn
    plt.close("all")


def legend(figure):
    (found,) = figure.legends or [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    return [text.get_text() for text in found.get_texts()]


def panel(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return axes


def line(axes, optimizer):
    (found,) = [line for line in axes.lines if line.get_label() == optimizers.SHOWN[optimizer][0]]
    return found


def without(tables, *names):
    return {name: table for name, table in tables.items() if name not in names}


# Every figure


def test_these_are_the_figures_of_the_comparison():
    assert set(NAMES) == {
        "optimizer_loss",
        "optimizer_profile",
        "lr_sensitivity",
        "class_losses",
        "optimizer_sharpness",
        "optimizer_seconds",
    }


@pytest.mark.parametrize("name", NAMES)
def test_equal_data_give_equal_bytes(draw, name):
    _, first = draw(name, *made())
    assert "No " not in first and first.count("<path") > 10
    assert draw(name, *made())[1] == first


@pytest.mark.parametrize("name", NAMES)
def test_with_empty_tables_and_curves_a_figure_is_a_sentence(draw, name):
    tables, curves = made()
    empty = {key: table.iloc[:0] for key, table in tables.items()}
    _, text = draw(name, empty, curves.iloc[:0])
    assert ("No run of optimizer_seconds." if name == "optimizer_seconds" else "No run of claim") in text
    assert text.count("<path") < 5


@pytest.mark.parametrize("name", NAMES)
def test_one_workload_alone_is_drawn(draw, name):
    tables, curves = made(workloads=("mlp",))
    figure, text = draw(name, tables, curves[curves["workload"] == "mlp"])
    assert "No " not in text and figure.axes


SOAP = tuple((workload, "soap") for workload in WORKLOADS)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("optimizer_sharpness", "optimizer_profile")])
def test_an_optimizer_that_diverged_is_left_out(draw, name):
    figure, _ = draw(name, *made(lost=SOAP))
    # At another learning rate it did not diverge.
    shown = [label for label in LABELS if label != "SOAP" or name == "lr_sensitivity"]
    assert [label for label in legend(figure) if label not in ("other optimizers", "Adam")] == shown
    assert legend(draw(name, *made())[0])[: len(LABELS)] == LABELS


def test_where_one_of_three_runs_diverged_the_optimizer_is_left_out_of_the_losses(draw):
    tables, curves = made()
    table = tables["optimizer_comparison"].copy()
    table.loc[(table["workload"] == "mlp") & (table["optimizer"] == "soap"), ["n", "diverged"]] = [2, 1]
    figure, _ = draw("optimizer_loss", tables | {"optimizer_comparison": table}, curves)
    count = {name: len(panel(figure, title).lines) for name, title in PANELS.items()}
    assert count == dict.fromkeys(WORKLOADS, len(RATES) + 1) | {"mlp": len(RATES)}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_where_all_diverged_there_is_no_panel(draw, workload):
    lost = tuple((workload, optimizer) for optimizer in RATES)
    _, text = draw("optimizer_loss", *made(lost=lost, workloads=(workload,)))
    assert "No run of claims W5, W2, W3." in text and optimizers.TITLES[workload] not in text


@pytest.mark.parametrize("profile", ["reference", "quick", "paper"])
def test_every_workload_of_a_profile_has_its_panel(monkeypatch, profile):
    monkeypatch.chdir(ROOT)
    raw = parameters.read("params.yaml") if profile == "reference" else parameters.profile(profile)
    assert set(parameters.checked(raw, profile).optimizer_comparison.workloads) <= set(optimizers.TITLES)


# Losses


def test_losses_have_a_panel_a_workload_and_a_legend_of_families(draw):
    figure, _ = draw("optimizer_loss", *made())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [*PANELS.values(), ""], "the last place is the legend's"
    by = {name: panel(figure, title) for name, title in PANELS.items()}
    assert {axes.get_xlabel() for axes in by.values()} == {"steps"}
    assert {by[name].get_ylabel() for name in IMAGES} == {"validation loss (nats)"}
    assert {by[name].get_ylabel() for name in ("imbalanced", "tokens")} == {"training loss (nats)"}
    assert [axes.get_yscale() for axes in by.values()] == ["linear"] * 3 + ["log"] * 2
    assert legend(figure) == [*LABELS, "other optimizers"]


def test_the_deeper_net_has_its_panel_and_six_have_their_legend_below(draw):
    figure, _ = draw("optimizer_loss", *made(workloads=("mlp", "cnn", "cnn-deep", *WORKLOADS[2:])))
    titles = ["perceptron", "convolutional net", "deeper convolutional net", *list(PANELS.values())[2:]]
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    axes = panel(figure, "deeper convolutional net")
    assert (axes.get_ylabel(), axes.get_yscale()) == ("validation loss (nats)", "linear")
    assert len(axes.lines) == len(RATES) + 1
    assert len(figure.legends) == 1 and legend(figure) == [*LABELS, "other optimizers"]


def test_a_curve_is_the_mean_over_seeds_and_the_dashed_line_the_target(draw):
    figure, _ = draw("optimizer_loss", *made())
    axes = panel(figure, "perceptron")
    mean = np.mean([objective(RATES["adamw"], 1.0, seed) for seed in SEEDS], axis=0)
    assert line(axes, "adamw").get_xdata().tolist() == STEPS.tolist()
    assert line(axes, "adamw").get_ydata() == pytest.approx(mean, rel=1e-6)
    (target,) = [found for found in axes.lines if found.get_linestyle() == "--"]
    assert list(target.get_ydata()) == pytest.approx([mean[0] - 0.95 * (mean[0] - mean[-1])] * 2, rel=1e-6)
    low, high = axes.get_ylim()
    assert low < mean[-1] and high > mean[0]
    colour = to_rgb(line(axes, "adamw").get_color())
    (band,) = [each for each in axes.collections if tuple(each.get_facecolor()[0][:3]) == colour]
    (path,) = band.get_paths()
    assert path.vertices[:, 1].min() == pytest.approx(mean[-1] - 0.01, rel=1e-5), "the range over seeds"


def test_a_workload_without_target_is_drawn_without_its_line(draw):
    tables, curves = made()
    goals = tables["optimizer_comparison/targets"]
    # A target of another learning rate is not its own.
    given = tables | {
        "optimizer_comparison/targets": goals[(goals["workload"] != "mlp") | (goals["target"] != "target")]
    }
    figure, _ = draw("optimizer_loss", given, curves)
    dashed = {
        name: sum(found.get_linestyle() == "--" for found in panel(figure, title).lines)
        for name, title in PANELS.items()
    }
    assert dashed == dict.fromkeys(WORKLOADS, 1) | {"mlp": 0}


def test_seconds_are_steps_at_what_a_step_takes(draw):
    figure, _ = draw("optimizer_seconds", *made())
    assert {axes.get_xlabel() for axes in figure.axes if axes.get_title(loc="left")} == {"seconds"}
    for optimizer in ("sgd", "soap"):
        found = line(panel(figure, "transformer"), optimizer)
        assert found.get_xdata() == pytest.approx(STEPS * 0.001 / RATES[optimizer])
    assert panel(figure, "perceptron").get_ylabel() == "validation loss (nats)"


def test_what_was_not_timed_is_not_drawn_against_seconds(draw):
    tables, curves = made()
    times = tables["timings/optimizer_steps"]
    some = times[times["workload"].isin(["mlp", "tokens"]) & ~times["optimizer"].isin(["soap", "lion"])]
    figure, _ = draw("optimizer_seconds", tables | {"timings/optimizer_steps": some}, curves)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["perceptron", "tokens, full batch"]
    assert "SOAP" not in legend(figure) and len(figure.axes[0].lines) == len(RATES) - 2 + 1
    other = times[times["workload"] == "transformer"].assign(workload="another")
    _, text = draw("optimizer_seconds", tables | {"timings/optimizer_steps": other}, curves)
    assert "No run of optimizer_seconds." in text


@pytest.mark.parametrize("times", [None, made()[0]["timings/optimizer_steps"].iloc[:0]])
def test_without_timings_there_is_a_sentence(draw, times):
    tables, curves = made()
    given = without(tables, "timings/optimizer_steps") if times is None else tables | {"timings/optimizer_steps": times}
    assert "No run of optimizer_seconds." in draw("optimizer_seconds", given, curves)[1]


# Profile


NEVER = float("nan")


def profiled(*rows, aimed=("mlp", "cnn"), lost=()):
    """(workload, optimizer, steps to the target by seed); ``lost`` are (workload, optimizer, seed) that diverged."""
    long = pd.DataFrame(
        [(workload, name, seed, value) for workload, name, steps in rows for seed, value in enumerate(steps, 1)],
        columns=["workload", "optimizer", "seed", "steps_to_target"],
    )
    gone = [run in lost for run in long[["workload", "optimizer", "seed"]].itertuples(index=False, name=None)]
    long = long.assign(role="final", factor=1.0, diverged=np.array(gone, dtype=int))
    goals = pd.DataFrame([(name, "target", 1.0) for name in aimed], columns=["workload", "target", "objective"])
    return {LONG: long, "optimizer_comparison/targets": goals}


def shares(axes, optimizer, at):
    found = line(axes, optimizer)
    x, y = found.get_xdata(), found.get_ydata()
    return [y[np.flatnonzero(x <= ratio)[-1]] for ratio in at]


def near(*expected):
    return pytest.approx(expected)


def test_the_profile_is_the_share_of_runs_within_a_multiple_of_the_best_of_their_seed(draw):
    rows = [("mlp", "soap", [10.0, 10.0]), ("mlp", "adamw", [20.0, 5.0]), ("mlp", "sgd", [80.0, NEVER])]
    rows += [("cnn", "soap", [NEVER] * 2), ("cnn", "adamw", [30.0, 40.0]), ("cnn", "sgd", [NEVER] * 2)]
    figure, _ = draw("optimizer_profile", profiled(*rows), made()[1])
    (axes,) = figure.axes
    # Ratios of SOAP: 1, 2; AdamW 2, 1, 1, 1; SGD 8; of four runs each.
    assert shares(axes, "soap", (1, 1.9, 2.1, 9)) == near(0.25, 0.25, 0.5, 0.5)
    assert shares(axes, "adamw", (1, 1.9, 2.1, 9)) == near(0.75, 0.75, 1.0, 1.0)
    assert shares(axes, "sgd", (1, 7.9, 8.1, 9)) == near(0.0, 0.0, 0.25, 0.25)
    assert axes.get_xlabel() == "steps to the target, in units of the best optimizer's"
    assert axes.get_ylabel() == "share of runs, 2 workloads" and axes.get_xscale() == "log"
    assert legend(figure) == ["SGD", "AdamW", "SOAP"], "nobody is without a colour"
    assert axes.get_xlim()[1] > 8


def test_a_run_that_diverged_never_arrives_in_the_profile_and_is_nobodys_best(draw):
    rows = [("mlp", "soap", [10.0, 2.0]), ("mlp", "adamw", [20.0, 20.0]), ("cnn", "sgd", [5.0, 5.0])]
    lost = [("mlp", "soap", 2), ("cnn", "sgd", 1), ("cnn", "sgd", 2)]
    figure, _ = draw("optimizer_profile", profiled(*rows, lost=lost), None)
    (axes,) = figure.axes
    # Of two workloads in two seeds, whoever has no run somewhere.
    assert shares(axes, "soap", (1, 2.1)) == near(0.25, 0.25)
    assert shares(axes, "adamw", (1, 1.9, 2.1)) == near(0.25, 0.25, 0.5)
    assert shares(axes, "sgd", (1, 2.1)) == near(0.0, 0.0) and axes.get_xlim()[1] < 5
    whole, _ = draw("optimizer_profile", profiled(*rows), None)
    assert shares(whole.axes[0], "adamw", (1, 2.1, 11)) == near(0.0, 0.25, 0.5)


def test_the_profile_is_of_tuned_runs(draw):
    tables = profiled(("mlp", "soap", [10.0, 20.0]), ("mlp", "adamw", [20.0, 20.0]), aimed=["mlp"])
    others = tables[LONG].assign(steps_to_target=[1.0, 1.0, NEVER, NEVER])
    long = pd.concat([tables[LONG], others.assign(role="factor", factor=4.0), others.assign(role="trial")])
    for given in (tables, tables | {LONG: long}):
        figure, _ = draw("optimizer_profile", given, None)
        assert shares(figure.axes[0], "soap", (1, 2.1)) == near(1.0, 1.0)
        assert shares(figure.axes[0], "adamw", (1, 2.1)) == near(0.5, 1.0)


def test_an_optimizer_of_which_every_run_diverged_lies_at_zero_in_the_profile(draw):
    figure, _ = draw("optimizer_profile", *made(lost=SOAP))
    (axes,) = figure.axes
    assert legend(figure) == [*LABELS, "other optimizers"]
    assert max(line(axes, "soap").get_ydata()) < 0.05
    # Then Muon is the first everywhere; and of all runs SOAP's arrive, but behind it.
    assert shares(axes, "muon-flattened", (1,)) == near(1.0)
    figure, _ = draw("optimizer_profile", *made())
    assert shares(figure.axes[0], "soap", (1, 1.9)) == near(0.0, 1.0)


def test_the_profile_of_one_workload_on_which_nobody_arrived(draw):
    rows = [("mlp", "soap", [NEVER, NEVER]), ("mlp", "x", [NEVER, NEVER])]
    figure, _ = draw("optimizer_profile", profiled(*rows, aimed=["mlp"]), None)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "share of runs, 1 workload" and legend(figure) == ["SOAP", "other optimizers"]
    assert shares(axes, "soap", (1, 1.9)) == near(0.0, 0.0)


def test_the_profile_is_over_workloads_that_have_a_target(draw):
    rows = [("mlp", "soap", [10.0]), ("cnn", "soap", [NEVER]), ("balanced", "soap", [NEVER])]
    tables = profiled(*rows, aimed=["mlp", "balanced"])  # an extra is no workload
    (axes,) = draw("optimizer_profile", tables, None)[0].axes
    assert axes.get_ylabel() == "share of runs, 1 workload"
    assert shares(axes, "soap", (1,)) == near(1.0), "of the runs on it alone"
    assert "No run of claim W5." in draw("optimizer_profile", profiled(*rows, aimed=[]), None)[1]


def test_a_target_of_another_learning_rate_alone_makes_no_workload_of_the_profile(draw):
    tables = profiled(("mlp", "soap", [10.0]), ("cnn", "soap", [NEVER]))
    goals = tables["optimizer_comparison/targets"].assign(target=["target", "quarter"])
    figure, _ = draw("optimizer_profile", tables | {"optimizer_comparison/targets": goals}, None)
    assert figure.axes[0].get_ylabel() == "share of runs, 1 workload"


# Sensitivity


def test_sensitivity_has_a_panel_a_workload_and_names_adam_on_the_last(draw):
    figure, _ = draw("lr_sensitivity", *made())
    titles = ["perceptron", "convolutional net", "transformer", "without normalization"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    assert {axes.get_xlabel() for axes in figure.axes} == {"lr over the tuned one"}
    assert figure.axes[0].get_ylabel() == "final validation loss (nats)"
    assert all(axes.get_xscale() == "log" for axes in figure.axes)
    assert legend(figure) == [*LABELS, "Adam", "other optimizers"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1/4", "1", "4"]


def test_the_loss_of_a_learning_rate_is_clipped_at_that_before_training(draw):
    tables, curves = made()
    long = tables[LONG].copy()
    mine = (long["workload"] == "mlp") & (long["optimizer"] == "soap")
    long.loc[mine & (long["factor"] == 4), "objective"] = [np.inf, np.nan, 1.0]
    figure, _ = draw("lr_sensitivity", tables | {LONG: long}, curves)
    found = line(panel(figure, "perceptron"), "soap")
    ends = [np.mean([objective(RATES["soap"], factor, seed)[-1] for seed in SEEDS]) for factor in (0.25, 1.0)]
    first = 2.22  # 2.2 + 0.01 seed, in the mean of seeds
    assert found.get_xdata().tolist() == [0.25, 1, 4]
    assert found.get_ydata() == pytest.approx([*ends, (2 * first + 1.0) / 3])
    (dotted,) = [each for each in panel(figure, "perceptron").lines if each.get_linestyle() == ":"]
    assert list(dotted.get_ydata()) == pytest.approx([first] * 2)


def test_without_other_learning_rates_there_is_a_sentence(draw):
    tables, curves = made()
    long = tables[LONG]
    _, text = draw("lr_sensitivity", tables | {LONG: long[long["role"] != "factor"]}, curves)
    assert "No run of claim" in text


def test_where_other_learning_rates_were_tried_on_an_unknown_workload_alone_there_is_a_sentence(draw):
    tables, curves = made()
    long = tables[LONG]
    mine = long[long["workload"] == "mlp"].assign(workload="my-own")
    assert "No run of claim" in draw("lr_sensitivity", tables | {LONG: mine}, curves)[1]


# Classes


def test_losses_of_classes_stand_beside_their_closed_form(draw):
    figure, text = draw("class_losses", *made())
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("frequency of the class, π", "loss of the class (nats)")
    assert left.get_xscale() == left.get_yscale() == right.get_xscale() == right.get_yscale() == "log"
    by = {each.get_label(): each for each in left.lines}
    assert by["gradient descent"].get_xdata() == pytest.approx(FREQUENCIES)
    assert by["sign descent"].get_ydata() == pytest.approx([0.007] * 4)
    assert by["(c − 1)/(c π t)"].get_ydata() == pytest.approx(0.75 / (FREQUENCIES * TIME))
    assert by["gradient descent"].get_ydata()[-1] == pytest.approx(by["(c − 1)/(c π t)"].get_ydata()[-1])
    assert "gradient descent" in text and legend(figure) == [*LABELS, "other optimizers"]
    assert (right.get_xlabel(), right.get_ylabel()) == ("examples of the class", "loss of these classes (nats)")


def test_a_group_of_classes_is_told_by_its_examples_with_its_loss_at_the_end(draw):
    figure, _ = draw("class_losses", *made())
    found = line(figure.axes[1], "sgd")
    # Four groups: 1, 2, 4, 8 classes of 16, 8, 4, 2 examples.
    assert found.get_xdata().tolist() == [16, 8, 4, 2]
    last = np.mean([objective(RATES["sgd"], 1.0, seed)[-1] for seed in SEEDS])
    assert found.get_ydata() == pytest.approx(last * np.array([1, 2, 3, 4]), rel=1e-6)


def test_without_the_imbalanced_workload_the_closed_form_stands_alone(draw):
    tables, curves = made()
    figure, text = draw("class_losses", tables, curves[curves["workload"] != "imbalanced"])
    assert len(figure.axes) == 1 and "(c − 1)/(c π t)" in text and "examples of the class" not in text


def test_a_system_that_was_not_run_is_left_out_of_the_classes(draw):
    tables, curves = made()
    exact = tables["optimizer_comparison/class_imbalance"]
    some = tables | {"optimizer_comparison/class_imbalance": exact[exact["system"] == "sign-descent"]}
    figure, _ = draw("class_losses", some, curves)
    assert [each.get_label() for each in figure.axes[0].lines] == ["sign descent"]


# Sharpness


def test_the_sharpness_has_a_row_an_optimizer_and_a_circle_a_seed(draw):
    figure, text = draw("optimizer_sharpness", *made())
    assert [axes.get_title(loc="left") for axes in figure.axes] == [optimizers.TITLES[name] for name in IMAGES]
    assert {axes.get_xlabel() for axes in figure.axes} == {"sharpness (nats / parameter²)"}
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == list(RATES)[::-1] and all(f">{name}<" in text for name in names)
    circles = [each for each in figure.axes[0].lines if each.get_marker() == "o"]
    bars = [each for each in figure.axes[0].lines if each.get_marker() != "o"]
    by = {names[round(each.get_ydata()[0])]: each for each in circles}
    assert by["sgd"].get_xdata() == pytest.approx([1.1, 1.2, 1.3])
    assert len(bars) == len(RATES)
    half = 4.302653 * 0.1 / 3**0.5
    spans = {names[round(each.get_ydata()[0])]: each.get_xdata() for each in bars}
    assert list(spans["sgd"]) == pytest.approx([1.2 - half, 1.2 + half], rel=1e-5)


def test_who_diverged_has_no_sharpness_and_who_has_none_anywhere_no_row(draw):
    figure, _ = draw("optimizer_sharpness", *made(lost=(("mlp", "soap"),), workloads=IMAGES))
    mlp, cnn, _ = figure.axes
    row = [label.get_text() for label in mlp.get_yticklabels()].index("soap")
    circles = [[e for e in axes.lines if e.get_marker() == "o" and len(e.get_xdata())] for axes in (mlp, cnn)]
    assert [row in {round(e.get_ydata()[0]) for e in each} for each in circles] == [False, True]
    figure, _ = draw("optimizer_sharpness", *made(lost=SOAP))
    assert "soap" not in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_an_interval_that_holds_zero_ends_on_the_logarithmic_axis(draw):
    tables, curves = made()
    long = tables[LONG].copy()
    mine = (long["workload"] == "mlp") & (long["optimizer"] == "sgd") & (long["role"] == "final")
    long.loc[mine, "sharpness_end"] = [3.0, 4.0, 30.0]
    figure, _ = draw("optimizer_sharpness", tables | {LONG: long}, curves)
    row = [label.get_text() for label in figure.axes[0].get_yticklabels()].index("sgd")
    (bar,) = [each for each in figure.axes[0].lines if each.get_marker() != "o" and row in each.get_ydata()]
    assert bar.get_xdata()[0] == pytest.approx(1.0), "a third of the smallest"


def test_nothing_is_left_open():
    assert not plt.get_fignums()
