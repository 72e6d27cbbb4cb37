"""Stage: everything that trains or computes. ``python -m pipelines.run STUDY/NAME[/STACK]``

Settings, seeds and the fingerprint of the code come from ``results/code``. It writes a table in
``results/tables``, or runs: ``rows.csv``, ``curves.parquet``, and ``run.json`` with all that determines their numbers.
"""

import argparse
import sys
import time
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.studies import catalog
from benchmarks.studies.schema import Compute
from pipelines import corpus, devices, finished, images, provenance, tracking
from pipelines.checkpoints import Checkpoints, Clock, Finished, is_recorded
from pipelines.entry import stage
from pipelines.files import (
    CODE,
    CORPUS,
    IMAGES,
    META,
    RUNS,
    read_json,
    table_path,
    write_csv,
    write_json,
    write_parquet,
)


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", metavar="STUDY/NAME[/STACK]")
    path = parser.parse_args().path
    started = time.time()
    asked = read_json(CODE / f"{path}.json")
    compute = Compute.model_validate(asked["compute"])
    before = Finished(path, asked)
    if before.folder.is_dir() and before.restore(
        is_recorded(Path("pipelines", asked["study"], "dvc.lock"), CODE / f"{path}.json")
    ):
        print("finished before, and not recorded: restored", file=sys.stderr)
        return
    devices.prepare(asked["device"], compute.threads)
    part = catalog.part(asked["study"], asked["group"])
    run = import_module(asked["module"]).run
    clock, checkpoints = Clock(path), Checkpoints(path, asked)

    def observe(step: int, checkpoint: Callable[[], dict]) -> None:
        clock.tick(step, asked["settings"]["steps"])
        checkpoints.observe(step, checkpoint)

    given = {
        "settings": lambda: part.given.model_validate(asked["settings"]),
        "seeds": lambda: asked["seeds"],
        "images": lambda: images.load(IMAGES, compute.dtype, asked["data"]),
        "corpus": lambda: corpus.load(CORPUS, asked["data"]["corpus"]),
        "compute": lambda: compute,
        "device": lambda: asked["device"],
        "tick": lambda: clock.tick,
        "resume": checkpoints.resume,
        "observe": lambda: observe,
    }

    def attempt() -> Any:
        return run(**{name: given[name]() for name in signature(run).parameters})

    try:
        try:
            made = attempt()
        except Exception as error:
            if not checkpoints.resumed or clock.ticked:
                raise
            print(f"the checkpoint cannot be continued ({error}): starting again", file=sys.stderr)
            checkpoints.start_again()
            made = attempt()
    except ValueError as error:
        raise ValueError(f"{asked['study']}: {asked['name']}: {error}") from error
    outputs = [META / f"{path}.json"]
    if isinstance(made, pd.DataFrame):
        table = catalog.table_of(asked["study"], part)
        part.card.require(made, table)
        write_csv(table_path(table), made)
        outputs.append(table_path(table))
    else:
        folder = RUNS / path
        outputs.append(folder)
        if made.rows is not None:
            write_csv(folder / "rows.csv", made.rows)
        if made.curves is not None:
            write_parquet(folder / "curves.parquet", made.curves)
        kept = ("study", "name", "stack", "values", "seeds", "settings", "compute", "data")
        write_json(
            folder / "run.json", {**{k: asked[k] for k in kept}, "code": asked["fingerprint"], "facts": made.facts}
        )
    record = provenance.record(checkpoints.earlier_s + time.time() - started, asked["device"])
    if not isinstance(made, pd.DataFrame):
        published = tracking.publish(finished.load(RUNS / path), record["commit"])
        record |= {"resumed": checkpoints.resumed, "wandb": published}
    write_json(META / f"{path}.json", record)
    if before.keep(outputs):
        checkpoints.forget()
    clock.forget()


if __name__ == "__main__":
    main()
