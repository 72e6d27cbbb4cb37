"""Estimators: from tables to the number that a check compares with its prediction.

Each is a function (tables, **arguments) -> Estimate, named in a claims.yaml. A new one needs a test with a table where
its claim holds and one where it fails (tests/evidence).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd

from benchmarks.evidence import comparison
from benchmarks.evidence.ladder import LADDER, LEAST_TWIN, by_seed
from benchmarks.evidence.runs import COLUMNS
from benchmarks.evidence.share import SCORES as SYSTEMS
from benchmarks.evidence.statistics import t_interval

Tables = dict[str, pd.DataFrame]


class NotRun(LookupError):
    """The tables lack what an estimator needs; the message names it."""


@dataclass(frozen=True)
class Estimate:
    """A measured quantity.

    Attributes:
        values: one per seed, nan where a run gave none; a single value if ``exact``.
        unit: the unit of the values.
        runs: the rows of the long table that it uses.
        exact: a computation without seeds.
    """

    values: np.ndarray
    unit: str
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    exact: bool = False


def cell(tables: Tables, *, configuration: str, metric: str) -> Estimate:
    """A metric of one configuration, for each seed."""
    runs = _runs(tables, [configuration])
    return Estimate(runs[metric].to_numpy(dtype=float), COLUMNS[metric][0], runs)


def exponent(tables: Tables, *, configurations: Sequence[str], metric: str) -> Estimate:
    """The least-squares slope of ln(metric) on ln(1 / learning rate), fitted for each seed across configurations."""
    runs = _runs(tables, configurations)
    slopes = []
    for _, of_seed in runs.groupby("seed"):
        x, y = -np.log(of_seed["learning_rate"].to_numpy(float)), np.log(of_seed[metric].to_numpy(float))
        whole = len(of_seed) == len(configurations) and np.isfinite(y).all()
        slopes.append(np.polyfit(x, y, 1)[0] if whole else np.nan)
    return Estimate(np.array(slopes), "", runs)


def log_ratio(tables: Tables, *, configurations: Sequence[str], metric: str) -> Estimate:
    """ln(metric of the first configuration / metric of the second), for each seed."""
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


def computed(
    tables: Tables,
    *,
    experiment: str,
    system: str,
    quantity: str,
    study: str = "deep_linear",
    minus: str | None = None,
) -> Estimate:
    """A quantity of one system of a study's experiment, seed by seed; exact where it has no seed.

    Args:
        minus: another system, whose quantity is subtracted.
    """
    table = _table(tables, f"{study}/{experiment}")
    named = (system, *([minus] if minus else []))
    series = [_given(table, name, quantity, f"{study}/{experiment}") for name in named]
    values = series[0] - series[1] if minus else series[0]
    return Estimate(values.to_numpy(), "", exact=bool(series[0].index.isna().all()))


def rungs(tables: Tables, *, terms: Sequence[dict], over: Sequence[dict] | None = None, after: int = 0) -> Estimate:
    """A weighted sum of quantities of the ladder's rungs, seed by seed; with ``over``, its ratio to another.

    Args:
        terms: each has ``rung``, ``quantity``, and, unless they are ``net`` and 1, ``system`` and ``weight``.
        over: the terms of the denominator. The values are then r + (x - r y) / mean y with r = mean x / mean y: their
            mean is the ratio of means and their t-interval is Fieller's, as long as y is known well. Where the mean y
            is not significantly above a fifth of its ideal, 1, the ratio is vacuous and there is no value.
        after: use only the seeds after this one.
    """
    top = _combined(tables, terms)
    top = top[top.index > after]
    if over is None:
        return Estimate(top.to_numpy(), "")
    return Estimate(_ratio(top, _combined(tables, over), LEAST_TWIN), "")


def systems(tables: Tables, *, terms: Sequence[dict], log: bool = False) -> Estimate:
    """A weighted sum of quantities of the systems that Open Question 4.1 asks about, for each seed that all have.

    Args:
        terms: each has ``system`` (after a slash the network beside it), ``quantity``, and, unless it is 1, ``weight``;
            ``needs`` names another system whose runs the quantity is made from.
        log: take the natural logarithm of each quantity.
    """
    table = _table(tables, SYSTEMS)
    parts = []
    for term in terms:
        values = _given(table, term["system"], term["quantity"], SYSTEMS)
        parts.append(term.get("weight", 1) * (np.log(values) if log else values))
    return Estimate(pd.concat(parts, axis=1).dropna().sum(axis=1).to_numpy(), "")


def rung_power(tables: Tables, *, rungs: Sequence[str], quantity: str, against: str) -> Estimate:
    """The slope of ln(quantity) on ln(another) across rungs, seed by seed."""
    y, x = (_across(tables, rungs, name) for name in (quantity, against))
    whole = y.notna().all(axis=1) & x.notna().all(axis=1)
    slopes = [np.polyfit(np.log(x.loc[s]), np.log(y.loc[s]), 1)[0] for s in y.index[whole]]
    return Estimate(np.array(slopes), "")


def rung_order(tables: Tables, *, rungs: Sequence[str], quantity: str, minus: Sequence[str] | None = None) -> Estimate:
    """Kendall's tau of a quantity with the order in which rungs are listed, for each seed: 1 if it always rises.

    Args:
        minus: rungs whose quantity is subtracted, one by one in the same order.
    """
    from scipy.stats import kendalltau  # here, because scipy.stats takes as long to import as all else together

    values = _across(tables, rungs, quantity)
    if minus is not None:
        values = values - _across(tables, minus, quantity).to_numpy()
    values = values.dropna()
    return Estimate(np.array([kendalltau(range(len(row)), row).statistic for row in values.to_numpy()]), "")


def rung_agreement(tables: Tables, *, rungs: Sequence[str], quantity: str, predicted: str) -> Estimate:
    """R^2 of a prediction, without refitting, over rungs, for each seed: 1 - sum (y - p)^2 / sum (y - mean y)^2."""
    y, p = (_across(tables, rungs, name) for name in (quantity, predicted))
    both = y.notna().all(axis=1) & p.notna().all(axis=1)
    y, p = y[both].to_numpy(), p[both].to_numpy()
    return Estimate(1 - np.square(y - p).sum(1) / np.square(y - y.mean(1, keepdims=True)).sum(1), "")


def rung_residuals(tables: Tables, *, rung: str, reference: str, twin: str | None = None) -> Estimate:
    """The correlation over modes between the log half times of a network and its twin, after regressing each on those
    of a reference rung (a single layer), for each seed; at least four modes.

    Args:
        twin: the rung whose twin it is, if not the network's own.
    """
    table = _table(tables, LADDER)
    times = {}
    for name, mine, system in (("net", rung, "net"), ("twin", twin or rung, "twin"), ("reference", reference, "net")):
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


def contests(
    tables: Tables, *, terms: Sequence[dict], over: Sequence[dict] | None = None, log: bool = False
) -> Estimate:
    """A weighted sum of quantities of tuned runs, for each seed; with ``over``, its ratio to another, as in `rungs`,
    which has no value unless the denominator is significantly positive.

    Args:
        terms: each has ``workload``, ``optimizer`` (if several, the one whose tuned objective is lowest there), and,
            unless they are ``objective`` and 1, ``quantity`` and ``weight``.
        log: take the natural logarithm of each quantity: with ``steps_to_tenth`` the difference of two is how many
            times the steps one needs to the same loss, in ln. A run that never comes down to a loss counts as if it
            did at its last step.
    """
    top = _tuned(tables, terms, log)
    unit = "" if over or log else comparison.COLUMNS[terms[0].get("quantity", "objective")][0]
    values = top.to_numpy() if over is None else _ratio(top, _tuned(tables, over, log), 0.0)
    return Estimate(values, unit)


def speedup(
    tables: Tables, *, optimizer: str, against: str, workloads: Sequence[str], target: str = "target"
) -> Estimate:
    """How many times fewer steps than another an optimizer needs to the other's target: the geometric mean over
    workloads, seed by seed.

    Args:
        target: ``target``, set by the other's tuned settings, or ``quarter`` or ``fourfold``, at that multiple of its
            learning rate. A run that never reaches the target counts as if it did at its last step, which favours it;
            a seed with a diverged run has no value.
    """
    long = _table(tables, comparison.LONG)
    (factor,) = (factor for factor, name in comparison.TARGETS.items() if name == target)
    ratios = {}
    for workload in workloads:
        there = long[long["workload"] == workload]
        role = "final" if target == "target" else "factor"
        theirs = there[(there["optimizer"] == against) & (there["role"] == role) & (there["factor"] == factor)]
        runs = comparison.finals(there[there["optimizer"] == optimizer])
        if theirs.empty or runs.empty:
            raise NotRun(
                f"no runs of {optimizer!r} and {against!r} ({target}) on {workload!r} in {comparison.LONG}.csv"
            )
        theirs, runs = (part[part["diverged"] == 0].set_index("seed") for part in (theirs, runs))
        ratios[workload] = np.log(theirs["steps_to_target"] / runs[f"steps_to_{target}"].fillna(runs["steps"]))
    return Estimate(np.exp(pd.DataFrame(ratios).dropna().mean(axis=1)).to_numpy(), "")


def rank_flips(tables: Tables, *, optimizers: Sequence[str], workloads: Sequence[str], after: float = 0.0) -> Estimate:
    """On how many workloads the order of two of these optimizers was significantly the reverse of their final order,
    at a reading after a fraction ``after`` of the steps."""
    table = _table(tables, "optimizer_comparison/flips")
    ran = comparison.finals(_table(tables, comparison.LONG))
    there = set(zip(ran["workload"], ran["optimizer"]))
    for workload, name in product(workloads, optimizers):
        if (workload, name) not in there:
            raise NotRun(f"no run of {name!r} on {workload!r} in {comparison.LONG}.csv")
    mine = table[table["workload"].isin(list(workloads)) & (table["share"] > after)]
    mine = mine[mine["ahead"].isin(list(optimizers)) & mine["behind"].isin(list(optimizers))]
    return Estimate(np.array([float(mine["workload"].nunique())]), "workloads", exact=True)


def heterogeneity_rank(tables: Tables, *, workloads: Sequence[str], slow: str, fast: str) -> Estimate:
    """Spearman's correlation over workloads between the distance of the Hessian blocks' spectra at initialization and
    how far one optimizer lags behind another, as a fraction of the first objective; for each seed."""
    from scipy.stats import spearmanr  # here, as in `rung_order`

    distances = _table(tables, "optimizer_comparison/heterogeneity")
    distances = distances[distances["quantity"] == "js_distance"].pivot(index="seed", columns="system", values="value")
    gaps = {}
    for workload in workloads:
        if workload not in distances:
            raise NotRun(f"no {workload!r} in optimizer_comparison/heterogeneity.csv")
        terms = [{"workload": workload, "optimizer": slow}, {"workload": workload, "optimizer": fast, "weight": -1}]
        first = _tuned(tables, [{"workload": workload, "optimizer": fast, "quantity": "first_objective"}])
        gaps[workload] = _tuned(tables, terms) / first
    both = pd.concat([pd.DataFrame(gaps), distances[list(workloads)]], axis=1).dropna().to_numpy()
    correlations = [spearmanr(row[: len(workloads)], row[len(workloads) :]).statistic for row in both]
    return Estimate(np.array(correlations), "")


def workloads_in_order(tables: Tables, *, order: Sequence[str], needed: int) -> Estimate:
    """The fraction of workloads on which each of these optimizers does at least as well, in the mean of tuned runs, as
    the next; ``median`` is the median over the others."""
    means = _mean_objectives(tables, needed, [name for name in order if name != "median"])
    held = []
    for _, means_there in means.groupby(level="workload"):
        values = means_there.droplevel("workload")
        others = values.drop([name for name in order if name in values])
        in_turn = [others.median() if name == "median" else values[name] for name in order]
        held.append(all(a <= b for a, b in zip(in_turn, in_turn[1:])))
    return Estimate(np.array([float(np.mean(held))]), "fraction", exact=True)


def largest_share_of_wins(tables: Tables, *, needed: int) -> Estimate:
    """The largest fraction of workloads that any one optimizer wins in the mean of tuned runs."""
    winners = _mean_objectives(tables, needed, []).groupby(level="workload").idxmin()
    shares = pd.Series([name for _, name in winners]).value_counts(normalize=True)
    return Estimate(np.array([float(shares.iloc[0])]), "fraction", exact=True)


def threshold(tables: Tables, *, optimizer: str) -> Estimate:
    """The measured stability threshold of an optimizer on a quadratic."""
    table = _table(tables, "stability_thresholds")
    row = table[table["optimizer"] == optimizer]
    if row.empty:
        raise NotRun(f"no row {optimizer!r} in stability_thresholds.csv")
    return Estimate(row["stability_threshold"].to_numpy(float), "loss/parameter^2", exact=True)


ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    estimator.__name__: estimator
    for estimator in (
        cell,
        exponent,
        log_ratio,
        catapult,
        computed,
        rungs,
        systems,
        rung_power,
        rung_order,
        rung_agreement,
        rung_residuals,
        contests,
        speedup,
        rank_flips,
        heterogeneity_rank,
        workloads_in_order,
        largest_share_of_wins,
        threshold,
    )
}


def _given(table: pd.DataFrame, system: str, quantity: str, name: str) -> pd.Series:
    """A quantity of one system by seed; nan of every seed if others have the quantity and its runs did not get there.

    Raises:
        NotRun: if the table lacks the system or the quantity.
    """
    mine = table[table["system"] == system]
    if mine.empty or quantity not in table["quantity"].values:
        raise NotRun(f"no {quantity!r} of {system!r} in {name}.csv")
    rows = by_seed(mine, system, quantity)
    return rows if len(rows) else pd.Series(np.nan, index=pd.Index(mine["seed"].unique(), name="seed"))


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


def _ratio(top: pd.Series, bottom: pd.Series, least: float) -> np.ndarray:
    """Values whose mean is the ratio of means and whose t-interval is Fieller's, as long as the denominator is known
    well; no value unless its 95 % interval is above ``least``."""
    both = pd.concat([top, bottom], axis=1).dropna().to_numpy()
    if len(both) < 2 or (lowest := t_interval(both[:, 1], 0.95)) is None or lowest.low <= least:
        return np.full(len(top), np.nan)
    ratio = both[:, 0].mean() / both[:, 1].mean()
    return ratio + (both[:, 0] - ratio * both[:, 1]) / both[:, 1].mean()


def _tuned(tables: Tables, terms: Sequence[dict], log: bool = False) -> pd.Series:
    """A weighted sum of quantities of tuned runs, or of their logarithms, by seed; a seed in which one diverged has
    none."""
    long = _table(tables, comparison.LONG)
    parts = []
    for term in terms:
        workload, named = term["workload"], term["optimizer"]
        names = [named] if isinstance(named, str) else named
        chosen = comparison.best_of(long, workload, names)
        if chosen is None:
            raise NotRun(f"no run of {' or '.join(map(repr, names))} on {workload!r} in {comparison.LONG}.csv")
        runs = comparison.finals(long[(long["workload"] == workload) & (long["optimizer"] == chosen)])
        runs = runs.set_index("seed")
        quantity = term.get("quantity", "objective")
        if quantity not in runs:
            raise NotRun(f"no {quantity!r} in {comparison.LONG}.csv")
        values = runs[quantity].astype(float)
        if log:
            values = np.log(values.fillna(runs["steps"]) if quantity.startswith("steps_to_") else values)
        values = values.where(runs["diverged"] == 0)
        parts.append(term.get("weight", 1) * values)
    return pd.concat(parts, axis=1).dropna().sum(axis=1)


def _mean_objectives(tables: Tables, needed: int, optimizers: Sequence[str]) -> pd.Series:
    """Mean tuned objectives by (workload, optimizer) on the workloads that the most optimizers ran on."""
    runs = comparison.at_shared_seeds(comparison.finals(_table(tables, comparison.LONG)))
    means = runs.groupby(["workload", "optimizer"])["objective"].mean()
    contested = means.groupby(level="workload").size()
    whole = contested.index[contested == contested.max()] if len(contested) else []
    if len(whole) < needed:
        raise NotRun(f"{len(whole)} of {needed} workloads")
    for workload, name in product(whole, optimizers):
        if (workload, name) not in means.index:
            raise NotRun(f"no run of {name!r} on {workload!r} in {comparison.LONG}.csv")
    return means[means.index.get_level_values("workload").isin(whole)]


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
