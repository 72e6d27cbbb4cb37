"""Every study, by the folders that have a ``study.py``, in the order of the chapter."""

import functools
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.evidence import verdict_card
from benchmarks.evidence.card import EXACT, Card, Column
from benchmarks.studies import entries
from benchmarks.studies.declaration import Experiment, Family, Study
from benchmarks.studies.schema import repetitions

if TYPE_CHECKING:
    from benchmarks.evidence.register import Claim

FOLDER = Path(__file__).parent


class DeclarationError(ValueError):
    """A ``study.py`` that cannot be used; the message says where and what to do."""


@functools.cache
def studies() -> dict[str, Study]:
    """All studies, by name.

    Raises:
        DeclarationError: for a ``study.py`` that is wrong in itself or has no ``STUDY``, or names that clash.
    """
    declared = {}
    for path in sorted(FOLDER.glob("*/study.py")):
        name = path.parent.name
        where = path.relative_to(FOLDER.parents[1])
        try:
            study = getattr(import_module(f"benchmarks.studies.{name}.study"), "STUDY", None)
        except ValueError as error:  # of a card, or a range
            raise DeclarationError(f"{where}: {error}") from error
        if not isinstance(study, Study):
            raise DeclarationError(f"{where}: bind a Study to the name STUDY")
        _require(study, name)
        declared[name] = study
    return dict(sorted(declared.items(), key=lambda pair: pair[1].place))


def part(study: str, group: str) -> Experiment | Family:
    """The experiment or family that a group of a study's DVC stages belongs to."""
    declared = studies()[study]
    return next(one for one in (*declared.experiments, *declared.families) if one.name == group)


@functools.cache
def cards() -> dict[str, Card]:
    """The data card of every table that a study makes, by the table's path in ``results/tables`` without ``.csv``.

    Raises:
        DeclarationError: for two tables of one name, or a study or figure that reads a table that there is not.
    """
    by_table: dict[str, Card] = {"claims": verdict_card.CARD}
    for name, study in studies().items():
        own = [(table_of(name, experiment), _card(name, experiment)) for experiment in study.experiments]
        for table, card in [*study.tables.items(), *own]:
            if table in by_table:
                raise DeclarationError(f"benchmarks/studies/{name}/study.py: there is another table {table!r}: rename")
            by_table[table] = card
    for name, study in studies().items():
        for table in (*study.reads, *(table for figure in study.figures for table in figure.reads)):
            _require_known(name, table, list(by_table), "table")
    return by_table


@functools.cache
def registered() -> dict[str, "Claim"]:
    """The claims of all studies, checked against the data cards.

    Raises:
        ClaimsError: for a claim that is wrong in itself.
        DeclarationError: for a figure of a claim that there is not.
    """
    from benchmarks.evidence import register  # here, because what trains needs no claims

    known = register.load(claims(), cards())
    for name, study in studies().items():
        for claim in (claim for figure in study.figures for claim in figure.claims):
            _require_known(name, claim, list(known), "claim")
    return known


def _require_known(study: str, name: str, known: list[str], kind: str) -> None:
    try:
        entries.require(name, known, kind)
    except ValueError as error:
        raise DeclarationError(f"benchmarks/studies/{study}/study.py: {error}") from error


def _card(study: str, experiment: Experiment) -> Card:
    """An experiment's card, with the module in which its systems are set, if it does not say what they are."""
    card = experiment.card
    if "system" not in card.columns or card.columns["system"].meaning:
        return card
    system = Column("", f"a setting of benchmarks/studies/{study}/{experiment.name}.py", EXACT)
    return replace(card, columns={**card.columns, "system": system})


def claims() -> list[Path]:
    """The registers of claims, in the order of the chapter, as paths from the repository's root."""
    return _files("claims.yaml")


def sections() -> list[Path]:
    """What each section says, in the order of the chapter, as paths from the repository's root."""
    return _files("section.yaml")


def _files(name: str) -> list[Path]:
    return [path.relative_to(FOLDER.parents[1]) for study in studies() if (path := FOLDER / study / name).is_file()]


def table_of(study: str, experiment: Experiment) -> str:
    return experiment.table or f"{study}/{experiment.name}"


def _require(study: Study, folder: str) -> None:
    where = f"benchmarks/studies/{folder}/study.py"
    if study.name != folder:
        raise DeclarationError(f"{where}: the study is named {study.name!r}: name it as its folder, {folder!r}")
    if twice := repetitions(one.name for one in (*study.experiments, *study.families)):
        raise DeclarationError(f"{where}: two experiments are named {twice[0]!r}: rename one of them")
    modules = [one.module if isinstance(one, Family) else one.name for one in (*study.experiments, *study.families)]
    for module in modules:
        if not _has(folder, module, "run"):
            raise DeclarationError(f"{where}: {module!r} needs a file {folder}/{module}.py with a function `run`")
    for figure in study.figures:
        if not _has(folder, "figures", figure.name):
            raise DeclarationError(
                f"{where}: figure {figure.name!r} needs a function of that name in {folder}/figures.py"
            )


def _has(folder: str, module: str, function: str) -> bool:
    try:
        entries.arguments(f"benchmarks.studies.{folder}", module, function)
    except (ValueError, FileNotFoundError):
        return False
    return True
