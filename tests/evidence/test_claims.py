"""Intervals, estimators, verdicts and words: each on a table where its claim holds and one where it fails; and the
register itself."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence import judge, register, summary
from benchmarks.evidence.amendments import RULES
from benchmarks.evidence.estimators import ESTIMATORS
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.statistics import Interval, holm, p_outside, seeds_needed, t_interval, verdict
from benchmarks.studies import catalog

ROOT = Path(__file__).parents[2]
CLAIM = """
X1:
  title: A claim
  registered: 2026-01-01
  source: A paper
  statement: It holds.
  measurement: By looking.
  fidelity: scaled
  origin: ours
  primary: X1.level
  protocol: {source: cifar10, images: 100}
  regime: {metric: edge_fraction, at_least: 0.5, meaning: the edge was reached}
  band: {low: 0.95, high: 1.15}
  checks:
    X1.level:
      statement: the level
      estimator: {name: cell, configuration: main, metric: late_sharpness_ratio}
      prediction: 1.0
    X1.positive:
      role: positive
      statement: must hold
      estimator: {name: cell, configuration: positive, metric: late_sharpness_ratio}
      prediction: 1.0
      protocol: {}
      regime: null
    X1.negative:
      role: negative
      statement: must fail
      estimator: {name: cell, configuration: negative, metric: late_sharpness_ratio}
      prediction: 1.0
      protocol: {}
      regime: null
"""


def runs(configuration, ratios, learning_rate=0.1, **columns):
    rows = [
        {
            "configuration": configuration,
            "seed": seed,
            "learning_rate": learning_rate,
            "images": 100,
            "edge_fraction": 0.7,
            "late_sharpness_ratio": ratio,
            "late_sharpness": ratio * 2 / learning_rate,
            **columns,
        }
        for seed, ratio in enumerate(ratios, 1)
    ]
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


GOOD = (1.01, 1.02, 1.03)


def tables(main=GOOD, positive=GOOD, negative=(0.2, 0.2, 0.2), **columns):
    parts = [runs("main", main, **columns), runs("positive", positive), runs("negative", negative)]
    return {"progressive_sharpening.long": pd.concat(parts, ignore_index=True)}


def written(folder, text=CLAIM, study="a_study"):
    """The file of a study's claims."""
    path = folder / study / "claims.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def claim(tmp_path):
    return register.load([written(tmp_path)])


def outcome(claim, given, *sources):
    checks = judge.judge(claim, given, sources or ["cifar10"])
    return judge.claim_verdict(checks), checks.set_index("check")


def test_t_interval_is_students():
    # Student's t at n = 4: 3.182446 standard errors at 95 %, 2.353363 at 90 %.
    values = np.array([1.0, 2.0, 3.0, 4.0])
    error = values.std(ddof=1) / 2
    wide, narrow = t_interval(values, 0.95), t_interval(values, 0.90)
    assert (wide.low, wide.high) == pytest.approx((2.5 - 3.182446 * error, 2.5 + 3.182446 * error), rel=1e-6)
    assert (narrow.low, narrow.high) == pytest.approx((2.5 - 2.353363 * error, 2.5 + 2.353363 * error), rel=1e-6)
    assert t_interval(np.array([1.0]), 0.95) is None
    assert t_interval(np.array([1.0, np.nan]), 0.95) is None


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ((0.96, 1.1), (0.9, 1.2), "verified"),
        ((0.94, 1.1), (0.9, 1.2), "inconclusive"),
        ((1.2, 1.3), (1.16, 1.4), "falsified"),
        ((0.5, 0.6), (0.4, 0.94), "falsified"),
        ((1.16, 1.3), (1.1, 1.4), "inconclusive"),
    ],
)
def test_the_one_rule(inner, outer, expected):
    assert verdict(Interval(*inner), Interval(*outer), 0.95, 1.15) == expected


def test_a_claim_that_holds_is_verified(claim):
    (word, why, *_), checks = outcome(claim, tables())
    assert word == "verified", why
    row = checks.loc["X1.level"]
    assert row.measured == pytest.approx(1.02)
    assert (row.n, row.predicted, row.band_low, row.band_high) == (3, 1.0, 0.95, 1.15)
    assert row.ci95_low < row.ci90_low < row.measured < row.ci90_high < row.ci95_high
    assert list(checks.behaves) == ["", "yes", "yes"]


