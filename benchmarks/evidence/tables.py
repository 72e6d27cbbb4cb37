"""From runs to a study's tables and curves.

The long table has one row per run (`benchmarks.evidence.runs`), the cell table one row per configuration and metric,
with the interval over seeds; the curves have what figures need.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.evidence.runs import COLUMNS, METRICS
from benchmarks.evidence.statistics import t_interval

CELL_COLUMNS = [
    "study",
    "configuration",
    "learning_rate",
    "metric",
    "unit",
    "n",
    "mean",
    "sd",
    "ci95_low",
    "ci95_high",
]
MAX_POINTS = 400
WINDOW = 51  # steps


@dataclass(frozen=True)
class Average:
    """A curve that is, for each seed, a centred running mean over `WINDOW` steps, where the run has all of them.

    Attributes:
        source: the metric that is averaged.
        beside: it is drawn only where this metric was measured too.
        of: function applied to the source before averaging.
    """

    source: str
    beside: str
    of: Callable[[pd.Series], pd.Series] = lambda values: values


AVERAGES = {
    "loss_average": Average("loss", beside="central_loss"),
    "loss_rises": Average("loss", beside="segment_sharpness", of=lambda loss: (loss.diff().dropna() > 0).astype(float)),
    "oscillation_squared": Average("oscillation", beside="predicted_variance", of=np.square),
    "predicted_variance_average": Average("predicted_variance", beside="predicted_variance"),
}
# What the figures draw.
CURVES = (
    "loss",
    "gradient_norm",
    "sharpness",
    "preconditioned_sharpness",
    "batch_sharpness",
    "flow_sharpness",
    "flow_loss",
    "flow_distance",
    "central_sharpness",
    "central_loss",
    "central_predicted_loss",
    "central_distance",
    "central_variance",
    "segment_sharpness",
    "segment_curvature",
    *AVERAGES,
)


def cells(long: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration and metric: mean, sample sd and 95 % t-interval over the n seeds that have a value.

    Cells are empty where n is too small: the mean needs one seed, sd and interval need two.
    """
    rows = []
    for configuration, runs in long.groupby("configuration", sort=False):
        for metric in METRICS:
            values = runs[metric].dropna().to_numpy(dtype=float)
            interval = t_interval(values, 0.95)
            rows.append(
                {
                    "study": runs["study"].iloc[0],
                    "configuration": configuration,
                    "learning_rate": runs["learning_rate"].iloc[0],
                    "metric": metric,
                    "unit": COLUMNS[metric][0],
                    "n": len(values),
                    "mean": values.mean() if len(values) else np.nan,
                    "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                    "ci95_low": interval.low if interval else np.nan,
                    "ci95_high": interval.high if interval else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=CELL_COLUMNS)


def curves(histories: dict[str, pd.DataFrame], metrics: tuple[str, ...] = CURVES) -> pd.DataFrame:
    """Mean and range over seeds at each step, at most 400 steps per curve: configuration, metric, step, mean, low,
    high, n. A metric that a configuration lacks has no rows.

    Args:
        histories: by configuration; columns seed, step, metric, value.
        metrics: of the histories, or keys of `AVERAGES`.
    """
    parts = []
    for configuration, history in histories.items():
        for metric in metrics:
            rows = _average(history, AVERAGES[metric]) if metric in AVERAGES else history[history["metric"] == metric]
            steps = thin(np.sort(rows["step"].unique()))
            grouped = rows[rows["step"].isin(steps)].groupby("step")["value"]
            part = grouped.agg(mean="mean", low="min", high="max", n="count").reset_index()
            part.insert(0, "metric", metric)
            part.insert(0, "configuration", configuration)
            parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    compact = {"step": "int32", "mean": "float32", "low": "float32", "high": "float32", "n": "int16"}
    return table.astype(compact)


def _average(history: pd.DataFrame, average: Average) -> pd.DataFrame:
    """Columns step and value, the rows of every seed; none where a metric is lacking."""
    if not {average.source, average.beside} <= set(history["metric"]):
        return history.iloc[:0]
    parts = []
    for _, of_seed in history[history["metric"] == average.source].groupby("seed"):
        values = average.of(of_seed.set_index("step")["value"].sort_index())
        every = int(np.diff(values.index).max(initial=1))
        parts.append(values.rolling(2 * (WINDOW // 2 // every) + 1, center=True).mean().dropna().reset_index())
    return pd.concat(parts)


def thin(steps: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """At most ``limit`` of the steps, the first and last among them.

    The stride is odd: gradient descent at the edge of stability oscillates with period two, and an even stride would
    show one phase of it alone.
    """
    if len(steps) <= limit:
        return steps
    stride = -(-len(steps) // (limit - 1))
    stride += 1 - stride % 2
    kept = steps[::stride]
    return kept if kept[-1] == steps[-1] else np.append(kept, steps[-1])
