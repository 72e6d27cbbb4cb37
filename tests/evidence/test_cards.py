"""Data cards: every table has one, and it says what every column is."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.evidence.agreement import read
from benchmarks.evidence.card import from_dictionary, statistical
from benchmarks.studies import catalog
from pipelines import dvcfile, parameters, stages

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "results" / "tables"
CARDS = catalog.cards()
FOUND = sorted(path.relative_to(TABLES).with_suffix("").as_posix() for path in TABLES.rglob("*.csv"))


def test_every_table_has_a_card_and_every_card_a_table():
    assert FOUND == sorted(CARDS)


@pytest.mark.parametrize("name", FOUND)
def test_a_card_says_what_every_column_and_quantity_of_its_table_is(name):
    table, card = read((TABLES / f"{name}.csv").read_text()), CARDS[name]
    quantities = table[card.by].unique() if card.by in table else ()
    assert card.undocumented(table.columns, quantities) == []
    assert list(card.columns) == list(table.columns), "the card's order is the table's"
    assert not table.duplicated(list(card.keys)).any(), "keys name a row"
    for column in [*card.columns.values(), *card.quantities.values()]:
        assert column.meaning
        assert set(column.interval or ()) <= set(table.columns)
    assert set(card.replicates) <= set(card.keys) and (card.n is None or card.n in table)
    unused = [entry for entry in card.quantities.values() if not any(card.quantity(q) is entry for q in quantities)]
    assert not unused, "a card speaks of what is there"


def test_a_card_that_lacks_a_column_or_a_quantity_says_so():
    card = CARDS["deep_linear/solutions"]
    assert card.undocumented(["system", "seed", "colour"], ["sigmoid_error", "taste"]) == ["colour", "quantity taste"]
    with pytest.raises(KeyError, match="taste"):
        card.quantity("taste")
    with pytest.raises(ValueError, match="flavour"):
        from_dictionary({"loss": ("", "what")}, statistical(), flavour=statistical())


def test_the_longer_pattern_of_a_quantity_comes_first():
    card = CARDS["low_rank_progression.long"]
    assert "frozen" in card.quantity("update_rank_null_50%").meaning
    assert "frozen" not in card.quantity("update_rank_50%").meaning


def test_artifacts_are_the_tables_and_each_has_the_stage_that_writes_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    checked = parameters.load()
    files = {str(path): YAML(typ="safe").load(text) for path, text in dvcfile.texts(checked).items()}
    artifacts = files["dvc.yaml"]["artifacts"]
    assert {entry["path"] for entry in artifacts.values()} == {f"results/tables/{name}.csv" for name in FOUND}
    writers = stages.writers(stages.training(checked))
    for name in CARDS:
        address = writers[name]
        path, _, stage = address.rpartition(":")
        outs = files[path or "dvc.yaml"]["stages"][stage]["outs"]
        written = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
        assert f"results/tables/{name}.csv" in written, f"{address} does not write {name}"
