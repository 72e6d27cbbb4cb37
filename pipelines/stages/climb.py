"""Stage: one rung of the ladder: its networks and their linear twins, as scores and curves."""

import argparse
import time
from pathlib import Path

from pipelines import devices, images, parameters, provenance
from pipelines.files import write_csv, write_json, write_parquet
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rung")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True, help="the rung's fingerprint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    checked = parameters.load()
    compute = checked.compute
    devices.prepare(compute.device, compute.threads)
    import torch

    from benchmarks.studies.low_rank_progression import rung

    settings = checked.low_rank_progression.settings(arguments.rung)
    dtype = getattr(torch, compute.dtype)
    prepared = images.load(arguments.data, compute.dtype)
    try:
        scores, curves = rung.run(settings, prepared, range(1, settings["seeds"] + 1), dtype, device=compute.device)
    except ValueError as error:
        raise ValueError(f"low_rank_progression.rungs.{arguments.rung}: {error}") from error
    write_csv(arguments.out / "scores.csv", scores)
    write_parquet(
        arguments.out / "curves.parquet", curves.astype({name: "float32" for name in curves if name != "system"})
    )
    write_json(arguments.out / "settings.json", settings)
    trained_s = time.time() - started

    from pipelines import finished, tracking

    published = tracking.publish(finished.of_rung(arguments.out, checked, arguments.code), provenance.commit())
    write_json(arguments.meta, {**provenance.told(trained_s, compute.device), "wandb": published})


if __name__ == "__main__":
    main()
