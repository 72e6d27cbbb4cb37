"""Every DVC stage, once: what trains or computes (`training`), and what is made of it (`following`).

The dvc.yaml files are written from these (`pipelines.dvcfile`); fingerprints, rebuilds, verification, the manifest and
pages ask them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmarks.studies import catalog, entries
from benchmarks.studies.declaration import Experiment, Family
from benchmarks.studies.schema import Compute, named_entries
from pipelines.files import CODE, META, RUNS


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage that trains or computes.

    Attributes:
        group: of DVC stages; the experiment or family that it belongs to.
        values: of the family's axes; empty for an experiment.
        name: what users call it: an experiment, a configuration, a rung, a contest.
        stack: which seeds of it, where a configuration has several stages.
        module: the file of the study that holds ``run``.
        table: the table that it writes; None where it leaves runs, of which tables are made later.
        alone: nothing may run beside it.
    """

    study: str
    group: str
    values: tuple[str, ...]
    name: str
    stack: str
    module: str
    seeds: tuple[int, ...]
    settings: BaseModel
    compute: Compute
    table: str | None = None
    alone: bool = False

    @property
    def address(self) -> str:
        """As DVC has it."""
        member = f"@{'-'.join(self.values)}" if self.values else ""
        return f"pipelines/{self.study}/dvc.yaml:{self.group}{member}"

    @property
    def path(self) -> str:
        """Where its files lie in every folder of files by stage."""
        return "/".join(filter(None, (self.study, self.name, self.stack)))

    @property
    def label(self) -> str:
        return f"{self.name}-{self.stack}" if self.stack else self.name

    @property
    def code(self) -> Path:
        """What it depends on beside data: settings, seeds and the fingerprint of its code."""
        return CODE / f"{self.path}.json"

    @property
    def runs(self) -> Path:
        return RUNS / self.path

    @property
    def meta(self) -> Path:
        """Where and when it ran."""
        return META / f"{self.path}.json"

    @property
    def dotted(self) -> str:
        return f"benchmarks.studies.{self.study}.{self.module}"

    @property
    def roots(self) -> list[str]:
        """The modules that its numbers start from, and outside entries."""
        return list(dict.fromkeys([self.dotted, *named_entries(self.settings)]))

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of what its ``run`` is given."""
        return frozenset(entries.arguments(f"benchmarks.studies.{self.study}", self.module, "run"))

    @property
    def takes_images(self) -> bool:
        return "images" in self.takes

    @property
    def device(self) -> str:
        """Where it runs: what takes no device is so small, or so exact, that it stays on the CPU."""
        return self.compute.device if {"device", "compute"} & self.takes else "cpu"


def training(parameters: Any) -> list[Stage]:
    """Every stage that trains or computes, study by study in the order of the chapter."""
    return [stage for name in catalog.studies() for stage in of_study(name, parameters)]


def of_study(name: str, parameters: Any) -> Iterator[Stage]:
    """The training stages of one study."""
    study = catalog.studies()[name]
    for family in study.families:
        yield from _members(name, family, parameters)
    for experiment in study.experiments:
        yield _experiment(name, experiment, parameters)


def _members(study: str, family: Family, parameters: Any) -> Iterator[Stage]:
    for member in family.members(getattr(parameters, study)):
        name, _, stack = family.path.format(**member.values).partition("/")
        yield Stage(
            study=study,
            group=family.name,
            values=tuple(member.values.values()),
            name=name,
            stack=stack,
            module=family.module,
            seeds=tuple(member.seeds),
            settings=member.settings,
            compute=parameters.compute,
        )


def _experiment(study: str, experiment: Experiment, parameters: Any) -> Stage:
    part = getattr(parameters, study)
    settings = experiment.resolve(parameters) if experiment.resolve else getattr(part, experiment.name)
    compute = parameters.compute
    if hasattr(settings, "threads"):
        compute = compute.model_copy(update={"threads": settings.threads})
    return Stage(
        study=study,
        group=experiment.name,
        values=(),
        name=experiment.name,
        stack="",
        module=experiment.name,
        seeds=tuple(range(1, getattr(settings, "seeds", 0) + 1)),
        settings=settings,
        compute=compute,
        table=catalog.table_of(study, experiment),
        alone=experiment.alone,
    )
