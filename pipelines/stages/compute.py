"""Stage: an experiment that keeps no history: its table alone."""

import argparse
import time
from importlib import import_module
from pathlib import Path

from threadpoolctl import threadpool_limits

from pipelines import images, parameters, provenance
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
    import torch

    checked = parameters.load()
    torch.set_num_threads(checked.compute.threads)
    threadpool_limits(checked.compute.threads)
    settings = getattr(checked, arguments.study).experiments[arguments.experiment]
    experiment = import_module(f"benchmarks.studies.{arguments.study}.{arguments.experiment}")
    seeds = range(1, settings["seeds"] + 1) if "seeds" in settings else checked.deep_linear.seeds
    if arguments.data is None:
        table = experiment.run(settings, seeds)
    else:
        table = experiment.run(settings, seeds, images.load(arguments.data, checked.compute.dtype))
    write_csv(arguments.out, table)
    write_json(arguments.meta, provenance.told(time.time() - started))


if __name__ == "__main__":
    main()
