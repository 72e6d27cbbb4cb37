"""Stage: a study's figures."""

import argparse
from importlib import import_module

import matplotlib.figure
import pandas as pd

from benchmarks.evidence import drawing
from benchmarks.studies import catalog
from benchmarks.studies.declaration import Figure
from pipelines.entry import stage
from pipelines.files import CURVES, FIGURES, read_tables, replacing
from pipelines.stages import curves_of


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    study = parser.parse_args().study
    for figure in catalog.studies()[study].figures:
        source = curves_of(study, figure)
        curves = pd.read_parquet(CURVES / f"{source}.parquet") if source else None
        with replacing(FIGURES / f"{figure.name}.svg") as temporary:
            drawing.save(drawn(study, figure, read_tables(figure.reads), curves), temporary)


def drawn(
    study: str, figure: Figure, tables: dict[str, pd.DataFrame], curves: pd.DataFrame | None
) -> matplotlib.figure.Figure:
    """A figure of a study; a sentence that names its claims, if a table that it reads is absent or shows nothing."""
    function = getattr(import_module(f"benchmarks.studies.{study}.figures"), figure.name)
    try:
        if not set(figure.reads) <= set(tables):
            raise drawing.NothingToDraw
        return function(*([tables] if curves is None else [tables, curves]))
    except drawing.NothingToDraw:
        claims = ", ".join(figure.claims)
        of = f"claim{'s' * (',' in claims)} {claims}" if claims else figure.name
        return drawing.sentence(f"No run of {of}.")


if __name__ == "__main__":
    main()
