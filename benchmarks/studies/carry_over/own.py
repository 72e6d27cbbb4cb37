"""A network of one's own among the systems: its rows of the answer, without any pipeline."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.evidence import share
from benchmarks.lab import architectures, datasets, text
from benchmarks.lab.datasets import Images
from benchmarks.lab.text import Corpus
from benchmarks.studies import entries
from benchmarks.studies.carry_over import on_images, on_text
from benchmarks.studies.carry_over.study import System, Systems
from benchmarks.studies.carry_over.tables import named
from benchmarks.studies.schema import resolve

RUNS = {"images": on_images, "text": on_text}
# Whose recipe a network takes, by the kind of its data.
LIKE = {"images": "mlp", "text": "gpt"}
NAME = "yours"


def answer_rows(
    systems: Systems,
    architecture: str,
    data: Images | Corpus,
    seeds: Sequence[int],
    compute,
    *,
    like: str | None = None,
    steps: int | None = None,
    tick: Callable[[int, int], None] = lambda done, planned: None,
) -> pd.DataFrame:
    """The rows of ``open_question_4_1`` of one network: a row per prediction.

    Args:
        systems: of params.yaml, for the recipes.
        architecture: ``package.module:factory``, with factory(input_shape, outputs) -> nn.Module; or one of the lab's.
        like: the system whose recipe it takes; that of the kind of data if not given.
        steps: of the network, if not the recipe's.

    Raises:
        ValueError: for a recipe of another kind of data, a network without a linear twin or that does not fit, fewer
            than two seeds.
    """
    kind = "text" if isinstance(data, Corpus) else "images"
    recipe = _recipe(systems, like or LIKE[kind], kind)
    fitted: dict[str, Any] = {"seeds": len(seeds), **({"data": _fitted(recipe, data)} if kind == "images" else {})}
    own = {"architecture": {"name": architecture}, "beside": {"reversed": None}}
    if steps:
        own |= {"steps": steps, "warmup": min(recipe.warmup, steps // 10)}
    changed = _changed(recipe, {**fitted, **own})
    _require_fits(architecture, changed, data)
    scores = [_scores(changed, data, seeds, compute, tick)]
    if recipe.beside.small is None:
        other = _recipe(systems, recipe.reference or LIKE[kind], kind)
        beside = {"twin": None, "lazy": None, "random": None, "reversed": None}
        alone = {"steps": 1, "warmup": 0, "beside": beside}
        reference = _scores(_changed(other, {**fitted, **alone}), data, seeds, compute, tick)
        scores.append(reference[reference["system"] == f"{NAME}/small"])
    return pd.DataFrame(share.rows(pd.concat(scores, ignore_index=True), NAME, NAME))


def dataset(name: str, dtype: torch.dtype) -> Images | Corpus:
    """What ``package.module:dataset`` returns when it is called: a text, or images to classify as four arrays,
    (train inputs, train labels, test inputs, test labels), N x channels x height x width or N x features.

    Raises:
        ValueError: if it is neither, saying what to return.
    """
    module, _, factory = name.partition(":")
    try:
        found = getattr(import_module(module), factory)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"cannot call {name!r}: {error}") from None
    if isinstance(found, Corpus | Images):
        return found
    if isinstance(found, str):
        return text.split(found)
    if not isinstance(found, tuple | list) or len(found) != 4:
        raise ValueError(
            f"{name!r} gives neither classes nor tokens: return a text, or (train inputs, train labels, test inputs, "
            "test labels)"
        )
    x_train, y_train, x_test, y_test = (np.asarray(part) for part in found)
    for inputs, labels in ((x_train, y_train), (x_test, y_test)):
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1 or len(inputs) != len(labels):
            raise ValueError(f"{name!r}: labels must be whole numbers from 0, one for each of the inputs")
    classes = int(max(y_train.max(), y_test.max())) + 1
    if classes < 2 or min(y_train.min(), y_test.min()) < 0:
        raise ValueError(f"{name!r}: labels must be whole numbers from 0, of at least two classes")
    if x_train.dtype == np.uint8 and x_train.ndim == 4:
        return datasets.images(x_train, y_train, x_test, y_test, dtype)
    inputs, tests = (torch.from_numpy(part).to(dtype) for part in (x_train, x_test))
    if not (inputs.isfinite().all() and tests.isfinite().all()):
        raise ValueError(f"{name!r}: some of the inputs are not finite numbers")
    labels = [torch.from_numpy(part.astype(np.int64)) for part in (y_train, y_test)]
    return Images(inputs, labels[0], tests, labels[1], classes)


def _require_fits(architecture: str, recipe: System, data: Images | Corpus) -> None:
    """One prediction for each class or character."""
    if isinstance(data, Corpus):
        outputs, shape = len(text.characters(data).vocabulary), (recipe.data.context,)
        inputs, wanted = torch.zeros(2, *shape, dtype=torch.int64), (2, *shape, outputs)
    else:
        inputs, outputs = datasets.subset(data, 2, pool=recipe.data.pool).train_inputs, data.classes
        shape, wanted = tuple(inputs.shape[1:]), (2, outputs)
    net = architectures.build(architecture, shape, outputs)
    if not isinstance(net, nn.Module):
        raise ValueError(f"it returns {type(net).__name__}, not a torch.nn.Module")
    try:
        found = net.to(inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()).eval()(inputs)
    except RuntimeError as error:
        raise ValueError(f"the network cannot be evaluated on inputs {tuple(inputs.shape)}: {error}") from None
    if tuple(found.shape) != wanted:
        raise ValueError(f"of inputs {tuple(inputs.shape)} it makes {tuple(found.shape)}, and {wanted} are needed")


def _recipe(systems: Systems, name: str, kind: str) -> System:
    entries.require(name, list(systems.systems), "system")
    recipe = systems.resolved("systems", name)
    if recipe.data.name != kind:
        raise ValueError(f"the system {name} learns {recipe.data.name}, and your data are {kind}: name another")
    return recipe


def _changed(recipe: System, changes: dict[str, Any]) -> System:
    return System.model_validate(resolve(recipe.model_dump(), changes))


def _fitted(recipe: System, data: Images) -> dict[str, Any]:
    """The recipe's data with no more of anything than there is."""
    images = min(recipe.data.images, len(data.train_inputs))
    read = min(recipe.data.read, images)
    components = min(recipe.data.components, read - 1, data.train_inputs[0].numel())
    return {"source": "images", "images": images, "read": read, "components": components}


def _scores(system: System, data: Images | Corpus, seeds: Sequence[int], compute, tick) -> pd.DataFrame:
    rows = RUNS[system.data.name].run(system, seeds, data, compute, tick).rows
    return named(rows, NAME)
