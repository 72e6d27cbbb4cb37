"""The open question's table, its estimators and its page, on scores whose answer is known."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_share import scores as share_scores

from benchmarks.evidence import answer, ladder, share
from benchmarks.evidence.estimators import ESTIMATORS, NotRun
from benchmarks.evidence.report import Drawn
from benchmarks.evidence.statistics import Interval
from pipelines import parameters

ROOT = Path(__file__).parents[2]
LADDER = parameters.load(ROOT / "params.yaml").low_rank_progression
SETTINGS = {member.values["rung"]: member.settings.model_dump() for member in LADDER.members()}
FIRM = {
    "diverged": 0.0,
    "censored": 0.0,
    "largest_phi": 0.96,
    "init": 1.0,
    "init_mup": 0.3,
    "sequentiality": 0.9,
    "tracking": 0.95,
    "tracking_other": 0.9,
    "visible_share": 0.6,
    "concurrency": 1.5,
    "null_concurrency": 5.0,
    "timing_slope": -0.9,
    "time_factor": 2.0,
    "departure": 0.3,
    "steps": 40.0,
    "loss_fall": 0.4,
}
INITS = {"small": 1e-6, "init-1e-4": 1e-4, "init-1e-2": 1e-2, "init-1e-1": 1e-1, "default": 1.0}


def rows(rung, values, system="net", seeds=(1, 2, 3)):
    """Scores of one rung: a number, or one a seed."""
    found = []
    for quantity, value in values.items():
        each = np.broadcast_to(value, len(seeds))
        found += [(rung, system, seed, quantity, float(v)) for seed, v in zip(seeds, each)]
    return pd.DataFrame(found, columns=["rung", "system", "seed", "quantity", "value"])


def spread(middle):
    return middle + np.array([-0.01, 0.0, 0.01])


def synthetic(score=lambda rung: 0.8, **changes):
    """All rungs, with twins that score 0.8."""
    parts = []
    for rung, settings in SETTINGS.items():
        init = next((u0 for prefix, u0 in INITS.items() if rung.startswith(prefix)), 1.0)
        mine = {**FIRM, "init": init, "waypoint_score": spread(score(rung)), **changes}
        parts.append(rows(rung, mine))
        if settings["twin"]:
            parts.append(rows(rung, {**mine, "waypoint_score": spread(0.8)}, "twin"))
    return pd.concat(parts, ignore_index=True)


def estimate(name, table, **arguments):
    return ESTIMATORS[name]({"low_rank_progression.long": table}, **arguments).values


# The ratio


def test_fiellers_interval_covers_the_ratio_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits, draws = 0, 2000
    for _ in range(draws):
        shared = generator.standard_normal(5)
        top, bottom = 0.6 + 0.1 * (shared + generator.standard_normal(5)), 0.8 + 0.1 * shared
        interval = ladder.fieller(top, bottom)
        hits += interval is not None and interval.low <= 0.75 <= interval.high
    assert hits / draws == pytest.approx(0.95, abs=0.015)


def test_fiellers_interval_of_a_sure_denominator_is_students():
    top = np.array([0.7, 0.8, 0.9])
    interval = ladder.fieller(top, np.full(3, 2.0))
    half = 4.302653 * 0.1 / 3**0.5 / 2
    assert (interval.low, interval.high) == pytest.approx((0.4 - half, 0.4 + half), rel=1e-6)


def test_a_denominator_that_may_be_zero_has_no_bounded_interval():
    assert ladder.fieller(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.1, 1.0])) is None


@pytest.mark.parametrize(
    ("net", "twin", "word"),
    [
        (0.8, 0.8, "carries over"),
        (0.5, 0.8, "mostly"),
        (0.25, 0.8, "weakly"),
        (0.05, 0.8, "not"),
        (0.64, 0.8, "open"),
        (0.1, 0.1, "vacuous"),
    ],
)
def test_the_word_of_a_ratio(net, twin, word):
    net, twin = pd.Series(spread(net), [1, 2, 3]), pd.Series(spread(twin), [1, 2, 3])
    assert ladder.carry_over(net, twin)[2] == word


# The verdict


def near(value):
    return Interval(value - 0.01, value + 0.01)


@pytest.mark.parametrize(
    ("waypoint", "sequentiality", "tracking", "options", "word"),
    [
        (0.8, 0.8, 0.1, {}, "greedy"),
        (0.1, 0.8, 0.9, {}, "tracks its twin"),
        (0.1, 0.1, 0.5, {}, "neither"),
        (0.1, 0.1, None, {}, "nothing to track"),
        (0.1, 0.1, 0.8, {}, "undecided"),
        (0.5, 0.8, 0.9, {}, "undecided"),
        (0.1, 0.1, None, {"has_twin": False}, "not greedy"),
        (0.8, 0.8, 0.9, {"censored": True}, "censored"),
        (0.8, 0.8, 0.9, {"diverged": True, "censored": True}, "diverged"),
        (None, 0.8, 0.9, {}, "undecided"),
    ],
)
def test_the_verdict_of_a_rung(waypoint, sequentiality, tracking, options, word):
    intervals = [None if value is None else near(value) for value in (waypoint, sequentiality, tracking)]
    options = {"has_twin": True, "censored": False, "diverged": False} | options
    assert ladder.rung_verdict(*intervals, **options) == word


# The table


def test_the_table_has_a_row_a_rung_and_every_column_a_meaning():
    table = ladder.answer(synthetic(), SETTINGS)
    assert list(table["rung"]) == list(SETTINGS) and list(table) == ladder.ANSWER_COLUMNS
    row = table.set_index("rung").loc["small-gd-relu-hat"]
    assert (row.verdict, row.carry_over_waypoint_score_word, row.n) == ("greedy", "carries over", 3)
    assert row.twin_waypoint_score_low < row.twin_waypoint_score == pytest.approx(0.8)
    assert "relu" in row.architecture and row.labels == "linear"
    linear = table.set_index("rung").loc["small-gd-linear-hat"]
    assert np.isnan(linear.twin_waypoint_score) and linear.verdict == "greedy"


def test_a_censored_run_shows_in_its_row():
    scores = synthetic()
    hit = (scores["rung"] == "textbook-cnn") & (scores["system"] == "twin") & (scores["quantity"] == "censored")
    scores.loc[hit & (scores["seed"] == 2), "value"] = 1.0
    row = ladder.answer(scores, SETTINGS).set_index("rung").loc["textbook-cnn"]
    assert (row.verdict, row.censored, row.twin_censored) == ("censored", 0, 1)


def test_tracking_that_two_seeds_alone_give_is_nothing_to_track():
    scores = synthetic(lambda rung: 0.1)
    hit = (scores["rung"] == "textbook-muon") & (scores["quantity"] == "tracking") & (scores["system"] == "net")
    row = ladder.answer(scores[~(hit & (scores["seed"] == 1))], SETTINGS).set_index("rung").loc["textbook-muon"]
    scores.loc[scores["quantity"] == "sequentiality", "value"] = 0.1
    assert (row.tracking_n, row.verdict) == (2, "nothing to track")


def test_swaps_and_bases_are_told_in_words():
    words = {name: ladder.described(SETTINGS[name])["labels"] for name in ("swap-small-relu", "quadratic-small")}
    assert words == {"swap-small-relu": "real, s1 and s3 swapped", "quadratic-small": "residual, quadratic modes"}
    told = {name: ladder.described(SETTINGS[name])["data"] for name in ("planted-he2", "draws-relu", "digits-relu")}
    assert told["planted-he2"].startswith("2000 examples, 10 components")
    assert told["draws-relu"] == "1000 examples, others for each seed, 32 components, whitened"
    assert told["digits-relu"].startswith("1000 examples of scikit-learn's digits, 10")


def test_a_rung_that_is_not_centred_says_so():
    said = {name: ladder.described(SETTINGS[name])["architecture"] for name in ("linearised", "uncentred-practice-raw")}
    assert said["linearised"].endswith("linearized") and said["uncentred-practice-raw"].endswith(", not centred")


def test_the_waterfall_ends_where_the_factorial_does_in_any_order():
    def score(rung):
        return 0.8 - 0.5 * rung.startswith("default") - 0.2 * ("relu" in rung) - 0.1 * rung.endswith("real")

    scores = synthetic(score)
    for order in (ladder.ORDER, ladder.ORDER[::-1]):
        steps = ladder.waterfall(scores, "waypoint_score", order)
        assert steps["mean"].iloc[[0, -1]].to_list() == pytest.approx([0.8, 0.0])
        assert steps["change"].sum() == pytest.approx(-0.8)
    effects = ladder.main_effects(scores, "waypoint_score")
    assert effects.to_dict() == pytest.approx(
        {"initialization": -0.5, "activation": -0.2, "labels": -0.1, "optimizer": 0.0}
    )


def test_the_half_score_is_interpolated_in_decades():
    falls = {"small": 0.8, "init-1e-4": 0.6, "init-1e-2": 0.4, "init-1e-1": 0.1, "default": 0.0}
    scores = synthetic(lambda rung: next((s for prefix, s in falls.items() if rung.startswith(prefix)), 0.0))
    assert ladder.half_score_init(scores, ladder.SWEEPS["relu"], 2) == pytest.approx(-3.0)
    assert np.isnan(ladder.half_score_init(synthetic(), ladder.SWEEPS["relu"], 2))
    # A seed that lacks a rung would be interpolated across the gap.
    gap = (scores["rung"] == "init-1e-2-relu") & (scores["seed"] == 3)
    assert np.isnan(ladder.half_score_init(scores[~gap], ladder.SWEEPS["relu"], 3))
    inits = pd.Series([1.0, 1.0, 1.0], index=[1, 2, 3])
    assert ladder.decades_from_half_score(scores, "relu", inits)[1] == pytest.approx(3.0)


# The gate


def toy(score):
    return pd.DataFrame([("linear-1e-3", 1, "waypoint_score", score)], columns=["system", "seed", "quantity", "value"])


def test_a_broken_instrument_stops_everything_and_says_by_how_much():
    good = rows("small-gd-linear-hat", {"waypoint_score": 0.8, "predicted_waypoint_score": 0.79})
    ladder.require_gate(toy(0.93), good)
    with pytest.raises(ladder.InstrumentBroken, match=r"instrument broken: .* scores 0.700; at least 0.9 is needed"):
        ladder.require_gate(toy(0.7), good)
    bad = rows("small-gd-linear-hat", {"waypoint_score": 0.8, "predicted_waypoint_score": [0.79, 0.7, 0.8]})
    with pytest.raises(ladder.InstrumentBroken, match=r"is 0.100 from its closed form; at most 0.05 is allowed"):
        ladder.require_gate(toy(0.93), bad)


# Estimators


def term(rung, quantity="waypoint_score", **options):
    return {"rung": rung, "quantity": quantity, **options}


def test_combinations_and_ratios_of_rungs():
    table = pd.concat(
        [rows("a", {"waypoint_score": [0.4, 0.5, 0.6]}), rows("b", {"waypoint_score": [0.8, 1.0, 1.2]}, "twin")]
    )
    less = estimate("rungs", table, terms=[term("b", system="twin"), term("a", weight=-1)])
    assert less == pytest.approx([0.4, 0.5, 0.6])
    ratio = estimate("rungs", table, terms=[term("a")], over=[term("b", system="twin")])
    assert ratio == pytest.approx([0.5, 0.5, 0.5])
    assert estimate("rungs", table, terms=[term("a")], after=2) == pytest.approx([0.6])
    with pytest.raises(NotRun, match="no 'tracking' of net of 'a'"):
        estimate("rungs", table, terms=[term("a", "tracking")])


def test_the_ratios_interval_is_fiellers():
    generator = np.random.default_rng(1)
    top, bottom = 0.6 + 0.02 * generator.standard_normal(5), 0.8 + 0.02 * generator.standard_normal(5)
    seeds = range(1, 6)
    table = pd.concat(
        [rows("a", {"waypoint_score": top}, seeds=seeds), rows("b", {"waypoint_score": bottom}, seeds=seeds)]
    )
    values = estimate("rungs", table, terms=[term("a")], over=[term("b")])
    exact = ladder.fieller(top, bottom)
    mine = ladder.t_interval(values, 0.95)
    assert (mine.low, mine.high) == pytest.approx((exact.low, exact.high), abs=2e-3)


def test_a_vacuous_ratio_has_no_value():
    table = pd.concat([rows("a", {"waypoint_score": spread(0.1)}), rows("b", {"waypoint_score": spread(0.2)})])
    assert np.isnan(estimate("rungs", table, terms=[term("a")], over=[term("b")])).all()


def test_powers_orders_and_agreement_across_rungs():
    table = pd.concat(
        [
            rows(name, {"waypoint_score": y, "predicted_waypoint_score": y + shift, "learning_rate": x})
            for name, x, y, shift in (("a", 0.1, 0.02, 0.01), ("b", 0.2, 0.04, -0.01), ("c", 0.4, 0.08, 0.0))
        ]
    )
    arguments = {"rungs": ["a", "b", "c"], "quantity": "waypoint_score"}
    assert estimate("rung_power", table, against="learning_rate", **arguments) == pytest.approx(1.0)
    assert estimate("rung_order", table, **arguments) == pytest.approx(1.0)
    assert estimate("rung_order", table, rungs=["c", "b", "a"], quantity="waypoint_score") == pytest.approx(-1.0)
    drop = {**arguments, "minus": ["c", "b", "a"]}
    assert estimate("rung_order", table, **drop) == pytest.approx(1.0)
    mean = 0.14 / 3
    total = sum((y - mean) ** 2 for y in (0.02, 0.04, 0.08))
    agreement = estimate("rung_agreement", table, predicted="predicted_waypoint_score", **arguments)
    assert agreement == pytest.approx(1 - 2e-4 / total)
    assert estimate("rung_agreement", table, predicted="waypoint_score", **arguments) == pytest.approx(1.0)


def test_residuals_beyond_a_single_layer():
    layer = np.array([10.0, 20.0, 40.0, 80.0, 160.0])
    rest = np.array([1.0, 1.3, 0.9, 1.4, 0.8])

    def times(values):
        return {f"half_time_{k}": value for k, value in enumerate(values, 1)}

    def with_rests(net, twin):
        parts = [
            rows("one", times(layer)),
            rows("net", times(layer * net)),
            rows("net", times(2 * layer * twin), "twin"),
        ]
        return estimate("rung_residuals", pd.concat(parts), rung="net", reference="one")

    assert with_rests(rest, rest**2) == pytest.approx(1.0)
    assert with_rests(rest, 1 / rest) == pytest.approx(-1.0)
    parts = [
        rows("one", times(layer)),
        rows("net", times(layer * rest)),
        rows("net", times(layer * rest), "twin"),
        rows("other", times(layer / rest), "twin"),
    ]
    apart = estimate("rung_residuals", pd.concat(parts), rung="net", reference="one", twin="other")
    assert apart == pytest.approx(-1.0)


# The page


@pytest.fixture(scope="module")
def scored():
    def score(rung):
        if rung.startswith(("default", "practice")) or "adam" in rung:
            return 0.02
        falls = {"small": 0.8, "init-1e-4": 0.6, "init-1e-2": 0.4, "init-1e-1": 0.1}
        return next((s for prefix, s in falls.items() if rung.startswith(prefix)), 0.8)

    scores = synthetic(score)
    return scores, ladder.answer(scores, SETTINGS)


def test_the_page_says_what_the_table_says(scored):
    scores, table = scored
    figures = [Drawn("low_rank_progression", "effective_rank", "The caption.", (), (300, 150))]
    asked = pd.DataFrame(share.rows(share_scores(), "a", "a")).assign(system="a", network="mlp", fidelity="scaled")
    check = {"check": "T9.mlp", "statement": "slope", "measured": -0.5, "ci95_low": -0.6, "ci95_high": -0.4}
    check |= {"role": "main", "primary": "yes", "regime": "", "fidelity": "scaled", "origin": "ours"}
    check |= {"unit": "", "n": 5}
    check |= {"predicted": -1, "band_low": -np.inf, "band_high": -0.5, "word": "open", "reason": "too wide"}
    check |= {"post_hoc": "", "beyond": "It goes past the end"}
    why = [answer.Part("Open Question 4.1: planted modes", ["The slope is ", check, "."], figures)]
    page = answer.render(asked, share_scores(), scores, table, figures, [], why, "reference", "cifar10")
    assert '<figure id="figure-effective_rank">' in page and "<figcaption>The caption.\n" in page
    assert '<img src="figures/effective_rank.svg" alt="Figure: The caption" width="400" height="200"' in page
    assert "does not carry over to practice, though many networks there follow the path" in page
    assert "default initialization alone leaves a score of 0.02, Adam alone 0.02" in page
    assert "the optimizer changes the score by -0.39 and the initialization by -0.39" in page
    # A half score at u0/s_1 = 1e-3, practice at 1: three decades.
    assert "3.0 decades higher" in page
    assert "<h3>Planted modes</h3>" in page and page.count('<figure id="figure-effective_rank">') == 2
    assert 'The slope is <a href="report.html#check-T9.mlp" title="T9.mlp: slope">-0.5 [-0.6, -0.4]</a>.' in page
    assert "-1 (≤ -0.5)" in page and '<b class="open">open</b>' in page and "too wide. It goes past the end" in page
    assert page.count("<tr title=") == len(SETTINGS) + len(share.PREDICTIONS)
    assert "only checks the machinery" not in page
    assert "only checks the machinery" in answer.render(
        asked, share_scores(), scores, table, [], [], [], "quick", "digits"
    )


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["greedy", "greedy", "neither"], "carries over to practice"),
        (["neither", "neither", "neither"], "Deep linear dynamics do not carry over to practice"),
        (["greedy", "neither", "neither"], "in only one architecture"),
        (["neither", "tracks its twin", "censored"], "follow the path of their linear twin"),
    ],
)
def test_the_answer_in_short_follows_the_registered_rule(verdicts, said):
    table = pd.DataFrame(
        {
            "rung": ["default-adam-relu-real", "practice-tanh", "practice-cnn"],
            "architecture": ["a", "b", "c"],
            "verdict": verdicts,
        }
    )
    assert said in answer.in_short(table)


def test_a_profile_with_few_rungs_says_what_it_can():
    few = {name: SETTINGS[name] for name in ("small-gd-relu-hat", "default-adam-relu-real")}
    scores = synthetic()
    scores = scores[scores["rung"].isin(few)]
    said = dict(answer.sentences(scores, ladder.answer(scores, few)))
    assert "Following the linear twin" in said and "Which axis costs most" not in said
    assert not re.search(r"\bnan\b", " ".join(said.values()))
