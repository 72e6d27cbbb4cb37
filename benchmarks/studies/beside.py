"""Networks that are trained beside one another in one stage: how W&B tracks them, and how two runs are compared."""

from math import nan

import pandas as pd

from benchmarks.studies.declaration import Finished, Measured


def tracked(runs: Finished, role: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A network and those beside it are one run per seed, with the curves as history and the scores as row.

    Args:
        role: the column of the curves that says which network it is; ``system`` in the rows.

    Returns:
        history: seed, step, metric (ROLE/NAME), value; rows: a row a seed, a column each ROLE/QUANTITY.
    """
    history = runs.curves.melt([role, "seed", "step"], var_name="metric").dropna()
    history["metric"] = history[role] + "/" + history["metric"]
    names = runs.rows["system"] + "/" + runs.rows["quantity"]
    rows = runs.rows.assign(name=names).pivot(index="seed", columns="name", values="value").reset_index()
    return history.drop(columns=role), rows


def compared(long: pd.DataFrame, seed: int | None) -> dict[str, Measured]:
    """The scores of one seed, or their means over all of them, by SYSTEM/QUANTITY.

    Args:
        long: system, seed, quantity, value of one configuration.
    """
    long = long[(long["seed"] == seed) | (seed is None)]
    scores = long.groupby([long["system"] + "/" + long["quantity"]], sort=False)["value"].mean()
    return {key: (value, nan, nan) for key, value in scores.items()}
