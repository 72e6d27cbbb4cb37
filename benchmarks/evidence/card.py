"""What a data card says, and the kinds of agreement that a column may require of a rebuild."""

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Agreement:
    """How far a rebuilt cell may be from the committed one.

    On the same machine (processor, versions, threads and number format as in the manifest) every cell except
    ``seconds`` must be identical to the ten digits that tables have. Elsewhere:

        exact        equal: names, settings, counts that nothing rounds
        identical    not compared: choices between nearly equal numbers, and sentences with numbers in them
        relative     |difference| <= tolerance x the larger of the two, or <= floor
        statistical  |difference| <= tolerance standard errors of the cell over its seeds, or <= floor; where a cell
                     has no standard error, relative with ``otherwise``
        seconds      never compared on any machine

    Attributes:
        tolerance: for ``relative`` a fraction, for ``statistical`` a number of standard errors.
        otherwise: a fraction.
        floor: in the cell's unit; a smaller difference is rounding.
    """

    kind: Literal["exact", "identical", "relative", "statistical", "seconds"]
    tolerance: float = 0.0
    otherwise: float = 0.0
    floor: float = 0.0

    def __str__(self) -> str:
        floor = f", or {self.floor:g}" if self.floor else ""
        return {
            "exact": "exact",
            "identical": "same machine only",
            "relative": f"within {self.tolerance:g} of it{floor}",
            "statistical": f"within {self.tolerance:g} standard errors{floor}",
            "seconds": "not compared",
        }[self.kind]


EXACT = Agreement("exact")
IDENTICAL = Agreement("identical")
SECONDS = Agreement("seconds")


def relative(tolerance: float, floor: float = 0.0) -> Agreement:
    return Agreement("relative", tolerance, floor=floor)


def statistical(tolerance: float = 5.0, otherwise: float = 0.05, floor: float = 1e-9) -> Agreement:
    return Agreement("statistical", tolerance, otherwise, floor)


@dataclass(frozen=True)
class Column:
    """A column, or a quantity of a tidy table.

    Attributes:
        unit: "" for a pure number or a word.
        agreement: None for that of its card.
        interval: the columns that hold its 95 % interval.
    """

    unit: str
    meaning: str
    agreement: Agreement | None = None
    interval: tuple[str, str] | None = None


@dataclass(frozen=True)
class Card:
    """A table's data card.

    Attributes:
        row: what a row is.
        keys: the columns that together identify a row.
        computed: how its numbers are computed.
        limits: what they do not show.
        columns: in the table's order.
        quantities: for tidy tables, by a pattern of the column `by`: what is in the columns `holds`, and how they may
            differ.
        replicates: the keys in which replicates differ; rows that agree in all others give a cell its standard error.
        n: the column with the number of seeds behind a row's intervals.
        rows: ``exact`` if every machine has the same rows, ``identical`` if only the same machine has.
        schema: raised when a column is removed, renamed, or changes its meaning.
        agreement: of the columns and quantities that name none.
    """

    title: str
    row: str
    keys: tuple[str, ...]
    computed: str
    limits: str
    columns: Mapping[str, Column]
    quantities: Mapping[str, Column] = field(default_factory=dict)
    by: str = "quantity"
    holds: tuple[str, ...] = ("value",)
    replicates: tuple[str, ...] = ()
    n: str | None = None
    rows: Literal["exact", "identical"] = "exact"
    schema: int = 1
    agreement: InitVar[Agreement] = EXACT

    def __post_init__(self, agreement: Agreement):
        for name in ("columns", "quantities"):
            given = getattr(self, name)
            filled = {key: one if one.agreement else replace(one, agreement=agreement) for key, one in given.items()}
            object.__setattr__(self, name, filled)
        known = set(self.columns)
        named = {*self.keys, *self.replicates, *filter(None, [self.n])}
        named |= {end for column in self.columns.values() for end in column.interval or ()}
        if self.quantities:
            named |= {self.by, *self.holds}
        if missing := sorted(named - known):
            raise ValueError(f"the card {self.title!r} names the column {missing[0]!r}, which is not among its columns")

    def require(self, table, name: str) -> None:
        """Raises ValueError unless each column and quantity of a table (a data frame) has an entry."""
        quantities = table[self.by].unique() if self.by in table else ()
        if missing := self.undocumented(table.columns, quantities):
            raise ValueError(f"table {name} has {missing[0]} and its card does not: add it to the study's study.py")

    def quantity(self, name: str) -> Column:
        """What the columns `holds` are in the rows of a quantity.

        Raises:
            KeyError: if the card has no entry for it.
        """
        found = self.quantities.get(name)
        if found is None:
            found = next((column for pattern, column in self.quantities.items() if fnmatchcase(name, pattern)), None)
        if found is None:
            raise KeyError(name)
        return found

    def undocumented(self, columns: Iterable[str], quantities: Iterable[str] = ()) -> list[str]:
        """The columns and quantities of a table that have no entry."""
        missing = [name for name in columns if name not in self.columns]
        for name in quantities if self.quantities else ():
            try:
                self.quantity(name)
            except KeyError:
                missing.append(f"quantity {name}")
        return missing


def from_dictionary(
    entries: Mapping[str, tuple[str, str]], default: Agreement, **agreements: Agreement
) -> dict[str, Column]:
    """Columns from {name: (unit, meaning)}, with agreements for some by name."""
    unknown = set(agreements) - set(entries)
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    return {name: Column(unit, what, agreements.get(name, default)) for name, (unit, what) in entries.items()}


def with_interval(name: str, column: Column) -> dict[str, Column]:
    """A mean and the two ends of its 95 % interval, as three columns that follow each other."""
    low, high = f"{name}_low", f"{name}_high"
    end = Column(column.unit, "", column.agreement, (low, high))
    return {
        name: replace(column, interval=(low, high)),
        low: replace(end, meaning=f"low end of the 95 % interval of {name}"),
        high: replace(end, meaning=f"high end of the 95 % interval of {name}"),
    }


# Smooth paths in float64: rounding stays rounding.
SMOOTH = relative(1e-4, floor=1e-7)
DRAWN = statistical(otherwise=1e-3, floor=1e-6)


def tidy(title: str, computed: str, limits: str, quantities: Mapping[str, Column], system: str = "", **options) -> Card:
    """A card of a table with the columns system, seed, quantity, value.

    Args:
        system: what a system is; if not given, a setting in the experiment's module.
        options: of the card; its ``agreement`` is of the quantities that name none.
    """
    return Card(
        title=title,
        row="one system, seed and quantity",
        keys=("system", "seed", "quantity"),
        computed=computed,
        limits=limits,
        replicates=("seed",),
        columns={
            "system": Column("", system, EXACT),
            "seed": Column("", "of what is drawn; empty where nothing is", EXACT),
            "quantity": Column("", "what the value is", EXACT),
            "value": Column("the quantity's", "its value; how it may differ depends on the quantity", DRAWN),
        },
        quantities=quantities,
        **options,
    )