def test_a_claim_that_fails_is_falsified(claim):
    (word, why, *_), _ = outcome(claim, tables(main=(1.4, 1.41, 1.42)))
    assert (word, "X1.level" in why) == ("falsified", True)


def test_a_wide_interval_is_inconclusive(claim):
    (word, why, *_), _ = outcome(claim, tables(main=(0.8, 1.0, 1.2)))
    assert word == "inconclusive" and "interval too wide" in why
    # mean 1, sd 0.2: 90 % needs t sd / sqrt(n) <= 0.05, that is t <= sqrt(n) / 4, first at n = 46 (t = 1.679)
    assert "46 seeds with this spread would decide" in why


def test_controls_that_misbehave_leave_nothing_judged(claim):
    (word, why, *_), checks = outcome(claim, tables(negative=GOOD))
    assert word == "inconclusive" and "X1.negative did not behave" in why
    assert checks.loc["X1.negative", "verdict"] == "verified"
    (word, why, *_), _ = outcome(claim, tables(positive=(0.1, 0.1, 0.1)))
    assert word == "inconclusive" and "X1.positive did not behave" in why


def test_outside_its_regime_a_check_is_never_falsified(claim):
    (word, why, *_), checks = outcome(claim, tables(main=(0.3, 0.3, 0.3), edge_fraction=0.2))
    assert word == "inconclusive" and "outside its regime" in why
    never = tables(main=(0.3, 0.3, 0.3), edge_fraction=np.nan)
    assert outcome(claim, never)[0][0] == "inconclusive"


def test_too_few_seeds_are_inconclusive_and_say_how_many(claim):
    (word, why, *_), _ = outcome(claim, tables(main=(1.01, 1.02, np.nan)))
    assert word == "inconclusive" and "2 seeds gave a value; 3 are needed" in why


def test_smaller_data_make_a_toy_and_say_what_is_missing(claim):
    (word, why, *_), _ = outcome(claim, tables(images=40), "digits")
    assert word == "toy" and "the data are digits, not cifar10; 40 of 100 images" in why
    (word, why, *_), _ = outcome(claim, tables(), "digits", "tiny-shakespeare")
    assert word == "toy" and "the data are digits and tiny-shakespeare, not cifar10" in why
    assert outcome(claim, tables(), "cifar10", "markov-chain")[0][0] != "toy"


def test_a_missing_run_is_not_run(claim):
    given = tables()
    long = given["progressive_sharpening.long"]
    given["progressive_sharpening.long"] = long[long.configuration != "main"]
    (word, why, *_), _ = outcome(claim, given)
    assert word == "not-run" and "no run of 'main'" in why
    assert outcome(claim, {})[0][0] == "not-run"


@pytest.mark.parametrize("power", [1.0, 0.0, -0.5])
def test_the_exponent_estimator_recovers_a_power_law(power):
    parts = []
    for lr in (0.02, 0.03, 0.05):
        part = runs(f"lr{lr}", GOOD, learning_rate=lr)
        part["late_sharpness"] = [seed * lr**-power for seed in part.seed]
        parts.append(part)
    given = {"progressive_sharpening.long": pd.concat(parts)}
    configurations = ["lr0.02", "lr0.03", "lr0.05"]
    estimate = ESTIMATORS["exponent"](given, configurations=configurations, metric="late_sharpness")
    np.testing.assert_allclose(estimate.values, power, atol=1e-12)


def test_the_exponent_of_a_seed_that_lacks_a_run_is_missing():
    part = pd.concat([runs("a", GOOD, learning_rate=0.1), runs("b", (1.0, 1.0, np.nan), learning_rate=0.2)])
    estimate = ESTIMATORS["exponent"](
        {"progressive_sharpening.long": part}, configurations=["a", "b"], metric="late_sharpness"
    )
    assert np.isfinite(estimate.values).tolist() == [True, True, False]


