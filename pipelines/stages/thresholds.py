"""Stage: the stability threshold of each optimizer on a quadratic, read off the library's own step."""

import argparse
import time
from pathlib import Path

import pandas as pd

from pipelines import parameters, provenance
from pipelines.files import write_csv, write_json
from pipelines.stages import stage

BY_HAND = "by-hand-polyak-09"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    from benchmarks.lab import optimizers
    from benchmarks.lab.measurements import linear_stability

    rows = []
    for name, settings in parameters.load().progressive_sharpening.thresholds.items():
        optimizer = optimizers.named(**settings.model_dump())
        measured = linear_stability.stability_threshold(optimizer.build)
        rows.append((name, optimizer.implementation, settings.lr, measured))
    by_hand = linear_stability.largest_stable_curvature(
        lambda a: linear_stability.spectral_radius(linear_stability.heavy_ball_map(a, lr=0.01, momentum=0.9))
    )
    rows.append((BY_HAND, "written out by hand", 0.01, by_hand))
    table = pd.DataFrame(rows, columns=["optimizer", "implementation", "learning_rate", "stability_threshold"])
    table["threshold_times_learning_rate"] = table["stability_threshold"] * table["learning_rate"]
    write_csv(arguments.out, table)
    write_json(arguments.meta, provenance.told(time.time() - started))


if __name__ == "__main__":
    main()
