"""Stage: a study's figures."""

import argparse
from importlib import import_module

import pandas as pd

from benchmarks.evidence import drawing
from benchmarks.studies import catalog
from pipelines.entry import stage
from pipelines.files import CURVES, FIGURES, read_tables, replacing
from pipelines.stages import curves_of


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    name = parser.parse_args().study
    functions = import_module(f"benchmarks.studies.{name}.figures")
    for figure in catalog.studies()[name].figures:
        tables = read_tables(figure.reads)
        source = curves_of(name, figure)
        curves = [pd.read_parquet(CURVES / f"{source}.parquet")] if source else []
        with replacing(FIGURES / f"{figure.name}.svg") as temporary:
            drawing.save(drawing.drawn(figure, getattr(functions, figure.name), tables, *curves), temporary)


if __name__ == "__main__":
    main()
