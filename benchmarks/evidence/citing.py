"""Tables as others cite them: a cell with its interval, BibTeX, LaTeX (booktabs and number macros), Markdown."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from benchmarks.evidence.agreement import label
from benchmarks.evidence.card import Card
from benchmarks.evidence.report import number

DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
ROWS_ON_A_PAGE = 40
# The column that is cited if none is named.
CITED = (
    "measured",
    "mean",
    "value",
    "waypoint_score",
    "share",
    "objective",
    "stability_threshold",
    "monotone_boundary",
)


class CitingError(ValueError):
    """A table, row or column that does not exist; the message suggests the nearest one."""


@dataclass(frozen=True)
class Cell:
    """A cell to cite: its value and the ends of its 95 % interval, as the table has them; empty text where there are
    none."""

    row: str
    column: str
    value: str
    unit: str
    low: str
    high: str
    n: str
    verdict: str = ""

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        interval = f", 95 % interval [{self.low}, {self.high}]" if self.low and self.high else ""
        n, verdict = f", n = {self.n}" if self.n else "", f", {self.verdict}" if self.verdict else ""
        return f"{self.value}{unit}{interval}{n}{verdict}"


def select(table: pd.DataFrame, card: Card, rows: Iterable[str]) -> pd.DataFrame:
    """The rows of a table (`benchmarks.evidence.agreement.read`) for which every ``column=value`` holds.

    Raises:
        CitingError: for a column or a value that the table does not have, or if no row is left.
    """
    for text in rows:
        column, sign, value = text.partition("=")
        if not sign:
            raise CitingError(f"--row {text}: write column=value, as {card.keys[0]}={table[card.keys[0]].iloc[0]}")
        _require(column, list(table.columns), "column")
        _require(value, list(dict.fromkeys(table[column])), f"{column} among these rows")
        table = table[table[column] == value]
    return table


def cell(row: pd.Series, card: Card, column: str | None) -> Cell:
    """One cell of a row, with the interval that its data card names.

    Raises:
        CitingError: for a column that the table does not have, or if none is named and the table has no usual one.
    """
    if column is None:
        column = next((name for name in CITED if name in row.index), None)
        if column is None:
            raise CitingError(f"which column? --column takes {', '.join(row.index)}")
    _require(column, list(row.index), "column")
    described = card.columns[column]
    low, high = (row[end] for end in described.interval) if described.interval else ("", "")
    unit = row["unit"] if "unit" in row.index else described.unit
    if card.quantities and column in card.holds:
        unit = card.quantity(row[card.by]).unit
    n = row[card.n] if card.n and described.interval else ""
    name = label(tuple(row[key] for key in card.keys), card.keys)
    verdict = row.get("word", "") if column in ("measured", "share") else ""
    return Cell(name, column, row[column] or "(empty)", unit, low, high, n, verdict)


def usual_columns(table: pd.DataFrame, card: Card) -> list[str]:
    """What a row is cited with: its keys, its number with interval and unit, how many seeds, and a verdict."""
    cited = next((name for name in CITED if name in table.columns), None)
    interval = card.columns[cited].interval or () if cited else ()
    wanted = (*card.keys, cited, *interval, "unit", card.n, "word")
    return [name for name in dict.fromkeys(wanted) if name in table.columns]


def bibtex(citation: Mapping, version: str, revision: str | None = None, table: tuple[str, Card] | None = None) -> str:
    """An entry that names the version, and the commit if given.

    Args:
        citation: CITATION.cff.
        table: whose entry, by name and card; the whole benchmark's if not given.
    """
    authors = " and ".join(_author(author) for author in citation.get("authors", [])) or "Unknown"
    year = str(citation.get("date-released", ""))[:4]
    title = citation.get("title", "Optimization dynamics benchmark")
    key = "optimization-dynamics-benchmark"
    note = f"Version {version}" + (f", commit {revision[:12]}" if revision else "")
    if table is not None:
        name, card = table
        key += "-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        note = f"Table {name}: {card.title}. {note}"
    fields = {"author": authors, "title": title, "year": year, "version": version, "note": note}
    body = ",\n".join(
        f"  {name:<8}= {{{_tex(value) if name != 'author' else value}}}" for name, value in fields.items() if value
    )
    return f"@misc{{{key},\n{body}\n}}"


def latex_table(table: pd.DataFrame, columns: Iterable[str], caption: str, name: str) -> str:
    """These columns in booktabs rules, numbers with four digits, ready to ``\\input``; as a longtable where they would
    not fit on a page.

    Args:
        name: of its label, ``tab:name``.

    Raises:
        CitingError: for a column that the table does not have.
    """
    shown = _shown(table, columns)
    long = len(shown) > ROWS_ON_A_PAGE
    return (
        shown.style.hide(axis="index")
        .format(_tex)
        .format_index(_heading, axis="columns")
        .to_latex(
            hrules=True,
            column_format="".join("r" if _numeric(table[column]) else "l" for column in shown),
            environment="longtable" if long else None,
            position_float=None if long else "centering",
            caption=_tex(caption),
            label=f"tab:{name}",
        )
    )


def macros(checks: pd.DataFrame, version: str) -> str:
    """A macro for each check's number, and one for its interval: ``\\BenchEOneLevelMid`` and
    ``\\BenchEOneLevelMidInterval`` of E1.level-mid, so that a paper cites numbers by name.

    Raises:
        ValueError: if two checks would have one name.
    """
    lines = [
        f"% Numbers of the optimization dynamics benchmark, version {version}. \\input this file.",
        f"\\newcommand{{\\BenchVersion}}{{{version}}}",
    ]
    seen: dict[str, str] = {}
    for row in checks.itertuples():
        name = macro_name(row.check)
        if name in seen:
            raise ValueError(f"checks {seen[name]} and {row.check} would both be {name}")
        seen[name] = row.check
        control = f", a {row.role} control" if row.role != "main" else ""
        lines.append(f"% {row.check}: {row.word}{control}")
        value = _number(row.measured) if row.measured else "\\text{not run}"
        lines.append(f"\\newcommand{{{name}}}{{\\ensuremath{{{value}}}}}")
        if row.ci95_low and row.ci95_high:
            lines.append(
                f"\\newcommand{{{name}Interval}}{{\\ensuremath{{[{_number(row.ci95_low)}, {_number(row.ci95_high)}]}}}}"
            )
    return "\n".join(lines) + "\n"


def macro_name(check: str) -> str:
    """A check's macro: letters only, as TeX has it."""
    words = re.findall(r"[A-Za-z]+|\d", check)
    return "\\Bench" + "".join(DIGITS[int(word)] if word.isdigit() else word[0].upper() + word[1:] for word in words)


