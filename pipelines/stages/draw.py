"""Stage: one figure."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.evidence import figures
from pipelines.files import read_tables, replacing
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", nargs="+", choices=sorted(figures.FIGURES))
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--curves", type=Path, default=Path("results/curves"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tables = read_tables(arguments.tables, "**/*.csv")
    for name in arguments.figure:
        curves = pd.read_parquet(arguments.curves / f"{figures.curves_of(name)}.parquet")
        with replacing(arguments.out / f"{name}.svg") as temporary:
            figures.save(figures.FIGURES[name](tables, curves), temporary)


if __name__ == "__main__":
    main()
