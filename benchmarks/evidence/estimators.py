"""Estimators: from tables to the number a check compares with its prediction.

Each is a function (tables, **arguments) -> Estimate, named in claims.yaml. A new one needs a table where its claim
holds and one where it fails (tests/evidence).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from benchmarks.evidence import carry_over
from benchmarks.evidence.carry_over import LADDER, LEAST_TWIN, by_seed
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.statistics import t_interval

Tables = dict[str, pd.DataFrame]


class NotRun(LookupError):
    """The tables lack what an estimator needs; the message names it."""


@dataclass(frozen=True)
class Estimate:
    """A measured quantity.

    Attributes:
        values: one a seed, nan where a run gave none; a single value if ``exact``.
        unit: of the values.
        runs: the rows of the long table that it rests on.
        exact: a computation without seeds.
    """

    values: np.ndarray
    unit: str
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    exact: bool = False


def cell(tables: Tables, *, configuration: str, metric: str) -> Estimate:
    """A metric of one configuration, seed by seed."""
    runs = _runs(tables, [configuration])
    return Estimate(runs[metric].to_numpy(dtype=float), COLUMNS[metric][0], runs)


def exponent(tables: Tables, *, configurations: Sequence[str], metric: str) -> Estimate:
    """The least-squares slope of ln(metric) on ln(1 / learning rate), fitted in each seed across configurations."""
    runs = _runs(tables, configurations)
    slopes = []
    for _, mine in runs.groupby("seed"):
        x, y = -np.log(mine["learning_rate"].to_numpy(float)), np.log(mine[metric].to_numpy(float))
        whole = len(mine) == len(configurations) and np.isfinite(y).all()
        slopes.append(np.polyfit(x, y, 1)[0] if whole else np.nan)
    return Estimate(np.array(slopes), "", runs)


def log_ratio(tables: Tables, *, configurations: Sequence[str], metric: str) -> Estimate:
    """ln(metric of the first configuration / metric of the second), seed by seed."""
    first, second = configurations
    runs = _runs(tables, configurations)
    by_seed = runs.pivot(index="seed", columns="configuration", values=metric).astype(float)
    return Estimate(np.log(by_seed[first] / by_seed[second]).to_numpy(), "", runs)


def catapult(tables: Tables, *, system: str, column: str) -> Estimate:
    """A column of the catapult table for one system, seed by seed."""
    table = _table(tables, "catapult")
    rows = table[table["system"] == system]
    if rows.empty:
        raise NotRun(f"no row {system!r} in catapult.csv")
    return Estimate(rows[column].to_numpy(float), "")


def computed(tables: Tables, *, experiment: str, system: str, quantity: str, study: str = "deep_linear") -> Estimate:
    """A quantity of one system of a study's experiment, seed by seed; exact where it has no seed."""
    table = _table(tables, f"{study}/{experiment}")
    rows = table[(table["system"] == system) & (table["quantity"] == quantity)]
    if rows.empty:
        raise NotRun(f"no {quantity!r} of {system!r} in {study}/{experiment}.csv")
    return Estimate(rows["value"].to_numpy(float), "", exact=bool(rows["seed"].isna().all()))


def rungs(tables: Tables, *, terms: Sequence[dict], over: Sequence[dict] | None = None) -> Estimate:
    """A weighted sum of quantities of the ladder's rungs, seed by seed; with ``over``, its ratio to another.

    Args:
        terms: each ``rung``, ``quantity``, and, where they are not net and 1, ``system`` and ``weight``.
        over: the denominator's. The values are then r + (x - r y) / mean y with r = mean x / mean y: their mean is the
            ratio of means and their t-interval Fieller's, as long as y is known well. Where the mean y is not
            surely above a fifth of its ideal, 1, the ratio is vacuous and there is no value.
    """
    top = _combined(tables, terms)
    if over is None:
        return Estimate(top.to_numpy(), "")
    bottom = _combined(tables, over)
    both = pd.concat([top, bottom], axis=1).dropna().to_numpy()
    if len(both) < 2 or (lowest := t_interval(both[:, 1], 0.95)) is None or lowest.low <= LEAST_TWIN:
        return Estimate(np.full(len(top), np.nan), "")
    ratio = both[:, 0].mean() / both[:, 1].mean()
    return Estimate(ratio + (both[:, 0] - ratio * both[:, 1]) / both[:, 1].mean(), "")


def rung_power(tables: Tables, *, rungs: Sequence[str], quantity: str, against: str) -> Estimate:
    """The slope of ln(quantity) on ln(another) across rungs, seed by seed."""
    y, x = (_across(tables, rungs, name) for name in (quantity, against))
    whole = y.notna().all(axis=1) & x.notna().all(axis=1)
    slopes = [np.polyfit(np.log(x.loc[s]), np.log(y.loc[s]), 1)[0] for s in y.index[whole]]
    return Estimate(np.array(slopes), "")


