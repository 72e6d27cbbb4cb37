"""Formulas between dollars: MathML on pages, plain text elsewhere, an error that names the text where it is wrong."""

import re
from pathlib import Path

import pytest

from benchmarks.evidence import chapter, citing, mathematics, register
from benchmarks.studies import catalog

ROOT = Path(__file__).parents[2]
REGISTER = register.load(ROOT / path for path in catalog.claims())
SECTIONS = chapter.load(ROOT / path for path in catalog.sections())


def texts():
    """(where, text) of all that may have formulas."""
    for name, claim in REGISTER.items():
        yield from ((f"{name} {field}", getattr(claim, field)) for field in ("title", "statement", "measurement"))
    for study, section in SECTIONS.items():
        yield from ((f"{study} {field}", getattr(section, field)) for field in ("known", "measured", "open"))
    for study in catalog.studies().values():
        yield from ((f"figure {figure.name}", figure.caption) for figure in study.figures)
    for name, card in catalog.cards().items():
        yield from ((f"card {name}", text) for text in (card.computed, card.limits))
        entries = {**card.columns, **card.quantities}
        yield from ((f"card {name} {column}", entry.meaning) for column, entry in entries.items())


def test_a_formula_becomes_mathml():
    html = mathematics.html(r"at most $f^* = \frac{L R^2}{4 s + 2}$, and")
    assert html == (
        'at most <span class="formula"><math><mrow><msup><mi>f</mi><mo>*</mo></msup><mo>=</mo><mfrac><mrow><mi>L</mi>'
        "<msup><mi>R</mi><mn>2</mn></msup></mrow><mrow><mn>4</mn><mi>s</mi><mo>+</mo><mn>2</mn></mrow></mfrac></mrow>"
        "</math>,</span> and"
    )


def test_typed_powers_and_indices_are_set_and_names_are_not():
    said = str(mathematics.typed("R^2 of |w|^4 < lambda_min, from first_sharpness and 1e-2"))
    assert said.count("<msup>") == 2 and said.count("<msub>") == 1 and "&lt;" in said
    assert "<mi>λ</mi>" in said and "first_sharpness and 1e-2" in said
    assert mathematics.typed("costs $5 & R^2") == "costs $5 &amp; R^2"


def test_a_word_in_a_formula_is_upright_and_in_one_piece_and_a_function_apart_from_what_it_is_of():
    html = mathematics.html(r"$\ln \mathrm{lr}$")
    assert html == (
        '<span class="formula"><math><mrow><mi>ln</mi><mspace width="0.167em" /><mrow><mi>lr</mi></mrow></mrow></math>'
        "</span>"
    )


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (r"f(x_N) - f^* = \frac{L R^2}{4 N s L + 2}", "f(x_N) - f* = L R^2 / (4 N s L + 2)"),
        (r"\frac{2 + 2b}{(1 + 2b)\,\mathrm{lr}}", "(2 + 2 b) / ((1 + 2 b) lr)"),
        (r"2 \sqrt{v} / \mathrm{lr} \le 1", "2 sqrt(v)/lr ≤ 1"),
        (r"W_2^\top W_2 - W_1 W_1^\top = c I", "W_2' W_2 - W_1 W_1' = c I"),
        (r"\frac{\langle -\nabla L, \nabla S \rangle}{\lvert \nabla S \rvert^2}", "<-∇L, ∇S> / |∇S|^2"),
        (r"u_0^{-(1 - 2/L)} \times 10^{-6}", "u_0^(-(1 - 2/L)) × 10^-6"),
        (r"\log_{10} \lvert w' \rvert + \ln(s_k/u_0 - 1)", "log_10 |w'| + ln(s_k/u_0 - 1)"),
    ],
)
def test_a_formula_in_plain_text_is_as_one_would_type_it(formula, text):
    assert mathematics.plain(f"a < b, ${formula}$.") == f"a < b, {text}."


def test_what_is_not_a_formula_is_escaped():
    assert mathematics.html('a < b & "c"') == "a &lt; b &amp; &#34;c&#34;"
    assert "<mo>&lt;</mo>" in mathematics.html("<i>, $a < b$") and "<i>" not in mathematics.html("<i>, $a < b$")


def test_punctuation_stays_with_its_formula():
    """Also brackets before it, and two formulas that touch."""
    html = re.sub(r"<math>.*?</math>", "M", mathematics.html("so ($a$, the $i$-th of $b$-$c$)."))
    words = re.findall(r'<span class="formula">(.*?)</span>', html)
    assert words == ["(M,", "M-th", "M-M)."]


@pytest.mark.parametrize("set_", [mathematics.html, mathematics.plain])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("costs $5", r"a dollar sign without its partner in 'costs \$5'"),
        (r"so $\frobnicate{a}$", r"the formula .* has \\frobnicate, which cannot be set, in 'so "),
        (r"so $\frac{a}$", r"lacks a part of mfrac, in 'so "),
        ("so $a_{b$", "has a brace without its partner, in 'so "),
        ("so $a^$", r"is not LaTeX that can be set \(MissingSuperScriptOrSubscriptError\), in 'so "),
        ("so $$", "is not LaTeX that can be set"),
    ],
)
def test_what_cannot_be_set_is_an_error_that_names_the_text(set_, text, message):
    with pytest.raises(ValueError, match=message):
        set_(text)


def test_every_text_can_be_set():
    for where, text in texts():
        typed, html = mathematics.plain(text), mathematics.html(text)
        assert "$" not in typed and "\\" not in typed, where
        assert html.count("<math>") == text.count("$") // 2, where
        # A bar would end a cell of a Markdown table: it is written \lvert and \rvert.
        assert not any("|" in formula for formula in text.split("$")[1::2]), where


def test_names_and_cells_have_no_formulas():
    """What tables, lists and BibTeX have as it is."""
    named = [card.title for card in catalog.cards().values()] + [section.title for section in SECTIONS.values()]
    named += [check.statement for claim in REGISTER.values() for check in claim.checks.values()]
    named += [card.row for card in catalog.cards().values()]
    assert not [text for text in named if "$" in text]


def test_latex_keeps_formulas():
    assert citing._tex(r"Sharpness settles at $2/\mathrm{lr}$, 5 %") == r"Sharpness settles at $2/\mathrm{lr}$, 5 \%"
