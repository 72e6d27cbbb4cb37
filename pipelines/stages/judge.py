"""Stage: every registered check against the tables; a row a check, and the verdicts as DVC metrics."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.evidence import claims
from pipelines import parameters
from pipelines.files import read_tables, write_csv, write_json
from pipelines.stages import stage

RUNS = "progressive_sharpening.long"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=Path, required=True)
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--metrics", type=Path, required=True)
    arguments = parser.parse_args()
    register = claims.load(arguments.claims)
    tables = {RUNS: pd.read_csv(arguments.tables / f"{RUNS}.csv"), **read_tables(arguments.tables, *claims.COMPUTED)}
    checks = claims.judge(register, tables, parameters.load().data.source)
    write_csv(arguments.tables / "claims.csv", checks)
    metrics = {}
    for name in register:
        mine = checks[checks["claim"] == name]
        verdict, _ = claims.claim_verdict(mine)
        measured = {row.check: row.measured for row in mine.itertuples() if pd.notna(row.measured)}
        metrics[name] = {"verdict": verdict, "measured": measured}
    write_json(arguments.metrics, metrics)


if __name__ == "__main__":
    main()
