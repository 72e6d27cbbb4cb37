"""The dvc.yaml files, written from the stages that there are (``bench stages``). They are committed, and never edited."""

import io
from collections.abc import Iterable
from pathlib import Path
from string import Formatter
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from benchmarks.studies import catalog
from benchmarks.studies.declaration import Experiment, Family
from pipelines import fingerprints, stages
from pipelines.files import CODE, IMAGES, META, RUNS, TABLES, write_text
from pipelines.stages import Stage

HEAD = "# Written by `bench stages` from params.yaml and the studies' declarations: do not edit.\n"


class DvcFileError(ValueError):
    """A dvc.yaml that is not what params.yaml and the declarations ask for."""


def texts(parameters: Any) -> dict[Path, str]:
    """Every dvc.yaml as it should be."""
    found = {Path("dvc.yaml"): _root(parameters)}
    for name, study in catalog.studies().items():
        entries = {}
        for part in (*study.families, *study.experiments):
            if members := [s for s in stages.of_study(name, parameters) if s.group == part.name]:
                entries[part.name] = _entry(part, members)
        found[Path(f"pipelines/{name}/dvc.yaml")] = _dump({"stages": entries})
    return found


def write(parameters: Any) -> list[Path]:
    """Write those that differ; returns them."""
    changed = []
    for path, text in texts(parameters).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            changed.append(path)
    return changed


def require_current(parameters: Any) -> None:
    """Every dvc.yaml must be what it should be.

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
                f"{_short(has)!r}, and not {_short(needs)!r}. `bench stages` writes these files; nobody edits them"
            )


def _entry(part: Experiment | Family, members: list[Stage]) -> dict:
    """One group of stages: a matrix over the axes of a family, or an experiment's stage."""
    first = members[0]
    path, matrix = first.path, {}
    if isinstance(part, Family):
        axes = dict.fromkeys(_fields(part.path))
        matrix = {axis: _flow(dict.fromkeys(s.values[i] for s in members)) for i, axis in enumerate(axes)}
        path = f"{first.study}/" + part.path.format(**{axis: f"${{item.{axis}}}" for axis in axes})
    outs = [f"{RUNS}/{path}"]
    if first.table is not None:
        outs = [{f"{TABLES}/{first.table}.csv": {"cache": False, "persist": True}}]
    return {
        "wdir": "../..",
        **({"matrix": matrix} if matrix else {}),
        "cmd": f"python -m pipelines.run {path}",
        "deps": [*([str(IMAGES)] if first.takes_images else []), f"{CODE}/{path}.json"],
        "outs": [*outs, f"{META}/{path}.json"],
    }


def _fields(path: str) -> list[str]:
    return [field for _, field, _, _ in Formatter().parse(path) if field]


def _flow(values: Iterable) -> CommentedSeq:
    listed = CommentedSeq(values)
    listed.fa.set_flow_style()
    return listed


def _dump(value: dict) -> str:
    text, yaml = io.StringIO(), YAML()
    yaml.default_flow_style = False
    yaml.width = 118
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(value, text)
    return HEAD + text.getvalue()


def _short(line: str) -> str:
    return line if len(line) <= 60 else f"{line[:57]}..."


def _root(parameters: Any) -> str:
    code = fingerprints.closure(["pipelines.fingerprint"], Path.cwd())
    entries = {
        "prepare": {
            "cmd": "python -m pipelines.prepare",
            "deps": fingerprints.closure(["pipelines.prepare"], Path.cwd()),
            "params": ["data"],
            # Not cached: 17 MB that anyone can rebuild stay out of the store, and `dvc pull` does not ask for them.
            "outs": [{str(IMAGES): {"cache": False}}],
        },
        "fingerprint": {
            "cmd": "python -m pipelines.fingerprint",
            "deps": ["benchmarks", "params.yaml", *code],
            "outs": [{str(CODE): {"cache": False, "persist": True}}],
        },
    }
    return _dump({"stages": entries})
