"""The claims, and the judge: from each study's ``claims.yaml`` and the tables to one row per check and one verdict per
claim.

The register says what the literature predicts. It was written down before the reference seeds ran; pilot runs that had
been seen by then are disclosed with each claim. A claim is a set of checks. A check names its estimator
(`benchmarks.evidence.estimators`) with its arguments, what is predicted, and how far off still counts as agreement.
Nothing in a check changes after its first reference run; if something had to, the claim's ``amendments`` say so with
the date, the reason and the old verdict. Reasons that several share are in `benchmarks.evidence.amendments`.

    section     of the chapter: that of the study in whose folder the file lies
    primary     the claim's primary check, the first main check that was registered
    role        main; positive (a control that must be verified); negative (a control that must be falsified)
    prediction  a number, or a formula of benchmarks/theory/stability.py with its arguments
    band        agreement is a value in [low, high], where an end that is left out is open; with ``relative: true``, in
                [low, high] times the prediction
    origin      where the band comes from: ``theorem`` (a theorem or an identity, with no more room than rounding or a
                numerical solver needs), ``paper`` (the source states it), or ``ours``, which includes a paper's value
                with a tolerance that we chose
    fidelity    ``exact`` (a computation whose protocol leaves nothing out), ``paper-protocol``, or ``scaled`` (smaller
                than the source's)
    regime      what must hold, apart from the estimate, before the check says anything: in every seed, or in the
                fraction ``share`` of them. The estimate is of all seeds either way.
    protocol    the data that a verdict needs; with less the verdict is ``toy``
    post_hoc    why this check's verdict must be read as post hoc: something other than its seeds was changed after its
                own results had been seen

What a claim says of its checks (band, regime, protocol, fidelity, origin) holds for each that does not say otherwise.

One rule judges every check: verified if the 90 % interval lies inside the band, falsified if the 95 % interval lies
wholly outside, else inconclusive. Intervals are Student's, over seeds; an exact computation has none. A claim's verdict
is that of its primary check, once its controls behave. Another main check may be called falsified only if its Holm
p over the claim's main checks is at most 0.05; otherwise it is inconclusive.

What readers see is a word (`word`), because a smaller protocol, or a band of our own, does not refute a paper.
"""

import datetime
import inspect
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML, YAMLError

from benchmarks.evidence import comparison
from benchmarks.evidence.amendments import RULES
from benchmarks.evidence.card import Card
from benchmarks.evidence.carry_over import LADDER, SWEEPS
from benchmarks.evidence.estimators import ESTIMATORS, Estimate, NotRun, Tables
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.statistics import Interval, holm, p_outside, seeds_needed, t_interval, verdict
from benchmarks.theory.stability import FORMULAS

FEWEST_SEEDS = 3
# The Holm p up to which a main check that is not the primary one may be called falsified.
LEVEL = 0.05
HANDED_DOWN = ("band", "regime", "protocol", "fidelity", "origin")
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
    "origin",
    "primary",
    "holm",
    "word",
    "post_hoc",
]
# The estimators whose values rest on training runs, of which a regime may ask something.
OF_RUNS = ("cell", "exponent", "log_ratio")
# What an argument of an estimator may be, where it is one of a few.
CHOICES = {"metric": COLUMNS, "sweep": SWEEPS, "target": list(comparison.TARGETS.values())}
# What a term of `rungs` and of `contests` must say, and what it may say beside that.
TERMS = {
    "rungs": ({"rung", "quantity"}, {"system", "weight"}),
    "contests": ({"workload", "optimizer"}, {"quantity", "weight"}),
}


