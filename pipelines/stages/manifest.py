"""Stage: what every table is made of."""

import argparse
from pathlib import Path

from pipelines import manifest, parameters
from pipelines.files import write_json
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--meta", type=Path, default=Path("runs-meta"))
    parser.add_argument("--code", type=Path, default=Path("results/code"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write_json(arguments.out, manifest.build(parameters.load(), arguments.tables, arguments.meta, arguments.code))


if __name__ == "__main__":
    main()
