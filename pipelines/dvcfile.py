"""The dvc.yaml files, written from the list of stages (``bench stages``); committed, and never edited."""

import io
import re
from pathlib import Path
from string import Formatter
from typing import Any

from ruamel.yaml import YAML

from benchmarks.studies import catalog
from benchmarks.studies.declaration import Experiment, Family
from pipelines import fingerprints, stages
from pipelines.files import CODE, CORPUS, FIGURES, IMAGES, META, RUNS, table_path, write_text
from pipelines.stages import Following, Stage

HEAD = "# Written by `bench stages` from params.yaml and the studies' declarations: do not edit.\n"


class DvcFileError(ValueError):
    """A dvc.yaml that does not match params.yaml and the declarations."""


def texts(parameters: Any) -> dict[Path, str]:
    """Every dvc.yaml as it should be."""
    following, corpus = stages.following(), any(one.takes_corpus for one in stages.training(parameters))
    by_path = {Path("dvc.yaml"): _root([one for one in following if one.study is None], corpus)}
    for name, study in catalog.studies().items():
        groups: dict[str, list[Stage]] = {}
        for stage in stages.of_study(name, parameters):
            groups.setdefault(stage.group, []).append(stage)
        parts = (*study.families, *study.experiments)
        entries = {part.name: _entry(part, groups[part.name]) for part in parts if part.name in groups}
        entries |= {one.name: _following(one) for one in following if one.study == name}
        by_path[Path(f"pipelines/{name}/dvc.yaml")] = _dump({"stages": entries})
    return by_path


def write(parameters: Any) -> list[Path]:
    """Write the files that are out of date, and remove those of studies that are gone; returns their paths."""
    wanted = texts(parameters)
    changed = [path for path in Path("pipelines").glob("*/dvc.yaml") if path not in wanted]
    for path in changed:
        path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            changed.append(path)
    return changed


def require_current(parameters: Any) -> None:
    """Every dvc.yaml must match params.yaml and the declarations.

    Raises:
        DvcFileError: naming the first line that is not.
    """
    for path, text in texts(parameters).items():
        there = path.read_text(encoding="utf-8") if path.is_file() else ""
        if there != text:
            lines, wanted = there.splitlines(), text.splitlines()
            at = next((i for i, (a, b) in enumerate(zip(lines, wanted)) if a != b), min(len(lines), len(wanted)))
            has, needs = (part[at].strip() if at < len(part) else "nothing" for part in (lines, wanted))
            raise DvcFileError(
                f"{path}, line {at + 1}, is not what params.yaml and benchmarks/studies/*/study.py ask for: it has "
                f"{_short(has)!r} instead of {_short(needs)!r}. Do not edit these files; `bench stages` writes them"
            )


def _entry(part: Experiment | Family, members: list[Stage]) -> dict:
    """One group of stages: a matrix over the axes of a family, or an experiment's stage."""
    first = members[0]
    path, matrix = first.path, {}
    if isinstance(part, Family):
        axes = _fields(part.path)
        matrix = {axis: list(dict.fromkeys(s.values[axis] for s in members)) for axis in axes}
        path = f"{first.study}/" + part.path.format(**{axis: f"${{item.{axis}}}" for axis in axes})
    outs = [f"{RUNS}/{path}"]
    if first.table is not None:
        outs = [_kept(str(table_path(first.table)))]
    return {
        "wdir": "../..",
        **({"matrix": matrix} if matrix else {}),
        "cmd": f"python -m pipelines.run {path}",
        "deps": [*(str(data) for data in first.data), f"{CODE}/{path}.json"],
        "outs": [*outs, f"{META}/{path}.json"],
    }


def _fields(path: str) -> list[str]:
    return [field for _, field, _, _ in Formatter().parse(path) if field]


def _dump(value: dict) -> str:
    text, yaml = io.StringIO(), YAML()
    yaml.default_flow_style = False
    yaml.width = 118
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(value, text)
    return HEAD + text.getvalue()


def _short(line: str) -> str:
    return line if len(line) <= 60 else f"{line[:57]}..."


def _root(following: list[Following], corpus: bool) -> str:
    prepare = {"prepare": _prepare("prepare", "data", IMAGES)}
    if corpus:  # else a rebuild of everything would ask for a text that nothing reads
        prepare["prepare_corpus"] = _prepare("prepare_corpus", "corpus", CORPUS)
    fingerprint = {
        "cmd": "python -m pipelines.fingerprint",
        "deps": ["benchmarks", "params.yaml", *sorted(str(path) for path in Path("pipelines").glob("*.py"))],
        "outs": [_kept(str(CODE))],
    }
    entries = {one.name: _following(one) for one in following}
    artifacts = {
        re.sub("[/._]", "-", name): {"path": str(table_path(name)), "type": "table", "desc": card.title}
        for name, card in sorted(catalog.cards().items())
    }
    return _dump(
        {
            # So that `dvc params diff`, `dvc exp show` and `-S` see all of it; no stage depends on it by keys.
            "params": ["params.yaml"],
            "stages": {**prepare, "fingerprint": fingerprint, **entries},
            "plots": _plots(),
            # For `dvc artifacts get` at a tag NAME@vX.Y.Z; `bench release` makes the tags.
            "artifacts": artifacts,
        }
    )


def _plots() -> list:
    """For `dvc plots show` and `diff`: the first figure of each study; and, as points of both revisions in one picture,
    the table that answers the open question."""
    figures = [str(FIGURES / f"{study.figures[0].name}.svg") for study in catalog.studies().values() if study.figures]
    answer = str(table_path("open_question_4_1"))
    shares = {
        "title": "Open Question 4.1: 0 is a null, 1 a deep linear network from small weights",
        "template": "scatter",
        "x": {answer: "prediction"},
        "y": {answer: "share"},
    }
    return [*figures, {"share of each system by prediction": shares}]


def _prepare(module: str, section: str, out: Path) -> dict:
    return {
        "cmd": f"python -m pipelines.{module}",
        "deps": list(fingerprints.closure([f"pipelines.{module}"], Path.cwd())),
        "params": [section],
        # Not cached: 17 MB that anyone can rebuild stay out of the store, and `dvc pull` does not ask for them.
        "outs": [{str(out): {"cache": False}}],
    }


def _following(one: Following) -> dict:
    metrics = {"metrics": [_kept(path) for path in one.metrics]} if one.metrics else {}
    return {
        **({"wdir": "../.."} if one.study else {}),
        "cmd": f"python -m pipelines.{one.command}",
        "deps": [str(one.code), *one.reads],
        "outs": [_kept(path) for path in one.outs],
        **metrics,
    }


def _kept(path: str) -> dict:
    """An output that is kept in Git: never deleted before its stage has remade it."""
    return {path: {"cache": False, "persist": True}}
