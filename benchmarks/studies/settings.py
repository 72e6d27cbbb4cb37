"""How a configuration is put together. Free of torch, so that parameters can be checked in milliseconds."""

from copy import deepcopy


def resolve(defaults: dict, overrides: dict) -> dict:
    """A configuration: a study's defaults with its overrides laid over them, mapping by mapping.

    A mapping that names another entry (``name``) replaces the default one: options of one architecture mean nothing
    to the next.
    """
    resolved = deepcopy(defaults)
    for key, value in overrides.items():
        default = resolved.get(key)
        merge = isinstance(value, dict) and isinstance(default, dict)
        if merge and value.get("name", default.get("name")) == default.get("name"):
            resolved[key] = resolve(default, value)
        else:
            resolved[key] = deepcopy(value)
    return resolved
