"""From names in params.yaml to code: a name is a file of a package, or ``package.module:factory`` from outside."""

from importlib import import_module


def load(package: str, name: str, attribute: str):
    """``attribute`` of an entry's module, or the object that ``package.module:factory`` names.

    Raises:
        ValueError: if it cannot be imported.
    """
    module, _, factory = name.partition(":") if ":" in name else (f"{package}.{name}", "", attribute)
    try:
        return getattr(import_module(module), factory)
    except Exception as error:  # a module may raise anything while it is imported
        raise ValueError(f"cannot load {name!r}: {error}") from error
