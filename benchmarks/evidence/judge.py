"""The judge: from the register and the tables to one row per check and one verdict per claim.

One rule judges every check: verified if the 90 % interval lies inside the band, falsified if the 95 % interval lies
wholly outside, else inconclusive. Intervals are Student's, over seeds; an exact computation has none. A claim's verdict
is that of its primary check, once its controls behave. Another main check may be called falsified only if its Holm
p over the claim's main checks is at most 0.05; otherwise it is inconclusive. An inconclusive check says how many seeds
with its spread would decide it, and how long they would take.

What readers see is a word (`word`), because a smaller protocol, or a band of our own, does not refute a paper.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.evidence import verdict_card
from benchmarks.evidence.estimators import Estimate, NotRun, Tables
from benchmarks.evidence.register import Check, Claim, ClaimsError, Protocol, Regime
from benchmarks.evidence.statistics import Interval, holm, p_outside, seeds_needed, t_interval, verdict

FEWEST_SEEDS = 3
# The Holm p up to which a main check that is not the primary one may be called falsified.
LEVEL = 0.05
CHECK_COLUMNS = list(verdict_card.CARD.columns)


def judge(
    claims: dict[str, Claim],
    tables: Tables,
    sources: Collection[str],
    seconds_per_seed: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row per check.

    Args:
        tables: by file name without ``.csv``.
        sources: where images and text came from, for checks whose protocol names a source.
        seconds_per_seed: of each configuration's stages, by its name; without them no time is given.
    """
    costs = seconds_per_seed or {}
    rows = [row for name, claim in claims.items() for row in _judge_claim(name, claim, tables, sources, costs)]
    return pd.DataFrame(rows).reindex(columns=CHECK_COLUMNS)


def word(verdict: str, fidelity: str, origin: str, role: str = "main") -> str:
    """The word for a verdict on pages that people read.

    A main check is said not to hold only if it was tested with the paper's own protocol, or exactly, against a band
    from a theorem or the paper. A control's answer is known, whatever its protocol and band: if it is falsified, its
    statement does not hold.
    """
    if verdict == "falsified":
        strict = fidelity in ("exact", "paper-protocol") and origin in ("theorem", "paper")
        return "does not hold" if strict or role != "main" else "not reproduced here"
    return {"verified": "holds", "inconclusive": "open", "not-run": "not run", "toy": "not run"}[verdict]


class ClaimVerdict(NamedTuple):
    """The verdict of a claim.

    Attributes:
        reason: why, with the other main checks that are not verified.
        word: the word for it on pages that people read.
        post_hoc: why it must be read as post hoc, shown next to the word; "" if it need not.
    """

    verdict: str
    reason: str
    word: str
    post_hoc: str = ""


def claim_verdict(checks: pd.DataFrame) -> ClaimVerdict:
    """The verdict of a claim from the rows of its checks in ``claims.csv``.

    A missing run or a smaller data set than registered comes first, then the controls: if one misbehaves, the
    instrument is in doubt and nothing is judged. Otherwise the verdict is that of the primary check.

    Raises:
        ClaimsError: if no row is that of a primary check, as in a table that is older than this column.
    """
    main = checks[checks["role"] == "main"]
    if main.empty:
        return ClaimVerdict("not-run", "no row in claims.csv: run `bench repro`", "not run")
    primary = main[main["primary"] == "yes"] if "primary" in main else main[:0]
    if len(primary) != 1:
        raise ClaimsError(f"claims.csv has no primary check of {main['claim'].iloc[0]}: run `bench repro` to remake it")
    first = primary.iloc[0]
    post_hoc = first["post_hoc"] if isinstance(first["post_hoc"], str) else ""
    for missing in ("not-run", "toy"):
        hit = main[main["verdict"] == missing]
        if len(hit):
            return ClaimVerdict(missing, f"{hit['check'].iloc[0]}: {hit['reason'].iloc[0]}", "not run")
    broken = checks[(checks["role"] != "main") & (checks["behaves"] != "yes")]
    if len(broken):
        name, outcome, why = broken[["check", "verdict", "reason"]].iloc[0]
        why = f"control {name} did not behave: it was {outcome} ({why}); by itself {first['check']}: {first['word']}"
        return ClaimVerdict("inconclusive", why, "open", post_hoc)
    said = [f"{first['check']}: {first['reason']}", *_others(main[main["primary"] != "yes"])]
    if controls := len(checks) - len(main):
        said.append(f"{controls} controls behaved")
    return ClaimVerdict(first["verdict"], "; ".join(said), first["word"], post_hoc)


