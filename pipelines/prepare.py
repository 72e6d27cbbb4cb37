"""Stage: the pinned images as one file, whichever route they come from."""

import argparse
from pathlib import Path

import numpy as np

from pipelines import sources
from pipelines.entry import stage
from pipelines.files import IMAGES, read_yaml, replacing


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    data = sources.Data.model_validate(read_yaml(Path("params.yaml"))["data"])
    arrays, route = sources.obtain(data.source, data.sha256.model_dump(), Path.cwd())
    with replacing(IMAGES) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    print(f"prepared {len(arrays['x_train'])} training and {len(arrays['x_test'])} test images from {route}")


if __name__ == "__main__":
    main()
