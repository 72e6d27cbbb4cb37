"""Networks fit random labels about as easily as true ones (O1: Zhang et al. 2017, arXiv:1611.03530)."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from scipy.optimize import minimize
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

FITTED = 0.99
AGAIN = 10_000  # to another seed


@tidy
def run(settings, seeds: Iterable[int], images: Images, device: str = "cpu") -> Iterator[Result]:
    """One network on true labels, ``true-labels``, and on labels drawn uniformly, ``random-labels``, until all training
    examples are right or the steps are up; ``true-labels-few`` and ``random-labels-few``, the same on fewer images.
    Controls: ``half-rate``, true-labels-few at half the learning rate, and ``again``, true-labels-few from another
    initialization. Steps are compared with those of true-labels, or of true-labels-few. Accuracies are kept at readings
    that double their distance, and at the last.

    Controls on random labels: ``least-squares``, a linear model with at least as many inputs as examples, and
    ``components``, softmax regression on principal components of all images. A seed draws labels, initialization and
    minibatches; the images are fixed.

    Raises:
        ValueError: if the least-squares model has more images than inputs, or softmax regression fewer than 20 images
            per component: then neither would serve as the control it is meant to be. Nothing has run then.

    Quantities: see the data card.
    """
    few = _flat(interpolable(images, settings))
    data = subset(images, settings.images, pool=settings.pool)
    many = _flat(data)
    small = subset(images, settings.few, pool=settings.pool)
    if many.shape[0] < 20 * settings.components:
        raise ValueError(
            f"{many.shape[0]} images for {settings.components} components: with fewer than 20 images each "
            "a linear model may fit random labels"
        )
    data, small = data.to(device), small.to(device)
    for seed in seeds:
        generator = np.random.default_rng(seed)
        random, random_few = (_draw(generator, len(d.train_labels), d.classes) for d in (data, small))
        slow = settings.optimizer.model_copy(update={"lr": settings.optimizer.lr / 2})
        steps: dict[str, float] = {}
        for system, images_, labels_N, drawn, optimizer in (
            ("true-labels", data, data.train_labels, seed, settings.optimizer),
            ("random-labels", data, random, seed, settings.optimizer),
            ("true-labels-few", small, small.train_labels, seed, settings.optimizer),
            ("random-labels-few", small, random_few, seed, settings.optimizer),
            ("half-rate", small, small.train_labels, seed, slow),
            ("again", small, small.train_labels, seed + AGAIN, settings.optimizer),
        ):
            scores = _network(settings.model_copy(update={"optimizer": optimizer}), images_, labels_N, drawn)
            steps[system] = scores["steps-99"]
            yield system, seed, scores
        for system in ("random-labels", "random-labels-few", "half-rate", "again"):
            base = "true-labels" if system == "random-labels" else "true-labels-few"
            yield system, seed, {"log_steps_ratio": float(np.log(steps[system] / steps[base]))}
        drawn = _draw(generator, len(few), data.classes)
        yield "least-squares", seed, {"train_accuracy": _least_squares(few, drawn, data.classes)}
        drawn = _draw(generator, len(many), data.classes)
        right, gradient = _softmax(_components(many, settings.components), drawn, data.classes)
        yield "components", seed, {"train_accuracy": right, "gradient": gradient}


def _draw(generator: np.random.Generator, count: int, classes: int) -> Tensor:
    return torch.from_numpy(generator.integers(classes, size=count))


def _flat(data: Images) -> np.ndarray:
    return data.train_inputs.flatten(1).double().numpy()


def _network(settings, data: Images, labels_N: Tensor, seed: int) -> dict[str, float]:
    (module,) = networks(data, [seed], **settings.architecture)
    problem = Problem(module, data.train_inputs, labels_N.to(data.train_inputs.device), "cross_entropy")
    run = fit(problem, flatten_parameters(module), settings, seed=seed, done=lambda loss, accuracy: accuracy == 1.0)
    return {
        "train_accuracy": run.accuracies[-1],
        "test_accuracy": accuracy_on_tests(problem, run, data),
        "steps-99": run.first(FITTED),
        **{f"accuracy-{run.steps[i]}": run.accuracies[i] for i in _doubling(len(run.steps))},
    }


def _doubling(count: int) -> list[int]:
    """0, 1, 2, 4, ... below a count, and the last."""
    return sorted({0, *(2**k for k in range(count.bit_length()) if 2**k < count), count - 1})


def _least_squares(inputs_NxD: np.ndarray, labels_N: Tensor, classes: int) -> float:
    targets_NxC = np.eye(classes)[labels_N.numpy()]
    weights_DxC = np.linalg.lstsq(inputs_NxD, targets_NxC)[0]
    return fraction_right(torch.from_numpy(inputs_NxD @ weights_DxC), labels_N)


def _components(inputs_NxD: np.ndarray, count: int) -> np.ndarray:
    """The leading principal components, each with unit variance, and a constant: N x (count + 1)."""
    left = np.linalg.svd(inputs_NxD - inputs_NxD.mean(0), full_matrices=False)[0][:, :count]
    return np.column_stack([len(left) ** 0.5 * left, np.ones(len(left))])


def _softmax(inputs_NxD: np.ndarray, labels_N: Tensor, classes: int) -> tuple[float, float]:
    """Training accuracy of softmax regression at its minimum, and the largest entry of the gradient there."""
    onehot_NxC = np.eye(classes)[labels_N.numpy()]
    size, features = inputs_NxD.shape

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logits = inputs_NxD @ flat.reshape(features, classes)
        logits -= logits.max(1, keepdims=True)
        total = np.exp(logits).sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - (logits * onehot_NxC).sum(1)).mean()
        return loss, (inputs_NxD.T @ (np.exp(logits) / total - onehot_NxC) / size).ravel()

    best = minimize(
        objective, np.zeros(features * classes), jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 0.0}
    )
    outputs_NxC = torch.from_numpy(inputs_NxD @ best.x.reshape(features, classes))
    return fraction_right(outputs_NxC, labels_N), float(np.abs(best.jac).max())