def rung_order(tables: Tables, *, rungs: Sequence[str], quantity: str, minus: Sequence[str] | None = None) -> Estimate:
    """Kendall's tau of a quantity with the order in which rungs are listed, seed by seed: 1 if it rises all along.

    Args:
        minus: rungs whose quantity is subtracted, place by place.
    """
    values = _across(tables, rungs, quantity)
    if minus is not None:
        values = values - _across(tables, minus, quantity).to_numpy()
    values = values.dropna()
    return Estimate(np.array([kendalltau(range(len(row)), row).statistic for row in values.to_numpy()]), "")


def rung_agreement(tables: Tables, *, rungs: Sequence[str], quantity: str, predicted: str) -> Estimate:
    """R^2 of a prediction, as it stands, over rungs, seed by seed: 1 - sum (y - p)^2 / sum (y - mean y)^2."""
    y, p = (_across(tables, rungs, name) for name in (quantity, predicted))
    both = y.notna().all(axis=1) & p.notna().all(axis=1)
    y, p = y[both].to_numpy(), p[both].to_numpy()
    return Estimate(1 - np.square(y - p).sum(1) / np.square(y - y.mean(1, keepdims=True)).sum(1), "")


def rung_residuals(tables: Tables, *, rung: str, reference: str) -> Estimate:
    """The correlation of a network's and its twin's half times over modes, each in logarithms and without what their
    regression on those of a reference rung (a single layer) explains, seed by seed; at least four modes."""
    table = _table(tables, LADDER)
    times = {}
    for name, mine, system in (("net", rung, "net"), ("twin", rung, "twin"), ("reference", reference, "net")):
        rows = table[(table["rung"] == mine) & (table["system"] == system)]
        rows = rows[rows["quantity"].str.startswith("half_time_")]
        if rows.empty:
            raise NotRun(f"no half times of {system} of {mine!r} in {LADDER}.csv")
        times[name] = np.log(rows.pivot(index="seed", columns="quantity", values="value"))
    found = []
    for seed in times["net"].index.intersection(times["twin"].index):
        mine = pd.DataFrame({"net": times["net"].loc[seed], "twin": times["twin"].loc[seed]})
        mine["reference"] = times["reference"].mean()
        mine = mine.dropna()
        if len(mine) < 4:
            found.append(np.nan)
            continue
        rests = [
            mine[s] - np.polyval(np.polyfit(mine["reference"], mine[s], 1), mine["reference"]) for s in ("net", "twin")
        ]
        found.append(np.corrcoef(*rests)[0, 1])
    return Estimate(np.array(found), "")


def decades_from_half_score(tables: Tables, *, sweep: str, rung: str, quantity: str = "init") -> Estimate:
    """log10 of a rung's u0 / s_1 over that at which a sweep's waypoint score is one half, seed by seed."""
    inits = _across(tables, [rung], quantity)[rung]
    return Estimate(carry_over.decades_from_half_score(_table(tables, LADDER), sweep, inits), "decades")


def threshold(tables: Tables, *, optimizer: str) -> Estimate:
    """The measured stability threshold of an optimizer on a quadratic."""
    table = _table(tables, "stability_thresholds")
    row = table[table["optimizer"] == optimizer]
    if row.empty:
        raise NotRun(f"no row {optimizer!r} in stability_thresholds.csv")
    return Estimate(row["stability_threshold"].to_numpy(float), "loss/parameter^2", exact=True)


ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    "cell": cell,
    "exponent": exponent,
    "log_ratio": log_ratio,
    "catapult": catapult,
    "computed": computed,
    "rungs": rungs,
    "rung_power": rung_power,
    "rung_order": rung_order,
    "rung_agreement": rung_agreement,
    "rung_residuals": rung_residuals,
    "decades_from_half_score": decades_from_half_score,
    "threshold": threshold,
}


def _across(tables: Tables, rungs: Sequence[str], quantity: str, system: str = "net") -> pd.DataFrame:
    """A quantity by seed (rows) and rung (columns)."""
    table = _table(tables, LADDER)
    columns = {}
    for rung in rungs:
        values = by_seed(table[table["rung"] == rung], system, quantity)
        if values.empty:
            raise NotRun(f"no {quantity!r} of {system} of {rung!r} in {LADDER}.csv")
        columns[rung] = values
    return pd.DataFrame(columns)


def _combined(tables: Tables, terms: Sequence[dict]) -> pd.Series:
    parts = [
        term.get("weight", 1)
        * _across(tables, [term["rung"]], term["quantity"], term.get("system", "net"))[term["rung"]]
        for term in terms
    ]
    return pd.concat(parts, axis=1).dropna().sum(axis=1)


def _table(tables: Tables, name: str) -> pd.DataFrame:
    if name not in tables:
        raise NotRun(f"no table {name}.csv")
    return tables[name]


def _runs(tables: Tables, configurations: Sequence[str]) -> pd.DataFrame:
    table = _table(tables, "progressive_sharpening.long")
    for configuration in configurations:
        if configuration not in set(table["configuration"]):
            raise NotRun(f"no run of {configuration!r} in progressive_sharpening.long.csv")
    return table[table["configuration"].isin(configurations)]
