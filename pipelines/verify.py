"""``bench verify``: does a rebuild give the committed tables? Cell by cell, in a scratch clone, without any cache."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from benchmarks.evidence import agreement
from benchmarks.studies import catalog
from pipelines import manifest, parameters, rebuild, revisions, sources, stages, store
from pipelines.files import CODE, STATE, read_json, write_json
from pipelines.stages import Stage

SCRATCH = Path(".verify")
VERDICT = Path("verify.json")
LOCK = STATE / "verify.lock"
WORST = 10


class VerifyError(ValueError):
    """A rebuild that cannot be done as requested, or that failed; the message says which."""


@dataclass(frozen=True)
class Request:
    """What to rebuild, and what to compare it with.

    Attributes:
        study: rebuild only its configurations; the others are restored from the store.
        configurations: rebuild only those with these names.
        against: the revision whose tables are compared with.
        sample: rebuild this many of them, drawn with ``seed``.
        settings: ``key=value`` to change in the clone's params.yaml, such as ``compute.threads=2``.
        identical: every digit must be the same, whatever machine made the tables.
    """

    study: str | None = None
    configurations: frozenset[str] | None = None
    against: str = "HEAD"
    sample: int | None = None
    seed: int = 0
    settings: tuple[str, ...] = ()
    jobs: int = 2
    identical: bool = False

    def choose(self, training: list[Stage]) -> list[Stage]:
        """The stages to run, in their order."""
        chosen = [stage for stage in training if self.study in (None, stage.study)]
        if self.configurations is not None:
            chosen = [stage for stage in chosen if stage.name in self.configurations]
        if self.sample is None or self.sample >= len(chosen):
            return chosen
        drawn = random.Random(self.seed).sample(sorted(stage.address for stage in chosen), self.sample)
        return [stage for stage in chosen if stage.address in drawn]


@dataclass
class Outcome:
    """What a verification found.

    Attributes:
        rebuilt: the configurations that were trained or computed anew, as study/configuration.
        restored: how many others came from the store.
        elsewhere: for each table, how this environment differs from the one that made it; empty on the same machine.
        seconds: duration of the rebuilt stages.
    """

    commit: str
    against: str
    rebuilt: list[str]
    restored: int
    elsewhere: dict[str, list[str]]
    comparisons: list[agreement.Comparison]
    seconds: float

    @property
    def agrees(self) -> bool:
        return all(comparison.agrees for comparison in self.comparisons)

    @property
    def worst(self) -> pd.DataFrame:
        """The cells that differ, those furthest beyond their tolerance first."""
        parts = [c.differences for c in self.comparisons if len(c.differences)]
        if not parts:
            return pd.DataFrame(columns=agreement.COLUMNS)
        cells = pd.concat(parts, ignore_index=True)
        before = pd.to_numeric(cells["before"], errors="coerce").abs()
        share = (cells["difference"] / before.clip(lower=1e-300)).fillna(np.inf)
        return cells.assign(share=share).sort_values(["severity", "share"], ascending=False, ignore_index=True)


def verify(request: Request) -> Outcome:
    """Rebuild the committed code's tables in a scratch clone, and compare.

    Raises:
        VerifyError, RevisionError, ManifestError, ParametersError, RebuildError: one clear message each; nothing in
            this workspace is changed.
    """
    commit, measure = revisions.resolve("HEAD"), revisions.resolve(request.against)
    expected = revisions.tables(measure)
    named = manifest.load(revisions.read(measure, str(manifest.MANIFEST)))
    manifest.require_tables(named, expected, f"the tables at {request.against}")
    if measure == commit:
        manifest.require_tables(named, revisions.tables(None), "the working tree")
    root, environment = Path.cwd(), dict(os.environ)
    with rebuild.alone(lock=LOCK):
        try:
            _clone(commit)
            chosen, restored, seconds = _rebuild(request)
            rebuilt, here = revisions.tables(None), manifest.here(parameters.load())
        finally:
            os.chdir(root)
            os.environ.clear()
            os.environ.update(environment)
    elsewhere = {
        name: [] if request.identical else manifest.differences(entry, here) for name, entry in named["tables"].items()
    }
    comparisons = [_compared(name, text, rebuilt.get(name), chosen, elsewhere[name]) for name, text in expected.items()]
    names = [f"{stage.study}/{stage.label}" for stage in sorted(chosen, key=lambda stage: stage.address)]
    return Outcome(commit, measure, names, restored, elsewhere, comparisons, seconds)


def _clone(commit: str) -> None:
    """A clone of this repository's committed state in `SCRATCH`, and an environment in which it finds the data."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    for arguments in (
        ["clone", "-q", "--no-checkout", ".", str(SCRATCH)],
        ["-C", str(SCRATCH), "checkout", "-q", commit],
    ):
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise VerifyError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    sources.settle()
    os.environ["WANDB_MODE"] = "disabled"
    os.chdir(SCRATCH)


