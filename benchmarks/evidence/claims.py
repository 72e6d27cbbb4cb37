"""Claims as data, and the judge: from claims.yaml and the tables to one row a check and one verdict a claim."""

import datetime
import inspect
import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML, YAMLError

from benchmarks.evidence.carry_over import SWEEPS
from benchmarks.evidence.estimators import ESTIMATORS, Estimate, NotRun, Tables
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.statistics import Interval, seeds_needed, t_interval, verdict
from benchmarks.theory.stability import FORMULAS

FEWEST_SEEDS = 3
# The tables that checks rest on beside that of the runs.
COMPUTED = (
    "catapult.csv",
    "stability_thresholds.csv",
    "convex_rates/*.csv",
    "overparameterization/*.csv",
    "lazy_training/*.csv",
    "deep_linear/*.csv",
    "low_rank_progression.long.csv",
    "scale_invariance/*.csv",
    "low_rank_progression/*.csv",
    "optimizer_comparison.long.csv",
    "optimizer_comparison/*.csv",
)
# The stages that these estimators read the tables of.
APART = {"threshold": "thresholds", "catapult": "catapult", "heterogeneity_rank": "heterogeneity"}
CHECK_COLUMNS = [
    "claim",
    "check",
    "role",
    "statement",
    "predicted",
    "band_low",
    "band_high",
    "measured",
    "unit",
    "n",
    "ci90_low",
    "ci90_high",
    "ci95_low",
    "ci95_high",
    "regime",
    "fidelity",
    "verdict",
    "behaves",
    "reason",
]


class ClaimsError(ValueError):
    """claims.yaml is wrong; the message has one line per fault, each with its path."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Band(_Strict):
    """Where agreement lies; an end that is left out is open."""

    low: Annotated[float, Field(validate_default=False)] = -math.inf
    high: Annotated[float, Field(validate_default=False)] = math.inf
    relative: bool = False

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} exceeds high {self.high:g}")
        if math.isinf(self.low) and math.isinf(self.high):
            raise ValueError("a band needs a low or a high end")
        return self


class Formula(BaseModel):
    model_config = ConfigDict(extra="allow")
    formula: str

    @model_validator(mode="after")
    def _known(self):
        if self.formula not in FORMULAS:
            raise ValueError(f"unknown formula {self.formula!r}: known are {', '.join(FORMULAS)}")
        self.value()
        return self

    def value(self) -> float:
        try:
            return FORMULAS[self.formula](**self.model_extra)
        except TypeError as error:
            raise ValueError(str(error)) from error


class Estimator(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str

    @model_validator(mode="after")
    def _known(self):
        if self.name not in ESTIMATORS:
            raise ValueError(f"unknown estimator {self.name!r}: known are {', '.join(ESTIMATORS)}")
        metric = self.model_extra.get("metric")
        if metric is not None and metric not in COLUMNS:
            raise ValueError(f"unknown metric {metric!r}: known are {', '.join(COLUMNS)}")
        try:
            inspect.signature(ESTIMATORS[self.name]).bind({}, **self.model_extra)
        except TypeError as error:
            raise ValueError(f"estimator {self.name!r}: {error}") from None
        return self

    @property
    def rungs(self) -> set[str]:
        """The ladder's rungs that it reads."""
        given = self.model_extra
        listed = [*given.get("rungs", ()), *(given.get("minus") or ()), *SWEEPS.get(given.get("sweep"), ())]
        named = [given[key] for key in ("rung", "reference") if key in given]
        terms = [term["rung"] for key in ("terms", "over") for term in given.get(key) or () if "rung" in term]
        return {*listed, *named, *terms}

    @property
    def contests(self) -> set[tuple[str, str]]:
        """The (workload, optimizer) that it reads."""
        given = self.model_extra
        pairs = set()
        for term in (*(given.get("terms") or ()), *(given.get("over") or ())):
            if "workload" in term:
                named = term["optimizer"]
                pairs |= {(term["workload"], name) for name in ([named] if isinstance(named, str) else named)}
        names = [
            *given.get("optimizers", ()),
            *(given[k] for k in ("optimizer", "against", "slow", "fast") if k in given),
        ]
        return pairs | {(workload, name) for workload in given.get("workloads", ()) for name in names}

    @property
    def stages(self) -> set[str]:
        """The configurations on whose stages it rests: of runs, rungs, contests and experiments."""
        given = self.model_extra
        named = {given[key] for key in ("configuration", "experiment") if key in given}
        named |= {*given.get("configurations", ()), *self.rungs, *("-".join(pair) for pair in self.contests)}
        return named | ({APART[self.name]} if self.name in APART else set())

    def estimate(self, tables: Tables) -> Estimate:
        return ESTIMATORS[self.name](tables, **self.model_extra)


