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
    """The names a package of entries offers: its public files."""
    return sorted(p.stem for p in _folder(package).glob("*.py") if not p.stem.startswith("_"))


def check(package: str, name: str) -> None:
    """Raises ValueError, naming the nearest entry, unless ``name`` is an entry or has the form of an outside one."""
    if ":" not in name:
        kind = package.rpartition(".")[2]
        require(name, entries(package), f"entry of {kind}", also="package.module:factory")


def check_options(package: str, name: str, options: list[str]) -> None:
    """Raises ValueError unless ``build`` of the entry takes these keyword options and misses none it needs.

    An outside entry is not read: it is checked when it is called.
    """
    check(package, name)
    if ":" in name:
        return
    tree = ast.parse((_folder(package) / f"{name}.py").read_text())
    build = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build")
    known = [argument.arg for argument in build.args.kwonlyargs]
    needed = [name for name, default in zip(known, build.args.kw_defaults) if default is None]
    for option in options:
        require(option, known, f"option of {name!r}")
    for option in needed:
        if option not in options:
            raise ValueError(f"{name!r} needs the option {option!r}")


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


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{package} is not a package")
    return Path(next(iter(spec.submodule_search_locations)))