def _others(checks: pd.DataFrame) -> list[str]:
    """The results of the other main checks: how many hold, and the names of those that do not."""
    if checks.empty:
        return []
    said = [f"{(checks['word'] == 'holds').sum()} of {len(checks)} other checks hold"]
    for term in ("does not hold", "not reproduced here", "open"):
        if names := checks.loc[checks["word"] == term, "check"].to_list():
            said.append(f"{term}: {', '.join(names)}")
    return said


def _judge_claim(
    name: str, claim: Claim, tables: Tables, sources: Collection[str], seconds_per_seed: Mapping[str, float]
) -> list[dict]:
    """The rows of a claim's checks, with Holm's correction over the main ones."""
    rows, spreads = [], []
    for check_name, check in claim.checks.items():
        row, p, values = _judge_check(check, tables, sources)
        primary = "yes" if check_name == claim.primary else ""
        rows.append({"claim": name, "check": check_name, **row, "primary": primary, "holm": p})
        spreads.append(values)
    main = [row for row in rows if row["role"] == "main"]
    ps = [row["holm"] for row in main]
    for row, adjusted in zip(main, holm(ps)):
        row["holm"] = adjusted
        if row["verdict"] == "falsified" and not row["primary"] and adjusted > LEVEL:
            row["verdict"] = "inconclusive"
            row["reason"] += f", but Holm's p over the claim's {len(main)} main checks is {adjusted:.2g}"
    for row, values, check in zip(rows, spreads, claim.checks.values()):
        row["word"] = word(row["verdict"], row["fidelity"], row["origin"], row["role"])
        if row["verdict"] == "inconclusive" and values is not None:
            corrected = row["role"] == "main" and not row["primary"]
            others = [p for one, p in zip(main, ps) if one is not row] if corrected else []
            row |= _cure(row, values, others, check, seconds_per_seed)
    return rows


def _cure(
    row: dict, values: np.ndarray, others: Sequence[float], check: Check, seconds_per_seed: Mapping[str, float]
) -> dict:
    """What would decide an open check.

    Args:
        values: one per seed.
        others: the p of the other main checks, for Holm's correction; empty if there is none to make.
    """
    needed = seeds_needed(values, *check.limits, counts=lambda p: holm([p, *others])[0] <= LEVEL)
    if needed is None:
        edge = "the mean is on the edge of the band, where no number of seeds would decide"
        return {"reason": f"{row['reason']}; {edge}"}
    reason = f"{row['reason']}; {needed} seeds with this spread would decide"
    if check.most_seeds and needed > check.most_seeds:
        return {"reason": f"{reason}, and the data allow {check.most_seeds}"}
    known = check.estimator.stages & set(seconds_per_seed)
    cost = needed * sum(seconds_per_seed[name] for name in known) if known else np.nan
    return {"reason": reason, "seeds_needed": needed, "seconds_needed": cost}


