"""Tables as others cite them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.evidence import citing, verdict_card
from benchmarks.evidence.agreement import read

ROOT = Path(__file__).parents[2]
CLAIMS = read((ROOT / "results/tables/claims.csv").read_text())
CITATION = {"title": "A & B", "authors": [{"family-names": "Doe", "given-names": "J."}], "date-released": "2026-11-25"}


def test_rows_are_selected_by_their_columns_and_cells_have_their_intervals():
    rows = citing.select(CLAIMS, verdict_card.CARD, ["claim=E1", "role=main"])
    assert set(rows["claim"]) == {"E1"} and set(rows["role"]) == {"main"}
    row = rows[rows["ci95_low"] != ""].iloc[0]
    cell = citing.cell(row, verdict_card.CARD, None)
    assert (cell.column, cell.value, cell.low, cell.high) == ("measured", row.measured, row.ci95_low, row.ci95_high)
    assert (
        str(cell)
        == f"{row.measured} {row.unit}, 95 % interval [{row.ci95_low}, {row.ci95_high}], n = {row.n}, {row.word}"
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["claim"], "write column=value, as check="),
        (["clam=E1"], "no column 'clam': did you mean claim"),
        (["claim=E99"], "no claim among these rows 'E99': did you mean E9"),
    ],
)
def test_a_row_that_is_not_there_is_one_clear_error(rows, message):
    with pytest.raises(citing.CitingError, match=message):
        citing.select(CLAIMS, verdict_card.CARD, rows)


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(citing.CitingError, match="did you mean measured"):
        citing.cell(CLAIMS.iloc[0], verdict_card.CARD, "measure")


def test_bibtex_names_version_commit_and_table():
    entry = citing.bibtex(CITATION, "1.2.3", "0123456789abcdef", ("claims", verdict_card.CARD))
    assert entry.startswith("@misc{optimization-dynamics-benchmark-claims,")
    for part in (
        "author  = {Doe, J.}",
        "title   = {A \\& B}",
        "year    = {2026}",
        "Table claims: Checks of the registered claims, with verdicts. Version 1.2.3, commit 0123456789ab",
    ):
        assert part in entry
    assert entry.count("{") == entry.count("}")


def test_a_data_card_says_which_stage_makes_its_table():
    card = citing.data_card("claims", verdict_card.CARD, 7, "0123456789abcdef0123", "judge")
    assert "7 rows; a row is one check" in card and "SHA-256 `0123456789abcdef`" in card
    assert "*Made by* `dvc repro judge`." in card
    assert "| `check` (key) | – | the check's id, which begins with the claim's | exact |" in card


def test_macro_names_are_letters_and_one_a_check():
    names = [citing.macro_name(check) for check in CLAIMS["check"]]
    assert citing.macro_name("E1.level-mid") == "\\BenchEOneLevelMid"
    assert all(name[1:].isalpha() and name.isascii() for name in names)
    assert len(set(names)) == len(names)
    twice = CLAIMS.iloc[[0, 0]]
    with pytest.raises(ValueError, match="would both be"):
        citing.macros(twice, "1.0.0")


def test_markdown_keeps_bars_within_their_cell():
    table = read("name,value\na|b,1.23456\n")
    lines = citing.markdown_table(table, ["name", "value"]).splitlines()
    assert "a\\|b" in lines[-1] and "1.235" in lines[-1]


def test_latex_escapes_and_rounds():
    table = read("name,value\n50 % of a_b & c < d,0.000012345\n")
    text = citing.latex_table(table, ["name", "value"], "A caption_with", "x")
    assert "50 \\% of a\\_b \\& c \\ensuremath{<} d" in text
    assert "$1.234 \\times 10^{-5}$" in text or "$1.235 \\times 10^{-5}$" in text
    assert "\\toprule" in text and "caption\\_with" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_compiles(tmp_path):
    """Every export and every macro, in a document that has them all."""
    for path in (ROOT / "results/latex").glob("*.tex"):
        shutil.copy(path, tmp_path / path.name)
    uses = " ".join(citing.macro_name(check) for check in CLAIMS["check"])
    tables = "\n".join(f"\\input{{{p.stem}}}" for p in sorted(tmp_path.glob("*.tex")) if p.stem != "numbers")
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\\usepackage{amsmath,booktabs,longtable}\\input{numbers}\\begin{document}\n"
        f"Version \\BenchVersion: {uses}\n\n{tables}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000