def markdown_table(table: pd.DataFrame, columns: Iterable[str]) -> str:
    """A Markdown table of these columns, numbers with four digits."""
    shown = _shown(table, columns).map(lambda text: text.replace("|", "\\|"))
    return shown.to_markdown(index=False, disable_numparse=True)


def data_card(name: str, card: Card, rows: int, digest: str, stage: str) -> str:
    """A table's data card in Markdown.

    Args:
        stage: the address of the DVC stage that writes the table.
    """
    lines = [
        f"### {card.title}",
        "",
        f"[`tables/{name}.csv`](tables/{name}.csv): {rows} rows; a row is {card.row}. Schema {card.schema}, "
        f"SHA-256 `{digest[:16]}`.",
        "",
        f"*Computed*: {card.computed}. *Limits*: {card.limits} *Made by* `dvc repro {stage}`.",
        "",
        "| column | unit | meaning | a rebuild elsewhere |",
        "| --- | --- | --- | --- |",
    ]
    for kind, entries in (("", card.columns), (f"{card.by} ", card.quantities)):
        for column, entry in entries.items():
            mark = " (key)" if column in card.keys and not kind else ""
            text = (entry.meaning, entry.unit or "–")
            meaning, unit = (part.replace("|", "\\|") for part in text)
            lines.append(f"| {kind}`{column}`{mark} | {unit} | {meaning} | {entry.agreement} |")
    return "\n".join(lines)


def _shown(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    names = list(columns)
    for name in names:
        _require(name, list(table.columns), "column")
    return table[names].map(_rounded)


def _rounded(text: str) -> str:
    value = _parse(text)
    return text if value is None else number(value)


def _number(text: str) -> str:
    """A number for TeX's mathematics."""
    value = _parse(text)
    if value is None:
        return text
    shown = number(value)
    mantissa, sign, exponent = shown.partition("e")
    if not sign:
        return shown.replace("inf", "\\infty")
    return f"{mantissa} \\times 10^{{{int(exponent)}}}"


def _parse(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _numeric(column: pd.Series) -> bool:
    return all(_parse(text) is not None for text in column if text)


def _heading(name: str) -> str:
    return _tex(name.replace("_", " "))


def _tex(text: object) -> str:
    """Text with what TeX would take for commands escaped, and its numbers and formulas as mathematics."""
    text = str(text)
    if (value := _parse(text)) is not None and not re.search("[A-Za-df-z]", text) and "e" in text:
        return f"${_number(str(value))}$"
    return "".join(part if i % 2 else _escaped(part) for i, part in enumerate(re.split(r"(\$[^$]+\$)", text)))


def _escaped(text: str) -> str:
    for character, written in _ESCAPED.items():
        text = text.replace(character, written)
    return text


_ESCAPED = {
    "\\": "\\textbackslash ",
    "{": "\\{",
    "}": "\\}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "–": "--",
    "<": "\\ensuremath{<}",
    ">": "\\ensuremath{>}",
    "|": "\\textbar{}",
}


def _author(author: Mapping) -> str:
    if "name" in author:
        return f"{{{author['name']}}}"
    return f"{author.get('family-names', '')}, {author.get('given-names', '')}"


def _require(name: str, known: list[str], what: str) -> str:
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=3)
    hint = (
        f"did you mean {', '.join(close)}?"
        if close
        else f"there are {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"
    )
    raise CitingError(f"no {what} {name!r}: {hint}")
