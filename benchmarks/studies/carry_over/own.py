"""A network of one's own among the systems: its rows of the answer, without any pipeline."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.evidence import share
from benchmarks.lab import architectures, datasets, text
from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem, attention_kernels
from benchmarks.lab.text import Corpus
from benchmarks.studies import entries
from benchmarks.studies.carry_over import on_images, on_text, size, training
from benchmarks.studies.carry_over.networks import Linearized, linear_twin
from benchmarks.studies.carry_over.pace import Pace, Training
from benchmarks.studies.carry_over.study import System, Systems
from benchmarks.studies.carry_over.tables import named
from benchmarks.studies.carry_over.task import Task
from benchmarks.studies.schema import resolve

# Whose recipe a network takes, by the kind of its data.
LIKE = {"images": "mlp", "text": "gpt"}
NAME = "yours"
# Images of whole numbers that are standardised at once.
AT_ONCE = 1000
# How the networks are called to people.
ROLES = {
    "net": "the network",
    "twin": "its linear twin",
    "small": "the twin from small weights",
    "lazy": "its first order",
    "layer": "a single layer",
    "random": "permuted targets",
    "reversed": "the text read backwards",
}
# What to lower, by what takes the memory.
ADVICE = {
    "weights": "its weights and their copies: give it fewer parameters",
    "activations": "the activations of a reading and of one example: give it smaller inputs or fewer channels",
    "data": "the data: give it fewer examples or features, or a text of fewer different characters",
}


def answer_rows(
    systems: Systems,
    architecture: str,
    data: Images | Corpus,
    seeds: Sequence[int],
    compute,
    *,
    like: str | None = None,
    steps: int | None = None,
    shown: Callable[[Pace], None] = lambda pace: None,
) -> pd.DataFrame:
    """The rows of ``open_question_4_1`` of one network: a row per prediction.

    Args:
        systems: of params.yaml, for the recipes.
        architecture: ``package.module:factory``, with factory(input_shape, outputs) -> nn.Module; or one of the lab's.
        like: the system whose recipe it takes; that of the kind of data if not given.
        steps: of the network, if not the recipe's.
        shown: called after each step, with how far it is.

    Raises:
        ValueError: for a recipe of another kind of data, a network without a linear twin or that does not fit, fewer
            than two seeds, too little memory.
    """
    kind = "text" if isinstance(data, Corpus) else "images"
    recipe = _recipe(systems, like or LIKE[kind], kind)
    fitted: dict[str, Any] = {"seeds": len(seeds), **({"data": _fitted(recipe, data)} if kind == "images" else {})}
    own = {"architecture": {"name": architecture}, "beside": {"reversed": None}}
    if steps:
        own |= {"steps": steps, "warmup": min(recipe.warmup, steps // 10)}
    asked = [_changed(recipe, {**fitted, **own})]
    net, inputs = _fitting(architecture, asked[0], data, compute)
    if recipe.beside.small is None:
        other = _recipe(systems, recipe.reference or LIKE[kind], kind)
        beside = {"twin": None, "lazy": None, "random": None, "reversed": None}
        alone = {"steps": 1, "warmup": 0, "beside": beside}
        asked.append(_changed(other, {**fitted, **alone}))
    pace = Pace([one for place, system in enumerate(asked) for one in _trainings(system, seeds, place)], shown)
    # Around everything: the fused kernels have no forward-mode derivative, which the network to first order needs.
    with attention_kernels(net, inputs)():
        _require_room(net, inputs, asked[0], data, compute)
        scores = [_scores(system, data, seeds, compute, pace) for system in asked]
    if len(scores) > 1:
        scores[1] = scores[1][scores[1]["system"] == f"{NAME}/small"]
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
        inputs, tests = _standardised(x_train, x_test, dtype)
    else:
        inputs, tests = (torch.from_numpy(part).to(dtype) for part in (x_train, x_test))
    if not (inputs.isfinite().all() and tests.isfinite().all()):
        raise ValueError(f"{name!r}: some of the inputs are not finite numbers")
    labels = [torch.from_numpy(part.astype(np.int64)) for part in (y_train, y_test)]
    return Images(inputs, labels[0], tests, labels[1], classes)


def _standardised(train: np.ndarray, test: np.ndarray, dtype: torch.dtype) -> list[Tensor]:
    """`datasets.standardise`, of which no more than a few images are held in float64."""
    mean = train.mean(0, dtype=np.float64)
    scale = np.sqrt(sum(np.square(part - mean).sum(0) for part in _few(train)) / len(train))
    scale[scale == 0] = 1.0
    return [torch.cat([torch.from_numpy((part - mean) / scale).to(dtype) for part in _few(x)]) for x in (train, test)]


def _few(images: np.ndarray) -> Iterator[np.ndarray]:
    return (images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))


def _fitting(architecture: str, recipe: System, data: Images | Corpus, compute) -> tuple[nn.Module, Tensor]:
    """The network and a few inputs.

    Raises:
        ValueError: unless it can be trained, makes one prediction for each class or character, and has the linear twin
            that is asked for.
    """
    dtype = getattr(torch, compute.dtype)
    if isinstance(data, Corpus):
        outputs, shape = len(text.characters(data).vocabulary), (recipe.data.context,)
        inputs, wanted = torch.zeros(4, *shape, dtype=torch.int64), (4, *shape, outputs)
    else:
        inputs, outputs = datasets.subset(data, 4, pool=recipe.data.pool).train_inputs, data.classes
        shape, wanted = tuple(inputs.shape[1:]), (4, outputs)
    net = architectures.build(architecture, shape, outputs)
    if not isinstance(net, nn.Module):
        raise ValueError(f"it returns {type(net).__name__}, not a torch.nn.Module")
    problem = Problem(net.to(dtype), inputs, torch.zeros(wanted[:-1], dtype=torch.int64), "cross_entropy")
    found = tuple(problem.outputs(problem.initial_RxP(), inputs)[0].shape)
    if found != wanted:
        raise ValueError(f"of inputs {tuple(inputs.shape)} it makes {found}, and {wanted} are needed")
    if recipe.beside.twin or recipe.beside.small:
        linear_twin(net, shape, outputs if isinstance(data, Corpus) else 0)
    return net, inputs


def _require_room(net: nn.Module, inputs: Tensor, recipe: System, data: Images | Corpus, compute) -> None:
    """Raises ValueError if less memory is free than it will take."""
    parameters = sum(p.numel() for p in net.parameters())
    followed = Linearized(net) if recipe.beside.lazy else net
    an_example = size.activations(followed, inputs)
    reading = training.AT_ONCE * size.widest(followed, inputs)
    if isinstance(data, Corpus):
        taken = 8 * (
            recipe.data.context / on_text.STRIDE * 2 * len(data.train) + 5 * len(text.characters(data).vocabulary) ** 3
        )
    else:
        # Once as they are, and those to train on twice; where maps are read, in float64 with their products.
        numbers, read = data.train_inputs[0].numel(), recipe.data.read
        held = data.train_inputs.element_size() * (2 * recipe.data.images + len(data.test_inputs))
        taken = numbers * (held + 24 * read) + 32 * read**2
    kept = recipe.batch_size * an_example
    if size.separable(net, inputs):
        kept = max(min(kept, size.ACTIVATIONS), an_example)
    need = size.Need(size.PER_PARAMETER * parameters, max(2 * kept, reading), taken, size.SMALL)
    size.require_room(need, ADVICE, size.available() if compute.device == "cpu" else None)


def _trainings(system: System, seeds: Sequence[int], place: int) -> Iterator[Training]:
    readings = {}
    for number in range(1, len(seeds) + 1):
        for role, steps in training._planned(system).items():
            readings[steps] = readings.get(steps) or frozenset(training.grid(steps, system.readings).tolist())
            label = f"seed {number} of {len(seeds)}, {ROLES[role] if not place else 'the reference'}"
            yield Training(label, f"{role}/{place}", steps, readings[steps])


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


def _scores(system: System, data: Images | Corpus, seeds: Sequence[int], compute, pace: Pace) -> pd.DataFrame:
    made = _tasks(system, data, getattr(torch, compute.dtype))

    def task_of(seed: int) -> Task:
        task = made(seed)

        def batches(number: int) -> Tensor:
            pace.step(number)
            return task.batches(number)

        def dress(module: nn.Module) -> nn.Module:
            few = task.read_inputs[:4].to(compute.device)
            return task.dress(size.in_parts(module, few, system.batch_size))

        return replace(task, batches=batches, dress=dress)

    rows = training.run_system(system, seeds, task_of, compute, lambda done, planned: None).rows
    return named(rows, NAME)


def _tasks(system: System, data: Images | Corpus, dtype: torch.dtype) -> Callable[[int], Task]:
    """The task of a seed."""
    if isinstance(data, Corpus):
        tokens = text.characters(data)
        return lambda seed: on_text.task(system, tokens, seed)
    return lambda seed: on_images.task(system, data, seed, dtype)
