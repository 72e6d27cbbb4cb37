"""The table of an experiment: a row per system, seed and quantity."""

from collections.abc import Callable, Iterable, Iterator
from functools import wraps

import pandas as pd

COLUMNS = ["system", "seed", "quantity", "value"]

# A system, its seed (None where nothing is drawn), and quantities by name.
Result = tuple[str, int | None, dict[str, float]]


def tabulate(results: Iterable[Result]) -> pd.DataFrame:
    rows = [(system, seed, *pair) for system, seed, quantities in results for pair in quantities.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def tidy(run: Callable[..., Iterator[Result]]) -> Callable[..., pd.DataFrame]:
    """An experiment that yields results, made to return their table."""

    @wraps(run)
    def table(*args, **kwargs) -> pd.DataFrame:
        return tabulate(run(*args, **kwargs))

    return table
