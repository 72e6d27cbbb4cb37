"""One training loss, several test accuracies: minima reached from weights that were trained on random labels (O6: Liu,
Papailiopoulos and Achlioptas 2020, arXiv:1906.02613)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.overparameterization import COLUMNS
from benchmarks.studies.overparameterization.fitting import accuracy_on_tests, fit, interpolable, networks


def run(settings: dict, seeds: Iterable[int], images: Images, device: str = "cpu") -> pd.DataFrame:
    """Quantities by seed, which draws labels, copies, initialization and minibatches; the images are fixed.

    A network is trained on true labels until its loss is ``target``: from its initialization (``fresh``), after
    training on random labels (``confused``), and after as many steps on the true ones (``instructed``), both on
    ``copies`` of every image of which a fraction ``erased`` of the pixels is zero. Of each: ``test_accuracy``,
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
    few = interpolable(images, settings)
    data = subset(images, settings["images"], pool=settings["pool"]).to(device)
    rows: list[tuple] = []
    for seed in seeds:
        rows += [(system, seed, *rest) for system, *rest in _networks(settings, data, seed)]
        rows += [(system, seed, *rest) for system, *rest in _linear(few, settings["far"], seed)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _networks(settings: dict, data: Images, seed: int) -> list[tuple]:
    (module,) = networks(data, [seed], **settings["architecture"])
    start_P = flatten_parameters(module)
    inputs, random, true = _copies(settings, data, seed)
    rows: list[tuple] = []
    starts, pretraining = {"fresh": start_P}, settings | settings["pretraining"]
    for system, labels, done in (("confused", random, _fitted), ("instructed", true, _never)):
        trained = fit(Problem(module, inputs, labels, "cross_entropy"), start_P, pretraining, seed=seed, done=done)
        pretraining["steps"] = trained.steps[-1]
        starts[system] = trained.params_1xP[0]
        rows += [
            (system, "pretraining_accuracy", trained.accuracies[-1]),
            (system, "pretraining_steps", trained.steps[-1]),
        ]
    problem = Problem(module, data.train_inputs, data.train_labels, "cross_entropy")
    accuracies = {}
    for system, params_P in starts.items():
        trained = fit(problem, params_P, settings, seed=seed, done=lambda loss, accuracy: loss <= settings["target"])
        accuracies[system] = accuracy_on_tests(problem, trained, data) if trained.reached else np.nan
        rows += [
            (system, "test_accuracy", accuracies[system]),
            (system, "train_loss", trained.losses[-1] if trained.reached else np.nan),
            (system, "steps", trained.steps[-1] if trained.reached else np.nan),
        ]
    rows += [(system, "drop", accuracies["fresh"] - accuracies[system]) for system in ("confused", "instructed")]
    return rows


def _fitted(loss: float, accuracy: float) -> bool:
    return accuracy == 1.0


def _never(loss: float, accuracy: float) -> bool:
    return False


def _copies(settings: dict, data: Images, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of every image with other pixels zero in each, random labels and the true ones."""
    generator = torch.Generator().manual_seed(seed)
    inputs = data.train_inputs.repeat(settings["copies"], *[1] * (data.train_inputs.ndim - 1))
    kept = torch.rand(len(inputs), 1, *inputs.shape[2:], generator=generator) >= settings["erased"]
    random = torch.randint(data.classes, (len(inputs),), generator=generator)
    return inputs * kept.to(inputs.device), random.to(inputs.device), data.train_labels.repeat(settings["copies"])


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
