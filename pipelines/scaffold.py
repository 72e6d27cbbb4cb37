"""``bench new``: working stubs of what a user adds. All files of one are written, or none.

Before the first file is touched, a journal in `STATE` says what each was and will be. A ``bench new`` that is killed is
undone by the next ``bench`` command, except for files that somebody has edited since.
"""

import datetime
import fcntl
import json
import keyword
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.studies import catalog, entries
from pipelines import names, parameters, stages
from pipelines.files import STATE, read_json, table_path, write_json, write_text
from pipelines.stages import Stage

JOURNAL = STATE / "new.json"
QUICK = Path("params.quick.yaml")
STUDIES = Path("benchmarks/studies")
# Where Python keeps what it has compiled.
CACHE = "__pycache__"
# Where a stub's run is: the mapping of params.yaml, and its line.
RUNS = "progressive_sharpening", "comparisons"
# The texts of files, by path; and what to do next.
Stub = tuple[dict[Path, str], list[str]]

OPTIMIZER = '''"""NAME (a stub: gradient descent by torch; say here what it is, and the paper it is from)."""

import torch

from benchmarks.lab.optimizers import Built, Optimizer, Parameters


def build(parameters: Parameters, *, lr: float, momentum: float = 0.0) -> Built:
    return [torch.optim.SGD(parameters, lr=lr, momentum=momentum)]


NAME = Optimizer(build, implementation="torch.optim.SGD", source="a stub")
'''

ARCHITECTURE = '''"""NAME (a stub: one hidden layer; say here what it is, and the paper it is from)."""

from math import prod

from torch import nn


def build(input_shape: tuple[int, ...], outputs: int, *, width: int = 32) -> nn.Module:
    """A hidden layer of ``width`` units."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), width), nn.Tanh(), nn.Linear(width, outputs))
'''

RUN = '''"""A weight that decays, step by step (a stub: write what you compute).

Systems: plain; undamped, without decay, where the answer must be no.
"""

import random

from benchmarks.studies.table import tidy


@tidy
def run(settings, seeds):
    for seed in seeds:
        start = 1.0 + random.Random(seed).random()
        for system, decay in (("plain", settings.decay), ("undamped", 0.0)):
            weight = start
            for _ in range(settings.steps):
                weight -= settings.lr * decay * weight
            yield system, seed, {"ratio": weight / start}
'''

STUDY = '''"""TITLE (a stub), as an experiment."""

from benchmarks.evidence.card import Column, relative, tidy
from benchmarks.studies.declaration import Experiment, Study
from benchmarks.studies.schema import Count, Positive, Strict


class Settings(Strict):
    seeds: Count
    lr: Positive
    decay: Positive
    steps: Count


CARD = tidy(
    "TITLE (a stub)",
    computed="a loop in float64",
    limits="One weight.",
    quantities={"ratio": Column("", "the last weight over the first")},
    agreement=relative(1e-9),
)

STUDY = Study("NAME", place=PLACE, experiments=(Experiment("NAME", Settings, CARD),))
'''
VALUES = "{seeds: 3, lr: 0.1, decay: 1.0, steps: 10}"

SECTION = """title: TITLE (a stub)
known: What the literature says.
measured: The ratio was {NAME-1.ratio}.
open: What this does not answer.
surprise: NAME-1.ratio
"""

HEAD = """# A stub: commit prediction, estimator, band, controls before the reference seeds run; never move them after.
# fidelity: exact, paper-protocol or scaled. origin, of the band: theorem, paper or ours. All that may be said here:
# benchmarks/evidence/register.py.
"""
CLAIM = """CLAIM:
  title: What is claimed (a stub)
  registered: TODAY
  source: ours
  statement: What is predicted, and where that comes from.
  measurement: What is trained or computed, and what is read from it.
  disclosure: What had been seen before this was written.
  fidelity: exact
  origin: ours
  primary: CLAIM.QUANTITY
  checks:
    CLAIM.QUANTITY:
      statement: MEANING
      estimator: {name: computed, study: STUDY, experiment: EXPERIMENT, system: "SYSTEM", quantity: "QUANTITY"}
      prediction: PREDICTED
      band: BAND
"""
CONTROL = """    CLAIM.undamped:
      role: negative
      statement: the same without decay, which must be outside the band
      estimator: {name: computed, study: STUDY, experiment: EXPERIMENT, system: undamped, quantity: "QUANTITY"}
      prediction: PREDICTED
      band: BAND
"""


class ScaffoldError(ValueError):
    """A stub that cannot be written; the message says why, and nothing was."""


