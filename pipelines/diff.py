"""``bench diff``: which cells and verdicts changed between two revisions, by how much, relative to their intervals."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.evidence import agreement
from benchmarks.studies import catalog
from pipelines import revisions


@dataclass
class Diff:
    """What differs between the tables of two revisions.

    Attributes:
        comparisons: one per table that both have.
        added, removed: tables that only the second, or the first, has.
    """

    before: str
    after: str
    comparisons: list[agreement.Comparison]
    added: list[str]
    removed: list[str]

    @property
    def moved(self) -> pd.DataFrame:
        """The cells that differ, those furthest beyond their tolerance first."""
        parts = [c.differences for c in self.comparisons if len(c.differences)]
        if not parts:
            return pd.DataFrame(columns=agreement.COLUMNS)
        return pd.concat(parts, ignore_index=True).sort_values("severity", ascending=False, kind="stable")

    @property
    def verdicts(self) -> pd.DataFrame:
        """The checks whose verdict changed: row, before, after."""
        moved = self.moved
        return moved[(moved["table"] == "claims") & (moved["column"] == "verdict")]

    @property
    def beyond(self) -> list[str]:
        """Why the two are not comparable: removed tables, columns and rows, and numbers beyond tolerance."""
        reasons = [f"table {name} is gone" for name in self.removed]
        for c in self.comparisons:
            reasons += [fault for fault in c.faults if fault.endswith("is missing")]
            reasons += [shown(cell) for cell in c.disagreeing.itertuples()]
        return reasons


def diff(before: str, after: str | None) -> Diff:
    """The tables at one revision against those at another, or in the working tree if None.

    Raises:
        RevisionError: for a revision that is not there, or has no results.
    """
    first = revisions.resolve(before)
    second = None if after is None else revisions.resolve(after)
    old, new = revisions.tables(first), revisions.tables(second)
    cards = catalog.cards()
    comparisons = [
        agreement.compare(name, cards[name], agreement.read(old[name]), agreement.read(new[name]), same_machine=False)
        for name in old
        if name in new and name in cards
    ]
    return Diff(
        first[:12],
        second[:12] if second else "the working tree",
        comparisons,
        sorted(set(new) - set(old)),
        sorted(set(old) - set(new)),
    )


def shown(cell) -> str:
    """One line for a cell that changed: by how much, and what its column allows."""
    text = f"{cell.table}, {cell.row}, {cell.column}: {cell.before or '(empty)'} -> {cell.after or '(empty)'}"
    if np.isfinite(cell.severity):
        text += f" (by {cell.difference:.3g}; {cell.agreement} is {cell.allowed:.3g})"
    return text


def told(found: Diff, limit: int) -> str:
    """A diff for a terminal."""
    lines = [f"{found.before} -> {found.after}"]
    lines += [f"new table: {name}" for name in found.added] + [f"table gone: {name}" for name in found.removed]
    for c in found.comparisons:
        rows = [fault for fault in c.faults if " row " in fault]
        columns = [fault for fault in c.faults if " column " in fault]
        lines += [f"  {fault}" for fault in columns]
        parts = [f"{len(c.differences)} of {c.cells} cells moved"] if len(c.differences) else []
        parts += [f"{len(c.disagreeing)} beyond tolerance"] if len(c.disagreeing) else []
        for how in ("new", "missing"):
            count = sum(fault.endswith(f"is {how}") for fault in rows)
            parts += [f"{count} rows {'new' if how == 'new' else 'gone'}"] if count else []
        if parts:
            lines.append(f"  {c.table}: {', '.join(parts)}")
    verdicts = found.verdicts
    lines.append(f"verdicts moved: {len(verdicts)}" if len(verdicts) else "no verdict moved")
    lines += [f"  {cell.row.removeprefix('check ')}: {cell.before} -> {cell.after}" for cell in verdicts.itertuples()]
    moved = found.moved
    if len(moved):
        lines.append("cells, the furthest beyond their tolerance first:")
        lines += [f"  {shown(cell)}" for cell in moved.head(limit).itertuples()]
        lines += [f"  and {len(moved) - limit} more: `--limit` shows them"] if len(moved) > limit else []
    return "\n".join(lines)


def markdown(found: Diff, limit: int = 50) -> str:
    """A diff for results/CHANGELOG.md."""
    lines = [f"- Table `{name}` is new." for name in found.added]
    lines += [f"- Table `{name}` is gone." for name in found.removed]
    for c in found.comparisons:
        new = sum(" row " in fault and fault.endswith("is new") for fault in c.faults)
        gone = sum(" row " in fault and fault.endswith("is missing") for fault in c.faults)
        columns = [fault.partition(": ")[2] for fault in c.faults if " column " in fault]
        if len(c.differences) or new or gone or columns:
            parts = [f"{len(c.differences)} of {c.cells} cells moved, {len(c.disagreeing)} beyond tolerance"]
            parts += [f"{new} rows new"] * bool(new) + [f"{gone} rows gone"] * bool(gone) + columns
            lines.append(f"- `{c.table}`: {'; '.join(parts)}.")
    verdicts = found.verdicts
    for cell in verdicts.itertuples():
        lines.append(f"- Verdict of `{cell.row.removeprefix('check ')}`: {cell.before}, now {cell.after}.")
    moved = found.moved
    moved = moved[~moved["agrees"].astype(bool)] if len(moved) else moved
    lines += [f"- {shown(cell)}" for cell in moved.head(limit).itertuples()]
    if len(moved) > limit:
        lines.append(f"- and {len(moved) - limit} more cells beyond tolerance: `bench diff {found.before}`.")
    return "\n".join(lines) if lines else "- No cell moved."
