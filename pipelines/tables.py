"""Stage: a study's finished runs as tables and curves."""

import argparse

from benchmarks.studies import catalog
from pipelines import finished
from pipelines.entry import stage
from pipelines.files import CODE, CURVES, read_json, read_tables, table_path, write_csv, write_parquet


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    name = parser.parse_args().study
    study = catalog.studies()[name]
    asked = read_json(CODE / f"{name}.json")
    runs = [finished.require(path) for path in asked["runs"]]
    finished.prune(name, asked["runs"])
    read = read_tables(study.reads)
    made = finished.tables(name, runs, read)
    for table, card in study.tables.items():
        card.require(made.tables[table], table)
        write_csv(table_path(table), made.tables[table])
    if made.curves is not None:
        write_parquet(CURVES / f"{name}.parquet", made.curves)


if __name__ == "__main__":
    main()
