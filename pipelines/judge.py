"""Stage: every registered check against the tables; one row per check, and the verdicts as DVC metrics."""

import argparse

from benchmarks.evidence import judge, summary
from benchmarks.studies import catalog
from pipelines import parameters, sources, stages
from pipelines.entry import stage
from pipelines.files import CODE, read_json, read_tables, table_path, write_csv, write_json
from pipelines.stages import MEASURED, METRICS


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    claims = catalog.registered()
    profile = read_json(CODE / "profile.json")
    data = [*sources.including(profile["data"]["source"]), profile["corpus"]["source"]]
    costs = stages.seconds_per_seed(stages.training(parameters.load()))
    tables = read_tables(stages.judged())
    checks = judge.judge(claims, tables, data, costs)
    write_csv(table_path("claims"), checks)
    write_json(METRICS, summary.metrics(claims, checks, tables["open_question_4_1"]))
    write_json(MEASURED, summary.measured(checks))


if __name__ == "__main__":
    main()
