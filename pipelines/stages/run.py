"""Stage: train one stack of one configuration, resumably; write its history and publish it."""

import argparse
import hashlib
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from pipelines import devices, images, parameters, provenance, state
from pipelines.files import replacing, write_json, write_parquet
from pipelines.stages import stage

CHECKPOINT_EVERY_S = float(os.environ.get("BENCH_CHECKPOINT_SECONDS", "20"))
PROGRESS_EVERY_S = 1.0


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("configuration")
    parser.add_argument("--stack", required=True, help="as DVC names the stage: a seed, a range a-b, or all")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True, help="the configuration's fingerprint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--meta", type=Path, required=True)
    arguments = parser.parse_args()

    started = time.time()
    checked = parameters.load()
    study = checked.studies[arguments.study]
    seeds = study.seeds_of(arguments.configuration, arguments.stack)
    identity = provenance.identity(study.settings(arguments.configuration), checked, arguments.code)
    place = (arguments.study, arguments.configuration, arguments.stack)
    checkpoint = state.checkpoint(*place)
    devices.prepare(checked.compute.device, checked.compute.threads)
    clock = _Clock(state.progress(*place), identity["settings"]["steps"])
    outcome, facts, earlier_s, resumed = train(arguments.study, seeds, identity, arguments.data, checkpoint, clock)
    history = outcome.history.frame()
    summary = {
        "study": arguments.study,
        "configuration": arguments.configuration,
        "profile": checked.profile,
        "seeds": seeds,
        **identity,
        "facts": facts,
        "diverged": {str(seed): step for seed, step in sorted(outcome.diverged.items())},
    }
    write_parquet(arguments.out / "history.parquet", history)
    write_json(arguments.out / "summary.json", summary)
    trained_s = time.time() - started

    from pipelines import finished, tracking

    published = tracking.publish(finished.of_run(arguments.out), provenance.commit())
    told = provenance.told(earlier_s + trained_s, checked.compute.device)
    write_json(arguments.meta, {**told, "resumed": resumed, "wandb": published})
    checkpoint.unlink(missing_ok=True)
    clock.path.unlink(missing_ok=True)


def train(study: str, seeds: list[int], identity: dict, data: Path, path: Path, clock: "_Clock"):
    """Train a stack from its last checkpoint, if there is one of the same identity at ``path``.

    Returns:
        (outcome, facts, seconds spent before the resume, whether it resumed).
    """
    import torch

    compute = identity["compute"]
    prepared = images.load(data, compute["dtype"])

    key = hashlib.sha256(json.dumps([identity, seeds], sort_keys=True).encode()).hexdigest()
    saved = _load_checkpoint(path, key)
    earlier_s = saved["seconds"] if saved else 0.0
    started = last = time.time()

    def observe(step: int, checkpoint) -> None:
        nonlocal last
        clock.tick(step)
        if time.time() - last >= CHECKPOINT_EVERY_S:
            with replacing(path) as temporary:
                seconds = earlier_s + time.time() - started
                torch.save({"key": key, "seconds": seconds, "state": checkpoint()}, temporary)
            last = time.time()

    resume = saved["state"] if saved else None
    if saved:
        print(f"continuing from step {resume['loop']['step']}", file=sys.stderr)
    module = import_module(f"benchmarks.studies.{study}")
    outcome, facts = module.run(identity["settings"], prepared, seeds, compute, resume=resume, observe=observe)
    return outcome, facts, earlier_s, saved is not None


class _Clock:
    """Tells how far a run is: into a file that ``bench`` reads, and onto a terminal."""

    def __init__(self, path: Path, steps: int):
        self.path = path
        self.steps = steps
        self.started = time.time()
        self.first_step: int | None = None
        self.last = 0.0

    def tick(self, step: int) -> None:
        if self.first_step is None:
            self.first_step = step - 1
        now = time.time()
        if now - self.last < PROGRESS_EVERY_S and step < self.steps:
            return
        self.last = now
        per_step = (now - self.started) / (step - self.first_step)
        left_s = (self.steps - step) * per_step
        write_json(self.path, {"step": step, "steps": self.steps, "left_s": round(left_s, 1)})
        if sys.stderr.isatty():
            end = "\n" if step == self.steps else ""
            print(f"\r  step {step} of {self.steps}, {left_s:.0f} s left   ", end=end, file=sys.stderr, flush=True)


def _load_checkpoint(path: Path, key: str) -> dict | None:
    """The checkpoint of this very run, or None: another identity's, or an unreadable one, is of no use."""
    import torch

    if not path.is_file():
        return None
    try:
        saved = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as pickles and archives do
        print(f"ignoring an unreadable checkpoint, {path}: {error}", file=sys.stderr)
        return None
    return saved if saved.get("key") == key else None


if __name__ == "__main__":
    main()
