"""Stage: an experiment that keeps no history: its table alone."""

import argparse
import time
from importlib import import_module
from inspect import signature
from pathlib import Path

from pipelines import devices, images, parameters, provenance
from pipelines.files import write_csv, write_json
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("experiment")
    parser.add_argument("--data", type=Path, help="the prepared images, for an experiment that takes them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    checked = parameters.load()
    compute = checked.compute
    devices.prepare(compute.device, compute.threads)
    settings = getattr(checked, arguments.study).experiments[arguments.experiment]
    experiment = import_module(f"benchmarks.studies.{arguments.study}.{arguments.experiment}")
    seeds = range(1, settings["seeds"] + 1) if "seeds" in settings else checked.deep_linear.seeds
    data = [] if arguments.data is None else [images.load(arguments.data, compute.dtype)]
    # What takes no device is so small, or so exact, that it stays on the CPU.
    placed = {"device": compute.device} if "device" in signature(experiment.run).parameters else {}
    write_csv(arguments.out, experiment.run(settings, seeds, *data, **placed))
    write_json(arguments.meta, provenance.told(time.time() - started, placed.get("device", "cpu")))


if __name__ == "__main__":
    main()
