"""Every DVC stage, listed once: what trains or computes (`training`), and what is made from it (`following`).

The dvc.yaml files are written from these (`pipelines.dvcfile`); fingerprints, rebuilds, verification, the manifest and
the pages ask them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmarks.studies import catalog, entries
from benchmarks.studies.declaration import Experiment, Family, Figure, Study
from benchmarks.studies.schema import Compute, named_entries
from pipelines.files import CODE, CORPUS, CURVES, FIGURES, IMAGES, META, RUNS, TABLES, read_json, table_path

CITATION = Path("CITATION.cff")
MANIFEST = Path("results/MANIFEST.json")
METRICS = Path("results/metrics.json")
MEASURED = Path("results/measured.json")
PROFILE = f"{CODE}/profile.json"
REPORT = Path("results/report.html")
BROWSE = Path("results/tables.html")
GALLERY = Path("results/figures.html")
ANSWER = Path("results/open_question_4_1.html")
CLAIMS_PAGE = Path("results/CLAIMS.md")
README = Path("results/README.md")
LATEX = Path("results/latex")
# Rows that other machines made (`pipelines.contributed`); the reference's workspace alone has the folder.
CONTRIBUTED = Path("contributed")
PAGES = tuple(str(path) for path in (REPORT, BROWSE, GALLERY, ANSWER, CLAIMS_PAGE, README, LATEX))
# The data that a ``run`` may take, by its argument: the stage that prepares them, and their file.
PREPARED = {"images": ("prepare", IMAGES), "corpus": ("prepare_corpus", CORPUS)}


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage that trains or computes.

    Attributes:
        group: the experiment or family that it belongs to, by which DVC names its stage.
        values: of the family's axes, by their names, which are columns of the study's tables; empty for an experiment.
        name: what users call it: an experiment, a configuration, a rung, a contest.
        stack: its seeds, where a configuration has several stages.
        module: the file of the study that contains ``run``.
        table: the table that it writes; None if it writes runs, from which tables are made later.
        alone: nothing else may run at the same time.
    """

    study: str
    group: str
    values: dict[str, str]
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
        """Its name in DVC."""
        member = f"@{'-'.join(self.values.values())}" if self.values else ""
        return f"pipelines/{self.study}/dvc.yaml:{self.group}{member}"

    @property
    def path(self) -> str:
        """Where its files are below results/code, runs and runs-meta."""
        return "/".join(filter(None, (self.study, self.name, self.stack)))

    @property
    def label(self) -> str:
        return f"{self.name}-{self.stack}" if self.stack else self.name

    @property
    def code(self) -> Path:
        """What it depends on besides data: settings, seeds and the fingerprint of its code."""
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
        """Where its fingerprint starts: its own module, and the entries that its settings name."""
        return list(dict.fromkeys([self.dotted, *named_entries(self.settings)]))

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of what its ``run`` is given."""
        return frozenset(entries.arguments(f"benchmarks.studies.{self.study}", self.module, "run"))

    @property
    def takes_images(self) -> bool:
        return "images" in self.takes

    @property
    def takes_corpus(self) -> bool:
        return "corpus" in self.takes

    @property
    def data(self) -> list[Path]:
        """The prepared files that it reads."""
        return [path for argument, (_, path) in PREPARED.items() if argument in self.takes]

    @property
    def device(self) -> str:
        """Where it runs: a stage that takes no device is so small, or must be so exact, that it stays on the CPU."""
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
            values=member.values,
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
    changes = {"threads": getattr(settings, "threads", None), "device": experiment.device}
    compute = compute.model_copy(update={key: value for key, value in changes.items() if value is not None})
    return Stage(
        study=study,
        group=experiment.name,
        values={},
        name=experiment.name,
        stack="",
        module=experiment.name,
        seeds=tuple(range(1, getattr(settings, "seeds", 0) + 1)),
        settings=settings,
        compute=compute,
        table=catalog.table_of(study, experiment),
        alone=experiment.alone,
    )


def preparing(taking: Iterable[Stage]) -> list[str]:
    """The names of the stages that prepare the data which these stages take."""
    taken = {argument for stage in taking for argument in stage.takes}
    return [name for argument, (name, _) in PREPARED.items() if argument in taken]


def data_of(taking: Iterable[Stage], parameters: Any) -> dict:
    """What params.yaml says of the data that stages take: of the images as it stands there, of the text under
    ``corpus``; empty if they take none."""
    taking = list(taking)
    images = parameters.data.model_dump() if any(stage.takes_images for stage in taking) else {}
    text = {"corpus": parameters.corpus.model_dump()} if any(stage.takes_corpus for stage in taking) else {}
    return images | text


@dataclass(frozen=True)
class Following:
    """A stage that makes tables, verdicts, figures or pages from what was trained.

    Attributes:
        study: the study whose dvc.yaml contains it; None for the root's.
        command: a module of this package with its arguments.
        roots: modules that it loads by name.
        reads: paths that it reads, besides its code.
        outs: paths that it writes.
        metrics: those of them that DVC shows as metrics.
    """

    name: str
    study: str | None
    command: str
    roots: tuple[str, ...]
    reads: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[str, ...] = ()

    @property
    def code(self) -> Path:
        """What it depends on besides what it reads: hashes of its code."""
        return CODE / "following" / (self.study or "") / f"{self.name}.json"

    @property
    def address(self) -> str:
        return self.name if self.study is None else f"pipelines/{self.study}/dvc.yaml:{self.name}"


def following() -> list[Following]:
    """The stages after training, in an order in which they may run."""
    studies = catalog.studies()
    # Cards, captions and settings are declared there, and loaded by the folders' names.
    declared = tuple(f"benchmarks.studies.{name}.study" for name in studies)
    claims = tuple(str(path) for path in catalog.claims())
    sections = tuple(str(path) for path in catalog.sections())
    verdicts = (str(table_path("claims")), str(MEASURED))
    rests = tuple(str(table_path(name)) for name in judged())
    # Verdicts need not wait for what runs last, alone.
    timed = {name for name, study in studies.items() if not study.families and all(e.alone for e in study.experiments)}
    records = tuple(f"{META}/{name}" for name in studies if name not in timed)
    templates = tuple(str(path) for path in sorted(Path("benchmarks/evidence").glob("*.j2")))
    everything = (str(CITATION), str(TABLES), str(CODE), *claims, *sections)
    contributed = (str(CONTRIBUTED),) if CONTRIBUTED.is_dir() else ()
    shown = (*everything, str(FIGURES), str(META), *contributed)
    return [
        *(_tables(name, study) for name, study in studies.items() if study.tables),
        Following("judge", None, "judge", declared, (*claims, *rests, *records, PROFILE), verdicts, (str(METRICS),)),
        *(_figures(name, study) for name, study in studies.items() if study.figures),
        Following("pages", None, "pages", declared, (*shown, *templates), PAGES),
        Following("manifest", None, "manifest", declared, (*everything, str(META)), (str(MANIFEST),)),
    ]


def _tables(name: str, study: Study) -> Following:
    runs = (f"{RUNS}/{name}",) if study.families else ()
    reads = (*runs, f"{CODE}/{name}.json", *(str(table_path(table)) for table in study.reads))
    outs = [str(table_path(table)) for table in study.tables] + [f"{CURVES}/{name}.parquet"] * study.curves
    return Following("tables", name, f"tables {name}", (f"benchmarks.studies.{name}.tables",), reads, tuple(outs))


def _figures(name: str, study: Study) -> Following:
    reads = list(dict.fromkeys(str(table_path(table)) for figure in study.figures for table in figure.reads))
    sources = dict.fromkeys(source for figure in study.figures if (source := curves_of(name, figure)))
    curves = [f"{CURVES}/{source}.parquet" for source in sources]
    roots = tuple(f"benchmarks.studies.{name}.{module}" for module in ("study", "figures"))
    outs = tuple(f"{FIGURES}/{figure.name}.svg" for figure in study.figures)
    return Following("figures", name, f"figures {name}", roots, (*reads, *curves), outs)


def curves_of(study: str, figure: Figure) -> str | None:
    """The study whose curves a figure draws; None if it draws none."""
    takes = "curves" in entries.arguments(f"benchmarks.studies.{study}", "figures", figure.name)
    return (figure.curves or study) if takes else None


def judged() -> list[str]:
    """The tables that checks may use: all except timings and the verdicts themselves."""
    return [name for name in catalog.cards() if name != "claims" and not name.startswith("timings/")]


def seconds_per_seed(training: Iterable[Stage]) -> dict[str, float]:
    """How long one core took for one seed of each configuration that has seeds, by its name.

    Where two studies share a name, the slower counts.
    """
    seconds, seeds = Counter(), Counter()
    for stage in training:
        if stage.seeds and not stage.alone:
            key = stage.name, stage.study
            seconds[key] += read_json(stage.meta)["wall_s"] * stage.compute.threads
            seeds[key] += len(stage.seeds)
    slowest_last = sorted(seconds, key=lambda key: seconds[key] / seeds[key])
    return {name: seconds[name, study] / seeds[name, study] for name, study in slowest_last}


def writers(training: Iterable[Stage]) -> dict[str, str]:
    """The address of the stage that writes each table, by the table's name."""
    by_path = {path: one.address for one in following() for path in one.outs}
    by_path |= {str(table_path(stage.table)): stage.address for stage in training if stage.table is not None}
    return {name: by_path[str(table_path(name))] for name in catalog.cards()}


def feeding(table: str, training: list[Stage]) -> list[Stage]:
    """The training stages whose numbers a table holds: its own, those of its study; for verdicts, all but timings."""
    if table == "claims":
        return [stage for stage in training if not stage.alone]
    if own := [stage for stage in training if stage.table == table]:
        return own
    name, study = next((name, study) for name, study in catalog.studies().items() if table in study.tables)
    runs = [stage for stage in training if stage.study == name and stage.table is None]
    return runs or [stage for read in study.reads for stage in feeding(read, training)]
