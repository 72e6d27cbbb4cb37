"""Rows that another machine made: written, checked, made again, shown beside ours; and refused if they were changed."""

import hashlib
import json
import shutil

import pandas as pd
import pytest

TABLE = "results/tables/open_question_4_1.csv"
FILE = "contributed/open_question_4_1/elsewhere.json"
PAGE = "results/open_question_4_1.html"


@pytest.fixture(scope="module")
def contributed(built, tmp_path_factory):
    """A workspace with a contributed file. Not to be changed."""
    space = built.copy(tmp_path_factory.mktemp("contributed") / "work")
    said = space.bench(
        "contribute", "open_question_4_1", "elsewhere", "--row", "system=mlp", "--note", "A laptop's."
    ).stdout
    assert FILE in said
    space.commit("contributed")
    return space


def written(space) -> dict:
    return json.loads((space.path / FILE).read_text())


def write(space, found: dict, sign=True) -> None:
    """Change the file; ``sign``: with a hash that is right, as one made elsewhere would have."""
    if sign:
        rest = {key: value for key, value in found.items() if key != "sha256"}
        found = rest | {"sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}
    (space.path / FILE).write_text(json.dumps(found))


def test_a_file_has_its_rows_and_where_they_come_from_and_no_name_of_a_machine(contributed):
    import socket

    found = written(contributed)
    table = pd.read_csv(contributed.path / TABLE, dtype=str, keep_default_na=False)
    assert found["rows"] == table[table["system"] == "mlp"].to_dict("records")
    (made,) = found["stages"].values()
    assert made["asked"]["seeds"] == [1, 2] and made["asked"]["settings"]["steps"] == 20
    assert made["asked"]["fingerprint"] and made["record"]["versions"]["torch"] and made["record"]["hardware"]
    text = json.dumps(found)
    assert socket.gethostname() not in text and str(contributed.path) not in text
    said = contributed.bench("verify", FILE).stdout
    assert "as they were written" in said and "the code is the one here" in said


def test_a_study_need_not_have_run_whole(contributed, tmp_path):
    space = contributed.copy(tmp_path / "work")
    rows = written(space)["rows"]
    (space.path / FILE).unlink()
    (space.path / TABLE).unlink()
    space.bench("contribute", "open_question_4_1", "elsewhere", "--row", "system=mlp")
    assert written(space)["rows"] == rows
    shutil.rmtree(space.path / "runs/carry_over")
    done = space.bench("contribute", "open_question_4_1", "other", "--row", "system=mlp", check=False)
    assert done.returncode == 1 and "no run of it: `bench repro` makes it" in done.stderr


def test_it_is_shown_beside_ours_and_changes_no_table(contributed, tmp_path):
    space = contributed.copy(tmp_path / "work")
    before = space.bytes("results/**/*.csv")
    assert space.ran("pages") == ["pages"], "nothing else depends on it"
    page = (space.path / PAGE).read_text()
    assert "not ours: elsewhere" in page and "A laptop&#39;s." in page
    assert "not ours: elsewhere" in (space.path / "results/tables.html").read_text()
    assert space.bytes("results/**/*.csv") == before
    space.dvc("repro", "-q")
    files = len(list((space.path / "contributed").glob("*/*.json")))
    assert f"{files} contributed files are as they were written" in space.bench("check").stdout


def test_made_again_it_gives_the_same_rows_and_a_forged_number_is_found(contributed, tmp_path):
    space = contributed.copy(tmp_path / "work")
    said = space.bench("verify", FILE, "--remake").stdout
    assert "on the same machine: identical" in said and "cells agree" in said
    found = written(space)
    row = next(row for row in found["rows"] if row["network_value"])
    row["network_value"] = "17.5"
    write(space, found)
    done = space.bench("verify", FILE, "--remake", check=False)
    assert done.returncode == 1 and "DISAGREES" in done.stdout and "network_value: 17.5 -> " in done.stdout


def changed(found):
    found["rows"][0]["network_value"] = "17.5"
    return False, "was changed after it was written"


def other_schema(found):
    found["schema_version"] = 7
    return True, "has schema 7 of open_question_4_1, and here the table has schema"


def column_gone(found):
    for row in found["rows"]:
        del row["null_is"]
    return True, "lacks the column null_is"


def other_format(found):
    found["format"] = 2
    return True, "is not in format 1"


def unlike_a_contribution(found):
    del found["commit"]
    return True, "is not a contributed file: commit: field required"


def other_code(found):
    (made,) = found["stages"].values()
    made["asked"]["modules"]["benchmarks.lab.loop"] = "0" * 16
    return True, "nor is it that of its commit"


def outside_the_folder(found):
    (made,) = found["stages"].values()
    found["stages"] = {"../../carry_over/mlp": made}
    return True, "that no study has"


@pytest.mark.parametrize(
    "change",
    [changed, other_schema, column_gone, other_format, unlike_a_contribution, other_code, outside_the_folder],
)
def test_what_cannot_be_accepted_is_refused_in_a_sentence(contributed, tmp_path, change):
    found = written(contributed)
    sign, said = change(found)
    path = tmp_path / "file.json"
    space = type(contributed)(contributed.path)
    if sign:
        rest = {key: value for key, value in found.items() if key != "sha256"}
        found = rest | {"sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}
    path.write_text(json.dumps(found))
    done = space.bench("verify", str(path), check=False)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("open_question_4_1", "elsewhere"), "exists: choose another name"),
        (("open_question_41", "mine"), "did you mean open_question_4_1"),
        (("open_question_4_1", "My file"), "is no name for a file"),
        (("open_question_4_1", "mine", "--row", "system=mlpp"), "did you mean mlp"),
        (("open_question_4_1", "mine", "--profile", "gpu"), "`bench profile gpu` makes it"),
        (("claims", "mine"), "no run stands behind these rows of claims"),
    ],
)
def test_what_cannot_be_contributed_is_refused_in_a_sentence(contributed, asked, said):
    done = contributed.bench("contribute", *asked, check=False)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert contributed.git("status", "--porcelain").stdout == ""
