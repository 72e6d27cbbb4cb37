"""The page of tables: every data card, the rows of all but the longest, and every configuration's settings.

The report links its numbers to rows and configurations here.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from benchmarks.evidence.card import Card
from benchmarks.evidence.report import anchor, template

# A table of more cells is only a file to download, but for that of the checks, to whose rows the report links.
MOST_CELLS = 15_000
CHECKS = "claims"


def is_listed(name: str, table: pd.DataFrame) -> bool:
    """Whether the page has the rows of a table."""
    return name == CHECKS or table.size <= MOST_CELLS


def render(
    tables: Mapping[str, pd.DataFrame],
    cards: Mapping[str, Card],
    stages: Mapping[str, str],
    configurations: Sequence,
    version: str,
    contributed: Mapping[str, Sequence[dict]],
) -> str:
    """The page as HTML.

    Args:
        tables: all of them, from `benchmarks.evidence.agreement.read`.
        cards: theirs, by the same names.
        stages: the address of the DVC stage that writes each, by the same names.
        configurations: each with study, name, anchor, settings (text), code, addresses, commits and seconds.
        contributed: rows that other machines made, by table (`contributed.html.j2`).
    """
    shown = []
    for name, table in tables.items():
        card = cards[name]
        rows = _rows(name, table, card) if is_listed(name, table) else []
        entry = {"name": name, "card": card, "stage": stages[name], "columns": list(table.columns)}
        shown.append(entry | {"count": len(table), "rows": rows, "contributed": contributed.get(name, ())})
    return template("tables.html.j2").render(tables=shown, configurations=configurations, version=version)


def _rows(name: str, table: pd.DataFrame, card: Card) -> list[dict]:
    keys = table[list(card.keys)].itertuples(index=False)
    cells = table.itertuples(index=False)
    return [{"anchor": anchor(name, k), "cells": list(c)} for k, c in zip(keys, cells)]