def test_an_exact_check_has_no_interval(tmp_path):
    text = (
        CLAIM.split("  protocol")[0].replace("scaled", "exact").replace("X1.level", "X1.a")
        + "  band: {low: 0.999, high: 1.001, relative: true}\n  checks:\n"
        + "    X1.a: {statement: s, estimator: {name: threshold, optimizer: gd},"
        + " prediction: {formula: gradient_descent, lr: 0.01}}\n"
    )
    claim = register.load([written(tmp_path, text)])
    for value, word in ((200.0, "verified"), (200.1, "verified"), (201.0, "falsified")):
        table = pd.DataFrame({"optimizer": ["gd"], "stability_threshold": [value]})
        checks = judge.judge(claim, {"stability_thresholds": table}, ["digits"])
        assert checks.verdict.item() == word
        assert (checks.n.item(), pd.isna(checks.ci95_low.item())) == (1, True)
        assert checks.holm.item() == (1.0 if word == "verified" else 0.0)
    table = pd.DataFrame({"optimizer": ["gd"], "stability_threshold": [np.nan]})
    checks = judge.judge(claim, {"stability_thresholds": table}, ["digits"])
    assert (checks.verdict.item(), checks.reason.item()) == ("inconclusive", "the computation gave no value")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: cell", "name: cel", "unknown estimator 'cel'"),
        ("metric: late_sharpness_ratio", "metric: late_sharpnes", "unknown metric 'late_sharpnes'"),
        ("role: positive", "role: optimistic", "X1.checks.X1.positive.role"),
        ("low: 0.95, high: 1.15", "low: 2.0, high: 1.15", "low 2 exceeds high 1.15"),
        ("  source: A paper\n", "", "X1.source"),
        ("statement: the level", "statment: the level", "X1.checks.X1.level.statment"),
        ("metric: edge_fraction", "metric: edge", "X1.checks.X1.level.regime.metric: unknown metric 'edge'"),
        ("at_least: 0.5,", "at_least: 0.5, share: 1.5,", "X1.checks.X1.level.regime.share"),
        ("origin: ours", "origin: theirs", "X1.checks.X1.level.origin"),
        ("  origin: ours\n", "", "X1.checks.X1.level.origin: missing"),
        ("  primary: X1.level\n", "", "X1.primary: missing"),
        (
            "primary: X1.level",
            "primary: X1.leve",
            "X1.primary: 'X1.leve' is not a check of the claim: they are X1.level, X1.positive, X1.negative",
        ),
        (
            "primary: X1.level",
            "primary: X1.negative",
            "X1.primary: 'X1.negative' is a control; a primary check is a main one",
        ),
        (
            "  source: A paper\n",
            "  source: A paper\n  amendments: [{date: 2026-01-02, rule: more, old_verdict: verified}]\n",
            "X1.amendments.0: unknown rule 'more': known are more-seeds, ",
        ),
        (
            "{name: cell, configuration: main, metric: late_sharpness_ratio}",
            "{name: threshold, optimizer: gd}",
            "X1.checks.X1.level: a regime needs an estimator of runs (cell, exponent, log_ratio), not threshold",
        ),
        (
            "{name: cell, configuration: main, metric: late_sharpness_ratio}",
            "{name: rungs, terms: [{rung: a}]}",
            "X1.checks.X1.level.estimator: estimator 'rungs': a term needs quantity, rung and may have system, weight",
        ),
        (
            "{name: cell, configuration: main, metric: late_sharpness_ratio}",
            "{name: speedup, optimizer: a, against: b, workloads: [c], target: half}",
            "X1.checks.X1.level.estimator: unknown target 'half': known are target, quarter, fourfold",
        ),
    ],
)
def test_a_fault_in_the_register_is_named_by_its_file_and_path(tmp_path, old, new, message):
    path = written(tmp_path, CLAIM.replace(old, new, 1))
    with pytest.raises(register.ClaimsError) as raised:
        register.load([path])
    assert message in str(raised.value)
    assert all(line.startswith(f"{path}: X1.") for line in str(raised.value).splitlines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{path} has no claims: add one, or delete the file"),
        ("# nothing\n", "{path} has no claims: add one, or delete the file"),
        ("[X1]\n", "{path} must give claims by name, and begins with a list"),
        ("X1:\n", "{path}: X1: the claim is empty"),
        ("X1: text\n", "{path}: X1: the claim must be a mapping"),
        ("1: {}\n", "{path}: 1: a claim's name must be text"),
        ("X1:\n  checks:\n", "{path}: X1.checks: must give at least one check by its name"),
        ("X1: {checks: {}}\n", "{path}: X1.checks: must give at least one check by its name"),
        ("X1: {checks: [a]}\n", "{path}: X1.checks: must give at least one check by its name"),
        ("X1:\n  checks:\n    X1.a:\n", "{path}: X1.checks.X1.a: the check is empty"),
        ("X1: {checks: {X1.a: text}}\n", "{path}: X1.checks.X1.a: the check must be a mapping"),
        ("X1: {checks: {1: {}}}\n", "{path}: X1.checks.1: a check's name must be text"),
        (
            CLAIM.replace("  source", "  section: A section\n  source", 1),
            "{path}: X1: a claim does not give its section or study: they are those of the folder",
        ),
        (
            "X1:\n  title: na\u00efve\n".encode("latin-1"),
            "cannot read {path}: line 2 is not UTF-8 text: save the file as UTF-8",
        ),
    ],
)
def test_a_file_that_cannot_be_a_register_is_refused_in_one_sentence(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(register.ClaimsError) as raised:
        register.load([path])
    assert str(raised.value) == message.format(path=path)


def test_a_register_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(register.ClaimsError) as raised:
        register.load([])
    assert str(raised.value) == "the register is empty: no claims.yaml was found in a study's folder"
    with pytest.raises(register.ClaimsError, match=r"cannot read .*nowhere"):
        register.load([tmp_path / "nowhere" / "claims.yaml"])


def test_claims_of_several_files_are_joined_in_order_and_know_their_study(tmp_path):
    first = written(tmp_path, CLAIM.replace("X1", "Z1"), "one")
    second = written(tmp_path, CLAIM, "two")
    joined = register.load([first, second])
    assert {name: claim.study for name, claim in joined.items()} == {"Z1": "one", "X1": "two"}
    assert list(joined) == ["Z1", "X1"]


@pytest.mark.parametrize(
    ("changed", "identifier"), [(CLAIM, "X1"), (CLAIM.replace("X1:", "Z1:"), "X1.level")], ids=["claim", "check"]
)
def test_a_name_in_two_files_is_an_error_that_names_both(tmp_path, changed, identifier):
    first, second = written(tmp_path, CLAIM, "one"), written(tmp_path, changed, "two")
    with pytest.raises(register.ClaimsError) as raised:
        register.load([first, second])
    assert f"{second}: {identifier}: is in {first} too: rename one of them" in str(raised.value)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            "{name: computed, study: deep_linear, experiment: waypoint, system: s, quantity: q}",
            "no table deep_linear/waypoint.csv",
        ),
        (
            "{name: computed, study: deep_linear, experiment: waypoints, system: s, quantity: score}",
            "no 'score' in deep_linear/waypoints.csv",
        ),
        ("{name: catapult, system: linear, column: boundary}", "no 'boundary' in catapult.csv"),
        ("{name: rungs, terms: [{rung: a, quantity: score}]}", "no 'score' in low_rank_progression.long.csv"),
        (
            "{name: contests, terms: [{workload: a, optimizer: b, quantity: score}]}",
            "no 'score' in optimizer_comparison.long.csv",
        ),
    ],
)
def test_a_table_or_quantity_that_no_study_makes_is_refused_before_anything_runs(tmp_path, estimator, message):
    text = CLAIM.replace("{name: cell, configuration: main, metric: late_sharpness_ratio}", estimator)
    path = written(tmp_path, text.replace("      prediction: 1.0\n", "      prediction: 1.0\n      regime: null\n", 1))
    register.load([path])
    with pytest.raises(register.ClaimsError) as raised:
        register.load([path], catalog.cards())
    assert str(raised.value) == f"{path}: X1.checks.X1.level.estimator: {message}"


