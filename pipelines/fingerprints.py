"""What a stage's numbers depend on, as a hash of the code that it imports.

Import statements are followed from the module that runs and the entries that the settings name; nothing is executed.
Comments, docstrings and the messages of exceptions do not count. The pipelines package is left out on purpose: it holds
paths, not maths.
"""

import ast
import builtins
import functools
import hashlib
import json
import os
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

from benchmarks.studies import entries
from pipelines.files import read_json
from pipelines.stages import Following, Stage, data_of

PACKAGE = "benchmarks"
OURS = (PACKAGE, "pipelines")
_STDLIB = Path(os.__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}


def of_stage(stage: Stage, parameters: Any, source: Path) -> dict:
    """What ``results/code`` has of a stage: all that determines its numbers, which is all that it needs to run."""
    return {
        "study": stage.study,
        "group": stage.group,
        "name": stage.name,
        "stack": stage.stack,
        "values": list(stage.values.values()),
        "module": stage.dotted,
        "seeds": list(stage.seeds),
        "settings": stage.settings.model_dump(),
        "compute": stage.compute.model_dump(),
        "device": stage.device,
        "data": data_of([stage], parameters) or None,
        **fingerprint(stage.roots, source),
    }


def fingerprint(roots: list[str], source: Path) -> dict:
    """The fingerprint of all that the roots import.

    Args:
        roots: dotted module names inside the package, or ``package.module:factory`` from outside.
        source: the folder that holds the package.

    Returns:
        ``modules``: a hash for each module; ``outside``: for each outside entry the version of the distribution that
        provides it, or, where no version identifies its code, a hash for its module and each that this imports;
        ``fingerprint``: the hash of both.

    Raises:
        ValueError: if an outside entry's module cannot be found, or one of its modules is not valid Python.
    """
    modules: dict[str, str] = {}
    outside: dict[str, str] = {}
    pending = list(roots)
    while pending:
        name = pending.pop()
        module = name.partition(":")[0]
        inside = _is_inside(module)
        hashes = modules if inside else outside
        if module in hashes:
            continue
        path = _file(module, source)
        if path is None:
            raise ValueError(f"cannot find {name!r}: is its package installed?")
        if not inside and (version := _version(module, path)):
            if ":" in name:
                outside[name] = version
            continue
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        try:
            hashes[module], imported = _read(path.read_bytes(), path.suffix == ".py", package)
        except SyntaxError as error:
            raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error
        # What our own code imports from outside is pinned by requirements.lock.
        followed = [other for other in imported if _is_inside(other) or not inside]
        around = [module[:i] for i, character in enumerate(module) if character == "."]
        pending += [other for other in [*followed, *around] if _file(other, source)]
    modules = dict(sorted(modules.items()))
    outside = dict(sorted(outside.items()))
    combined = hashlib.sha256(repr((modules, outside)).encode()).hexdigest()[:16]
    return {"fingerprint": combined, "modules": modules, "outside": outside}


def of_following(one: Following, source: Path) -> dict:
    """What ``results/code`` has of a stage after training: a hash of each file of this repository that it imports."""
    modules = closure([f"pipelines.{one.command.partition(' ')[0]}", *one.roots], source)
    return {"fingerprint": hashlib.sha256(repr(modules).encode()).hexdigest()[:16], "modules": modules}


def changes(one: Stage | Following, params: Any, source: Path) -> list[str]:
    """The entries of a stage's file in results/code that are not as they would be written now; all, if it has none."""
    asked = of_stage(one, params, source) if isinstance(one, Stage) else of_following(one, source)
    now, was = json.loads(json.dumps(asked)), read_json(one.code) if one.code.is_file() else {}
    return [key for key in {**now, **was} if (key in now, now.get(key)) != (key in was, was.get(key))]


def closure(roots: list[str], source: Path) -> dict[str, str]:
    """A hash of each file of this repository that modules are and import, by its path from the root."""
    hashes: dict[str, str] = {}
    pending = list(roots)
    while pending:
        module = pending.pop()
        path = source.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = str(path.relative_to(source))
        if name in hashes or module.split(".")[0] not in OURS or not path.is_file():
            continue
        around = module.rpartition(".")[0]
        hashes[name], imported = _read(path.read_bytes(), True, module if path.stem == "__init__" else around)
        pending += [*imported, around]
    return dict(sorted(hashes.items()))


def _is_inside(module: str) -> bool:
    return module.split(".")[0] == PACKAGE


def _file(module: str, source: Path) -> Path | None:
    if not _is_inside(module):
        return entries.find(module)
    path = source.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None


@functools.cache
def _read(text: bytes, is_python: bool, package: str) -> tuple[str, list[str]]:
    """A module's hash, and what it may import; computed once, because most files are in every fingerprint."""
    imported = []
    if is_python:
        tree = ast.parse(text)
        text, imported = _canonical(tree).encode(), _imports(tree, package)
    return hashlib.sha256(text).hexdigest()[:16], imported


def _imports(tree: ast.AST, package: str) -> list[str]:
    """What may be modules in the import statements of a module of this package."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")
            base = around[: len(around) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            # `from package import name` may import a module or a name of one.
            names += [start, *(f"{start}.{alias.name}" for alias in node.names)]
    return names


def _version(module: str, path: Path) -> str:
    """The version that identifies an outside module's code; empty if only its text does: a loose file, a package that
    runs from its folder, or one that was installed from a folder."""
    if _INSTALLED & set(path.parts):
        return _released(module.split(".")[0])
    return "Python" if path.is_relative_to(_STDLIB) else ""


@functools.cache
def _released(top: str) -> str:
    """The distributions that provide a package, with their versions; empty if one came from a folder or a repository,
    where code may change while the version does not."""
    distributions = [distribution(name) for name in sorted(set(packages_distributions().get(top, ())))]
    for one in distributions:
        origin = json.loads(one.read_text("direct_url.json") or "{}")
        if "dir_info" in origin or "vcs_info" in origin:
            return ""
    return ", ".join(f"{one.name} {one.version}" for one in distributions)


def _canonical(node: object) -> str:
    """A tree as text, without docstrings, messages and positions, the same for every Python that parses it alike."""
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = [statement for i, statement in enumerate(value) if not (i == 0 and _is_docstring(statement))]
        if name == "exc":
            value = _raised(value)
        if value is None or value == [] or name == "type_comment":
            continue  # newer Pythons add empty fields
        fields.append(f"{name}={_canonical(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _raised(exception: ast.expr | None) -> object:
    """What is raised, without its message. Python's own exceptions carry nothing else; others may carry values."""
    if not isinstance(exception, ast.Call):
        return exception
    carried = [value for value in exception.args if not _is_text(value)] + exception.keywords
    if isinstance(exception.func, ast.Name) and hasattr(builtins, exception.func.id):
        carried = []
    return [exception.func, *carried] if carried else exception.func


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))
