"""Estimators: from tables to the number a check compares with its prediction.

Each is a function (tables, **arguments) -> Estimate, named in claims.yaml. A new one needs a table where its claim
holds and one where it fails (tests/evidence).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmarks.evidence.runs import COLUMNS

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


def computed(tables: Tables, *, experiment: str, system: str, quantity: str) -> Estimate:
    """A quantity of one system of an experiment on deep linear networks, seed by seed; exact where it has no seed."""
    table = _table(tables, f"deep_linear/{experiment}")
    rows = table[(table["system"] == system) & (table["quantity"] == quantity)]
    if rows.empty:
        raise NotRun(f"no {quantity!r} of {system!r} in deep_linear/{experiment}.csv")
    return Estimate(rows["value"].to_numpy(float), "", exact=bool(rows["seed"].isna().all()))


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
    "threshold": threshold,
}


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
