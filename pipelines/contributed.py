"""Rows that other machines made: one JSON file each in contributed/, shown beside our tables and never in them.

``bench contribute`` writes such a file from finished runs, and ``bench verify FILE`` checks one: first what takes no
training, then, if asked, by training its stages again.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from benchmarks.evidence import agreement, citing
from benchmarks.studies import catalog
from benchmarks.studies.schema import Compute, Strict
from pipelines import fingerprints, finished, manifest, names, parameters, rebuild, revisions, sources, stages
from pipelines.files import CODE, FLOAT, META, RUNS, read_json, read_tables, table_path, write_json, write_yaml
from pipelines.names import few
from pipelines.stages import CONTRIBUTED, Stage
from pipelines.verify import SCRATCH, described, resting_on

FORMAT = 1
# What must be known of what a stage was asked.
ASKED = {"study", "group", "name", "stack", "module", "seeds", "settings", "compute", "device", "data", "modules"}
# What a scratch folder is made of.
COPIED = ("benchmarks", "pipelines")


class ContributionError(ValueError):
    """Rows that cannot be contributed, or a file that cannot be accepted; the message says why, and what to do."""


class Record(Strict):
    """What is kept of a stage's record in runs-meta: nothing that names a machine, a person or an account."""

    commit: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    device: str
    wall_s: float


class Made(Strict):
    """One of the stages that rows are made from.

    Attributes:
        asked: what results/code has of it: settings, seeds, data, fingerprint of the code.
        roots: the modules at which its fingerprint starts.
        record: where it ran, and for how long.
    """

    asked: dict[str, Any]
    roots: list[str]
    record: Record


class Contribution(Strict):
    """The contents of a file.

    Attributes:
        schema_version: of the table's data card.
        commit: the last one that changed benchmarks/, of which everybody who has the code has it.
        study_settings: of the table's study, which its ``tables.py`` reads.
        rows: cells as they stand in a table, by column.
        sha256: of everything else.
    """

    format: int
    table: str
    schema_version: int
    note: str
    version: str
    commit: str
    stages: dict[str, Made]
    study_settings: dict[str, Any]
    rows: list[dict[str, str]]
    sha256: str

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as `benchmarks.evidence.agreement.read` gives them."""
        return pd.DataFrame(self.rows, dtype=str)

    @property
    def digest(self) -> str:
        rest = self.model_dump(exclude={"sha256"})
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()

    @property
    def machines(self) -> list[str]:
        """On what it was made, in words."""
        kept = ("python", "torch", "numpy")
        said = [
            ", ".join(
                [
                    record.device,
                    str(record.hardware.get("gpu") or record.hardware.get("processor")),
                    *(f"{name} {record.versions.get(name)}" for name in kept),
                ]
            )
            for record in (made.record for made in self.stages.values())
        ]
        return list(dict.fromkeys(said))


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        remarks: on its code.
        comparison: with the rows made again, if they were.
        elsewhere: how this environment differs from the one that made them.
    """

    contribution: Contribution
    remarks: list[str]
    comparison: agreement.Comparison | None
    elsewhere: list[str]

    @property
    def agrees(self) -> bool:
        return self.comparison is None or self.comparison.agrees


