"""What a configuration's numbers depend on: a hash of the code it imports, apart from what is said in it.

Import statements are followed from a configuration's study and the entries its settings name; nothing is executed.
Comments, docstrings and the messages of exceptions do not count. The pipelines package is left out on purpose: it holds
paths, not maths.
"""

import ast
import builtins
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from pipelines import entries
from pipelines.parameters import Parameters

PACKAGE = "benchmarks"
_STDLIB = Path(os.__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}


def configurations(parameters: Parameters) -> dict[tuple[str, str], list[str]]:
    """For every stage that is fingerprinted, (study, configuration): the modules and outside entries it starts from."""
    roots: dict[tuple[str, str], list[str]] = {}
    for study, settings in parameters.studies.items():
        for name in settings.named:
            resolved = settings.settings(name)
            roots[study, name] = [
                f"{PACKAGE}.studies.{study}",
                _entry("architectures", resolved["architecture"]["name"]),
                _entry("optimizers", resolved["optimizer"]["name"]),
                *(
                    _entry("measurements", entry)
                    for entry, options in resolved["measure"].items()
                    if options is not None
                ),
            ]
    sharpening = parameters.progressive_sharpening
    optimizers = sorted({optimizer.name for optimizer in sharpening.thresholds.values()})
    roots["progressive_sharpening", "thresholds"] = [
        f"{PACKAGE}.studies.thresholds",
        *(_entry("optimizers", name) for name in optimizers),
    ]
    roots["progressive_sharpening", "catapult"] = [f"{PACKAGE}.studies.catapult"]
    for study, settings in parameters.computed.items():
        for name, given in settings.experiments.items():
            roots[study, name] = [f"{PACKAGE}.studies.{study}.{name}", *sorted({*_named(given)})]
    roots["low_rank_progression", "output_scale"] = [f"{PACKAGE}.studies.low_rank_progression.output_scale"]
    for name in parameters.low_rank_progression.rungs:
        rung = parameters.low_rank_progression.settings(name)
        roots["low_rank_progression", name] = [
            f"{PACKAGE}.studies.low_rank_progression.rung",
            _entry("architectures", rung["architecture"]["name"]),
            _entry("optimizers", rung["optimizer"]["name"]),
        ]
    comparison = parameters.optimizer_comparison
    study = f"{PACKAGE}.studies.optimizer_comparison"
    for workload, optimizer in comparison.contests():
        roots["optimizer_comparison", f"{workload}-{optimizer}"] = [
            f"{study}.contest",
            _entry("architectures", comparison.workload(workload)["architecture"]["name"]),
            _entry("optimizers", comparison.optimizers[optimizer].optimizer.name),
        ]
    systems = {system.optimizer.name for system in comparison.class_imbalance.systems.values()}
    measured = {comparison.workload(name)["architecture"]["name"] for name in comparison.heterogeneity.workloads}
    for name, used in (
        ("class_imbalance", [_entry("optimizers", entry) for entry in sorted(systems)]),
        ("normalised_quadratic", []),
        ("heterogeneity", [_entry("architectures", entry) for entry in sorted(measured)]),
    ):
        roots["optimizer_comparison", name] = [f"{study}.{name}", *used]
    roots["timings", "optimizer_steps"] = [
        f"{PACKAGE}.studies.optimizer_steps",
        *(_entry("architectures", comparison.workload(name)["architecture"]["name"]) for name in comparison.workloads),
        *(_entry("optimizers", contender.optimizer.name) for contender in comparison.optimizers.values()),
    ]
    timed = roots["progressive_sharpening", parameters.timings.configuration]
    for name in ("eigensolvers", "training_step"):
        roots["timings", name] = [f"{PACKAGE}.studies.{name}", *timed]
    return roots


def _named(settings: dict) -> Iterator[str]:
    """The entries that an experiment's settings name, at any depth."""
    for key, value in settings.items():
        if key in ("architecture", "optimizer"):
            yield _entry(f"{key}s", value["name"])
        elif key in ("architectures", "optimizers"):
            yield from (_entry(key, spec["name"]) for spec in value.values())
        elif isinstance(value, dict):
            yield from _named(value)


def fingerprint(roots: list[str], source: Path) -> dict:
    """The fingerprint of all that the roots import.

    Args:
        roots: dotted module names inside the package, or ``package.module:factory`` from outside.
        source: the folder that holds the package.

    Returns:
        ``modules``: a hash for each module; ``outside``: for each outside entry the version of the distribution that
        provides it, or, where no version tells what its code is, a hash for its module and each that this imports;
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


def _entry(package: str, name: str) -> str:
    return name if ":" in name else f"{PACKAGE}.lab.{package}.{name}"


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
    """A module's hash, and what it may import; once for equal files, for most are in every fingerprint."""
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
    """What says which code an outside module is; nothing for one that only its text tells: a loose file, a package
    that runs from its folder, or one that was installed from there."""
    if _INSTALLED & set(path.parts):
        return _released(module.split(".")[0])
    return "Python" if path.is_relative_to(_STDLIB) else ""


@functools.cache
def _released(top: str) -> str:
    """The distributions that provide a package, with their versions; nothing if one came from a folder or repository,
    whose code changes while its version does not."""
    found = [distribution(name) for name in sorted(set(packages_distributions().get(top, ())))]
    for one in found:
        origin = json.loads(one.read_text("direct_url.json") or "{}")
        if "dir_info" in origin or "vcs_info" in origin:
            return ""
    return ", ".join(f"{one.name} {one.version}" for one in found)


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
    """What is raised, without what it says: an exception of one's own may carry values, Python's carry a message."""
    if not isinstance(exception, ast.Call):
        return exception
    carried = [value for value in exception.args if not _is_text(value)] + exception.keywords
    if isinstance(exception.func, ast.Name) and hasattr(builtins, exception.func.id):
        carried = []
    return [exception.func, *carried] if carried else exception.func


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))
