"""Stage: every registered check against the tables; one row per check, and the verdicts as DVC metrics."""

import argparse

import pandas as pd

from benchmarks.evidence import judge, register, summary
from benchmarks.studies import catalog
from pipelines.entry import stage
from pipelines.files import CODE, TABLES, read_json, write_csv, write_json
from pipelines.stages import METRICS


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    claims = register.load(catalog.claims(), catalog.cards())
    names = [name for name in catalog.cards() if name != "claims" and not name.startswith("timings/")]
    tables = {name: pd.read_csv(TABLES / f"{name}.csv") for name in names}
    checks = judge.judge(claims, tables, read_json(CODE / "profile.json")["data"]["source"])
    write_csv(TABLES / "claims.csv", checks)
    write_json(METRICS, summary.metrics(claims, checks))


if __name__ == "__main__":
    main()