def contribute(table: str, name: str, rows: Sequence[str], profile: str | None, note: str) -> Path:
    """Write a file with rows of a table that was made here.

    Args:
        name: of the file.
        rows: ``column=value``: which rows; all if there is none.
        profile: the workspace that has them, if not this one.

    Raises:
        ContributionError, UnknownNameError, CitingError, RevisionError: for rows that are not there, or that rest on
            stale or other runs, or on code that nobody else has.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ContributionError(f"{name!r} is no name for a file: use lower case, digits, - and _")
    table = names.find(table, only=("table",)).name
    path = CONTRIBUTED / table / f"{name}.json"
    if path.exists():
        raise ContributionError(f"{path} exists: choose another name, or remove it first")
    revisions.resolve("HEAD")
    if any(changed.startswith("benchmarks/") for changed in revisions.changed()):
        raise ContributionError("benchmarks/ has uncommitted changes, so nobody could check the rows: commit them")
    commit = revisions.last_change_of(fingerprints.PACKAGE) or "unknown"
    if profile is not None and not Path(f".{profile}").is_dir():
        raise ContributionError(f"there is no workspace .{profile}: `bench profile {profile}` makes it")
    read = _read(table)
    with _inside(Path(f".{profile}" if profile else ".")):
        found = _collected(table, rows, note, commit, read)
    if differing := [other for made in found.stages.values() for other in _other_code(made, Path.cwd())]:
        raise ContributionError(
            f".{profile} was made with other code than is here ({few(differing)}): run `bench profile {profile}` again"
        )
    write_json(path, found.model_dump(), sort_keys=False)
    return path


def _collected(table: str, rows: Sequence[str], note: str, commit: str, read: dict[str, pd.DataFrame]) -> Contribution:
    """The contribution that the workspace in this folder can make."""
    card, training = catalog.cards()[table], stages.training(parameters.load())
    if table_path(table).is_file():
        whole = agreement.read(table_path(table).read_text(encoding="utf-8"))
    else:  # a study of which only some runs were asked for
        ran = [s.path for s in training if s.study == _study(table) and (RUNS / s.path).is_dir() and s.meta.is_file()]
        if not ran:
            raise ContributionError(f"there is no {table_path(table)} here, and no run of it: `bench repro` makes it")
        whole = _made_from(table, ran, read)
    picked = citing.select(whole, card, rows)
    behind = [stage for stage in training if resting_on(table, picked, [stage]).any()]
    if not behind or any(stage.alone for stage in behind):
        raise ContributionError(
            f"no run stands behind these rows of {table} alone: they are timings, verdicts, or made from another "
            f"table; contribute rows of that one"
        )
    picked = picked[resting_on(table, picked, behind)]
    # A system's reference is another stage of its study.
    references = {getattr(stage.settings, "reference", None) for stage in behind}
    whole_of = [s for s in training if s in behind or (s.study == behind[0].study and s.name in references)]
    reasons = rebuild.stale([stage.address for stage in whole_of])
    if old := [stage.name for stage in whole_of if stage.address in reasons]:
        raise ContributionError(f"{few(old)} would be trained again, as it is stale: run `bench repro {old[0]}` first")
    made = {
        stage.path: Made(asked=read_json(stage.code), roots=stage.roots, record=_recorded(stage)) for stage in whole_of
    }
    settings = read_json(CODE / f"{behind[0].study}.json")["settings"]
    remade = picked_of(table, list(made), _keys(card, picked), read)
    compared = agreement.compare(table, card, picked, remade, same_machine=True)
    if not compared.agrees:
        raise ContributionError(
            f"these rows of {table} rest on other runs too ({_what(compared)}): name the rows that they are compared "
            "with as well, or leave out --row"
        )
    found = Contribution(
        format=FORMAT,
        table=table,
        schema_version=card.schema,
        note=note,
        version=manifest.version(),
        commit=commit,
        stages=made,
        study_settings=settings,
        rows=remade.to_dict("records"),
        sha256="",
    )
    return found.model_copy(update={"sha256": found.digest})


def _recorded(stage: Stage) -> Record:
    record = read_json(stage.meta)
    return Record(**{key: record[key] for key in Record.model_fields})


def _keys(card, rows: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(rows[list(card.keys)].itertuples(index=False, name=None))


def picked_of(
    table: str, paths: Iterable[str], keys: set[tuple[str, ...]], read: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """The rows with these keys of a table, made from the runs at these paths and no others.

    Args:
        read: the tables of other studies that this one's code reads.

    Raises:
        ContributionError: if the study's code cannot make the table from them.
    """
    if _study(table) is None:  # written by its own stage
        made = agreement.read(table_path(table).read_text(encoding="utf-8"))
    else:
        made = _made_from(table, paths, read)
    found = [key in keys for key in made[list(catalog.cards()[table].keys)].itertuples(index=False, name=None)]
    return made[found].reset_index(drop=True)


def _made_from(table: str, paths: Iterable[str], read: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A study's table from these runs; raises as `picked_of`."""
    try:
        frames = finished.tables(_study(table), [finished.load(RUNS / path) for path in paths], read)
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise ContributionError(
            f"{table} cannot be made from these runs alone ({error}): leave out --row, or name more rows"
        ) from None
    text = frames.tables[table].to_csv(index=False, float_format=FLOAT, lineterminator="\n")
    return agreement.read(text)


def _study(table: str) -> str | None:
    """The study whose code makes a table from its runs; None if its own stage writes it."""
    return next((name for name, one in catalog.studies().items() if table in one.tables), None)


def _read(table: str) -> dict[str, pd.DataFrame]:
    """The tables of other studies that this one's code reads: the ones here. What is said of their systems is not among
    the rows of a contribution."""
    study = _study(table)
    return read_tables(catalog.studies()[study].reads) if study else {}


