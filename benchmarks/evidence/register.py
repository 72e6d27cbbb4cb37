"""The register of claims: the contents of each study's ``claims.yaml``, checked.

The register says what the literature predicts. It was written before the reference seeds ran; pilot runs that had
been seen by then are disclosed with each claim. A claim is a set of checks. A check names its estimator
(`benchmarks.evidence.estimators`) with its arguments, what is predicted, and how far off still counts as agreement.
Nothing in a check changes after its first reference run; if something had to, the claim's ``amendments`` record it with
the date, the reason and the old verdict. Reasons that several share are in `benchmarks.evidence.amendments`.

    section     the section of the chapter: that of the study whose folder contains the file
    primary     the claim's primary check, the first main check that was registered
    role        main; positive (a control that must be verified); negative (a control that must be falsified)
    prediction  a number, or a formula of benchmarks/theory/stability.py with its arguments
    band        values in [low, high] agree, where an end that is left out is open; with ``relative: true``, values in
                [low, high] times the prediction
    origin      where the band comes from: ``theorem`` (a theorem or an identity, with no more tolerance than rounding
                or a numerical solver needs), ``paper`` (the source states it), or ``ours``, which includes a paper's
                value with a tolerance that we chose
    fidelity    ``exact`` (a computation whose protocol leaves nothing out), ``paper-protocol``, or ``scaled`` (smaller
                than the source's)
    regime      a condition, apart from the estimate, under which the check applies: it must hold for every seed, or
                for the fraction ``share`` of them. The estimate is over all seeds either way.
    protocol    the data that a verdict needs; with less the verdict is ``toy``
    most_seeds  how many seeds its data allow, where each seed has its own part of them
    post_hoc    why this check's verdict must be read as post hoc: something other than its seeds was changed after its
                own results had been seen

What a claim says about its checks (band, regime, protocol, fidelity, origin, post_hoc) applies to each that does not
override it.
"""

import datetime
import inspect
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML, YAMLError

from benchmarks.evidence import comparison
from benchmarks.evidence.amendments import RULES
from benchmarks.evidence.card import Card
from benchmarks.evidence.estimators import ESTIMATORS, Estimate, Tables
from benchmarks.evidence.faults import explained
from benchmarks.evidence.ladder import LADDER
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.share import SCORES as SYSTEMS
from benchmarks.theory.stability import FORMULAS

HANDED_DOWN = ("band", "regime", "protocol", "fidelity", "origin", "post_hoc")
# The stages whose tables these estimators read.
APART = {"threshold": "thresholds", "catapult": "catapult", "heterogeneity_rank": "heterogeneity"}
# The estimators whose values rest on training runs, of which a regime may ask something.
OF_RUNS = ("cell", "exponent", "log_ratio")
# What an argument of an estimator may be, where it is one of a few.
CHOICES = {"metric": COLUMNS, "target": list(comparison.TARGETS.values())}
# What a term of `rungs`, `systems` and `contests` must say, and what it may say beside that.
TERMS = {
    "rungs": ({"rung", "quantity"}, {"system", "weight"}),
    "systems": ({"system", "quantity"}, {"weight", "needs"}),
    "contests": ({"workload", "optimizer"}, {"quantity", "weight"}),
}


class ClaimsError(ValueError):
    """The register is wrong; the message has one line per fault, each with its file and its path in it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Band(_Strict):
    """The range of values that agree; an end that is left out is open."""

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
        """The tables that it reads, each with a quantity or column; None for a table read as a whole."""
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
            case "systems":
                return [(SYSTEMS, term["quantity"]) for term in self._terms]
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
        """What it reads that no table has, according to the tables' cards; "" if nothing."""
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
        listed = [*given.get("rungs", ()), *(given.get("minus") or ())]
        named = [given[key] for key in ("rung", "reference", "twin") if key in given]
        return {*listed, *named, *(term["rung"] for term in self._terms if "rung" in term)}

    @property
    def contests(self) -> set[tuple[str, str]]:
        """The (workload, optimizer) that it reads."""
        given = self.model_extra
        pairs = set()
        for term in self._terms:
            if "workload" in term:
                named = term["optimizer"]
                pairs |= {(term["workload"], name) for name in ([named] if isinstance(named, str) else named)}
        single = (given[key] for key in ("optimizer", "against", "slow", "fast") if key in given)
        names = [*given.get("optimizers", ()), *single]
        return pairs | {(workload, name) for workload in given.get("workloads", ()) for name in names}

    @property
    def stages(self) -> set[str]:
        """The configurations whose stages it depends on: runs, rungs, contests and experiments."""
        given = self.model_extra
        named = {given[key] for key in ("configuration", "experiment") if key in given}
        if self.name == "systems":  # those beside a network are trained by its own stage
            named |= {term["system"].partition("/")[0] for term in self._terms}
            named |= {term["needs"] for term in self._terms if "needs" in term}
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
    most_seeds: int | None = None
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
    """A change after the fact. With a ``rule``, ``reason`` is that rule's text followed by the reason given."""

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
        """The configurations whose runs its checks depend on."""
        given = [check.estimator.model_extra for check in self.checks.values()]
        single = {arguments["configuration"] for arguments in given if "configuration" in arguments}
        return single.union(*(arguments.get("configurations", ()) for arguments in given))

    @property
    def stages(self) -> set[str]:
        """The configurations whose stages its checks depend on."""
        return set().union(*(check.estimator.stages for check in self.checks.values()))

    @property
    def metrics(self) -> list[str]:
        """The columns of the long table that its checks judge, then those that their regimes use."""
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
                        wrong.append((place, explained(Claim, fault)))
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
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
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
    """A claim, with its defaults passed down to its checks."""
    handed_down = {key: entry[key] for key in HANDED_DOWN if key in entry}
    own = {key: value for key, value in entry.items() if key not in HANDED_DOWN}
    checks = {check: {**handed_down, **body} for check, body in entry["checks"].items()}
    return Claim.model_validate({**own, "study": study, "checks": checks})