def _rebuild(request: Request) -> tuple[list[Stage], int, float]:
    """In the clone: restore what is not to be rebuilt, run the rest, then make the tables.

    Returns:
        the stages that ran, how many were restored, and the seconds.
    """
    _set(Path("params.yaml"), request.settings)
    everything = [stage for stage in stages.training(parameters.load()) if not stage.alone]
    chosen = request.choose(everything)
    rebuild.require_devices(chosen)
    committed = _fingerprints()
    _dvc("repro", "-q", "--force", "fingerprint")
    if not request.settings and _fingerprints() != committed:
        raise VerifyError("results/code does not match the committed code: the results were made with different code")
    for name in stages.preparing(chosen):
        _dvc("repro", "-q", "--force", name)
    if len(chosen) < len(everything):
        store.require_sound()
        try:
            _dvc("pull")
        except VerifyError as error:
            cure = "the store lacks runs of the committed results: `bench push`, commit the store, then verify"
            raise VerifyError(f"{error}\n{cure}") from None
    report = rebuild.rerun(chosen, request.jobs)
    if report.failed:
        raise VerifyError(f"failed in {SCRATCH}, see above: {', '.join(report.failed)}")
    for one in stages.following():
        if one.study != "timings" and one.name in ("tables", "judge"):
            _dvc("repro", "-q", "--force", "--single-item", "--no-run-cache", one.address)
    return chosen, len(everything) - len(chosen), report.seconds


def _compared(
    name: str, text: str, rebuilt: str | None, chosen: list[Stage], elsewhere: list[str]
) -> agreement.Comparison:
    card = catalog.cards().get(name)
    if card is None:
        raise VerifyError(f"table {name} has no data card")
    if rebuilt is None:
        return agreement.Comparison(name, faults=[f"{name}: the rebuild has no such table"])
    before = agreement.read(text)
    picked = resting_on(name, before, chosen)
    return agreement.compare(name, card, before, agreement.read(rebuilt), not elsewhere, picked)


def resting_on(name: str, table: pd.DataFrame, chosen: Iterable[Stage]) -> np.ndarray:
    """Which rows of a table depend only on the runs of these stages, as a mask; none if rows depend on many stages."""
    rows = np.zeros(len(table), dtype=bool)
    made_of = {study for study, one in catalog.studies().items() if name in one.tables}
    for stage in chosen:
        if stage.table == name:
            rows[:] = True
        columns = {axis: value for axis, value in stage.values.items() if axis in table}
        if stage.study in made_of and columns:
            rows |= np.logical_and.reduce([table[axis] == value for axis, value in columns.items()])
    return rows


def record(outcome: Outcome, path: Path) -> None:
    """The outcome as JSON, including the cells that disagree."""
    worst = outcome.worst
    write_json(
        path,
        {
            "agrees": outcome.agrees,
            "commit": outcome.commit,
            "against": outcome.against,
            "rebuilt": outcome.rebuilt,
            "restored": outcome.restored,
            "seconds": round(outcome.seconds, 1),
            "tables": {
                c.table: {
                    "agrees": c.agrees,
                    "elsewhere": outcome.elsewhere[c.table],
                    "cells": c.cells,
                    "cells_of_rebuilt_runs": c.picked,
                    "not_compared": c.apart,
                    "differ": len(c.differences),
                    "disagree": len(c.disagreeing),
                    "faults": c.faults,
                }
                for c in outcome.comparisons
            },
            "worst": [
                {key: value if isinstance(value, str | bool) else _finite(value) for key, value in row.items()}
                for row in worst.head(1000).to_dict("records")
            ],
        },
    )