def load(path: Path) -> Contribution:
    """A file, checked as far as that takes no code and no training: format, schema, columns, hash.

    Raises:
        ContributionError: with the first fault.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContributionError(f"there is no file {path}") from None
    except (ValueError, OSError) as error:
        raise ContributionError(f"{path} cannot be read ({error}): ask for the file again") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ContributionError(f"{path} is not in format {FORMAT} of contributed files: `bench contribute` writes it")
    try:
        found = Contribution.model_validate(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ContributionError(f"{path} is not a contributed file: {where}: {fault['msg'].lower()}") from None
    if fault := _fault(found):
        raise ContributionError(f"{path} {fault}")
    return found


def _fault(found: Contribution) -> str:
    """What is wrong with a file; empty if nothing is."""
    card = catalog.cards().get(found.table)
    if card is None or not found.rows or not found.stages:
        return f"has no stages, no rows, or rows of a table that is not here: {found.table}"
    if found.schema_version != card.schema:
        return (
            f"has schema {found.schema_version} of {found.table}, and here the table has schema {card.schema}: check "
            f"it at its own version, {found.version}, or make it again at this one"
        )
    for row in found.rows:
        for name in sorted(set(row) ^ set(card.columns)):
            how = "lacks" if name in card.columns else "has"
            return f"{how} the column {name}, unlike {found.table} here: it was edited, or made at {found.version}"
    if found.digest != found.sha256:
        return (
            "was changed after it was written, for its hash is not that of its contents: ask for the original, or "
            "write it again with `bench contribute`"
        )
    if len(_keys(card, found.frame)) < len(found.rows):
        return f"has two rows of the same {', '.join(card.keys)}"
    for path, made in found.stages.items():  # they become paths and modules when it is made again
        asked = made.asked
        if missing := sorted(ASKED - set(asked)):
            return f"says no {missing[0]} of its stage {path!r}"
        own = "/".join(filter(None, (asked["study"], asked["name"], asked["stack"])))
        parts = path.split("/")
        inside = asked["module"].startswith(f"{fingerprints.PACKAGE}.studies.{asked['study']}.")
        if path != own or not inside or not all(re.fullmatch(r"[\w-]+", part) for part in parts):
            return f"has a stage {path!r} that no study has"
    return ""


def check(path: Path, remake: bool, jobs: int) -> Outcome:
    """A file against the code here: known or not; and, if asked, its rows against those that training gives again.

    Raises:
        ContributionError: if it cannot be accepted, or its stages fail.
    """
    found = load(path)
    remarks = _require_known_code(path, found, remake)
    if not remake:
        return Outcome(found, remarks, None, [])
    card = catalog.cards()[found.table]
    remade, here = _remade(found, jobs)
    pairs = zip(found.stages.values(), here)
    elsewhere = [
        word
        for made, one in pairs
        for word in manifest.differences({"environments": [_environment(made.asked, made.record.model_dump())]}, one)
    ]
    elsewhere = list(dict.fromkeys(elsewhere))
    compared = agreement.compare(found.table, card, found.frame, remade, not elsewhere)
    return Outcome(found, remarks, compared, elsewhere)


def _require_known_code(path: Path, found: Contribution, same: bool) -> list[str]:
    """Remarks on code that is not the one here.

    Args:
        same: whether it must be the one here.

    Raises:
        ContributionError: if the code is neither the one here nor that of the commit it names.
    """
    remarks, commit = [], found.commit[:12]
    differing = {name: other for name, made in found.stages.items() if (other := _other_code(made, Path.cwd()))}
    if differing:
        name, modules = next(iter(differing.items()))
        said = f"{path}: {name} was made with other code than is here ({few(modules)})"
        if same:
            raise ContributionError(f"{said}: check out {commit} to make its rows again")
        with tempfile.TemporaryDirectory() as folder:
            if not _extracted(found.commit, Path(folder)):
                raise ContributionError(f"{said}, and its commit {commit} is not in this clone: fetch it first")
            if any(_other_code(found.stages[name], Path(folder)) for name in differing):
                raise ContributionError(f"{said}, nor is it that of its commit {commit}: it cannot be checked")
        remarks.append(f"the code is that of commit {commit}, which is not the one here")
    outside = sorted({root for made in found.stages.values() for root in made.roots if not _is_ours(root)})
    if outside:
        remarks.append(f"{', '.join(outside)}: code from outside, whose hash is recorded and not checked")
    return remarks


def _other_code(made: Made, source: Path) -> list[str]:
    """The modules of a stage's fingerprint that are not those below a folder."""
    try:
        here = fingerprints.fingerprint([root for root in made.roots if _is_ours(root)], source)["modules"]
    except ValueError:  # a module that is not there
        return [root for root in made.roots if _is_ours(root)]
    there = made.asked["modules"]
    return sorted(name for name in {*here, *there} if here.get(name) != there.get(name))


def _is_ours(root: str) -> bool:
    return root.startswith(f"{fingerprints.PACKAGE}.")