class ClaimsError(ValueError):
    """The register is wrong; the message has one line per fault, each with its file and its path in it."""


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
        for argument, known in CHOICES.items():
            given = self.model_extra.get(argument)
            if given is not None and given not in known:
                raise ValueError(f"unknown {argument} {given!r}: known are {', '.join(known)}")
        try:
            inspect.signature(ESTIMATORS[self.name]).bind({}, **self.model_extra)
        except TypeError as error:
            raise ValueError(f"estimator {self.name!r}: {error}") from None
        for term in self._terms:
            required, allowed = TERMS[self.name]
            if not isinstance(term, dict) or not required <= set(term) <= required | allowed:
                raise ValueError(
                    f"estimator {self.name!r}: a term needs {', '.join(sorted(required))} "
                    f"and may have {', '.join(sorted(allowed))}, not {term}"
                )
        return self

    @property
    def _terms(self) -> list:
        return [term for key in ("terms", "over") for term in self.model_extra.get(key) or ()]

    @property
    def reads(self) -> list[tuple[str, str | None]]:
        """The tables that it reads, each with a quantity or column of it; None for a table read as a whole."""
        given = self.model_extra
        match self.name:
            case "cell" | "exponent" | "log_ratio":
                return [("progressive_sharpening.long", given["metric"])]
            case "catapult":
                return [("catapult", given["column"])]
            case "threshold":
                return [("stability_thresholds", "stability_threshold")]
            case "computed":
                default = inspect.signature(ESTIMATORS["computed"]).parameters["study"].default
                return [(f"{given.get('study', default)}/{given['experiment']}", given["quantity"])]
            case "rungs":
                return [(LADDER, term["quantity"]) for term in self._terms]
            case "contests":
                return [(comparison.LONG, term.get("quantity", "objective")) for term in self._terms]
            case "heterogeneity_rank":
                return [("optimizer_comparison/heterogeneity", "js_distance"), (comparison.LONG, "objective")]
            case "speedup" | "workloads_in_order" | "largest_share_of_wins":
                return [(comparison.LONG, None)]
            case "rank_flips":
                return [("optimizer_comparison/flips", None), (comparison.LONG, None)]
        named = [given[key] for key in ("quantity", "against", "predicted") if key in given]
        return [(LADDER, name) for name in named or [None]]

    def missing(self, cards: Mapping[str, Card]) -> str:
        """What it reads that no table has, by the tables' cards; "" if nothing."""
        for table, name in self.reads:
            if table not in cards:
                return f"no table {table}.csv"
            card = cards[table]
            tidy = bool(card.quantities)
            if name is not None and name not in card.columns and not (tidy and not card.undocumented((), [name])):
                return f"no {name!r} in {table}.csv"
        return ""

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
    share: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("metric")
    @classmethod
    def _known(cls, metric):
        if metric not in COLUMNS:
            raise ValueError(f"unknown metric {metric!r}: known are {', '.join(COLUMNS)}")
        return metric


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
    origin: Literal["theorem", "paper", "ours"]
    post_hoc: str | None = None

    @model_validator(mode="after")
    def _regime_can_be_asked(self):
        if self.regime and self.estimator.name not in OF_RUNS:
            raise ValueError(f"a regime needs an estimator of runs ({', '.join(OF_RUNS)}), not {self.estimator.name}")
        return self

    @property
    def predicted(self) -> float:
        return self.prediction.value() if isinstance(self.prediction, Formula) else self.prediction

    @property
    def limits(self) -> tuple[float, float]:
        factor = self.predicted if self.band.relative else 1.0
        return self.band.low * factor, self.band.high * factor


class Amendment(_Strict):
    """A change after the fact. With a ``rule``, ``reason`` is that rule's text and then what was given as reason."""

    date: datetime.date
    rule: str | None = None
    reason: str
    old_verdict: str

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any):
        if not isinstance(given, dict) or given.get("rule") is None:
            return given
        if given["rule"] not in RULES:
            raise ValueError(f"unknown rule {given['rule']!r}: known are {', '.join(RULES)}")
        own = given.get("reason")
        return {**given, "reason": f"{RULES[given['rule']]} {own}" if own else RULES[given["rule"]]}


class Claim(_Strict):
    """A registered claim.

    Attributes:
        study: whose section of the chapter it belongs to, by the folder of its file.
        primary: the check whose verdict is the claim's.
    """

    title: str
    study: str
    registered: datetime.date
    source: str
    statement: str
    measurement: str
    disclosure: str | None = None
    amendments: list[Amendment] = []
    checks: Annotated[dict[str, Check], Field(min_length=1)]
    primary: str

    @field_validator("primary")
    @classmethod
    def _is_a_main_check(cls, primary, info):
        checks = info.data.get("checks")
        if checks is not None and primary not in checks:
            raise ValueError(f"{primary!r} is not a check of the claim: they are {', '.join(checks)}")
        if checks is not None and checks[primary].role != "main":
            raise ValueError(f"{primary!r} is a control; a primary check is a main one")
        return primary

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


