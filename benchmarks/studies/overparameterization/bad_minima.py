"""One training loss, several test accuracies: minima reached from weights that were trained on random labels (O6: Liu,
Papailiopoulos and Achlioptas 2020, arXiv:1906.02613)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.lab import architectures
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.overparameterization import COLUMNS
from benchmarks.studies.overparameterization.fitting import Fit, fit, outputs, share


def run(settings: dict, seeds: Iterable[int], images: Images) -> pd.DataFrame:
    """Quantities by seed, which draws labels, copies, initialization and minibatches; the images are fixed.

    A network is trained on true labels until its loss is ``target``: from its initialization (``fresh``), after
    training on random labels (``confused``), and after as many steps on the true ones (``instructed``), both on
    ``copies`` of every image of which a share ``erased`` of the pixels is zero. Of each: ``test_accuracy``,
    ``train_loss``, ``steps``; of the latter two ``pretraining_accuracy``, ``pretraining_steps`` and ``drop``, by how
    much the test accuracy is below that of ``fresh``. Where the loss is not reached, all but the pretraining is nan.

    ``least-squares-zero`` and ``least-squares-far`` are the linear model's solutions nearest to zero and to Gaussian
    weights of size ``far``: ``test_accuracy``, ``train_loss`` and, of the latter, ``drop``.

    Args:
        settings: ``images``, ``pool``, ``architecture``, ``optimizer``, ``batch_size``, ``target``, ``steps`` (at
            most), ``every`` (steps between readings), ``copies``, ``erased``, ``pretraining`` (optimizer and most
            steps), ``linear_images``, ``far``.

    Raises:
        ValueError: if the linear model has more images than inputs: its loss would have one minimum. Nothing has run
            then.
    """
    data = subset(images, settings["images"], pool=settings["pool"])
    few = subset(images, settings["linear_images"], pool=settings["pool"])
    if len(few.train_labels) > few.train_inputs[0].numel():
        raise ValueError(
            f"{len(few.train_labels)} linear_images of {few.train_inputs[0].numel()} inputs: with more images than "
            "inputs a linear model has one minimum"
        )
    rows: list[tuple] = []
    for seed in seeds:
        rows += [(system, seed, *rest) for system, *rest in _networks(settings, data, seed)]
        rows += [(system, seed, *rest) for system, *rest in _linear(few, settings["far"], seed)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _networks(settings: dict, data: Images, seed: int) -> list[tuple]:
    (module,) = architectures.build_stack(
        input_shape=tuple(data.train_inputs.shape[1:]), outputs=data.classes, seeds=[seed], **settings["architecture"]
    )
    start_P = flatten_parameters(module)
    inputs, random, true = _copies(settings, data, seed)
    rows: list[tuple] = []
    starts, steps = {"fresh": start_P}, settings["pretraining"]["steps"]
    for system, labels, done in (("confused", random, _fitted), ("instructed", true, _never)):
        found = fit(
            Problem(module, inputs, labels, "cross_entropy"),
            start_P,
            labels,
            seed=seed,
            optimizer=settings["pretraining"]["optimizer"],
            batch_size=settings["batch_size"],
            steps=steps,
            every=settings["every"],
            done=done,
        )
        steps = found.steps[-1]
        starts[system] = found.params_1xP[0]
        rows += [(system, "pretraining_accuracy", found.accuracies[-1]), (system, "pretraining_steps", steps)]
    problem = Problem(module, data.train_inputs, data.train_labels, "cross_entropy")
    accuracies = {}
    for system, params_P in starts.items():
        found = fit(
            problem,
            params_P,
            data.train_labels,
            seed=seed,
            optimizer=settings["optimizer"],
            batch_size=settings["batch_size"],
            steps=settings["steps"],
            every=settings["every"],
            done=lambda loss, accuracy: loss <= settings["target"],
        )
        accuracies[system] = _test_accuracy(problem, found, data)
        rows += [
            (system, "test_accuracy", accuracies[system]),
            (system, "train_loss", found.losses[-1] if found.reached else np.nan),
            (system, "steps", found.steps[-1] if found.reached else np.nan),
        ]
    rows += [(system, "drop", accuracies["fresh"] - accuracies[system]) for system in ("confused", "instructed")]
    return rows


def _fitted(loss: float, accuracy: float) -> bool:
    return accuracy == 1.0


def _never(loss: float, accuracy: float) -> bool:
    return False


def _test_accuracy(problem: Problem, found: Fit, data: Images) -> float:
    if not found.reached:
        return float("nan")
    return share(outputs(problem, found.params_1xP, data.test_inputs).argmax(-1) == data.test_labels)


def _copies(settings: dict, data: Images, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of every image with other pixels zero in each, random labels and the true ones."""
    generator = torch.Generator().manual_seed(seed)
    inputs = data.train_inputs.repeat(settings["copies"], *[1] * (data.train_inputs.ndim - 1))
    kept = torch.rand(len(inputs), 1, *inputs.shape[2:], generator=generator) >= settings["erased"]
    random = torch.randint(data.classes, (len(inputs),), generator=generator)
    return inputs * kept, random, data.train_labels.repeat(settings["copies"])


def _linear(data: Images, far: float, seed: int) -> list[tuple]:
    """Gradient descent's end from any weights is their projection on the solutions: w + X^+ (Y - X w)."""
    inputs, tests = (x.flatten(1).double().numpy() for x in (data.train_inputs, data.test_inputs))
    targets = np.eye(data.classes)[data.train_labels.numpy()]
    inverse = np.linalg.pinv(inputs)
    drawn = far * np.random.default_rng(seed).standard_normal((inputs.shape[1], data.classes))
    rows, accuracies = [], []
    for system, start in (("least-squares-zero", np.zeros_like(drawn)), ("least-squares-far", drawn)):
        end = start + inverse @ (targets - inputs @ start)
        accuracies.append(float(((tests @ end).argmax(1) == data.test_labels.numpy()).mean()))
        rows += [
            (system, "test_accuracy", accuracies[-1]),
            (system, "train_loss", float(np.square(inputs @ end - targets).sum(1).mean() / 2)),
        ]
    return [*rows, ("least-squares-far", "drop", accuracies[0] - accuracies[1])]
