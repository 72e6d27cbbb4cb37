"""Whether two tables agree: exact, identical, relative, statistical; and what is missing."""

import numpy as np
import pytest

from benchmarks.evidence.agreement import compare, read
from benchmarks.evidence.card import EXACT, IDENTICAL, SECONDS, Card, Column, relative, statistical
from benchmarks.studies import catalog

CARD = Card(
    title="t",
    row="a run",
    keys=("name", "seed"),
    computed="",
    limits="",
    replicates=("seed",),
    columns={
        "name": Column("", "", EXACT),
        "seed": Column("", "", EXACT),
        "count": Column("", "", EXACT),
        "choice": Column("", "", IDENTICAL),
        "start": Column("", "", relative(1e-3, floor=1e-6)),
        "loss": Column("", "", statistical(2.0, otherwise=0.1, floor=0.0)),
        "took": Column("s", "", SECONDS),
    },
)
HEAD = "name,seed,count,choice,start,loss,took\n"
# Losses 1, 2, 3: a standard deviation of one.
TABLE = HEAD + "a,1,10,x,1.0,1.0,5\na,2,10,x,1.0,2.0,5\na,3,10,x,1.0,3.0,5\nb,1,10,x,0.0,4.0,5\n"


def against(changed, same_machine=False, before=TABLE, card=CARD):
    return compare("t", card, read(before), read(changed), same_machine)


def test_a_table_agrees_with_itself_and_every_cell_was_compared():
    here, elsewhere = against(TABLE, True), against(TABLE)
    assert here.agrees and elsewhere.agrees
    assert (here.cells, here.apart) == (16, 4), "seconds are apart"
    assert (elsewhere.cells, elsewhere.apart) == (12, 8), "so are choices, elsewhere"


@pytest.mark.parametrize(
    ("old", "new", "here", "elsewhere"),
    [
        ("a,1,10", "a,1,11", False, False),  # exact
        ("a,1,10,x", "a,1,10,y", False, True),  # identical
        ("x,1.0,1.0", "x,1.0009,1.0", False, True),  # relative, within
        ("x,1.0,1.0", "x,1.0011,1.0", False, False),  # and beyond
        ("x,0.0,4.0", "x,0.0000009,4.0", False, True),  # below the floor
        ("x,1.0,1.0", "x,1.0,2.9", False, True),  # 1.9 standard errors
        ("x,1.0,1.0", "x,1.0,3.1", False, False),  # 2.1 of them
        ("x,0.0,4.0", "x,0.0,4.3", False, True),  # a lone seed has no standard error: a tenth
        ("x,0.0,4.0", "x,0.0,4.5", False, False),
        ("3.0,5", "3.0,6", True, True),  # seconds
        ("x,1.0,1.0", "x,1.0,", False, False),  # a value is gone
        ("x,1.0,1.0", "x,1.0,inf", False, False),
    ],
)
def test_how_a_cell_may_differ(old, new, here, elsewhere):
    changed = TABLE.replace(old, new, 1)
    assert changed != TABLE
    assert against(changed, True).agrees is here
    assert against(changed).agrees is elsewhere


def test_the_same_machine_must_give_the_same_digits():
    found = against(TABLE.replace("x,1.0,1.0", "x,1.0,1.0000000001", 1), True)
    assert not found.agrees
    (cell,) = found.disagreeing.itertuples()
    assert (cell.row, cell.column, cell.before, cell.after) == ("name a, seed 1", "loss", "1.0", "1.0000000001")


def test_severity_is_the_share_of_what_is_allowed():
    found = against(TABLE.replace("x,1.0,1.0", "x,1.0,2.0", 1))
    (cell,) = found.differences.itertuples()
    assert cell.severity == pytest.approx(0.5) and cell.agrees
    assert cell.allowed == pytest.approx(2.0)


def test_rows_and_columns_that_are_missing_or_new_are_faults():
    fewer = against(TABLE.replace("b,1,10,x,0.0,4.0,5\n", ""))
    assert fewer.faults == ["t: row name b, seed 1 is missing"]
    more = against(TABLE + "c,1,10,x,0.0,4.0,5\n")
    assert more.faults == ["t: row name c, seed 1 is new"]
    lost = read(TABLE).drop(columns="loss")
    assert compare("t", CARD, read(TABLE), lost, False).faults == ["t: column loss is missing"]
    twice = against(TABLE + "b,1,10,x,0.0,4.0,5\n")
    assert twice.faults == ["t: two rows after of name b, seed 1"]


def test_a_table_whose_rows_are_choices_may_lose_some_elsewhere():
    card = Card(**{**CARD.__dict__, "rows": "identical"})
    fewer = TABLE.replace("b,1,10,x,0.0,4.0,5\n", "")
    assert against(fewer, card=card).agrees
    assert not against(fewer, same_machine=True, card=card).agrees


def test_picked_rows_are_counted():
    picked = np.array([True, False, False, False])
    assert compare("t", CARD, read(TABLE), read(TABLE), False, picked).picked == 3


def test_an_interval_gives_the_standard_error_of_its_mean():
    columns = {
        "name": Column("", "", EXACT),
        "n": Column("", "", EXACT),
        "mean": Column("", "", statistical(1.0, floor=0.0), ("low", "high")),
        "low": Column("", "", statistical(1.0, floor=0.0), ("low", "high")),
        "high": Column("", "", statistical(1.0, floor=0.0), ("low", "high")),
    }
    card = Card("t", "a cell", ("name",), "", "", columns, n="n")
    # t(0.975, 4) = 2.776: a half-width of 2.776 is a standard error of one.
    before = "name,n,mean,low,high\na,5,10,7.224,12.776\n"
    for value, agrees in (("10.99", True), ("11.01", False)):
        assert against(before.replace("5,10,", f"5,{value},"), before=before, card=card).agrees is agrees


def test_a_metric_of_the_cell_table_may_differ_as_the_runs_column_may():
    card = catalog.cards()["progressive_sharpening"]
    head = ",".join(card.columns) + "\n"
    rows = "".join(f"s,c,0.1,{metric},,3,10,1,8,12\n" for metric in ("hvps_per_reading", "first_loss", "last_loss"))
    for metric, agrees in (("hvps_per_reading", True), ("first_loss", False), ("last_loss", True)):
        changed = (head + rows).replace(f"{metric},,3,10,", f"{metric},,3,10.2,")
        assert against(changed, before=head + rows, card=card).agrees is agrees, metric


def test_each_quantity_of_a_tidy_table_has_its_own_agreement():
    quantities = {"exactly": Column("", "", EXACT), "about_*": Column("", "", relative(0.1))}
    columns = {name: Column("", "", EXACT) for name in ("system", "quantity")} | {"value": Column("", "", EXACT)}
    card = Card("t", "a quantity", ("system", "quantity"), "", "", columns, quantities)
    before = "system,quantity,value\na,exactly,1.0\na,about_this,1.0\n"
    assert against(before.replace("this,1.0", "this,1.05"), before=before, card=card).agrees
    assert not against(before.replace("exactly,1.0", "exactly,1.05"), before=before, card=card).agrees
