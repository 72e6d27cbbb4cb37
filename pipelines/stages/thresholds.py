"""Stage: the stability threshold of each optimizer on a quadratic, read off the library's own step."""

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
    from benchmarks.studies import thresholds

    settings = {name: one.model_dump() for name, one in checked.progressive_sharpening.thresholds.items()}
    write_csv(arguments.out, thresholds.run(settings))
    write_json(arguments.meta, provenance.told(time.time() - started, "cpu"))


if __name__ == "__main__":
    main()
