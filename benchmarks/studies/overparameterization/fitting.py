"""Networks trained by the lab's loop until they fit their data, and what the experiments share about data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images, subset
from benchmarks.lab.loop import descend
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem


@dataclass
class Fit:
    """The outcome of one run.

    Attributes:
        params_1xP: where it ended.
        reached: whether it was done before its steps ran out.
        steps, losses, accuracies: at the readings, on all the data.
    """

    params_1xP: Tensor
    reached: bool = False
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    def first(self, accuracy: float) -> float:
        """The step at which the accuracy first comes up to a level, straight between readings; nan if never."""
        above = np.flatnonzero(np.array(self.accuracies) >= accuracy)
        if not len(above):
            return float("nan")
        around = slice(max(above[0] - 1, 0), above[0] + 1)
        return float(np.interp(accuracy, self.accuracies[around], self.steps[around]))


def fit(problem: Problem, params_P: Tensor, settings, *, seed: int, done: Callable[[float, float], bool]) -> Fit:
    """Train one run on fresh minibatches until it is done.

    A reading is a forward pass over all the data: at the start, every ``settings.every`` steps and at the end.

    Args:
        problem: its targets are classes.
        settings: ``optimizer``, ``batch_size``, ``steps`` (at most), ``every`` (steps between readings).
        seed: of the minibatches.
        done: a function from the loss and accuracy of a reading to whether to stop there.
    """
    run = Fit(params_P[None])
    ((inputs, labels_N),) = problem.chunks()
    for step in descend(
        problem,
        params_P[None],
        optimizers.named(**settings.optimizer),
        steps=settings.steps,
        minibatches=Minibatches([seed], examples=problem.examples, size=settings.batch_size),
    ):
        if not bool(step.running_R) or (step.number % settings.every and step.number < settings.steps):
            continue
        run.params_1xP = step.params_RxP.clone()
        outputs_NxC = problem.outputs(step.params_RxP, inputs)[0]
        run.steps.append(step.number)
        run.losses.append(float(problem.loss(outputs_NxC, labels_N).mean()))
        run.accuracies.append(fraction_right(outputs_NxC, labels_N))
        if done(run.losses[-1], run.accuracies[-1]):
            run.reached = True
            break
    return run


def accuracy_on_tests(problem: Problem, trained: Fit, data: Images) -> float:
    return fraction_right(problem.outputs(trained.params_1xP, data.test_inputs)[0], data.test_labels)


def fraction_right(outputs_NxC: Tensor, labels_N: Tensor) -> float:
    """The fraction of examples whose largest output is their label."""
    return fraction_true(outputs_NxC.argmax(-1) == labels_N)


def fraction_true(flags: Tensor) -> float:
    """The fraction of entries that are True."""
    return float(flags.double().mean())


def networks(data: Images, seeds: Sequence[int], name: str | Callable[..., nn.Module], **options) -> list[nn.Module]:
    """One network per seed from images to classes, on the images' device; see `architectures.build_stack`."""
    shape, device = tuple(data.train_inputs.shape[1:]), data.train_inputs.device
    return [net.to(device) for net in architectures.build_stack(name, shape, data.classes, seeds, **options)]


def two_networks(data: Images, seed: int, **options) -> list[nn.Module]:
    """Two networks that differ only in their initialization."""
    return networks(data, np.random.SeedSequence(seed).generate_state(2).tolist(), **options)


def interpolable(images: Images, settings) -> Images:
    """The ``linear_images``, so few that a linear model interpolates any labels, by many solutions.

    Raises:
        ValueError: if there are more of them than inputs.
    """
    few = subset(images, settings.linear_images, pool=settings.pool)
    count, inputs = few.train_inputs.flatten(1).shape
    if count > inputs:
        raise ValueError(
            f"{count} linear_images of {inputs} inputs: a linear model interpolates any labels, and its end depends on "
            "its start, only with at least as many inputs as images"
        )
    return few
