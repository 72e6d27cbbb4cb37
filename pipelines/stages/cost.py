"""Stage: what each optimizer's step costs, and the seconds that its steps to the target come to."""

import argparse
from pathlib import Path

from benchmarks.evidence import comparison
from pipelines.files import read_tables, write_csv
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tables = read_tables(arguments.tables, "optimizer_comparison.csv", "timings/optimizer_steps.csv")
    write_csv(arguments.out, comparison.costs(tables["optimizer_comparison"], tables["timings/optimizer_steps"]))


if __name__ == "__main__":
    main()