def told(outcome: Outcome) -> str:
    """The outcome for a terminal: what was rebuilt, each table, the worst cells, and whether all agree."""
    lines = [f"rebuilt {len(outcome.rebuilt)}, restored {outcome.restored} configurations in {outcome.seconds:.0f} s"]
    lines += [f"  {name}" for name in outcome.rebuilt[:20]]
    lines += [f"  and {len(outcome.rebuilt) - 20} more"] if len(outcome.rebuilt) > 20 else []
    why: dict[str, list[str]] = {}
    for c in outcome.comparisons:
        why.setdefault("; ".join(outcome.elsewhere[c.table]), []).append(c.table)
    for differs, names in why.items():
        lines.append(
            f"{len(names)} tables {f'made elsewhere, tolerances apply: {differs}' if differs else 'must be identical'}"
        )
    head = ("table", "cells", "of rebuilt runs", "not compared", "differ", "disagree")
    lines.append(f"{head[0]:<42}{head[1]:>8}{head[2]:>17}{head[3]:>14}{head[4]:>8}{head[5]:>10}")
    for c in outcome.comparisons:
        bad = len(c.disagreeing) + len(c.faults)
        lines.append(f"{c.table:<42}{c.cells:>8}{c.picked:>17}{c.apart:>14}{len(c.differences):>8}{bad:>10}")
    faults = [fault for c in outcome.comparisons for fault in c.faults]
    lines += [f"  {fault}" for fault in faults[:WORST]]
    lines += [f"  and {len(faults) - WORST} more, in {VERDICT}"] if len(faults) > WORST else []
    worst = outcome.worst
    if len(worst):
        lines.append("worst cells (difference over what is allowed):")
        lines += [f"  {described(cell)}" for cell in worst.head(WORST).itertuples()]
    moved = worst[(worst["table"] == "claims") & (worst["column"] == "verdict")]
    lines.append("no verdict moved" if moved.empty else f"verdicts moved: {len(moved)}")
    lines += [f"  {cell.row}: {cell.before} -> {cell.after}" for cell in moved.itertuples()]
    cells = sum(c.cells for c in outcome.comparisons)
    lines.append(f"all {cells} cells agree" if outcome.agrees else f"DISAGREES; every such cell is in {VERDICT}")
    return "\n".join(lines)


def described(cell) -> str:
    """A differing cell in a line."""
    beyond = "" if not np.isfinite(cell.severity) else f", {cell.severity:.3g} of the {cell.allowed:.3g} allowed"
    word = "" if cell.agrees else "  <- disagrees"
    change = f"{cell.before or '(empty)'} -> {cell.after or '(empty)'}"
    return f"{cell.table}, {cell.row}, {cell.column}: {change}{beyond}{word}"


def _set(path: Path, settings: Iterable[str]) -> None:
    """Change entries of params.yaml by dotted keys.

    Raises:
        VerifyError: for a key that does not exist.
    """
    yaml = YAML()
    whole = yaml.load(path.read_text(encoding="utf-8"))
    for setting in settings:
        key, sign, value = setting.partition("=")
        *parents, last = key.split(".")
        place = whole
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        if not sign or not isinstance(place, dict) or last not in place:
            raise VerifyError(f"--set {setting}: params.yaml has no such key; write key.of.params=value")
        place[last] = YAML(typ="safe").load(value)
    if settings:
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(whole, file)


def _dvc(*arguments: str) -> None:
    done = rebuild.dvc(*arguments, capture_output=True, text=True)
    if done.returncode != 0:
        said = rebuild.explained(done.stdout + done.stderr)
        raise VerifyError(f"dvc {' '.join(arguments)} failed in {SCRATCH}: {said}")


def _fingerprints() -> dict[str, str]:
    return {path.as_posix(): read_json(path)["fingerprint"] for path in CODE.glob("*/**/*.json")}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