def test_the_register_reads_what_the_studies_make_and_names_its_primary_checks():
    claims = register.load((ROOT / path for path in catalog.claims()), catalog.cards())
    assert {claim.study for claim in claims.values()} <= set(catalog.studies())
    for claim in claims.values():
        mains = [name for name, check in claim.checks.items() if check.role == "main"]
        assert claim.primary == mains[0]
        tried = [(check.estimator, check.predicted, check.limits) for check in claim.checks.values()]
        assert all(tried.count(one) == 1 for one in tried), f"{claim.primary}: a control that cannot fail by itself"


def test_an_amendment_by_a_rule_says_the_rule_and_then_its_own_reason(tmp_path):
    given = """  amendments:
    - {date: 2026-01-02, rule: shared-runs, old_verdict: verified}
    - {date: 2026-01-03, rule: more-seeds, reason: Seeds 4 and 5., old_verdict: inconclusive}
    - {date: 2026-01-04, reason: A fault., old_verdict: inconclusive}
  fidelity"""
    amendments = register.load([written(tmp_path, CLAIM.replace("  fidelity", given))])["X1"].amendments
    assert [amendment.reason for amendment in amendments] == [
        RULES["shared-runs"],
        RULES["more-seeds"] + " Seeds 4 and 5.",
        "A fault.",
    ]
    assert "4.3 to 5.8 %" in RULES["more-seeds"] and "Stein" not in RULES["more-seeds"]


