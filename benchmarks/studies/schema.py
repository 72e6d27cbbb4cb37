"""What every settings model is made of: strict mappings, names, counts, and entries of the lab.

Free of torch, so that params.yaml is checked in a fraction of a second.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchmarks.studies import entries

# With more steps, examples or units than this nobody would see the end; with more seeds, not all would fit into memory.
MOST, MOST_SEEDS = 10**9, 1000
NAME = r"^[a-z0-9][a-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[list[Count], Field(min_length=1)]
Activation = Literal["gelu", "identity", "relu", "tanh"]
MiB = Count  # memory that a kernel may take
# How a system's protocol relates to its paper's. The default is left out of what a stage depends on: systems that were
# trained before there was this label keep their fingerprints.
SCALED = "scaled"
Fidelity = Annotated[
    Literal["scaled", "paper-protocol"], Field(default=SCALED, exclude_if=lambda fidelity: fidelity == SCALED)
]

# Ranges of options that any optimizer may take, by name.
_OPTIMIZER_RANGES = {"momentum": (0.0, 1.0), "beta1": (0.0, 1.0), "beta2": (0.0, 1.0)}


class Strict(BaseModel):
    """Settings: unknown keys, wrong types, infinities and nan are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("seeds", check_fields=False)
    @classmethod
    def _few(cls, seeds):
        if isinstance(seeds, int) and seeds > MOST_SEEDS:
            raise ValueError(f"at most {MOST_SEEDS} seeds, got {seeds}")
        return seeds


class Spec(BaseModel):
    """An entry of the lab and its options; as a mapping, ``build(**spec)``, the name is among them."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    package: ClassVar[str]

    name: str

    def keys(self):
        return dict(iter(self)).keys()

    def __getitem__(self, key: str) -> Any:
        return dict(iter(self))[key]


class Architecture(Spec):
    package: ClassVar[str] = "benchmarks.lab.architectures"

    @model_validator(mode="after")
    def _known(self):
        check_options(self.package, self.name, self.model_extra)
        check_sizes(self.model_extra)
        if "activation" in self.model_extra and entries.uses(self.package, self.name, "activation_module"):
            entries.require(self.model_extra["activation"], list(get_args(Activation)), "activation")
        return self


class NamedOptimizer(Spec):
    """An optimizer whose learning rate is set elsewhere."""

    package: ClassVar[str] = "benchmarks.lab.optimizers"


class Optimizer(NamedOptimizer):
    lr: Positive

    @model_validator(mode="after")
    def _known(self):
        check_options(self.package, self.name, {"lr": self.lr, **self.model_extra})
        for option, (low, high) in _OPTIMIZER_RANGES.items():
            value = self.model_extra.get(option)
            if value is not None and not (isinstance(value, int | float) and low <= value < high):
                raise ValueError(f"{option} must be in [{low:g}, {high:g}), got {value!r}")
        return self


class Layered(Strict):
    """A study whose configurations are defaults with overrides.

    Attributes:
        layers: by the field that holds overrides by name, the model of a resolved configuration.
    """

    layers: ClassVar[dict[str, type[BaseModel]]] = {}

    defaults: dict[str, Any]

    def overrides(self, layer: str) -> dict[str, dict]:
        """What each configuration of a layer changes, by name."""
        return getattr(self, layer)

    def resolved(self, layer: str, name: str) -> BaseModel:
        """A configuration's settings."""
        return self.layers[layer].model_validate(resolve(self.defaults, self.overrides(layer)[name]))


def resolve(defaults: dict, overrides: dict) -> dict:
    """Defaults with overrides laid over them, mapping by mapping.

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


def repetitions(items: Iterable) -> list:
    """What comes more than once, in order."""
    return sorted(item for item, count in Counter(items).items() if count > 1)


def named_entries(settings: object) -> Iterator[str]:
    """The lab's entries that settings name, at any depth: dotted modules, or ``package.module:name`` from outside."""
    if isinstance(settings, Spec):
        yield settings.name if ":" in settings.name else f"{settings.package}.{settings.name}"
    elif isinstance(settings, BaseModel):
        for _, value in settings:
            yield from named_entries(value)
        yield from getattr(settings, "entries", ())
    elif isinstance(settings, dict | list):
        for value in settings.values() if isinstance(settings, dict) else settings:
            yield from named_entries(value)


def check_options(package: str, name: str, options: dict[str, Any]) -> None:
    """`entries.check_options`, once per set of arguments: it reads files, and most rungs name the same entries."""
    _check_once(package, name, json.dumps(options, sort_keys=True))


@functools.cache
def _check_once(package: str, name: str, options: str) -> None:
    entries.check_options(package, name, json.loads(options))


def check_sizes(options: dict[str, Any]) -> None:
    """Raises ValueError for a whole number among an entry's options that cannot be a size or a count."""
    for option, value in options.items():
        for size in value if isinstance(value, list) else [value]:
            if isinstance(size, int) and not isinstance(size, bool) and not 1 <= size <= MOST:
                raise ValueError(f"{option} must be at least 1{f' and at most {MOST}' * (size > MOST)}, got {size!r}")


class Compute(Strict):
    """How numbers are computed: every setting here may change them."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?|mps)$")]
    dtype: Literal["float32", "float64"]
    threads: Count
    chunk_size: Count  # examples through the network at once

    @model_validator(mode="after")
    def _exact(self):
        if self.device == "mps" and self.dtype == "float64":
            raise ValueError("device mps has no float64: set dtype to float32, or device to cpu or cuda")
        return self