class Regime(_Strict):
    metric: str
    at_least: float
    meaning: str


class Protocol(_Strict):
    source: str | None = None
    images: int | None = None


class Check(_Strict):
    statement: str
    role: Literal["main", "positive", "negative"] = "main"
    estimator: Estimator
    prediction: float | Formula
    band: Band
    regime: Regime | None = None
    protocol: Protocol = Protocol()
    fidelity: Literal["paper-protocol", "scaled", "exact"]

    @property
    def predicted(self) -> float:
        return self.prediction.value() if isinstance(self.prediction, Formula) else self.prediction

    @property
    def limits(self) -> tuple[float, float]:
        factor = self.predicted if self.band.relative else 1.0
        return self.band.low * factor, self.band.high * factor


class Amendment(_Strict):
    date: datetime.date
    reason: str
    old_verdict: str


class Claim(_Strict):
    title: str
    section: str
    registered: datetime.date
    source: str
    statement: str
    measurement: str
    disclosure: str | None = None
    amendments: list[Amendment] = []
    checks: Annotated[dict[str, Check], Field(min_length=1)]

    @property
    def configurations(self) -> set[str]:
        """The configurations whose runs its checks rest on."""
        given = [check.estimator.model_extra for check in self.checks.values()]
        single = {arguments["configuration"] for arguments in given if "configuration" in arguments}
        return single.union(*(arguments.get("configurations", ()) for arguments in given))

    @property
    def stages(self) -> set[str]:
        """The configurations on whose stages its checks rest."""
        return set().union(*(check.estimator.stages for check in self.checks.values()))

    @property
    def metrics(self) -> list[str]:
        """The columns of the long table that its checks judge, then those that their regimes ask for."""
        judged = [check.estimator.model_extra.get("metric") for check in self.checks.values()]
        asked = [check.regime.metric for check in self.checks.values() if check.regime]
        return list(dict.fromkeys(name for name in judged + asked if name))


def load(path: Path | str) -> dict[str, Claim]:
    """The register. What a claim says of its checks (band, regime, protocol, fidelity) is handed down to them.

    Raises:
        ClaimsError: naming every fault by its path.
    """
    path = Path(path)
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, YAMLError) as error:
        raise ClaimsError(f"cannot read {path}: {error}") from None
    claims, faults = {}, []
    for name, entry in (raw or {}).items():
        handed_down = {key: entry.pop(key) for key in ("band", "regime", "protocol", "fidelity") if key in entry}
        entry["checks"] = {check: {**handed_down, **body} for check, body in entry.get("checks", {}).items()}
        try:
            claims[name] = Claim.model_validate(entry)
        except ValidationError as error:
            for fault in error.errors():
                place = ".".join([name, *map(str, fault["loc"])])
                faults.append(f"  {place}: {fault['msg'].removeprefix('Value error, ')}")
    if faults:
        raise ClaimsError(f"{path} is not valid:\n" + "\n".join(faults))
    return claims


def judge(claims: dict[str, Claim], tables: Tables, source: str) -> pd.DataFrame:
    """One row a check.

    Args:
        tables: by file name without ``.csv``.
        source: where the data came from, for checks whose protocol names one.
    """
    rows = [
        {"claim": name, "check": check_name, **_judge_check(check, tables, source)}
        for name, claim in claims.items()
        for check_name, check in claim.checks.items()
    ]
    return pd.DataFrame(rows).reindex(columns=CHECK_COLUMNS)


def claim_verdict(checks: pd.DataFrame) -> tuple[str, str]:
    """The verdict of a claim from the rows of its checks, and why.

    The lack of a run or of the registered data comes first, then controls: where one misbehaves the instrument is in
    doubt and nothing is judged. Then one falsified check falsifies, and all must be verified to verify.
    """
    main = checks[checks["role"] == "main"]
    if main.empty:
        return "not-run", "no row in claims.csv: `bench repro` makes it"
    for missing in ("not-run", "toy"):
        hit = main[main["verdict"] == missing]
        if len(hit):
            return missing, f"{hit['check'].iloc[0]}: {hit['reason'].iloc[0]}"
    broken = checks[(checks["role"] != "main") & (checks["behaves"] != "yes")]
    if len(broken):
        name, outcome, why = broken[["check", "verdict", "reason"]].iloc[0]
        return "inconclusive", f"control {name} did not behave: it was {outcome} ({why})"
    falsified = main[main["verdict"] == "falsified"]
    if len(falsified):
        return "falsified", f"{len(falsified)} of {len(main)} checks falsified: {', '.join(falsified['check'])}"
    open_ones = main[main["verdict"] != "verified"]
    if len(open_ones):
        return "inconclusive", f"{open_ones['check'].iloc[0]}: {open_ones['reason'].iloc[0]}"
    controls = len(checks) - len(main)
    return "verified", f"all {len(main)} checks verified, {controls} controls behaved"