def test_a_claim_without_rows_is_not_run(claim):
    checks = judge.judge(claim, tables(), ["cifar10"])
    found = judge.claim_verdict(checks[checks["claim"] == "another"])
    assert (found.verdict, found.word) == ("not-run", "not run") and "bench repro" in found.reason


def test_a_table_of_checks_without_primary_ones_is_refused(claim):
    checks = judge.judge(claim, tables(), ["cifar10"]).drop(columns=["primary", "holm", "word", "post_hoc"])
    with pytest.raises(register.ClaimsError, match="no primary check of X1: run `bench repro` to remake it"):
        judge.claim_verdict(checks)


@pytest.mark.parametrize(("values", "low", "high"), [((1.0, 1.1, 1.3), 0.0, 1.2), ((1.0, 1.1, 1.301), 0.0, 1.13)])
def test_the_seeds_that_would_decide_are_the_fewest(values, low, high):
    """The same mean and spread, drawn out to n values, are decided at that n and not at one less."""

    def decided(n):
        spread = np.tile([-1.0, 1.0], n)[:n] if n % 2 == 0 else np.concatenate([np.tile([-1.0, 1.0], n // 2), [0.0]])
        drawn = np.mean(values) + np.std(values, ddof=1) * spread / spread.std(ddof=1)
        return verdict(t_interval(drawn, 0.90), t_interval(drawn, 0.95), low, high) != "inconclusive"

    n = seeds_needed(np.array(values), low, high)
    assert n > 3 and decided(n) and not decided(n - 1)


def test_on_the_edge_no_number_of_seeds_decides():
    assert seeds_needed(np.array([1.0, 1.1, 1.2]), 0.0, 1.1) is None


# Words


@pytest.mark.parametrize(
    ("verdict", "fidelity", "origin", "role", "expected"),
    [
        ("verified", "scaled", "ours", "main", "holds"),
        ("falsified", "exact", "theorem", "main", "does not hold"),
        ("falsified", "exact", "paper", "main", "does not hold"),
        ("falsified", "paper-protocol", "theorem", "main", "does not hold"),
        ("falsified", "paper-protocol", "paper", "main", "does not hold"),
        ("falsified", "exact", "ours", "main", "not reproduced here"),
        ("falsified", "paper-protocol", "ours", "main", "not reproduced here"),
        ("falsified", "scaled", "theorem", "main", "not reproduced here"),
        ("falsified", "scaled", "paper", "main", "not reproduced here"),
        ("falsified", "scaled", "ours", "negative", "does not hold"),
        ("inconclusive", "exact", "theorem", "main", "open"),
        ("not-run", "exact", "theorem", "main", "not run"),
        ("toy", "scaled", "ours", "main", "not run"),
    ],
)
def test_the_word_of_a_verdict(verdict, fidelity, origin, role, expected):
    assert judge.word(verdict, fidelity, origin, role) == expected


def test_a_claim_has_the_word_of_its_primary_check(claim, tmp_path):
    failing = tables(main=(1.4, 1.41, 1.42))
    assert outcome(claim, tables())[0].word == "holds"
    assert outcome(claim, failing)[0].word == "not reproduced here"
    assert outcome(claim, tables(main=(0.8, 1.0, 1.2)))[0].word == "open"
    assert outcome(claim, tables(negative=GOOD))[0].word == "open"
    assert outcome(claim, {})[0].word == "not run"
    toy = outcome(claim, tables(images=40))[0]
    assert toy.word == "not run" and "less data than registered: 40 of 100 images" in toy.reason
    strict = CLAIM.replace("fidelity: scaled", "fidelity: paper-protocol").replace("origin: ours", "origin: paper")
    found, checks = outcome(register.load([written(tmp_path, strict)]), failing)
    assert found.word == checks.loc["X1.level", "word"] == "does not hold"
    assert checks.loc[["X1.level", "X1.positive"], "origin"].tolist() == ["paper", "paper"]


# Primary checks and Holm


def test_p_outside_is_students_against_the_nearer_end():
    # Mean 2.5, standard error sd / 2 = 0.645497; t = (2.5 - 1) / 0.645497 = 2.323790 at 3 degrees of freedom.
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert p_outside(values, -1.0, 1.0) == pytest.approx(0.1027281, rel=1e-5)
    assert p_outside(-values, -1.0, 1.0) == pytest.approx(0.1027281, rel=1e-5)
    assert p_outside(values, 0.0, 3.0) == p_outside(values, 2.5, np.inf) == 1.0
    assert p_outside(np.array([2.0, 2.0, np.nan]), 0.0, 1.0) == 0.0
    assert np.isnan(p_outside(np.array([2.0, np.nan]), 0.0, 1.0))


@pytest.mark.parametrize("shift", [-0.01, 0.01])
def test_p_outside_is_below_a_twentieth_where_the_interval_is_outside(shift):
    values = np.array([1.0, 1.2, 1.7, 1.9])
    edge = t_interval(values, 0.95).low + shift
    assert (p_outside(values, 0.0, edge) < 0.05) == t_interval(values, 0.95).outside(0.0, edge) == (shift < 0)


def test_holms_adjusted_p_values():
    # Holm 1979: the i-th smallest of m times (m - i + 1), never below the one before, at most 1.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])
    assert holm([0.0, 1.0, 0.0]) == pytest.approx([0.0, 1.0, 0.0])
    # One that has no p is in the family all the same.
    adjusted = holm([0.01, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.08]) and np.isnan(adjusted[1])
    assert holm([]).tolist() == []


def with_others(folder, count, post_hoc=""):
    """The claim with more main checks, of the configurations other-0, other-1, ..."""
    more = "".join(
        f"""    X1.other-{i}:
      statement: another level
      estimator: {{name: cell, configuration: other-{i}, metric: late_sharpness_ratio}}
      prediction: 1.0
"""
        for i in range(count)
    )
    text = CLAIM.replace("    X1.positive:", more + "    X1.positive:")
    return register.load([written(folder, text.replace("statement: the level\n", f"statement: the level\n{post_hoc}"))])


def with_runs(*others, **changes):
    given = tables(**changes)
    long = [given["progressive_sharpening.long"], *(runs(f"other-{i}", values) for i, values in enumerate(others))]
    return {"progressive_sharpening.long": pd.concat(long, ignore_index=True)}


# Mean 1.2 in a band up to 1.15, standard error 0.0057735: t = 8.660254 at 2 degrees of freedom, p = 0.01307246.
ABOVE = (1.19, 1.2, 1.21)


def test_another_main_check_is_falsified_only_by_holms_p(tmp_path):
    few = with_others(tmp_path, 2)
    found, checks = outcome(few, with_runs(ABOVE, GOOD))
    assert checks.loc["X1.other-0", "holm"] == pytest.approx(3 * 0.01307246, rel=1e-5)
    assert checks.loc["X1.other-0", ["verdict", "word"]].tolist() == ["falsified", "not reproduced here"]
    assert (found.verdict, found.word) == ("verified", "holds")
    assert "1 of 2 other checks hold; not reproduced here: X1.other-0; 2 controls behaved" in found.reason
    many = with_others(tmp_path, 4)
    found, checks = outcome(many, with_runs(ABOVE, GOOD, GOOD, GOOD))
    assert checks.loc["X1.other-0", "holm"] == pytest.approx(5 * 0.01307246, rel=1e-5)
    assert checks.loc["X1.other-0", ["verdict", "word"]].tolist() == ["inconclusive", "open"]
    assert "but Holm's p over the claim's 5 main checks is 0.065" in checks.loc["X1.other-0", "reason"]
    assert "3 of 4 other checks hold; open: X1.other-0" in found.reason


def test_the_primary_check_needs_no_correction(tmp_path):
    found, checks = outcome(with_others(tmp_path, 4), with_runs(GOOD, GOOD, GOOD, GOOD, main=ABOVE))
    assert checks.loc["X1.level", "holm"] == pytest.approx(5 * 0.01307246, rel=1e-5)
    assert (checks.loc["X1.level", "verdict"], found.verdict) == ("falsified", "falsified")
    assert checks["primary"].tolist() == ["yes", "", "", "", "", "", ""]


def test_controls_and_what_was_not_run_have_no_p(tmp_path):
    found, checks = outcome(with_others(tmp_path, 1), with_runs())
    assert checks["holm"].notna().to_dict() == {
        "X1.level": True,
        "X1.other-0": False,
        "X1.positive": False,
        "X1.negative": False,
    }
    assert (found.verdict, found.word) == ("not-run", "not run") and "other-0" in found.reason


def test_controls_come_before_the_primary_check(tmp_path):
    found, _ = outcome(with_others(tmp_path, 1), with_runs(GOOD, main=(1.4, 1.41, 1.42), positive=(0.1, 0.1, 0.1)))
    assert (found.verdict, found.word) == ("inconclusive", "open")


def test_what_is_post_hoc_is_said_with_the_verdict_also_after_a_round_trip(tmp_path, claim):
    marked = with_others(tmp_path, 1, "      post_hoc: The horizon was lengthened.\n")
    checks = judge.judge(marked, with_runs(GOOD), ["cifar10"])
    assert checks["post_hoc"].tolist() == ["The horizon was lengthened.", "", "", ""]
    path = tmp_path / "claims.csv"
    checks.to_csv(path, index=False)
    for table in (checks, pd.read_csv(path)):
        found = judge.claim_verdict(table)
        assert (found.word, found.post_hoc) == ("holds", "The horizon was lengthened.")
    judge.judge(claim, tables(), ["cifar10"]).to_csv(path, index=False)
    assert judge.claim_verdict(pd.read_csv(path)).post_hoc == outcome(claim, tables())[0].post_hoc == ""


def test_new_columns_stand_at_the_end():
    assert judge.CHECK_COLUMNS[-4:] == ["word", "post_hoc", "seeds_needed", "seconds_needed"]


# What would decide an open check


def test_after_holm_it_takes_the_seeds_whose_p_is_small_enough(tmp_path):
    """With five main checks the p of one must be 0.01: standard deviation 0.01, and as many seeds as that takes."""
    _, checks = outcome(with_others(tmp_path, 4), with_runs(ABOVE, GOOD, GOOD, GOOD))
    row = checks.loc["X1.other-0"]
    # t = 0.05 sqrt(n) / 0.01: 8.66 at n = 3, where 9.92 is needed for p = 0.01; 10 at n = 4, where 5.84 is.
    assert row["seeds_needed"] == 4 and row["reason"].endswith("is 0.065; 4 seeds with this spread would decide")
    assert checks["seeds_needed"].notna().sum() == 1
    drawn = 1.2 + np.array([-1, -1, 1, 1]) * 0.01 * np.sqrt(3 / 4)
    _, checks = outcome(with_others(tmp_path, 4), with_runs(tuple(drawn), GOOD, GOOD, GOOD))
    assert checks.loc["X1.other-0", ["verdict", "holm"]].tolist() == ["falsified", pytest.approx(0.0107, abs=1e-3)]


def test_of_an_open_check_that_would_hold_holm_asks_nothing(tmp_path):
    wide = (0.8, 1.0, 1.2)
    _, checks = outcome(with_others(tmp_path, 4), with_runs(wide, GOOD, GOOD, GOOD))
    assert checks.loc["X1.other-0", "seeds_needed"] == 46  # as without correction, above


def test_the_time_is_that_of_all_seeds_of_the_stages_it_rests_on(claim):
    costs = {"main": 2.5, "positive": 100.0}
    row = judge.judge(claim, tables(main=(0.8, 1.0, 1.2)), ["cifar10"], costs).set_index("check").loc["X1.level"]
    assert (row["seeds_needed"], row["seconds_needed"]) == (46, 46 * 2.5)
    _, checks = outcome(claim, tables(main=(0.8, 1.0, 1.2)))
    assert np.isnan(checks.loc["X1.level", "seconds_needed"])


def test_what_the_data_do_not_allow_is_no_number_of_seeds(tmp_path):
    limited = CLAIM.replace("statement: the level\n", "statement: the level\n      most_seeds: 45\n")
    why, checks = outcome(register.load([written(tmp_path, limited)]), tables(main=(0.8, 1.0, 1.2)))
    assert "46 seeds with this spread would decide, and the data allow 45" in why.reason
    assert np.isnan(checks.loc["X1.level", "seeds_needed"])


def test_open_checks_are_listed_with_what_would_decide_them(claim):
    given = tables(main=(0.8, 1.0, 1.2), positive=(0.9, 1.0, 1.1))
    checks = judge.judge(claim, given, ["cifar10"], {"main": 2.5})
    lines = summary.open_checks(checks).splitlines()[2:]
    assert lines[0].startswith("| **X1.level** | the level | 0.6628 – 1.337 | 0.95 – 1.15 | 46 seeds, 115 s of one")
    assert lines[1].startswith("| **X1.positive** | ") and lines[1].endswith("seeds |") and len(lines) == 2


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(119.4, "119 s"), (120, "2 minutes"), (7140, "119 minutes"), (7200, "2 hours"), (200000, "2 days")],
)
def test_durations_are_told_in_the_largest_unit_of_which_there_are_two(seconds, said):
    assert summary.duration(seconds) == said


# Regimes


@pytest.mark.parametrize(
    ("share", "reached", "verdict"),
    [
        (1.0, (0.7, 0.7, 0.7, 0.7, 0.7), "verified"),
        (1.0, (0.7, 0.7, 0.7, 0.7, 0.2), "inconclusive"),
        (0.8, (0.7, 0.7, 0.7, 0.7, 0.2), "verified"),
        (0.8, (0.7, 0.7, 0.7, np.nan, 0.2), "inconclusive"),
        (0.6, (0.7, 0.7, 0.7, np.nan, 0.2), "verified"),
    ],
)
def test_a_regime_may_be_asked_of_a_share_of_the_seeds(tmp_path, share, reached, verdict):
    text = CLAIM.replace("at_least: 0.5,", f"at_least: 0.5, share: {share},")
    given = tables(main=(1.01, 1.02, 1.03, 1.02, 1.02))
    long = given["progressive_sharpening.long"]
    long.loc[long["configuration"] == "main", "edge_fraction"] = reached
    found, checks = outcome(register.load([written(tmp_path, text)]), given)
    assert found.verdict == verdict, found.reason
    assert checks.loc["X1.level", "measured"] == pytest.approx(1.02), "the estimate is of all seeds"
    held = sum(value >= 0.5 for value in reached)
    if share < 1:
        assert f"in at least {100 * share:g} % of the seeds; in {held} of 5)" in checks.loc["X1.level", "regime"]
    else:
        assert "in every run; lowest" in checks.loc["X1.level", "regime"]


@pytest.mark.parametrize("missed", [0.2, np.nan])
def test_a_seed_holds_a_regime_only_if_all_its_runs_do(tmp_path, missed):
    text = CLAIM.replace("at_least: 0.5,", "at_least: 0.5, share: 0.6,").replace(
        "{name: cell, configuration: main, metric: late_sharpness_ratio}",
        "{name: exponent, configurations: [main, twin], metric: late_sharpness}",
    )
    given = tables(main=(1.0, 1.0, 1.0))
    twin = runs("twin", (1.0, 1.0, 1.0), learning_rate=0.2)
    long = pd.concat([given["progressive_sharpening.long"], twin], ignore_index=True)
    long.loc[(long["configuration"] == "main") & (long["seed"] == 1), "edge_fraction"] = missed
    claim = register.load([written(tmp_path, text)])
    _, checks = outcome(claim, {"progressive_sharpening.long": long})
    assert "in 2 of 3)" in checks.loc["X1.level", "regime"] and checks.loc["X1.level", "verdict"] == "verified"
    long.loc[(long["configuration"] == "twin") & (long["seed"] == 2), "edge_fraction"] = missed
    _, checks = outcome(claim, {"progressive_sharpening.long": long})
    assert "in 1 of 3)" in checks.loc["X1.level", "regime"] and checks.loc["X1.level", "verdict"] == "inconclusive"