def _extracted(commit: str, folder: Path) -> bool:
    """Whether there is such a commit, whose code is then in the folder."""
    done = subprocess.run(["git", "archive", commit, fingerprints.PACKAGE], capture_output=True, check=False)
    if done.returncode == 0:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return done.returncode == 0


def _remade(found: Contribution, jobs: int) -> tuple[pd.DataFrame, list[dict]]:
    """The rows, trained again in a scratch folder on the device of params.yaml, and the environments here."""
    params, raw, read = parameters.load(), parameters.read(parameters.PATH), _read(found.table)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    for part in COPIED:
        shutil.copytree(part, SCRATCH / part, ignore=shutil.ignore_patterns("__pycache__"))
    sources.settle()
    here = []
    with _inside(SCRATCH):
        asked_data: dict = {}
        for path, made in found.stages.items():
            device = params.compute.device if made.asked["device"] != "cpu" else "cpu"
            asked = made.asked | {"device": device}
            write_json(CODE / f"{path}.json", asked)
            data = dict(made.asked["data"] or {})
            asked_data |= {"corpus": data.pop("corpus")} if "corpus" in data else {}
            asked_data |= {"data": data} if data else {}
        study = next(iter(found.stages.values())).asked["study"]
        write_json(CODE / f"{study}.json", {"runs": list(found.stages), "settings": found.study_settings})
        write_yaml(parameters.PATH, raw | asked_data)
        for section, (module, _) in zip(("data", "corpus"), stages.PREPARED.values()):
            if section in asked_data:
                _run(module)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda path: _run("run", path), found.stages))
        card = catalog.cards()[found.table]
        for path in found.stages:
            here.append(_environment(read_json(CODE / f"{path}.json"), read_json(META / f"{path}.json")))
    with _inside(SCRATCH):
        return picked_of(found.table, found.stages, _keys(card, found.frame), read), here


def _run(module: str, *arguments: str) -> None:
    environment = rebuild.environment() | {"WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", f"pipelines.{module}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise ContributionError(f"{' '.join([module, *arguments])} failed in {SCRATCH}: {said}")


def _environment(asked: dict, record: dict) -> dict:
    return manifest.environment_of(record, Compute.model_validate(asked["compute"]))


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def told(path: Path, outcome: Outcome) -> str:
    """An outcome for a terminal."""
    found = outcome.contribution
    seeds = sorted({len(made.asked["seeds"]) for made in found.stages.values()})
    lines = [
        f"{path}: {len(found.rows)} rows of {found.table}, schema {found.schema_version}, as they were written",
        f"made from {few(list(found.stages))}, {' to '.join(map(str, seeds))} seeds, on {'; '.join(found.machines)}",
        *(outcome.remarks or ["the code is the one here"]),
    ]
    if outcome.comparison is None:
        seconds = sum(made.record.wall_s for made in found.stages.values())
        return "\n".join([*lines, f"not trained again: --remake does ({seconds:.0f} s of training where it was made)"])
    compared = outcome.comparison
    how = f"tolerances apply: {'; '.join(outcome.elsewhere)}" if outcome.elsewhere else "on the same machine: identical"
    lines += [f"trained again, {how}", *compared.faults]
    worst = compared.differences.sort_values("severity", ascending=False).head(10)
    lines += [f"  {described(cell)}" for cell in worst.itertuples()]
    lines.append(f"all {compared.cells} cells agree" if compared.agrees else "DISAGREES")
    return "\n".join(lines)


def checked() -> list[str]:
    """Check every file as `load` does; returns a line that says how many there are, if any.

    Raises:
        ContributionError: with the first fault.
    """
    listed = [load(path) for path in _listed()]
    return [f"{len(listed)} contributed files are as they were written"] if listed else []


def _listed() -> list[Path]:
    return sorted(CONTRIBUTED.rglob("*.json"))


def shown() -> dict[str, list[dict]]:
    """What the pages say of every file, by table: name, note, machines, seeds, commit, whether its code is the one
    here, columns and rows."""
    by_table: dict[str, list[dict]] = {}
    for path in _listed():
        found = load(path)
        by_table.setdefault(found.table, []).append(
            {
                "name": path.stem,
                "note": found.note,
                "machines": found.machines,
                "seeds": sorted({seed for made in found.stages.values() for seed in made.asked["seeds"]}),
                "commit": found.commit,
                "current": not any(_other_code(made, Path.cwd()) for made in found.stages.values()),
                "columns": list(catalog.cards()[found.table].columns),
                "rows": found.rows,
            }
        )
    return by_table


def _what(compared: agreement.Comparison) -> str:
    """The first things in which two sets of rows differ."""
    columns = list(dict.fromkeys(compared.disagreeing["column"]))
    return "; ".join(filter(None, [*compared.faults[:1], few(columns)]))