def _judge_check(check: Check, tables: Tables, source: str) -> dict:
    low, high = check.limits
    row = {
        "role": check.role,
        "statement": check.statement,
        "predicted": check.predicted,
        "band_low": low,
        "band_high": high,
        "fidelity": check.fidelity,
    }
    try:
        estimate = check.estimator.estimate(tables)
    except NotRun as missing:
        return {**row, "n": 0, "verdict": "not-run", "behaves": _behaves(check, "not-run"), "reason": str(missing)}
    values = estimate.values[np.isfinite(estimate.values)]
    row |= {"unit": estimate.unit, "n": len(values), "measured": values.mean() if len(values) else np.nan}
    inner, outer = _intervals(estimate, values)
    if inner and not estimate.exact:
        row |= {"ci90_low": inner.low, "ci90_high": inner.high, "ci95_low": outer.low, "ci95_high": outer.high}
    regime_met, row["regime"] = _regime(check.regime, estimate.runs)
    shortfall = _shortfall(check.protocol, estimate.runs, source)
    if shortfall:
        outcome, reason = "toy", shortfall
    elif estimate.exact and not len(values):
        outcome, reason = "inconclusive", "the computation gave no value"
    elif not estimate.exact and len(values) < FEWEST_SEEDS:
        outcome, reason = "inconclusive", f"{len(values)} seeds gave a value, {FEWEST_SEEDS} needed"
    elif not regime_met:
        outcome, reason = "inconclusive", f"outside its regime: {row['regime']}"
    else:
        outcome = verdict(inner, outer, low, high)
        reason = _reason(outcome, estimate.exact, values, low, high)
    return {**row, "verdict": outcome, "behaves": _behaves(check, outcome), "reason": reason}


def _intervals(estimate: Estimate, values: np.ndarray) -> tuple[Interval | None, Interval | None]:
    if estimate.exact:
        point = Interval(values[0], values[0]) if len(values) else None
        return point, point
    return t_interval(values, 0.90), t_interval(values, 0.95)


def _regime(regime: Regime | None, runs: pd.DataFrame) -> tuple[bool, str]:
    if regime is None or runs.empty:
        return True, ""
    readings = runs[regime.metric].fillna(-np.inf)
    lowest = readings.min()
    shown = f"{lowest:.3g}" if np.isfinite(lowest) else "never"
    return bool(lowest >= regime.at_least), (
        f"{regime.meaning} ({regime.metric} >= {regime.at_least:g} in every run; lowest {shown})"
    )


def _shortfall(protocol: Protocol, runs: pd.DataFrame, source: str) -> str:
    lacks = []
    if protocol.source and source != protocol.source:
        lacks.append(f"data are {source}, {protocol.source} needed")
    if protocol.images and not runs.empty and runs["images"].min() < protocol.images:
        lacks.append(f"{runs['images'].min()} of {protocol.images} images")
    return "; ".join(lacks)


def _reason(outcome: str, exact: bool, values: np.ndarray, low: float, high: float) -> str:
    if exact:
        return f"exact value {'inside' if outcome == 'verified' else 'outside'} the band"
    if outcome == "verified":
        return "90 % interval inside the band"
    if outcome == "falsified":
        return "95 % interval wholly outside the band"
    inner, needed = t_interval(values, 0.90), seeds_needed(values, low, high)
    cure = (
        f"{needed} seeds with this spread would decide"
        if needed
        else "its mean is on the band's edge, where no number of seeds decides"
    )
    return f"interval too wide: the 90 % one, [{inner.low:.4g}, {inner.high:.4g}], crosses the band; {cure}"


def _behaves(check: Check, outcome: str) -> str:
    if check.role == "main":
        return ""
    return "yes" if outcome == {"positive": "verified", "negative": "falsified"}[check.role] else "no"
