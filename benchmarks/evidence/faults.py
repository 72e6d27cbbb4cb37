"""What pydantic finds wrong in a file that a person wrote, in plain words."""

from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel


def explained(model: type[BaseModel], fault: dict) -> str:
    """One of a `ValidationError`'s faults in plain words, with the nearest known key for an unknown one."""
    if fault["type"] == "extra_forbidden":
        around = annotation(model, fault["loc"][:-1])
        known = list(around.model_fields) if isinstance(around, type) and issubclass(around, BaseModel) else []
        key = str(fault["loc"][-1])
        close = get_close_matches(key, known, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        return f"unknown key {key!r}{meant}" + (f"; known are {', '.join(known)}" if known else "")
    if fault["type"] == "missing":
        return "missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, got {fault['input']!r}"


def annotation(model: type[BaseModel], location: tuple) -> Any:
    """The type of what lies at a location of a model; None where there is nothing to say."""
    annotation = model
    for part in location:
        if isinstance(annotation, UnionType):  # of several kinds of data, which this part names
            kinds = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(annotation)}
            annotation = kinds.get(part)
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is list:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and part in annotation.model_fields:
            annotation = annotation.model_fields[part].annotation
        else:
            return None
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
    return annotation
