"""Entries that params.yaml names, checked before anything runs: inside ones are files of a package, outside ones
``package.module:factory``.

Nothing here imports an entry to answer a question about it: names and options are read from the files, so that
settings can be checked in milliseconds.
"""

import ast
import functools
import re
from difflib import get_close_matches
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path


def names(package: str) -> list[str]:
    """The entries a package offers: its public files that define ``build``."""
    files = sorted(p.stem for p in _folder(package).glob("*.py") if not p.stem.startswith("_"))
    return [name for name in files if "build" in _functions(package, name)]


def check(package: str, name: str) -> None:
    """Raises ValueError unless ``name`` is an entry, or an outside one whose module exists and mentions it."""
    kind = f"entry of {package.rpartition('.')[2]}"
    if ":" not in name:
        require(name, names(package), kind, also="package.module:factory")
        return
    module, _, factory = name.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), factory]):
        raise ValueError(f"unknown {kind} {name!r}: it is not of the form package.module:factory")
    path = find(module)
    if path is None:
        raise ValueError(f"unknown {kind} {name!r}: there is no module {module!r}, is its package installed?")
    # A name may be bound in many ways, but not if the module's text has no trace of it.
    hint = rf"\b{factory}\b|import \*|__getattr__"
    if path.suffix == ".py" and not re.search(hint, path.read_text(encoding="utf-8", errors="replace")):
        raise ValueError(f"unknown {kind} {name!r}: module {module!r} has no {factory!r}")


def check_options(package: str, name: str, options: dict) -> None:
    """Raises ValueError unless ``build`` of the entry takes these keyword options, of these types, and needs no others.

    The options of an outside entry are checked when it is called.
    """
    check(package, name)
    if ":" in name:
        return
    build = _functions(package, name)["build"]
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


def defines(package: str, name: str, function: str) -> bool:
    """Whether an entry's file defines a function of this name; an outside entry is taken to define none.

    Raises:
        ValueError: for an unknown name.
    """
    check(package, name)
    return ":" not in name and function in _functions(package, name)


def uses(package: str, name: str, function: str) -> bool:
    """Whether an entry's file calls a function, or imports from its package what may; an outside entry is taken not
    to."""
    text = "" if ":" in name else "".join(file.read_text(encoding="utf-8") for file in _files(package, name))
    return f"{function}(" in text or f"from {package}" in text


def arguments(package: str, name: str, function: str) -> list[str]:
    """The names of a function's arguments, read from its file.

    Raises:
        ValueError: if the file has no such function.
    """
    node = _functions(package, name).get(function)
    if node is None:
        raise ValueError(f"{package}.{name} has no function {function!r}")
    return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def require(name: str, known: list[str], kind: str, also: str = "") -> None:
    """Raises ValueError, naming the nearest known name, unless ``name`` is known."""
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        listed = ", ".join([*known, *([also] if also else [])]) or "none"
        raise ValueError(f"unknown {kind} {name!r}: {hint}known are {listed}")


def find(module: str) -> Path | None:
    """The file of a module, or None.

    Nothing is executed: `importlib.util.find_spec` alone would import the packages that a module lies in.
    """
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # no name, or a main program
        spec = None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.has_location else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for suffix in all_suffixes():
            for file in (path / f"__init__{suffix}", path.with_name(path.name + suffix)):
                if file.is_file():
                    return file
    return None


def _functions(package: str, name: str) -> dict[str, ast.FunctionDef]:
    """The functions that an entry's file, or the files of its folder, define, by name."""
    files = _files(package, name)
    return {name: node for file in files for name, node in _defined(file.read_text(encoding="utf-8")).items()}


def _files(package: str, name: str) -> list[Path]:
    place = _folder(package) / name
    return sorted(place.glob("*.py")) if place.is_dir() else [place.with_name(f"{name}.py")]


@functools.cache
def _defined(text: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def _folder(package: str) -> Path:
    path = find(package)
    if path is None:
        raise ValueError(f"{package} is not a package")
    return path.parent
