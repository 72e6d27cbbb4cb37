"""Every study, by the folders that have a ``study.py``, in the order of the chapter."""

import functools
from importlib import import_module
from pathlib import Path

from benchmarks.evidence.card import Card
from benchmarks.studies.declaration import Experiment, Family, Study

FOLDER = Path(__file__).parent


class DeclarationError(ValueError):
    """A ``study.py`` that cannot be used; the message says where and what to do."""


@functools.cache
def studies() -> dict[str, Study]:
    """All studies, by name.

    Raises:
        DeclarationError: for a ``study.py`` without a ``STUDY``, or names that clash.
    """
    found = {}
    for path in sorted(FOLDER.glob("*/study.py")):
        name = path.parent.name
        study = getattr(import_module(f"benchmarks.studies.{name}.study"), "STUDY", None)
        if not isinstance(study, Study):
            raise DeclarationError(f"{path.relative_to(FOLDER.parents[1])}: bind a Study to the name STUDY")
        _require(study, name)
        found[name] = study
    return dict(sorted(found.items(), key=lambda pair: pair[1].place))


def part(study: str, group: str) -> Experiment | Family:
    """The experiment or family that a group of a study's DVC stages belongs to."""
    found = studies()[study]
    return next(one for one in (*found.experiments, *found.families) if one.name == group)


@functools.cache
def cards() -> dict[str, Card]:
    """The data card of every table that a study makes, by the table's path in ``results/tables`` without ``.csv``.

    Raises:
        DeclarationError: for two tables of one name.
    """
    found: dict[str, Card] = {}
    for name, study in studies().items():
        tables = {table_of(name, experiment): experiment.card for experiment in study.experiments}
        for table, card in [*study.tables.items(), *tables.items()]:
            if table in found:
                raise DeclarationError(f"benchmarks/studies/{name}/study.py: there is another table {table!r}: rename")
            found[table] = card
    return found


def table_of(study: str, experiment: Experiment) -> str:
    return experiment.table or f"{study}/{experiment.name}"


def _require(study: Study, folder: str) -> None:
    where = f"benchmarks/studies/{folder}/study.py"
    if study.name != folder:
        raise DeclarationError(f"{where}: the study is named {study.name!r}: name it as its folder, {folder!r}")
    names = [one.name for one in (*study.experiments, *study.families)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeclarationError(f"{where}: two experiments are named {twice[0]!r}: rename one of them")
    modules = [one.module if isinstance(one, Family) else one.name for one in (*study.experiments, *study.families)]
    for module in modules:
        if not (FOLDER / folder / f"{module}.py").is_file():
            raise DeclarationError(f"{where}: {module!r} needs a file {folder}/{module}.py with a function `run`")
