r"""Formulas in the texts that people read: LaTeX in the source, MathML on pages, plain text in terminals.

Formulas are written ``$2/\mathrm{lr}$``, and dollar signs are used for nothing else. Bars and angle brackets are
written ``\lvert w \rvert`` and ``\langle a, b \rangle``, never ``|``, which would end a cell of a Markdown table.
"""

import re
from collections.abc import Iterable
from functools import cache
from xml.etree import ElementTree

from markupsafe import Markup, escape

# How many parts each element has; a formula in which one is missing is wrong.
PARTS = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "mover": 2, "munder": 2, "munderover": 3, "mroot": 2}
# A power or an index as it is typed; a name with underscores has none.
TYPED = re.compile(r"(\|\w\||\b[A-Za-z]|\blambda)([_^])([a-z]{2,3}\b|-?\d+\b|[a-z]\b|[+*])")
# In plain text: operators that have spaces around them, and characters that a keyboard does not have.
SPACED = "=<>≤≥+-×⋅·≈∝→∈"
KEYBOARD = {"−": "-", "⋅": "·", "⟨": "<", "⟩": ">", "‖": "|", "∥": "|", "′": "'", "⊤": "'", "𝔼": "E", "\xa0": " "}


def html(text: str) -> Markup:
    """The text for a page: formulas as MathML, all else escaped.

    A line never breaks between a formula and the punctuation that touches it.

    Raises:
        ValueError: for an unbalanced dollar or a formula that cannot be set; the message has the text.
    """
    _split(text)
    words = re.split(r"((?:\$[^$]*\$|[^\s$])+)", text)
    return Markup("").join(_word(text, word) if "$" in word else escape(word) for word in words)


def plain(text: str) -> str:
    """The text for a terminal or an attribute, with formulas as one would type them: ``f(x_N) - f* = L R^2 / 2``.

    Raises:
        ValueError: as `html` does.
    """
    return "".join(_typed(_tree(text, part)) if i % 2 else part for i, part in enumerate(_split(text)))


def typed(text: str) -> Markup:
    """Text for a page in which powers and indices are typed, as in the statements of checks: ``R^2``, ``lambda_min``,
    ``|w|^4``. They are set as formulas, and all else is escaped."""
    return escape(text) if "$" in text else html(TYPED.sub(_latex, text))


def _latex(typed: re.Match) -> str:
    base, sign, mark = typed.groups()
    if base.startswith("|"):
        base = rf"\lvert {base.strip('|')} \rvert"
    if len(mark) > 1 and mark.isalpha():
        mark = rf"\mathrm{{{mark}}}"
    return f"${base.replace('lambda', chr(92) + 'lambda')}{sign}{{{mark}}}$"


def _split(text: str) -> list[str]:
    """Text and formulas by turns, text first."""
    parts = text.split("$")
    if len(parts) % 2 == 0:
        raise ValueError(f"a dollar sign without its partner in {text!r}")
    return parts


def _word(text: str, word: str) -> Markup:
    """A formula with all that touches it."""
    parts = [
        Markup(ElementTree.tostring(_tree(text, part), encoding="unicode")) if i % 2 else escape(part)
        for i, part in enumerate(_split(word))
    ]
    return Markup('<span class="formula">{}</span>').format(Markup("").join(parts))


def _tree(text: str, formula: str) -> ElementTree.Element:
    """A formula's MathML; an error names the text that it stands in."""
    try:
        return ElementTree.fromstring(_mathml(formula))
    except ValueError as error:
        raise ValueError(f"the formula ${formula}$ {error}, in {text!r}") from None


@cache
def _mathml(formula: str) -> str:
    # The import takes a third of a second, so it is done only when there is a formula to set.
    from latex2mathml.converter import convert

    if formula.count("{") != formula.count("}"):
        raise ValueError("has a brace without its partner")
    fenced = re.sub(r"\\([lr])(vert|Vert|angle)\b", lambda m: rf"\{dict(l='left', r='right')[m[1]]}{m[0]}", formula)
    try:
        math = ElementTree.fromstring(convert(fenced).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    except Exception as error:  # the library has no class of its own for all that it raises
        raise ValueError(f"is not LaTeX that can be set ({type(error).__name__})") from None
    for element in math.iter():
        if re.search(r"[\\{}]", element.text or ""):
            raise ValueError(f"has {element.text}, which cannot be set")
        if len(element) != PARTS.get(element.tag, len(element)):
            raise ValueError(f"lacks a part of {element.tag}")
    math.attrib.pop("display", None)
    _tidy(math)
    return ElementTree.tostring(math, encoding="unicode")


def _tidy(element: ElementTree.Element) -> None:
    """Words upright and in one piece, signs close to their operands, a space between function and argument."""
    for child in element:
        _tidy(child)
    letters = [child for child in element if child.tag == "mi" and child.get("mathvariant") == "normal"]
    if len(letters) == len(element) > 1:
        word = "".join(letter.text for letter in letters)
        for letter in letters:
            element.remove(letter)
        ElementTree.SubElement(element, "mi").text = word
        return
    for place in reversed(range(1, len(element))):
        before, child = element[place - 1], element[place]
        if child.text in ("−", "+") and before.tag == "mo" and (before.get("form") == "prefix" or before.text in "(=,"):
            child.set("form", "prefix")
        if element.tag not in PARTS and _is_function(before) and child.tag != "mo":
            element.insert(place, ElementTree.Element("mspace", width="0.167em"))


def _is_function(element: ElementTree.Element) -> bool:
    """Whether it is a name like ln, or one with a base like a logarithm's."""
    return _is_function(element[0]) if element.tag in PARTS else element.tag == "mi" and len(element.text) > 1


def _typed(element: ElementTree.Element) -> str:
    parts = [_typed(child) for child in element]
    match element.tag:
        case "mfrac":
            return f"{_held(parts[0], (' + ', ' - ', '/'))} / {_held(parts[1], ' /')}"
        case "msqrt":
            return f"sqrt({''.join(parts)})"
        case "msub":
            return f"{parts[0]}_{_held(parts[1], ' /')}"
        case "msup":
            return parts[0] + _raised(parts[1])
        case "msubsup":
            return f"{parts[0]}_{_held(parts[1], ' /')}{_raised(parts[2])}"
        case "mi" | "mn" | "mo" | "mtext":
            return "".join(KEYBOARD.get(character, character) for character in element.text or "")
    if element.tag == "mover":
        return "".join(parts)
    line = close = ""  # close: whether what comes next touches what has been written
    for place, (child, part) in enumerate(zip(element, parts)):
        operator, form = child.tag == "mo", child.get("form")
        if operator and part in SPACED and place and form is None:
            line, close = f"{line} {part} ", True
        elif operator and part == ",":
            line, close = f"{line}, ", True
        elif part:
            touches = close or form == "postfix" or part[0] in ")]/" or (part[0] in "([" and line[-1:] not in ")]")
            line += part if touches or not line else f" {part}"
            close = form == "prefix" or (operator and form is None and part not in ")]")
    return line


def _held(part: str, marks: Iterable[str]) -> str:
    """Parenthesized if it contains any of these marks."""
    return f"({part})" if any(mark in part for mark in marks) else part


def _raised(part: str) -> str:
    return part if part in ("*", "'") else f"^{_held(part, ' /')}"
