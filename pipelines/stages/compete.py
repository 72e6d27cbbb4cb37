"""Stage: one optimizer on one workload: its trials, its runs and their curves."""

import argparse
import time
from pathlib import Path

from pipelines import devices, images, parameters, provenance, state
from pipelines.files import write_csv, write_json, write_parquet
from pipelines.stages import stage

STUDY = "optimizer_comparison"


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("optimizer")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True, help="the contest's fingerprint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    checked = parameters.load()
    compute = checked.compute.model_dump()
    devices.prepare(compute["device"], compute["threads"])
    from benchmarks.studies.optimizer_comparison import contest

    settings = checked.optimizer_comparison.settings(arguments.workload, arguments.optimizer)
    name = f"{arguments.workload}-{arguments.optimizer}"
    progress = state.progress(STUDY, name, "")
    prepared = images.load(arguments.data, compute["dtype"])

    def note(done: int, planned: int) -> None:
        left_s = (time.time() - started) / done * (planned - done)
        write_json(progress, {"step": done, "steps": planned, "left_s": round(left_s, 1)})

    try:
        held = contest.run(settings, prepared, compute, note)
    except ValueError as error:
        raise ValueError(f"{STUDY}: {arguments.optimizer} on {arguments.workload}: {error}") from error
    write_csv(arguments.out / "runs.csv", held.runs)
    write_parquet(arguments.out / "curves.parquet", held.curves.astype({"value": "float32", "step": "int32"}))
    write_json(arguments.out / "settings.json", settings)
    write_json(arguments.out / "facts.json", held.facts)
    trained_s = time.time() - started

    from pipelines import finished, tracking

    published = tracking.publish(finished.of_contest(arguments.out, checked, arguments.code), provenance.commit())
    write_json(arguments.meta, {**provenance.told(trained_s, compute["device"]), "wandb": published})
    progress.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
