"""Stage: the phases of gradient descent on a two-layer network and one example, and their controls."""

import argparse
from pathlib import Path

from pipelines import parameters
from pipelines.files import write_csv
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    import torch

    from benchmarks.studies import catapult

    checked = parameters.load()
    torch.set_num_threads(checked.compute.threads)
    study = checked.progressive_sharpening
    write_csv(arguments.out, catapult.run(study.catapult.model_dump(), study.seeds))


if __name__ == "__main__":
    main()