def load(paths: Iterable[Path | str], cards: Mapping[str, Card] | None = None) -> dict[str, Claim]:
    """The register, from one ``claims.yaml`` per study in the order given.

    Args:
        paths: each in the folder of its study.
        cards: of all tables, by name; if given, every quantity and column that a check reads must be among them.

    Raises:
        ClaimsError: naming every fault by its file and path.
    """
    claims: dict[str, Claim] = {}
    homes: dict[str, Path] = {}
    faults: list[str] = []
    for path in map(Path, paths):
        for name, entry in _read(path).items():
            wrong = _misshapen(name, entry)
            if not wrong:
                for identifier in (name, *entry["checks"]):
                    if identifier in homes:
                        wrong.append((identifier, f"is in {homes[identifier]} too: rename one of them"))
                    homes[identifier] = path
            if not wrong:
                try:
                    claims[name] = _claim(entry, path.parent.name)
                except ValidationError as error:
                    for fault in error.errors():
                        place = ".".join([name, *map(str, fault["loc"])])
                        wrong.append((place, fault["msg"].removeprefix("Value error, ")))
            if not wrong and cards is not None:
                for check, body in claims[name].checks.items():
                    if lacks := body.estimator.missing(cards):
                        wrong.append((f"{name}.checks.{check}.estimator", lacks))
            faults += [f"{path}: {place}: {message}" for place, message in wrong]
    if faults:
        raise ClaimsError("\n".join(faults))
    if not claims:
        raise ClaimsError("the register is empty: no claims.yaml was found in a study's folder")
    return claims


def _read(path: Path) -> dict:
    """A file's claims as YAML has them, by name."""
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ClaimsError(f"cannot read {path}: line {line} is not UTF-8 text: save the file as UTF-8") from None
    except (OSError, YAMLError) as error:
        raise ClaimsError(f"cannot read {path}: {error}") from None
    if raw is None or raw == {}:
        raise ClaimsError(f"{path} has no claims: add one, or delete the file")
    if not isinstance(raw, dict):
        raise ClaimsError(f"{path} must give claims by name, and begins with a {type(raw).__name__}")
    return raw


def _misshapen(name: Any, entry: Any) -> list[tuple[str, str]]:
    """What keeps a claim from being read at all: places and messages."""
    if not isinstance(name, str):
        return [(str(name), "a claim's name must be text")]
    if not isinstance(entry, dict):
        return [(name, "the claim is empty" if entry is None else "the claim must be a mapping")]
    if "section" in entry or "study" in entry:
        return [(name, "a claim does not give its section or study: they are those of the folder")]
    checks = entry.get("checks")
    if not isinstance(checks, dict) or not checks:
        return [(f"{name}.checks", "must give at least one check by its name")]
    wrong = [
        (f"{name}.checks.{check}", "a check's name must be text") for check in checks if not isinstance(check, str)
    ]
    return wrong + [
        (f"{name}.checks.{check}", "the check is empty" if body is None else "the check must be a mapping")
        for check, body in checks.items()
        if not isinstance(body, dict)
    ]


def _claim(entry: dict, study: str) -> Claim:
    """A claim, with what it says of its checks handed down to them."""
    handed_down = {key: entry[key] for key in HANDED_DOWN if key in entry}
    own = {key: value for key, value in entry.items() if key not in HANDED_DOWN}
    checks = {check: {**handed_down, **body} for check, body in entry["checks"].items()}
    return Claim.model_validate({**own, "study": study, "checks": checks})


def judge(claims: dict[str, Claim], tables: Tables, source: str) -> pd.DataFrame:
    """One row per check.

    Args:
        tables: by file name without ``.csv``.
        source: where the data came from, for checks whose protocol names one.
    """
    rows = [row for name, claim in claims.items() for row in _judge_claim(name, claim, tables, source)]
    return pd.DataFrame(rows).reindex(columns=CHECK_COLUMNS)


def word(verdict: str, fidelity: str, origin: str, role: str = "main") -> str:
    """What a verdict is called where people read it.

    A main check is said not to hold only if it was tried by the paper's own protocol, or exactly, against a theorem's
    band or the paper's. A control's answer is known, whatever its protocol and band: where it is falsified, its
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
        word: what it is called where people read it.
        post_hoc: why it must be read as post hoc, beside the word wherever that is shown; "" if it need not.
    """

    verdict: str
    reason: str
    word: str
    post_hoc: str = ""


