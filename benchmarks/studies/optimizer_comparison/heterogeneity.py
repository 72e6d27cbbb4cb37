"""How much the blocks of each workload's Hessian differ at initialization (Zhang et al. 2024): for claim W4."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace

from benchmarks.lab import datasets
from benchmarks.studies.optimizer_comparison import blocks, tasks
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Iterable[int], images: datasets.Images, device: str = "cpu") -> Iterator[Result]:
    """Spectra of the parameter tensors of each workload's network, the systems, before training. A seed draws the
    initialization, generated data and the vectors that Lanczos starts from.

    Args:
        settings: `MeasuredHeterogeneity` of study.py.

    Quantities: see the data card.
    """
    dtype = str(images.train_inputs.dtype).removeprefix("torch.")
    compute = SimpleNamespace(device=device, dtype=dtype, chunk_size=settings.examples)
    for name, workload in settings.workloads.items():
        for seed in seeds:
            point = blocks.initial_point(tasks.build(workload, images, seed, compute), settings.examples)
            spectra = blocks.spectra(point, seed, settings.products)
            yield name, seed, {"js_distance": blocks.heterogeneity(spectra), "blocks": len(spectra)}
