"""What a stage produces: the table of an experiment, or the runs of a configuration."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import wraps

import pandas as pd

COLUMNS = ["system", "seed", "quantity", "value"]

# A system, its seed (None where nothing is drawn), and quantities by name.
Result = tuple[str, int | None, dict[str, float]]


@dataclass(frozen=True)
class Runs:
    """The output of the runs of a configuration: tables of scores and of readings along the way, and facts about them.

    ``rows`` and ``curves`` have a column ``seed``; either may be None. ``facts`` becomes JSON.
    """

    rows: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    facts: dict = field(default_factory=dict)


def tabulate(results: Iterable[Result]) -> pd.DataFrame:
    rows = [(system, seed, *pair) for system, seed, quantities in results for pair in quantities.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def tidy(run: Callable[..., Iterator[Result]]) -> Callable[..., pd.DataFrame]:
    """An experiment that yields results, made to return their table: a row per system, seed and quantity."""

    @wraps(run)
    def table(*args, **kwargs) -> pd.DataFrame:
        return tabulate(run(*args, **kwargs))

    return table
