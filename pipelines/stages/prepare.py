"""Stage: the pinned images as one file, whichever route they come by."""

import argparse
from pathlib import Path

import numpy as np

from pipelines import parameters, sources
from pipelines.files import replacing
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = parameters.load().data
    arrays, route = sources.obtain(data.source, data.sha256.model_dump(), Path.cwd())
    with replacing(arguments.out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    print(f"prepared {len(arrays['x_train'])} training and {len(arrays['x_test'])} test images from {route}")


if __name__ == "__main__":
    main()
