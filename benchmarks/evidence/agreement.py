"""Whether two versions of a table agree, cell by cell, within the tolerances of its data card."""

import io
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from benchmarks.evidence.card import Agreement, Card

COLUMNS = ["table", "row", "column", "before", "after", "agreement", "difference", "allowed", "severity", "agrees"]


@dataclass
class Comparison:
    """The result of comparing one table.

    Attributes:
        cells: how many were compared, and how many of those in rows that a mask picked (`compare`).
        apart: cells that are not compared on this machine, seconds among them.
        differences: `COLUMNS`, one row per cell whose text is not the same. ``severity`` is the difference over what is
            allowed (infinite where nothing is), ``agrees`` whether it is within.
        faults: what is missing or too much: columns, rows, the table.
    """

    table: str
    cells: int = 0
    picked: int = 0
    apart: int = 0
    differences: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    faults: list[str] = field(default_factory=list)

    @property
    def disagreeing(self) -> pd.DataFrame:
        return self.differences[~self.differences["agrees"].astype(bool)]

    @property
    def agrees(self) -> bool:
        return not self.faults and self.disagreeing.empty


def read(text: str) -> pd.DataFrame:
    """A table as the text of its cells, so that equal means equal to the last digit."""
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def label(row: pd.Series | tuple, keys: tuple[str, ...]) -> str:
    """A row's name: its keys, without empty ones."""
    return ", ".join(f"{key} {value}" for key, value in zip(keys, row) if value != "")


def compare(
    name: str,
    card: Card,
    before: pd.DataFrame,
    after: pd.DataFrame,
    same_machine: bool,
    picked: np.ndarray | None = None,
) -> Comparison:
    """Every cell of the table before against the one after.

    Args:
        before, after: from `read`.
        same_machine: whether all but seconds must be identical.
        picked: rows of ``before`` to count separately, as a mask.
    """
    comparison = Comparison(name)
    lost, new = (sorted(set(a.columns) - set(b.columns)) for a, b in ((before, after), (after, before)))
    comparison.faults += [f"{name}: column {column} is missing" for column in lost]
    comparison.faults += [f"{name}: column {column} is new" for column in new if same_machine]
    keys = [key for key in card.keys if key in before and key in after]
    if len(keys) < len(card.keys):
        return comparison
    old, now = (frame.set_index(keys) for frame in (before, after))
    for frame, which in ((old, "before"), (now, "after")):
        if frame.index.has_duplicates:
            twice = frame.index[frame.index.duplicated()][0]
            comparison.faults.append(f"{name}: two rows {which} of {label(np.atleast_1d(twice), card.keys)}")
            return comparison
    both = old.index.intersection(now.index, sort=False)
    _note_rows(comparison, card, old.index.difference(now.index), "is missing", same_machine)
    _note_rows(comparison, card, now.index.difference(old.index), "is new", same_machine)

    errors = standard_errors(card, before)
    mask = pd.Series(True if picked is None else picked, index=old.index).loc[both].to_numpy()
    old, now, errors = old.loc[both], now.loc[both], errors.set_index(old.index).loc[both]
    quantities = both.get_level_values(card.by) if card.quantities and card.by in keys else None
    parts = []
    for column in [c for c in old.columns if c in now.columns and c in card.columns]:
        agreements = _agreements(card, column, quantities, len(both))
        part, compared = _column(column, agreements, old[column], now[column], errors.get(column), same_machine)
        parts.append(part.assign(table=name, row=[label(np.atleast_1d(both[i]), card.keys) for i in part["place"]]))
        comparison.cells += int(compared.sum())
        comparison.picked += int((compared & mask).sum())
        comparison.apart += int((~compared).sum())
    if parts:
        comparison.differences = pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    return comparison


def standard_errors(card: Card, table: pd.DataFrame) -> pd.DataFrame:
    """The standard error of every cell: from the interval that stands beside it, or, for a run, the standard deviation
    over the replicates; nan where there is neither."""
    numbers = {
        name: pd.to_numeric(table[name], errors="coerce")
        for name, column in card.columns.items()
        if name in table and column.agreement.kind == "statistical"
    }
    errors = {}
    group = [key for key in card.keys if key not in card.replicates]
    for name, values in numbers.items():
        ends = card.columns[name].interval
        if ends and card.n and {*ends, card.n} <= set(table.columns):
            low, high, n = (pd.to_numeric(table[column], errors="coerce") for column in (*ends, card.n))
            errors[name] = (high - low) / 2 / stdtrit((n - 1).clip(lower=1).fillna(1), 0.975)
        elif card.replicates and group:
            errors[name] = values.groupby([table[key] for key in group]).transform("std")
        else:
            errors[name] = pd.Series(np.nan, index=table.index)
    return pd.DataFrame(errors, index=table.index)


def _agreements(card: Card, column: str, quantities: pd.Index | None, rows: int) -> list[Agreement]:
    if column not in card.holds or quantities is None:
        return [card.columns[column].agreement] * rows
    known = {name: card.quantity(name).agreement for name in quantities.unique()}
    return [known[name] for name in quantities]


def _column(
    column: str,
    agreements: list[Agreement],
    before: pd.Series,
    after: pd.Series,
    errors: pd.Series | None,
    same_machine: bool,
) -> tuple[pd.DataFrame, np.ndarray]:
    """The cells of a column that differ, with their place among the rows; and which cells were compared."""
    apart = {"seconds"} if same_machine else {"seconds", "identical"}
    compared = np.array([agreement.kind not in apart for agreement in agreements], dtype=bool)
    differ = (before.to_numpy() != after.to_numpy()) & compared
    places = np.flatnonzero(differ)
    old, now = (pd.to_numeric(part.iloc[places], errors="coerce").to_numpy(float) for part in (before, after))
    error = np.full(len(places), np.nan) if errors is None else errors.iloc[places].to_numpy(float)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(now - old)
    allowed = np.array([_allowed(agreements[i], a, b, e, same_machine) for i, a, b, e in zip(places, old, now, error)])
    with np.errstate(invalid="ignore", divide="ignore"):
        severity = np.where(np.isfinite(gaps) & (allowed > 0), gaps / allowed, np.inf)
    part = pd.DataFrame(
        {
            "place": places,
            "column": column,
            "before": before.iloc[places].to_numpy(),
            "after": after.iloc[places].to_numpy(),
            "agreement": [str(agreements[i]) for i in places],
            "difference": gaps,
            "allowed": allowed,
            "severity": severity,
            "agrees": severity <= 1,
        }
    )
    return part, compared


def _allowed(agreement: Agreement, before: float, after: float, error: float, same_machine: bool) -> float:
    """The largest difference at which two numbers still agree."""
    if same_machine or agreement.kind == "exact":
        return 0.0
    largest = max(abs(before), abs(after))
    if agreement.kind == "relative":
        return max(agreement.tolerance * largest, agreement.floor)
    bound = agreement.otherwise * largest if np.isnan(error) else agreement.tolerance * error
    return max(bound, agreement.floor)


def _note_rows(found: Comparison, card: Card, rows: pd.Index, how: str, same_machine: bool) -> None:
    if same_machine or card.rows == "exact":
        found.faults += [f"{found.table}: row {label(np.atleast_1d(row), card.keys)} {how}" for row in rows]
    else:
        found.apart += len(rows)
