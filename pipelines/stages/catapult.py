"""Stage: the phases of gradient descent on a two-layer network and one example, and their controls."""

import argparse
import time
from pathlib import Path

from pipelines import devices, parameters, provenance
from pipelines.files import write_csv, write_json
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    checked = parameters.load()
    devices.prepare("cpu", checked.compute.threads)
    from benchmarks.studies import catapult

    study = checked.progressive_sharpening
    write_csv(arguments.out, catapult.run(study.catapult.model_dump(), study.seeds))
    write_json(arguments.meta, provenance.told(time.time() - started, "cpu"))


if __name__ == "__main__":
    main()
