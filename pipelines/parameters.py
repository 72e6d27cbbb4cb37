"""params.yaml as a checked object: every key, type, range and name, before anything trains.

YAML 1.2, as DVC reads it: ``1e-3`` is a number.
"""

import functools
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Any

from pydantic import ValidationError, create_model

from benchmarks.evidence.faults import annotation, explained
from benchmarks.studies import catalog
from benchmarks.studies.declaration import Study
from benchmarks.studies.schema import Compute, Layered, Name, Strict, resolve
from pipelines.files import read_yaml
from pipelines.sources import Data
from pipelines.text_sources import Corpus

PATH = Path("params.yaml")


class ParametersError(ValueError):
    """params.yaml is invalid; the message has one line per fault, each with its path."""


class Parameters(Strict):
    """The contents of the whole file; plus one field per study."""

    profile: Name
    data: Data
    corpus: Corpus
    compute: Compute


@functools.cache
def model() -> type[Parameters]:
    """The model of params.yaml: `Parameters`, and for each study the model in its declaration."""
    return create_model(
        "Parameters", __base__=Parameters, **{name: (_part(study), ...) for name, study in catalog.studies().items()}
    )


def _part(study: Study) -> type[Strict]:
    fields = {one.name: (one.settings, ...) for one in study.experiments if one.settings is not None}
    return create_model(study.name, __base__=study.model, **fields)


def load(path: Path | str = PATH) -> Any:
    """Read and check a parameters file; an instance of `model`.

    Raises:
        ParametersError: naming every fault by its path, with the nearest known key or name.
    """
    return checked(read(path), str(path))


def profile(name: str) -> dict:
    """params.yaml with the changes of a profile, the file params.NAME.yaml; plain data, checked.

    Raises:
        ParametersError: as `load`; or if there is no such profile.
    """
    path = Path(f"params.{name}.yaml")
    if not path.is_file():
        raise ParametersError(f"no profile {name!r}: the profiles are {', '.join(profiles())}")
    merged = changed(read(PATH), read(path), str(path))
    checked(merged, str(path))
    return merged


def profiles() -> list[str]:
    """The names of the profiles that there are."""
    return sorted(path.name.split(".")[1] for path in Path().glob("params.*.yaml"))


def changed(reference: dict, changes: dict, origin: str) -> dict:
    """Parameters with changes merged in key by key.

    An entry of a study's layer (`Layered`) replaces the entry of the same name entirely. ``only`` lists, by the dotted
    path of a mapping, which of its entries are kept.

    Raises:
        ParametersError: if ``only`` names something that does not exist.
    """
    reference, changes = deepcopy(reference), deepcopy(changes)
    only = changes.pop("only", {})
    for study, declared in catalog.studies().items():
        for layer in declared.model.layers if issubclass(declared.model, Layered) else ():
            for entry in changes.get(study, {}).get(layer, {}):
                reference[study][layer].pop(entry, None)
    merged = resolve(reference, changes)
    for place, names in only.items():
        *parents, last = place.split(".")
        around = merged
        for parent in parents:
            around = around.get(parent, {})
        if unknown := [entry for entry in names if entry not in around.get(last, {})]:
            raise ParametersError(f"{origin}: only.{place}: there is no {unknown[0]!r}")
        around[last] = {entry: around[last][entry] for entry in names}
    return merged


def read(path: Path | str) -> dict:
    """A parameters file as plain data.

    Raises:
        ParametersError: if it does not exist, or is not a mapping.
    """
    path = Path(path)
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise ParametersError(f"{path} does not exist: run from the repository's root") from None
    except OSError as error:
        raise ParametersError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        # The C parser, which DVC uses too, refuses {name: package.module:factory}.
        hint = "\na name with a colon needs quotes inside {}" if "found unexpected ':'" in str(error) else ""
        raise ParametersError(f"{error}{hint}") from None
    if not isinstance(raw, dict):
        raise ParametersError(f"{path}: expected a mapping at the top level")
    return raw


def checked(raw: dict, origin: str) -> Any:
    """Plain data as an instance of `model`; raises as `load`.

    Args:
        origin: what the messages call it.
    """
    faults: list[str] = []
    parameters = _validated(model(), raw, (), faults)
    for name in catalog.studies() if parameters is not None else ():
        study = getattr(parameters, name)
        for layer, resolved in study.layers.items() if isinstance(study, Layered) else ():
            for configuration, overrides in study.overrides(layer).items():
                places = (name, layer, configuration), (name, "defaults")
                _validated(resolved, resolve(study.defaults, overrides), places[0], faults, overrides, places[1])
    if not faults and parameters is not None:
        for name, study in catalog.studies().items():
            for experiment in study.experiments:
                if experiment.resolve is not None:
                    try:
                        experiment.resolve(parameters)
                    except ValueError as error:
                        faults.append(_told(name if str(error).startswith(".") else f"{name}.{experiment.name}", error))
    if faults:
        lines = "\n".join(f"  {fault}" for fault in dict.fromkeys(faults))
        raise ParametersError(f"{origin} is not valid; nothing was run:\n{lines}")
    return parameters


def _validated(model, raw, place, faults, overrides=None, defaults_place=None):
    """The model; or None, each fault added to the list with the place of its key, in the overrides or the defaults."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors():
            location = _place(model, fault["loc"])
            # An unknown entry is found in its mapping, but the fault is in that mapping's name.
            key = [*location, "name"] if "unknown entry" in fault["msg"] else location
            inherited = overrides is not None and fault["type"] != "missing" and not _contains(overrides, key)
            around = ".".join([*(defaults_place if inherited else place), *location])
            faults.append(_told(around, explained(model, fault)))
        return None


def _told(place: str, message: object) -> str:
    """A fault in a line; a message that starts with a dot says where below the place it is."""
    return f"{place}{message}" if str(message).startswith(".") else f"{place}: {message}"


def _place(model, loc: tuple) -> list[str]:
    """A fault's path in the file: without pydantic's own marks, one of which says which kind of data it was."""
    return [
        str(part)
        for i, part in enumerate(loc)
        if part != "[key]" and not isinstance(annotation(model, loc[:i]), UnionType)
    ]


def _contains(mapping: Any, location: list[str]) -> bool:
    for part in location:
        if not isinstance(mapping, dict) or part not in mapping:
            return False
        mapping = mapping[part]
    return True
