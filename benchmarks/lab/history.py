"""What happened in the training of a stack, as one long table: a row per run, step and metric.

Columns: ``seed`` (int32), ``step`` (int32, updates made so far), ``metric`` (category) and ``value`` (float64).
"""

from math import isnan

import pandas as pd
from torch import Tensor

COLUMNS = ("seed", "step", "metric", "value")


class History:
    """Rows in the order they were measured. ``state_dict`` is plain lists, for checkpoints."""

    def __init__(self, seeds: list[int]):
        self.seeds = list(seeds)
        self._rows: dict[str, list] = {name: [] for name in COLUMNS}

    def add(self, step: int, metric: str, values_R: Tensor, runs: Tensor) -> None:
        """Record a metric for every run that is selected by the mask ``runs`` (R, bool) and has a value."""
        for seed, value, recorded in zip(self.seeds, values_R.tolist(), runs.tolist()):
            if recorded and not isnan(value):
                for name, entry in zip(COLUMNS, (seed, step, metric, float(value))):
                    self._rows[name].append(entry)

    def frame(self) -> pd.DataFrame:
        """The table, sorted by seed, metric and step, so that equal histories are equal bytes."""
        frame = pd.DataFrame(self._rows, columns=list(COLUMNS))
        frame = frame.astype({"seed": "int32", "step": "int32", "metric": "str", "value": "float64"})
        return frame.sort_values(["seed", "metric", "step"], kind="stable", ignore_index=True)

    def state_dict(self) -> dict:
        return {name: list(column) for name, column in self._rows.items()}

    def load_state_dict(self, state: dict) -> None:
        self._rows = {name: list(state[name]) for name in COLUMNS}
