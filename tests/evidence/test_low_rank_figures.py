"""Figures of Open Question 4.1 from synthetic scores and curves: what is absent is left out, down to a sentence."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from declared import STUDY_OF
from declared import draw as draw_figure
from matplotlib import pyplot as plt

from benchmarks.evidence import drawing, ladder
from benchmarks.studies.low_rank_progression import figures as low_rank
from benchmarks.theory.modes import followed

SEEDS = (1, 2, 3)
CORNERS = [ladder.corner(dict(zip(ladder.AXES, bits))) for bits in np.ndindex(2, 2, 2, 2)]
SWEPT = [rung for rungs in ladder.SWEEPS.values() for rung in rungs]
RUNGS = list(dict.fromkeys([*CORNERS, *SWEPT, "practice-muon"]))
DRAWN = (ladder.TEXTBOOK, "small-gd-relu-real", ladder.DEFAULT)
NAMES = [name for name, study in STUDY_OF.items() if study == "low_rank_progression"]
STRENGTHS = np.array([1.0, 0.6, 0.3])
SHARES = STRENGTHS**2 / np.square(STRENGTHS).sum()


def init_of(rung):
    parts = dict(zip(("1e-4", "1e-2", "1e-1"), (1e-4, 1e-2, 1e-1)))
    return next((init for part, init in parts.items() if part in rung), 0.8 if "default" in rung else 1e-6)


@cache
def scores():
    rows = []
    for rung in RUNGS:
        init = init_of(rung)
        score = -0.12 * np.log10(init)
        quantities = {"waypoint_score": score, "sequentiality": score, "tracking": 0.9, "init": init, "init_mup": 0.3}
        quantities |= {"diverged": 0, "censored": 0, "predicted_waypoint_score": score}
        quantities |= {f"strength_{k}": strength for k, strength in enumerate(STRENGTHS, start=1)}
        quantities |= {f"share_{k}": share for k, share in enumerate(SHARES, start=1)}
        for mark in low_rank.MARKS:
            quantities |= {f"update_rank_{mark}%": 1 + mark / 50, f"update_rank_null_{mark}%": 3}
        for seed in SEEDS:
            kept = quantities | {"waypoint_score": score + 0.01 * seed}
            rows += [(rung, "net", seed, quantity, value) for quantity, value in kept.items()]
            rows += [(rung, "twin", seed, name, kept[name]) for name in ("waypoint_score", "sequentiality", "diverged")]
    return pd.DataFrame(rows, columns=["rung", "system", "seed", "quantity", "value"])


@cache
def answers():
    rows = []
    for place, rung in enumerate(RUNGS):
        row = dict.fromkeys(ladder.ANSWER_COLUMNS, np.nan) | {"rung": rung, "n": 3, "verdict": "greedy"}
        for quantity in ("waypoint_score", "twin_waypoint_score", "tracking"):
            row |= {quantity: 0.6, f"{quantity}_low": 0.5, f"{quantity}_high": 0.7}
        rows.append(row | ({"verdict": "not greedy", "twin_waypoint_score": np.nan} if place % 2 else {}))
    return pd.DataFrame(rows)


@cache
def curves():
    parts = []
    times = np.linspace(0, 40, 60)
    grown = followed(2, times, 1e-6 * STRENGTHS, STRENGTHS) / STRENGTHS
    part = pd.DataFrame({"step": times, "time": times, "loss": 1.0, "null_rank": 2.5, "rank": 1 + grown.sum(1) / 2})
    part["phi"] = (SHARES * (1 - np.square(1 - grown))).sum(1)
    for k, share in enumerate(grown.T, start=1):
        part[f"amplitude_{k}"] = share
    for rung in DRAWN:
        for system in ("net", "twin"):
            parts += [part.assign(rung=rung, system=system, seed=seed) for seed in SEEDS]
    return pd.concat(parts, ignore_index=True)


def tables(rungs=None, long=None):
    """All tables, or those of some rungs only."""
    long, answer = scores() if long is None else long, answers()
    if rungs is not None:
        long, answer = long[long["rung"].isin(rungs)], answer[answer["rung"].isin(rungs)]
    return {ladder.LADDER: long, "low_rank_progression": answer}


@pytest.fixture
def draw(tmp_path):
    def drawn(name, given, lines):
        figure = draw_figure(name, given, lines)
        drawing.save(figure, tmp_path / f"{name}.svg")
        return figure, (tmp_path / f"{name}.svg").read_text()

    yield drawn
    plt.close("all")


def lines_of(axes, color=None, style=None):
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    lines = [line for line in lines if color is None or line.get_color() == color]
    return [line for line in lines if style is None or line.get_linestyle() == style]


@pytest.mark.parametrize("name", NAMES)
def test_equal_data_give_equal_bytes(draw, name):
    _, first = draw(name, tables(), curves())
    assert "No " not in first and first.count("<path") > 10
    assert draw(name, tables(), curves())[1] == first


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [slice(0, None, 2), slice(1, None, 2), slice(0, 1)])
def test_absent_rungs_are_left_out(draw, name, kept):
    rungs = RUNGS[kept]
    draw(name, tables(rungs), curves()[curves()["rung"].isin(rungs)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nothing", [{}, tables([])])
@pytest.mark.parametrize("lines", [pd.DataFrame(), curves().iloc[:0]])
def test_with_nothing_a_figure_is_a_sentence(draw, name, nothing, lines):
    _, text = draw(name, nothing, lines)
    assert "No run of claim" in text and text.count("<path") < 5


def test_the_waterfall_goes_both_ways_and_the_dearest_axis_stands_out(draw):
    figure, _ = draw("carry_over_waterfall", tables(), curves())
    left, right = figure.axes
    assert left.get_ylabel() == "waypoint score" and right.get_ylabel() == "sequentiality"
    for axes in figure.axes:
        written = [text for text in axes.texts if text.get_text().startswith("+ ")]
        assert len(written) == 2 * len(ladder.AXES)
        bold = [text.get_text() for text in written if text.get_fontweight() == "bold"]
        assert len(bold) == 2 and all(text.startswith("+ default\ninit\n−0.7") for text in bold)


def test_a_corner_that_was_not_run_is_said_to_be_missing(draw):
    _, text = draw("carry_over_waterfall", tables([r for r in RUNGS if r != "small-gd-relu-hat"]), curves())
    assert "not run" in text


def test_the_closed_form_is_the_deep_linear_network(draw):
    figure, _ = draw("mode_trajectories", tables(), curves())
    textbook, real, default = figure.axes
    dotted = lines_of(textbook, style=":")
    assert len(dotted) == len(STRENGTHS) and not lines_of(real, style=":") and not lines_of(default, style=":")
    for line, color in zip(dotted, low_rank.MODE_COLORS):
        (net,) = lines_of(textbook, color=color, style="-")
        at = np.interp(net.get_xdata(), *line.get_data())
        # The curves are read at 60 times, and interpolated between.
        assert np.abs(at - net.get_ydata()).max() < 0.15 and np.abs(at - net.get_ydata()).mean() < 0.03


def test_without_strengths_or_init_there_is_no_closed_form(draw):
    for missing in ("strength", "init"):
        given = scores()[~scores()["quantity"].str.startswith(missing)]
        figure, text = draw("mode_trajectories", tables(long=given), curves())
        assert not lines_of(figure.axes[0], style=":") and "closed form" not in text and "linear twin" in text


def test_progress_counts_the_shares_of_the_modes():
    phi, grown = low_rank._closed_form(scores(), ladder.TEXTBOOK)
    # The first mode is all learned and the second half: its share, and three quarters of the second's.
    assert np.interp(0.5, grown[:, 1], phi) == pytest.approx(SHARES[0] + 0.75 * SHARES[1], abs=0.01)


def test_a_run_that_diverged_is_not_drawn(draw):
    given = scores().copy()
    given.loc[(given["rung"] == ladder.DEFAULT) & (given["quantity"] == "diverged"), "value"] = 1
    figure, text = draw("mode_trajectories", tables(long=given), curves())
    assert len(figure.axes) == len(DRAWN) - 1 and "default recipe" not in text


def test_the_score_falls_with_the_initialization_and_the_recipe_is_marked(draw):
    figure, text = draw("score_against_init", tables(), curves())
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_legend().get_texts()]
    assert labels == ["linear", "tanh", "ReLU", "deep linear, closed form"]
    assert "default recipe" in text and "µP" in text
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert star.get_xdata() == pytest.approx([0.8])
    (predicted,) = [line for line in axes.lines if line.get_label() == labels[-1]]
    assert max(predicted.get_xdata()) < 1


def test_without_the_recipe_or_its_mup_scale_only_the_sweeps_are_drawn(draw):
    _, text = draw("score_against_init", tables(ladder.SWEEPS["tanh"]), curves())
    assert ">tanh<" in text and ">ReLU<" not in text and "default recipe" not in text and "µP" not in text


def test_ranks_have_their_nulls(draw):
    figure, text = draw("effective_rank", tables(), curves())
    left, right = figure.axes
    assert text.count("straight line,") == 2 and "frozen features" in text
    assert len(lines_of(left)) == 6, "network, twin and straight line of two recipes"
    assert len(lines_of(right, style=":")) == len(lines_of(right, style="-")) == 2
    assert len(lines_of(right)[0].get_ydata()) == len(low_rank.MARKS)


def test_updates_are_drawn_without_curves(draw):
    figure, text = draw("effective_rank", tables(), pd.DataFrame())
    assert not lines_of(figure.axes[0]) and lines_of(figure.axes[1]) and "straight line," not in text


def test_every_rung_has_its_row_and_verdict(draw):
    figure, text = draw("carry_over_ladder", tables(), curves())
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert set(RUNGS) < set(names) and "from the default recipe" in names
    assert [t.get_text() for t in figure.axes[1].texts].count("not greedy") == len(RUNGS) // 2
    heights = [tick for tick, name in zip(figure.axes[0].get_yticks(), names) if name in RUNGS]
    assert len(set(heights)) == len(RUNGS)


def test_a_rung_without_a_run_has_no_row(draw):
    given = tables()
    given["low_rank_progression"] = answers().assign(n=lambda t: t["n"].where(t["rung"] != "practice-muon", 0))
    _, text = draw("carry_over_ladder", given, curves())
    assert "practice-muon" not in text and ladder.TEXTBOOK in text


def test_what_lies_beyond_the_axis_is_an_arrow_at_its_end(draw):
    given = tables([ladder.TEXTBOOK])
    given["low_rank_progression"] = given["low_rank_progression"].assign(
        waypoint_score=-2.0, waypoint_score_low=-2.1, waypoint_score_high=-1.9, tracking_high=3.0
    )
    figure, _ = draw("carry_over_ladder", given, curves())
    left, right = ({line.get_marker(): line for line in axes.lines} for axes in figure.axes)
    assert left["<"].get_xdata() == pytest.approx([low_rank.SHOWN[0]])
    assert right[">"].get_xdata() == pytest.approx([low_rank.SHOWN[1]])
