"""Every figure by name: its study, its declaration, and how it is drawn."""

from importlib import import_module

from benchmarks.evidence import drawing
from benchmarks.studies import catalog
from pipelines import figures
from pipelines.stages import curves_of

STUDY_OF = {figure.name: name for name, study in catalog.studies().items() for figure in study.figures}
FIGURES = {figure.name: figure for study in catalog.studies().values() for figure in study.figures}


def source_of(name):
    """The study whose curves a figure draws; None if it draws none."""
    return curves_of(STUDY_OF[name], FIGURES[name])


def function(name):
    return getattr(import_module(f"benchmarks.studies.{STUDY_OF[name]}.figures"), name)


def draw(name, tables, curves):
    """The figure; curves are given to those that draw any."""
    return figures.drawn(STUDY_OF[name], FIGURES[name], tables, curves if source_of(name) else None)


def text(tmp_path, name, *arguments):
    """The figure's file, drawn with these tables and curves."""
    path = tmp_path / f"{name}.svg"
    drawing.save(draw(name, *arguments), path)
    return path.read_text()
