"""Names in params.yaml to code: a name is a file of a package, or ``package.module:factory`` from outside.

Nothing here imports an entry to answer a question about it: names and options are read from the files, so that
settings can be checked in milliseconds.
"""

import ast
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def entries(package: str) -> list[str]:
    """The names a package of entries offers: its public files that define ``build``."""
    files = sorted(p.stem for p in _folder(package).glob("*.py") if not p.stem.startswith("_"))
    return [name for name in files if "build" in _definitions(package, name)]


def check(package: str, name: str) -> None:
    """Raises ValueError, naming the nearest entry, unless ``name`` is an entry or has the form of an outside one."""
    if ":" not in name:
        kind = package.rpartition(".")[2]
        require(name, entries(package), f"entry of {kind}", also="package.module:factory")


def check_options(package: str, name: str, options: dict) -> None:
    """Raises ValueError unless ``build`` of the entry takes these keyword options, of these types, and misses none.

    An outside entry is not read: it is checked when it is called.
    """
    check(package, name)
    if ":" in name:
        return
    build = _definitions(package, name)["build"]
    known = {argument.arg: argument.annotation for argument in build.args.kwonlyargs}
    needed = [option for option, default in zip(known, build.args.kw_defaults) if default is None]
    for option, value in options.items():
        require(option, list(known), f"option of {name!r}")
        wanted = ast.unparse(known[option]) if known[option] else ""
        if wanted in _CHECKS and not _CHECKS[wanted](value):
            raise ValueError(f"option {option!r} of {name!r} must be {wanted}, got {value!r}")
    for option in needed:
        if option not in options:
            raise ValueError(f"{name!r} needs the option {option!r}")


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Annotations of options that are checked before anything runs.
_CHECKS = {
    "int": _is_whole,
    "float": lambda value: _is_whole(value) or isinstance(value, float),
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "Sequence[int]": lambda value: isinstance(value, list) and all(map(_is_whole, value)),
}


def defines(package: str, name: str, attribute: str) -> bool:
    """Whether an entry's file defines a function or a constant of this name; an outside entry defines none.

    Raises:
        ValueError: for an unknown name.
    """
    check(package, name)
    if ":" in name:
        return False
    return attribute in _definitions(package, name)


def require(name: str, known: list[str], kind: str, also: str = "") -> None:
    """Raises ValueError, naming the nearest known name, unless ``name`` is known."""
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        names = ", ".join([*known, *([also] if also else [])]) or "none"
        raise ValueError(f"unknown {kind} {name!r}: {hint}known are {names}")


def load(package: str, name: str, attribute: str):
    """``attribute`` of an entry's module, or the object that ``package.module:factory`` names.

    Raises:
        ValueError: for an unknown name, or an outside one that cannot be imported.
    """
    check(package, name)
    if ":" not in name:
        return getattr(import_module(f"{package}.{name}"), attribute)
    module, _, factory = name.partition(":")
    try:
        return getattr(import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load {name!r}: {error}") from error


def _definitions(package: str, name: str) -> dict[str, ast.stmt]:
    """The functions and constants that an entry's file defines, by name."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse((_folder(package) / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    return found


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{package} is not a package")
    return Path(next(iter(spec.submodule_search_locations)))
