"""The study's tables and curves, from its runs."""

from collections.abc import Mapping, Sequence

import pandas as pd

from benchmarks.evidence.runs import run_rows
from benchmarks.evidence.tables import cells, curves
from benchmarks.studies.declaration import Finished, Made


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """A row a run, the means over seeds, and curves to draw."""
    long = pd.concat([run_rows(one.curves, one.record) for one in runs], ignore_index=True)
    histories: dict[str, list[pd.DataFrame]] = {}
    for one in runs:
        histories.setdefault(one.record["name"], []).append(one.curves)
    return Made(
        {"progressive_sharpening.long": long, "progressive_sharpening": cells(long)},
        curves({name: pd.concat(parts) for name, parts in histories.items()}),
    )


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A history and a row a seed, for W&B."""
    return runs.curves, run_rows(runs.curves, runs.record)
