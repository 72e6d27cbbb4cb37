"""Progressive sharpening and the edge of stability.

Training of a stack of seeds, full-batch or not, with the curvature read along the way (Cohen et al. 2021, 2022, 2025;
Damian et al. 2023; Andreyev and Beneventano 2024; Long and Bartlett 2024).
"""

from collections.abc import Sequence

import torch

from benchmarks.lab import architectures, datasets, losses, measurements, optimizers
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem
from benchmarks.lab.training import Observer, train
from benchmarks.studies.table import Runs


def build_problem(
    settings, images: datasets.Images, seeds: Sequence[int], compute
) -> tuple[Problem, torch.Tensor, torch.Tensor | None]:
    """The problem of a configuration, its initial params_RxP, and the labels (None where there is no data).

    ``images: 0`` is for an architecture that is itself the objective: it sees one empty example.

    Args:
        settings: `Settings` of study.py.
        compute: `benchmarks.studies.schema.Compute`.
    """
    device, dtype = torch.device(compute.device), getattr(torch, compute.dtype)
    if settings.images == 0:
        inputs, labels, targets, outputs = torch.zeros(1, 1, dtype=dtype), None, torch.zeros(1, dtype=dtype), 1
    else:
        images = datasets.subset(images, settings.images, classes=settings.classes, pool=settings.pool)
        inputs, labels = images.train_inputs.to(dtype), images.train_labels
        outputs = losses.outputs(settings.loss, images.classes)
        targets = losses.encode_targets(labels, settings.loss, images.classes, dtype)
        labels = labels.to(device)
    networks = architectures.build_stack(
        input_shape=tuple(inputs.shape[1:]), outputs=outputs, seeds=seeds, **settings.architecture
    )
    networks = [network.to(device, dtype) for network in networks]
    problem = Problem(networks, inputs.to(device), targets.to(device), settings.loss, chunk_size=compute.chunk_size)
    return problem, problem.initial_RxP(), labels


def run(
    settings,
    seeds: Sequence[int],
    images: datasets.Images,
    compute,
    resume: dict | None = None,
    observe: Observer | None = None,
) -> Runs:
    """Train one configuration for all seeds at once; see `benchmarks.lab.training.train`.

    Args:
        settings: `Settings` of study.py.
        compute: `benchmarks.studies.schema.Compute`.
    """
    problem, params_RxP, labels = build_problem(settings, images, seeds, compute)
    optimizer, batch_size = optimizers.named(**settings.optimizer), settings.batch_size
    setup = measurements.Setup(seeds, problem, labels, optimizer, batch_size)
    batches = Minibatches(seeds, examples=problem.examples, size=batch_size) if batch_size else None
    outcome = train(
        problem,
        params_RxP,
        optimizer,
        seeds=seeds,
        steps=settings.steps,
        divergence=settings.divergence,
        measurements=measurements.build(settings.measure, setup),
        minibatches=batches,
        resume=resume,
        observe=observe,
    )
    facts = {
        "parameters": problem.parameters,
        "examples": problem.examples,
        "optimizer": optimizer.implementation,
        "stability_threshold": optimizer.stability_threshold(),
        "diverged": {str(seed): step for seed, step in sorted(outcome.diverged.items())},
    }
    return Runs(curves=outcome.history.frame(), facts=facts)
