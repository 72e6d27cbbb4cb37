"""How a study declares what it has: ``study.py`` in its folder binds a `Study` to the name ``STUDY``.

Everything else is derived: the model of its part of params.yaml, its DVC stages, data cards, artifacts, fingerprints,
and what its claims need. No module that trains may import a ``study.py``, or a changed card would retrain.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import pandas as pd
from pydantic import BaseModel

from benchmarks.evidence.card import Card
from benchmarks.studies.schema import Strict


@dataclass(frozen=True)
class Experiment:
    """One stage and its table: ``run(settings, ...)`` in the file of its name.

    ``run`` gets the arguments that its parameters name: ``settings``, ``seeds`` (1 to ``settings.seeds``), ``images``,
    ``corpus`` (`benchmarks.lab.text.Corpus`), ``device`` (its name), ``compute``, ``tick`` (to be called with the
    number of steps done and of all steps), ``resume`` and ``observe`` (see `benchmarks.lab.training.train`).

    Attributes:
        settings: the model of its part of params.yaml, ``<study>.<name>``; None if it has none.
        card: the data card of its table.
        table: the table's name; ``<study>/<name>`` if not given.
        resolve: a function from all parameters to the settings of ``run``, whose model is its annotation; for an
            experiment that needs more than its own part of params.yaml.
        alone: it measures seconds, so nothing else may run at the same time.
        device: where it runs, whatever ``compute.device`` says.
    """

    name: str
    settings: type[Strict] | None
    card: Card
    table: str | None = None
    resolve: Callable[[Any], BaseModel] | None = None
    alone: bool = False
    device: str | None = None

    @property
    def given(self) -> type[BaseModel]:
        """The model of what ``run`` is given as settings."""
        return get_type_hints(self.resolve)["return"] if self.resolve else self.settings


@dataclass(frozen=True)
class Member:
    """One stage of a family: the values of its axes, seeds, settings."""

    values: dict[str, str]
    seeds: list[int]
    settings: BaseModel


@dataclass(frozen=True)
class Family:
    """The stages of one run module, one for each combination of names in params.yaml.

    Attributes:
        name: of the group of DVC stages.
        module: the file of the study that holds ``run``.
        path: where a stage's runs lie in the study's folder, by the names of its axes: ``{configuration}/{stack}``.
        settings: the model of what ``run`` is given.
        members: a function from the study's part of params.yaml to its stages, which are every combination of the
            axes' values.
    """

    name: str
    module: str
    path: str
    settings: type[BaseModel]
    members: Callable[[Any], Iterator[Member]]

    @property
    def given(self) -> type[BaseModel]:
        return self.settings


@dataclass(frozen=True)
class Figure:
    """A figure, drawn by the function of its name in the study's ``figures.py``, from tables by name and, if it has an
    argument ``curves``, from curves.

    Attributes:
        caption: plain text, beneath it on every page.
        reads: the tables that it is drawn from.
        claims: those that it shows; the report has it at the first of them.
        curves: the study whose curves it draws, if not its own.
    """

    name: str
    caption: str
    reads: tuple[str, ...]
    claims: tuple[str, ...] = ()
    curves: str | None = None


@dataclass(frozen=True)
class Finished:
    """What a training stage left in its folder of runs.

    Attributes:
        rows, curves: as its ``run`` made them (`benchmarks.studies.table.Runs`).
        record: study, name, stack, values (of the family's axes), seeds, settings, compute, data, code, facts.
    """

    rows: pd.DataFrame | None
    curves: pd.DataFrame | None
    record: dict


# A value and the ends of its 95 % interval, nan where there is none.
Measured = tuple[Any, float, float]


@dataclass(frozen=True)
class Made:
    """What ``tables(runs, read, settings)`` in a study's ``tables.py`` makes of its finished runs, the tables that it
    reads, and its part of params.yaml: tables by name, and curves to draw."""

    tables: Mapping[str, pd.DataFrame]
    curves: pd.DataFrame | None = None


@dataclass(frozen=True)
class Study:
    """A section of the chapter.

    Attributes:
        name: of its folder, and of its part of params.yaml.
        place: in the chapter.
        model: what its part of params.yaml has beside its experiments.
        tables: cards of the tables that its ``tables.py`` makes, by name.
        reads: tables of other stages that it makes them from.
        curves: whether it makes curves to draw.
        figures: in their order on the page.
    """

    name: str
    place: int
    experiments: tuple[Experiment, ...] = ()
    families: tuple[Family, ...] = ()
    model: type[Strict] = Strict
    tables: Mapping[str, Card] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    curves: bool = False
    figures: tuple[Figure, ...] = ()