def new(kind: str, name: str, table: str | None) -> list[str]:
    """Write a stub; returns lines for its author.

    Args:
        kind: one of `KINDS`.
        table: of a claim: the table that it reads; None for the first that needs no data.

    Raises:
        ScaffoldError: for a name that is there or cannot be one, or where a file has no place for it.
    """
    if table is not None and kind != "claim":
        raise ScaffoldError(f"--table is for a claim: leave it out of `bench new {kind}`")
    training = stages.training(parameters.load())
    _require_free(kind, name, training)
    texts, following = KINDS[kind](name, table, training)
    _write(texts)
    return [*(f"wrote {path}" for path in texts), *(f"next: {line}" for line in following)]


def _require_free(kind: str, name: str, training: list[Stage]) -> None:
    pattern, form = (r"[a-z][a-z0-9_]*", "lower case, digits and _")
    if kind == "claim":
        pattern, form = (r"[A-Za-z][A-Za-z0-9-]*", "letters, digits and -")
    if not re.fullmatch(pattern, name) or keyword.iskeyword(name):
        raise ScaffoldError(f"{name!r} cannot be the name of {_a(kind)}: use {form}, beginning with a letter")
    known = names.every(training) | {one: entries.names(package) for one, package in PACKAGES.items()}
    wanted = {name.lower(), f"{name}-1".lower()} if kind == "experiment" else {name.lower()}
    for there, taken in known.items():
        if clash := next((one for one in taken if one.lower() in wanted), None):
            raise ScaffoldError(f"there is {_a(there)} {clash!r} already: choose another name")
    path = _entry_path(kind, name) if kind in PACKAGES else STUDIES / name
    if path.exists():
        raise ScaffoldError(f"{path} exists already: choose another name")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeo" else f"a {kind}"


def _optimizer(name: str, *_) -> Stub:
    texts = _entry("optimizer", name, OPTIMIZER, f"{{images: 1000, optimizer: {{name: {name}, lr: 0.05}}, steps: 40}}")
    listed = "tests/lab/test_optimizers.py wants a learning rate at which it descends, in ENTRIES"
    return texts, [f"edit {_entry_path('optimizer', name)}", *_try(name), listed]


def _architecture(name: str, *_) -> Stub:
    line = f"{{architecture: {{name: {name}, width: 32}}, images: 1000, optimizer: {{lr: 0.05}}, steps: 40}}"
    return _entry("architecture", name, ARCHITECTURE, line), [f"edit {_entry_path('architecture', name)}", *_try(name)]


PACKAGES = {"optimizer": "benchmarks.lab.optimizers", "architecture": "benchmarks.lab.architectures"}


def _entry_path(kind: str, name: str) -> Path:
    return Path(PACKAGES[kind].replace(".", "/"), f"{name}.py")


def _entry(kind: str, name: str, text: str, settings: str) -> dict[Path, str]:
    """Its file, and a run of it, which the quick profile has too."""
    texts = {_entry_path(kind, name): text.replace("NAME", name), parameters.PATH: _added(RUNS, name, settings)}
    if QUICK.is_file():
        quick = QUICK.read_text(encoding="utf-8")
        kept = re.compile(rf"^( +{re.escape('.'.join(RUNS))}: \[)([^\]]*)\]", re.M)
        if kept.search(quick):
            quick = kept.sub(lambda m: f"{m[1]}{', '.join(filter(None, [m[2], name]))}]", quick, count=1)
            texts[QUICK] = quick
    return texts


def _experiment(name: str, _, training: list[Stage]) -> Stub:
    folder, title = STUDIES / name, name.replace("_", " ").capitalize()
    place = str(max(study.place for study in catalog.studies().values()) + 1)
    said = {"QUANTITY": "ratio", "MEANING": "the last weight over the first", "SYSTEM": "plain", "PREDICTED": "0.34868"}
    said |= {"CLAIM": f"{name}-1", "STUDY": name, "EXPERIMENT": name, "BAND": "{low: 0.34867, high: 0.34869}"}
    texts = {
        folder / "__init__.py": "",
        folder / f"{name}.py": RUN,
        folder / "claims.yaml": HEAD + _claim_text(CLAIM + CONTROL, said),
        folder / "section.yaml": _filled(SECTION, {"TITLE": title, "NAME": name}),
        folder / "study.py": _filled(STUDY, {"PLACE": place, "TITLE": title, "NAME": name}),
        parameters.PATH: _added((), name, f"\n  {name}: {VALUES}"),
    }
    # Named by its claim, it is judged too.
    return texts, [f"edit the files in {folder}", *_try(f"{name}-1")]


