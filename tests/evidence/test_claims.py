"""Intervals, estimators and verdicts: each on a table where its claim holds and one where it fails."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evidence import claims as register
from benchmarks.evidence.estimators import ESTIMATORS
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.statistics import Interval, seeds_needed, t_interval, verdict

CLAIM = """
X1:
  title: A claim
  section: A section
  registered: 2026-01-01
  source: A paper
  statement: It holds.
  measurement: By looking.
  fidelity: scaled
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


@pytest.fixture
def claim(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    return register.load(path)


def outcome(claim, given, source="cifar10"):
    checks = register.judge(claim, given, source)
    return register.claim_verdict(checks), checks.set_index("check")


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
    (word, why), checks = outcome(claim, tables())
    assert word == "verified", why
    row = checks.loc["X1.level"]
    assert row.measured == pytest.approx(1.02)
    assert (row.n, row.predicted, row.band_low, row.band_high) == (3, 1.0, 0.95, 1.15)
    assert row.ci95_low < row.ci90_low < row.measured < row.ci90_high < row.ci95_high
    assert list(checks.behaves) == ["", "yes", "yes"]


def test_a_claim_that_fails_is_falsified(claim):
    (word, why), _ = outcome(claim, tables(main=(1.4, 1.41, 1.42)))
    assert (word, "X1.level" in why) == ("falsified", True)


def test_a_wide_interval_is_inconclusive(claim):
    (word, why), _ = outcome(claim, tables(main=(0.8, 1.0, 1.2)))
    assert word == "inconclusive" and "interval too wide" in why
    # mean 1, sd 0.2: 90 % needs t sd / sqrt(n) <= 0.05, that is t <= sqrt(n) / 4, first at n = 46 (t = 1.679)
    assert "46 seeds with this spread would decide" in why


def test_controls_that_misbehave_leave_nothing_judged(claim):
    (word, why), checks = outcome(claim, tables(negative=GOOD))
    assert word == "inconclusive" and "X1.negative did not behave" in why
    assert checks.loc["X1.negative", "verdict"] == "verified"
    (word, why), _ = outcome(claim, tables(positive=(0.1, 0.1, 0.1)))
    assert word == "inconclusive" and "X1.positive did not behave" in why


def test_outside_its_regime_a_check_is_never_falsified(claim):
    (word, why), checks = outcome(claim, tables(main=(0.3, 0.3, 0.3), edge_fraction=0.2))
    assert word == "inconclusive" and "outside its regime" in why
    never = tables(main=(0.3, 0.3, 0.3), edge_fraction=np.nan)
    assert outcome(claim, never)[0][0] == "inconclusive"


def test_too_few_seeds_are_inconclusive_and_say_how_many(claim):
    (word, why), _ = outcome(claim, tables(main=(1.01, 1.02, np.nan)))
    assert word == "inconclusive" and "2 seeds gave a value, 3 needed" in why


def test_smaller_data_make_a_toy_and_say_what_is_missing(claim):
    (word, why), _ = outcome(claim, tables(images=40), source="digits")
    assert word == "toy" and "data are digits, cifar10 needed; 40 of 100 images" in why


def test_a_missing_run_is_not_run(claim):
    given = tables()
    long = given["progressive_sharpening.long"]
    given["progressive_sharpening.long"] = long[long.configuration != "main"]
    (word, why), _ = outcome(claim, given)
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
    path = tmp_path / "claims.yaml"
    path.write_text(
        CLAIM.split("  protocol")[0].replace("scaled", "exact")
        + "  band: {low: 0.999, high: 1.001, relative: true}\n  checks:\n"
        + "    X1.a: {statement: s, estimator: {name: threshold, optimizer: gd},"
        + " prediction: {formula: gradient_descent, lr: 0.01}}\n"
    )
    claim = register.load(path)
    for value, word in ((200.0, "verified"), (200.1, "verified"), (201.0, "falsified")):
        table = pd.DataFrame({"optimizer": ["gd"], "stability_threshold": [value]})
        checks = register.judge(claim, {"stability_thresholds": table}, "digits")
        assert checks.verdict.item() == word
        assert (checks.n.item(), pd.isna(checks.ci95_low.item())) == (1, True)
    table = pd.DataFrame({"optimizer": ["gd"], "stability_threshold": [np.nan]})
    checks = register.judge(claim, {"stability_thresholds": table}, "digits")
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
    ],
)
def test_a_fault_in_the_register_is_named_by_its_path(tmp_path, old, new, message):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM.replace(old, new))
    with pytest.raises(register.ClaimsError, match=message.replace(".", r"\.")):
        register.load(path)


def test_a_claim_without_rows_is_not_run(claim):
    checks = register.judge(claim, tables(), "cifar10")
    verdict, why = register.claim_verdict(checks[checks["claim"] == "another"])
    assert verdict == "not-run" and "bench repro" in why


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
