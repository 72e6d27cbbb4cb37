"""What every model of params.yaml is made of: strict mappings, names, counts, and entries of the registries."""

import functools
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines import entries

NAME = r"^[a-z0-9][a-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

# Ranges of options that any optimizer may take, by name.
_OPTIMIZER_RANGES = {"momentum": (0.0, 1.0), "beta1": (0.0, 1.0), "beta2": (0.0, 1.0)}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Spec(BaseModel):
    """A registry entry and its options."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    name: str


class Architecture(Spec):
    @model_validator(mode="after")
    def _known(self):
        check_options("benchmarks.lab.architectures", self.name, self.model_extra)
        check_sizes(self.model_extra)
        return self


class Optimizer(Spec):
    lr: Positive

    @model_validator(mode="after")
    def _known(self):
        check_options("benchmarks.lab.optimizers", self.name, {"lr": self.lr, **self.model_extra})
        for option, (low, high) in _OPTIMIZER_RANGES.items():
            value = self.model_extra.get(option)
            if value is not None and not (isinstance(value, int | float) and low <= value < high):
                raise ValueError(f"{option} must be in [{low:g}, {high:g}), got {value!r}")
        return self


def check_options(package: str, name: str, options: dict[str, Any]) -> None:
    """`entries.check_options`, once for equal arguments: it reads files, and most rungs name the same entries."""
    _check_once(package, name, json.dumps(options, sort_keys=True))


@functools.cache
def _check_once(package: str, name: str, options: str) -> None:
    entries.check_options(package, name, json.loads(options))


def check_sizes(options: dict[str, Any]) -> None:
    """Whole numbers among the options of an entry are sizes and counts."""
    for option, value in options.items():
        for size in value if isinstance(value, list) else [value]:
            if isinstance(size, int) and not isinstance(size, bool) and size < 1:
                raise ValueError(f"{option} must be at least 1, got {size!r}")
