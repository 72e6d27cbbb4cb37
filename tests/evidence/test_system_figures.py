"""Figures of the systems of Open Question 4.1, from the committed tables: what is absent is left out."""

from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from declared import FIGURES, STUDY_OF, text

from benchmarks.evidence import share

RESULTS = Path(__file__).parents[2] / "results"
NAMES = sorted(name for name in FIGURES if STUDY_OF[name] == "carry_over")


@cache
def tables():
    return {name: pd.read_csv(RESULTS / f"tables/{name}.csv") for name in (share.SCORES, "open_question_4_1")}


@cache
def curves():
    return pd.read_parquet(RESULTS / "curves/carry_over.parquet")


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_draws_what_there_is_and_equal_data_give_equal_bytes(tmp_path, name):
    first = text(tmp_path, name, tables(), curves())
    assert "No run of" not in first and first.count("<path") > 10
    assert text(tmp_path, name, tables(), curves()) == first


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"carry_over_order", "carry_over_ngrams"}))
def test_a_system_that_was_not_run_is_left_out(tmp_path, name):
    some = {key: table[table["system"].str.partition("/")[0] != "vit"] for key, table in tables().items()}
    without = text(tmp_path, name, some, curves()[curves()["system"] != "vit"])
    assert ">vit" not in without and ">resnet" in without


@pytest.mark.parametrize("name", NAMES)
def test_without_runs_a_figure_is_a_sentence(tmp_path, name):
    nothing = {key: table.iloc[:0] for key, table in tables().items()}
    assert "No run of claim" in text(tmp_path, name, nothing, curves().iloc[:0])


def test_a_cell_without_a_share_has_its_word(tmp_path):
    drawn = text(tmp_path, "carry_over_table", tables(), curves())
    words = tables()["open_question_4_1"]["word"]
    assert drawn.count(f">{share.CANNOT}<") == (words == share.CANNOT).sum()