def _claim(name: str, table: str | None, training: list[Stage]) -> Stub:
    tidy = [one for one in training if one.table is not None and catalog.cards()[one.table].quantities]
    if table is None:
        stage = next(one for one in tidy if not one.data and not one.alone)
    else:
        found = names.find(table, training, first=("table",)).name
        stage = next((one for one in tidy if found in (one.table, one.name)), None)
        if stage is None:
            raise ScaffoldError(f"{table} is no experiment's table: a stub reads one such as {tidy[0].table}")
    path, register = table_path(stage.table), STUDIES / stage.study / "claims.yaml"
    if not path.is_file():
        raise ScaffoldError(f"{path} is missing, and a claim reads it: `bench repro {stage.name}` makes it")
    row, before = pd.read_csv(path).iloc[0], register.read_text(encoding="utf-8") if register.is_file() else ""
    meaning = catalog.cards()[stage.table].quantity(row.quantity).meaning
    said = {"CLAIM": name, "STUDY": stage.study, "EXPERIMENT": stage.name, "SYSTEM": str(row.system)}
    said |= {"QUANTITY": row.quantity, "MEANING": row.quantity if "$" in meaning else json.dumps(meaning)}
    said |= {"PREDICTED": "0", "BAND": "{low: -1, high: 1}"}
    head = "" if HEAD in before else HEAD
    following = [f"edit {name} in {register}: prediction, band, controls", f"bench repro {name}"]
    return {register: f"{before}{head}{_claim_text(CLAIM, said)}"}, following


def _claim_text(text: str, said: dict[str, str]) -> str:
    return _filled(text, {**said, "TODAY": datetime.date.today().isoformat()})


def _filled(text: str, said: dict[str, str]) -> str:
    """With the words in capitals replaced, all at once."""
    return re.sub(r"\b(" + "|".join(said) + r")\b", lambda match: said[match[1]], text)


def _try(name: str) -> list[str]:
    return ["bench stages", f"bench profile quick {name}"]


def _added(place: tuple[str, ...], name: str, value: str) -> str:
    """The text of params.yaml with an entry added at the end of a mapping; comments and the rest stay as they are.

    Raises:
        ScaffoldError: if it has no such mapping, written as a block.
    """
    lines = parameters.PATH.read_text(encoding="utf-8").rstrip("\n").split("\n")
    start, end = 0, len(lines)
    for depth, key in enumerate(place):
        indent = "  " * depth
        at = [i for i in range(start, end) if re.fullmatch(rf"{indent}{key}:\s*(#.*)?", lines[i])]
        if not at:
            raise ScaffoldError(f"{parameters.PATH} has no block `{'.'.join(place)}:`, where a run of it would go")
        start = at[0] + 1
        deeper = re.compile(rf"{indent}  +[^ ]|\s*(#.*)?$")
        end = next((i for i in range(start, end) if not deeper.match(lines[i])), end)
    while end > start and re.fullmatch(r"\s*(#.*)?", lines[end - 1]):  # comments there are about what follows
        end -= 1
    separator = "" if value.startswith("\n") else " "
    return "\n".join([*lines[:end], f"{'  ' * len(place)}{name}:{separator}{value}", *lines[end:]]) + "\n"


def _write(texts: dict[Path, str]) -> None:
    old = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in texts}
    with _alone():
        write_json(JOURNAL, {str(path): {"old": old[path], "new": text} for path, text in texts.items()})
        try:
            for path, text in texts.items():
                write_text(path, text)
            JOURNAL.unlink()
        except BaseException:
            _undo()
            raise


def undo_unfinished() -> None:
    """Undo what a ``bench new`` wrote that was killed before its end."""
    if JOURNAL.is_file():
        with _alone():
            if JOURNAL.is_file():
                _undo()


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another ``bench new`` to end."""
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    with JOURNAL.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _undo() -> None:
    for name, texts in read_json(JOURNAL).items():
        path = Path(name)
        for left in path.parent.glob(f".writing.{path.name}.*"):
            left.unlink()
        if path.is_file() and path.read_text(encoding="utf-8") == texts["new"]:
            if texts["old"] is None:
                path.unlink()
            else:
                write_text(path, texts["old"])
        if texts["old"] is None and path.parent.is_dir() and {one.name for one in path.parent.iterdir()} <= {CACHE}:
            shutil.rmtree(path.parent)
    JOURNAL.unlink()


KINDS = {"architecture": _architecture, "claim": _claim, "experiment": _experiment, "optimizer": _optimizer}
