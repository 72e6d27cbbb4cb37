"""The study's tables and curves, from its runs, once the observables have passed their gate."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from benchmarks.evidence import ladder
from benchmarks.studies import beside
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
    return beside.tracked(runs, "system")


def compared(read: Callable[[str], pd.DataFrame], values: dict[str, str], seed: int | None) -> dict[str, Measured]:
    long = read("low_rank_progression.long")
    return beside.compared(long[long["rung"] == values["rung"]], seed)
