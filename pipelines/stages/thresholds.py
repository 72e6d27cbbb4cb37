"""Stage: the stability threshold of each optimizer on a quadratic, read off the library's own step."""

import argparse
import time
from pathlib import Path

from pipelines import parameters, provenance
from pipelines.files import write_csv, write_json
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    from benchmarks.studies import thresholds

    study = parameters.load().progressive_sharpening
    write_csv(arguments.out, thresholds.run(study.model_dump(include={"thresholds"})["thresholds"]))
    write_json(arguments.meta, provenance.told(time.time() - started))


if __name__ == "__main__":
    main()
