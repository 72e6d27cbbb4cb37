"""Stage: an experiment that trains from no data and keeps no history: its table alone."""

import argparse
from importlib import import_module
from pathlib import Path

from pipelines import parameters
from pipelines.files import write_csv
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("experiment")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    import torch

    checked = parameters.load()
    torch.set_num_threads(checked.compute.threads)
    study = getattr(checked, arguments.study)
    experiment = import_module(f"benchmarks.studies.{arguments.study}.{arguments.experiment}")
    write_csv(arguments.out, experiment.run(study.experiments[arguments.experiment], study.seeds))


if __name__ == "__main__":
    main()