def _judge_check(check: Check, tables: Tables, sources: Collection[str]) -> tuple[dict, float, np.ndarray | None]:
    """A check's row; the p that its mean lies outside the band, nan for a control and where there is none; and its
    values, if more of them with the same spread might decide it."""
    low, high = check.limits
    row = {
        "role": check.role,
        "statement": check.statement,
        "predicted": check.predicted,
        "band_low": low,
        "band_high": high,
        "fidelity": check.fidelity,
        "origin": check.origin,
        "post_hoc": check.post_hoc or "",
    }
    try:
        estimate = check.estimator.estimate(tables)
    except NotRun as missing:
        row |= {"n": 0, "verdict": "not-run", "behaves": _behaves(check, "not-run"), "reason": str(missing)}
        return row, np.nan, None
    values = estimate.values[np.isfinite(estimate.values)]
    row |= {"unit": estimate.unit, "n": len(values), "measured": values.mean() if len(values) else np.nan}
    inner, outer = _intervals(estimate, values)
    if inner and not estimate.exact:
        row |= {"ci90_low": inner.low, "ci90_high": inner.high, "ci95_low": outer.low, "ci95_high": outer.high}
    regime_met, row["regime"] = _regime(check.regime, estimate.runs)
    shortfall = _shortfall(check.protocol, estimate.runs, sources)
    spread = None
    if shortfall:
        outcome, reason = "toy", f"less data than registered: {shortfall}"
    elif estimate.exact and not len(values):
        outcome, reason = "inconclusive", "the computation gave no value"
    elif not estimate.exact and len(values) < FEWEST_SEEDS:
        outcome, reason = "inconclusive", f"{len(values)} seeds gave a value; {FEWEST_SEEDS} are needed"
    elif not regime_met:
        outcome, reason = "inconclusive", f"outside its regime: {row['regime']}"
        if check.regime.share == 1:
            reason += ", which more seeds cannot mend"
    else:
        outcome = verdict(inner, outer, low, high)
        reason = _reason(outcome, estimate.exact, inner)
        spread = None if estimate.exact else values
    row |= {"verdict": outcome, "behaves": _behaves(check, outcome), "reason": reason}
    return row, _p_outside(estimate, values, low, high) if check.role == "main" else np.nan, spread


def _p_outside(estimate: Estimate, values: np.ndarray, low: float, high: float) -> float:
    if not estimate.exact:
        return p_outside(values, low, high)
    return np.nan if not len(values) else float(low <= values[0] <= high)


def _intervals(estimate: Estimate, values: np.ndarray) -> tuple[Interval | None, Interval | None]:
    if estimate.exact:
        point = Interval(values[0], values[0]) if len(values) else None
        return point, point
    return t_interval(values, 0.90), t_interval(values, 0.95)


def _regime(regime: Regime | None, runs: pd.DataFrame) -> tuple[bool, str]:
    if regime is None or runs.empty:
        return True, ""
    readings = runs[regime.metric].fillna(-np.inf).groupby(runs["seed"]).min()
    held = int((readings >= regime.at_least).sum())
    asked = f"{regime.meaning} ({regime.metric} >= {regime.at_least:g} in"
    if regime.share < 1:
        met = held >= regime.share * len(readings) - 1e-9
        return met, f"{asked} at least {100 * regime.share:g} % of the seeds; in {held} of {len(readings)})"
    lowest = f"{readings.min():.3g}" if np.isfinite(readings.min()) else "never"
    return held == len(readings), f"{asked} every run; lowest {lowest})"


def _shortfall(protocol: Protocol, runs: pd.DataFrame, sources: Collection[str]) -> str:
    lacks = []
    if protocol.source and protocol.source not in sources:
        lacks.append(f"the data are {' and '.join(sources)}, not {protocol.source}")
    if protocol.images and not runs.empty and runs["images"].min() < protocol.images:
        lacks.append(f"{runs['images'].min()} of {protocol.images} images")
    return "; ".join(lacks)


def _reason(outcome: str, exact: bool, inner: Interval) -> str:
    if exact:
        return f"exact value {'inside' if outcome == 'verified' else 'outside'} the band"
    if outcome == "verified":
        return "90 % interval inside the band"
    if outcome == "falsified":
        return "95 % interval wholly outside the band"
    return f"interval too wide: the 90 % interval [{inner.low:.4g}, {inner.high:.4g}] crosses the band"


def _behaves(check: Check, outcome: str) -> str:
    if check.role == "main":
        return ""
    return "yes" if outcome == {"positive": "verified", "negative": "falsified"}[check.role] else "no"
