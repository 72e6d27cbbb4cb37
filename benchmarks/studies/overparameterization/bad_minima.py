"""Same training loss, different test accuracies: minima reached from weights trained on random labels (O6: Liu,
Papailiopoulos and Achlioptas 2020, arXiv:1906.02613)."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.problem import Problem, flatten_parameters
from benchmarks.studies.overparameterization.fitting import (
    accuracy_on_tests,
    fit,
    fraction_right,
    interpolable,
    networks,
)
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """A network is trained on true labels until its loss is ``target``, from three starts: ``fresh``, its
    initialization; ``confused``, where training on random labels ended; and as a control ``instructed``, after as many
    steps on the true ones. Both pretrainings are on ``copies`` of every image of which a fraction ``erased`` of the
    pixels is zero. Where the loss is not reached, all but the pretraining is nan.

    Controls: ``least-squares-zero`` and ``least-squares-far``, the linear model's solutions nearest to zero and to
    Gaussian weights of size ``far``. A seed draws labels, copies, initialization and minibatches; the images are fixed.

    Raises:
        ValueError: if the linear model has more images than inputs: its loss would have one minimum. Nothing has run
            then.

    Quantities: see the data card.
    """
    few = interpolable(images, settings)
    data = subset(images, settings.images, pool=settings.pool).to(device)
    for seed in seeds:
        yield from _networks(settings, data, seed)
        yield from _linear(few, settings.far, seed)


def _networks(settings, data: Images, seed: int) -> Iterator[Result]:
    (module,) = networks(data, [seed], **settings.architecture)
    start_P = flatten_parameters(module)
    inputs, random, true = _copies(settings, data, seed)
    starts, pretraining = {"fresh": start_P}, settings.model_copy(update=dict(settings.pretraining))
    for system, labels, done in (
        ("confused", random, lambda loss, accuracy: accuracy == 1.0),
        ("instructed", true, lambda loss, accuracy: False),
    ):
        run = fit(Problem(module, inputs, labels, "cross_entropy"), start_P, pretraining, seed=seed, done=done)
        pretraining = pretraining.model_copy(update={"steps": run.steps[-1]})
        starts[system] = run.params_1xP[0]
        yield system, seed, {"pretraining_accuracy": run.accuracies[-1], "pretraining_steps": run.steps[-1]}
    problem = Problem(module, data.train_inputs, data.train_labels, "cross_entropy")
    accuracies = {}
    for system, params_P in starts.items():
        run = fit(problem, params_P, settings, seed=seed, done=lambda loss, accuracy: loss <= settings.target)
        accuracies[system] = accuracy_on_tests(problem, run, data) if run.reached else np.nan
        loss, steps = (run.losses[-1], run.steps[-1]) if run.reached else (np.nan, np.nan)
        yield system, seed, {"test_accuracy": accuracies[system], "train_loss": loss, "steps": steps}
    for system in ("confused", "instructed"):
        yield system, seed, {"drop": accuracies["fresh"] - accuracies[system]}


def _copies(settings, data: Images, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of every image with other pixels zero in each, random labels and the true ones."""
    generator = torch.Generator().manual_seed(seed)
    inputs = data.train_inputs.repeat(settings.copies, *[1] * (data.train_inputs.ndim - 1))
    kept = torch.rand(len(inputs), 1, *inputs.shape[2:], generator=generator) >= settings.erased
    random = torch.randint(data.classes, (len(inputs),), generator=generator)
    return inputs * kept.to(inputs.device), random.to(inputs.device), data.train_labels.repeat(settings.copies)


def _linear(data: Images, far: float, seed: int) -> Iterator[Result]:
    """Gradient descent's end from any weights is their projection on the solutions: w + X^+ (Y - X w)."""
    inputs, tests = (x.flatten(1).double().numpy() for x in (data.train_inputs, data.test_inputs))
    targets = np.eye(data.classes)[data.train_labels.numpy()]
    inverse = np.linalg.pinv(inputs)
    drawn = far * np.random.default_rng(seed).standard_normal((inputs.shape[1], data.classes))
    accuracies = []
    for system, start in (("least-squares-zero", np.zeros_like(drawn)), ("least-squares-far", drawn)):
        end = start + inverse @ (targets - inputs @ start)
        accuracies.append(fraction_right(torch.from_numpy(tests @ end), data.test_labels))
        loss = float(np.square(inputs @ end - targets).sum(1).mean() / 2)
        yield system, seed, {"test_accuracy": accuracies[-1], "train_loss": loss}
    yield "least-squares-far", seed, {"drop": accuracies[0] - accuracies[1]}
