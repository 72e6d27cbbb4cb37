"""How unlike the blocks of each workload's Hessian are at initialization (Zhang et al. 2024): for claim W4."""

from collections.abc import Iterable

import pandas as pd

from benchmarks.lab import datasets
from benchmarks.studies.optimizer_comparison import COLUMNS, blocks, tasks


def run(settings: dict, seeds: Iterable[int], images: datasets.Images, device: str = "cpu") -> pd.DataFrame:
    """A row a workload, seed and quantity: ``js_distance``, and ``blocks``, how many tensors there are.

    Args:
        settings: ``workloads`` by name, ``examples`` and ``products``.
        device: where the spectra are computed.
    """
    dtype = str(images.train_inputs.dtype).removeprefix("torch.")
    compute = {"device": device, "dtype": dtype, "chunk_size": settings["examples"]}
    rows = []
    for name, workload in settings["workloads"].items():
        for seed in seeds:
            point = blocks.initial_point(tasks.build(workload, images, seed, compute), settings["examples"])
            spectra = blocks.spectra(point, seed, settings["products"])
            rows.append((name, seed, "js_distance", blocks.heterogeneity(spectra)))
            rows.append((name, seed, "blocks", len(spectra)))
    return pd.DataFrame(rows, columns=COLUMNS)
