"""The study's tables and curves, from its runs, once the observables have passed their gate."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import pandas as pd

from benchmarks.evidence import ladder
from benchmarks.studies.declaration import Finished, Made, Measured


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """Every score, and the ladder with a row a rung.

    Raises:
        ValueError: as "instrument broken", where the observables fail on what is known.
    """
    scores = [one.rows.assign(rung=one.record["name"]) for one in runs]
    long = pd.concat(scores, ignore_index=True)[["rung", "system", "seed", "quantity", "value"]]
    ladder.require_gate(read["deep_linear/waypoints"], long)
    curves = pd.concat([one.curves.assign(rung=one.record["name"]) for one in runs], ignore_index=True)
    shown = curves[curves["rung"].isin(ladder.DRAWN)].dropna(axis=1, how="all").reset_index(drop=True)
    answer = ladder.answer(long, {one.record["name"]: one.record["settings"] for one in runs})
    return Made({"low_rank_progression.long": long, "low_rank_progression": answer}, curves if shown.empty else shown)


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For W&B: a network and its twin are one run per seed, with the curves as history and the scores as row."""
    history = runs.curves.melt(["system", "seed", "step"], var_name="metric").dropna()
    history["metric"] = history["system"] + "/" + history["metric"]
    names = runs.rows["system"] + "/" + runs.rows["quantity"]
    rows = runs.rows.assign(name=names).pivot(index="seed", columns="name", values="value").reset_index()
    return history.drop(columns="system"), rows


def compared(read: Callable[[str], pd.DataFrame], values: dict[str, str], seed: int | None) -> dict[str, Measured]:
    """A run's scores, or the means of a rung's over its seeds."""
    long = read("low_rank_progression.long")
    long = long[(long["rung"] == values["rung"]) & ((long["seed"] == seed) | (seed is None))]
    scores = long.groupby([long["system"] + "/" + long["quantity"]], sort=False)["value"].mean()
    return {key: (value, nan, nan) for key, value in scores.items()}