def claim_verdict(checks: pd.DataFrame) -> ClaimVerdict:
    """The verdict of a claim from the rows of its checks in ``claims.csv``.

    The lack of a run or of the registered data comes first, then controls: where one misbehaves the instrument is in
    doubt and nothing is judged. Then the verdict is the primary check's.

    Raises:
        ClaimsError: if no row is that of a primary check, as in a table that is older than this column.
    """
    main = checks[checks["role"] == "main"]
    if main.empty:
        return ClaimVerdict("not-run", "no row in claims.csv: `bench repro` makes it", "not run")
    primary = main[main["primary"] == "yes"] if "primary" in main else main[:0]
    if len(primary) != 1:
        raise ClaimsError(f"claims.csv has no primary check of {main['claim'].iloc[0]}: `bench repro` makes it anew")
    first = primary.iloc[0]
    post_hoc = first["post_hoc"] if isinstance(first["post_hoc"], str) else ""
    for missing in ("not-run", "toy"):
        hit = main[main["verdict"] == missing]
        if len(hit):
            return ClaimVerdict(missing, f"{hit['check'].iloc[0]}: {hit['reason'].iloc[0]}", "not run")
    broken = checks[(checks["role"] != "main") & (checks["behaves"] != "yes")]
    if len(broken):
        name, outcome, why = broken[["check", "verdict", "reason"]].iloc[0]
        why = f"control {name} did not behave: it was {outcome} ({why})"
        return ClaimVerdict("inconclusive", why, "open", post_hoc)
    said = [f"{first['check']}: {first['reason']}", *_others(main[main["primary"] != "yes"])]
    if controls := len(checks) - len(main):
        said.append(f"{controls} controls behaved")
    return ClaimVerdict(first["verdict"], "; ".join(said), first["word"], post_hoc)


def _others(checks: pd.DataFrame) -> list[str]:
    """What came of the main checks beside the primary one: how many hold, and the names of those that do not."""
    if checks.empty:
        return []
    said = [f"{(checks['word'] == 'holds').sum()} of {len(checks)} other checks hold"]
    for term in ("does not hold", "not reproduced here", "open"):
        if names := checks.loc[checks["word"] == term, "check"].to_list():
            said.append(f"{term}: {', '.join(names)}")
    return said


def _judge_claim(name: str, claim: Claim, tables: Tables, source: str) -> list[dict]:
    """The rows of a claim's checks, with Holm's correction over the main ones."""
    rows = []
    for check_name, check in claim.checks.items():
        row, p = _judge_check(check, tables, source)
        primary = "yes" if check_name == claim.primary else ""
        rows.append({"claim": name, "check": check_name, **row, "primary": primary, "holm": p})
    main = [row for row in rows if row["role"] == "main"]
    for row, adjusted in zip(main, holm([row["holm"] for row in main])):
        row["holm"] = adjusted
        if row["verdict"] == "falsified" and not row["primary"] and adjusted > LEVEL:
            row["verdict"] = "inconclusive"
            row["reason"] += f", but not by Holm's p over the claim's {len(main)} main checks, {adjusted:.2g}"
    for row in rows:
        row["word"] = word(row["verdict"], row["fidelity"], row["origin"], row["role"])
    return rows


def _judge_check(check: Check, tables: Tables, source: str) -> tuple[dict, float]:
    """A check's row, and the p that its mean lies outside the band; nan for a control, and where there is none."""
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
        return row, np.nan
    values = estimate.values[np.isfinite(estimate.values)]
    row |= {"unit": estimate.unit, "n": len(values), "measured": values.mean() if len(values) else np.nan}
    inner, outer = _intervals(estimate, values)
    if inner and not estimate.exact:
        row |= {"ci90_low": inner.low, "ci90_high": inner.high, "ci95_low": outer.low, "ci95_high": outer.high}
    regime_met, row["regime"] = _regime(check.regime, estimate.runs)
    shortfall = _shortfall(check.protocol, estimate.runs, source)
    if shortfall:
        outcome, reason = "toy", f"less data than registered: {shortfall}"
    elif estimate.exact and not len(values):
        outcome, reason = "inconclusive", "the computation gave no value"
    elif not estimate.exact and len(values) < FEWEST_SEEDS:
        outcome, reason = "inconclusive", f"{len(values)} seeds gave a value, {FEWEST_SEEDS} needed"
    elif not regime_met:
        outcome, reason = "inconclusive", f"outside its regime: {row['regime']}"
    else:
        outcome = verdict(inner, outer, low, high)
        reason = _reason(outcome, estimate.exact, values, low, high)
    row |= {"verdict": outcome, "behaves": _behaves(check, outcome), "reason": reason}
    return row, _p_outside(estimate, values, low, high) if check.role == "main" else np.nan


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
