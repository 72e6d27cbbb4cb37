"""Stage: seconds. Run alone, after everything else; part of no verdict."""

import argparse
import time
from importlib import import_module
from pathlib import Path

from pipelines import devices, images, parameters, provenance
from pipelines.files import write_csv, write_json
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=["training_step", "eigensolvers", "optimizer_steps"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.time()
    checked = parameters.load()
    timings, compute = checked.timings, checked.compute.model_dump()
    if arguments.study != "optimizer_steps":  # beside packages that work on the CPU alone
        compute["device"] = "cpu"
    devices.prepare(compute["device"], timings.threads)
    prepared = images.load(arguments.data, compute["dtype"])
    study = import_module(f"benchmarks.studies.{arguments.study}")
    if arguments.study == "optimizer_steps":
        comparison = checked.optimizer_comparison
        workloads = {name: comparison.workload(name) for name in comparison.workloads}
        contenders = {name: contender.model_dump() for name, contender in comparison.optimizers.items()}
        table = study.run(workloads, contenders, prepared, compute, timings.repeats)
    else:
        settings = checked.progressive_sharpening.settings(timings.configuration)
        table = study.run(settings, prepared, [timings.seed], compute, timings.model_dump())
    write_csv(arguments.out, table)
    write_json(arguments.meta, provenance.told(time.time() - started, compute["device"]))


if __name__ == "__main__":
    main()
