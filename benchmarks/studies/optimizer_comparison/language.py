"""One optimizer on a workload whose examples are windows of a text: predict each next token.

The loss is cross-entropy in nats, the mean over all positions of all windows. Trained on windows of the text's training
part; its validation part is cut in two: the objective is the loss on the first half, test data are of the second.

    N  windows      L  positions of a window      V  tokens of the vocabulary

The protocol is that of `contest`. `contested` has the lines of `contest.run`, which makes its tasks itself: if it were
given them, every contest that has run would have another fingerprint. A test holds the two together.
"""

import json
from collections.abc import Callable
from functools import cache
from math import isfinite

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.lab import architectures, optimizers, text
from benchmarks.lab.problem import Problem
from benchmarks.studies.optimizer_comparison import blocks, contest, tasks
from benchmarks.studies.table import Runs


class Windows(tasks.Task):
    """A task with a target at each position: splits are inputs_NxL and targets_NxL."""

    def evaluate(self, params_1xP: Tensor, split: str) -> dict[str, float | Tensor]:
        """Means over all positions: loss, accuracy, and the loss of each group of tokens (nan where there is none)."""
        inputs_NxL, targets_NxL = self.splits[split]
        size = self.problem.chunk_size
        losses, right = [], []
        for chunk, targets in zip(inputs_NxL.split(size), targets_NxL.split(size)):
            (outputs_NxLxV,) = self.problem.outputs(params_1xP, chunk)
            losses.append(F.cross_entropy(outputs_NxLxV.transpose(1, 2), targets, reduction="none"))
            right.append(outputs_NxLxV.argmax(-1) == targets)
        losses_NxL = torch.cat(losses).double()
        groups_NxL = self.groups_C[targets_NxL]
        groups = int(self.groups_C.max()) + 1
        return {
            "loss": float(losses_NxL.mean()),
            "accuracy": float(torch.cat(right).double().mean()),
            "group_losses": torch.stack([losses_NxL[groups_NxL == g].mean() for g in range(groups)]),
        }


def run(settings, corpus: text.Corpus, compute, tick: Callable[[int, int], None] = lambda *_: None) -> Runs:
    """`contest.run` on a text.

    Args:
        settings: `Contest` of study.py, its workload's data a `Text`.
    """
    return contested(settings, lambda seed: build(settings.workload, corpus, seed, compute), tick)


def contested(settings, build: Callable[[int], tasks.Task], tick: Callable[[int, int], None]) -> Runs:
    """What `contest.run` does and returns, on the tasks that ``build`` makes of seeds."""
    protocol, workload = settings.protocol, settings.workload
    factors, seeds = workload.factors, protocol.seeds
    planned = protocol.trials + len(seeds) + len(factors) * workload.factor_seeds
    entry = optimizers.named(**settings.optimizer)
    points = contest.sample(settings.space, protocol.trials, protocol.space_seed)
    rows, curves = [], []
    task = cache(build)

    @cache
    def rates(seed: int) -> list[float]:
        return blocks.rates(blocks.initial_point(task(seed), workload.curvature_examples), seed)

    def attempt(role: str, seed: int, trial: int, factor: float = 1.0) -> float:
        options = points[trial]
        optimizer = entry(**{**options, "lr": options["lr"] * factor})
        others = {name: value for name, value in optimizer.options.items() if name != "lr"}
        lr = optimizer.options["lr"]
        if optimizer.block_rates:
            optimizer = optimizer(rates=rates(seed))
        row, curve = contest.Attempt(task(seed), workload, optimizer, seed, role, protocol.marks).go()
        identity = (role, trial, factor, seed, lr, json.dumps(others, sort_keys=True))
        rows.append(dict(zip(contest.RUN_COLUMNS, identity)) | row)
        curves.extend((role, factor, seed, *reading) for reading in curve)
        tick(len(rows), planned)
        return row["objective"]

    objectives = [attempt("trial", protocol.tuning_seed, trial) for trial in range(protocol.trials)]
    finite = [trial for trial, value in enumerate(objectives) if isfinite(value)]
    facts = contest.facts_of(settings, task(protocol.tuning_seed)) | {"finite_trials": len(finite)}
    if finite:
        best = min(finite, key=lambda trial: objectives[trial])
        facts["best_trial"] = best
        for seed in seeds:
            attempt("final", seed, best)
        for factor in factors:
            for seed in seeds[: workload.factor_seeds]:
                attempt("factor", seed, best, factor)
    table = pd.DataFrame(rows)
    others = [name for name in table if name not in contest.RUN_COLUMNS]
    readings = pd.DataFrame(curves, columns=contest.CURVE_COLUMNS).astype({"value": "float32", "step": "int32"})
    return Runs(table[contest.RUN_COLUMNS + others], readings, facts)


def build(workload, corpus: text.Corpus, seed: int, compute) -> Windows:
    """The task of a workload on a text, by characters. Its seed decides the initialization alone.

    Args:
        workload: `Workload` of study.py.
        compute: with ``device``, ``dtype`` (by its name) and ``chunk_size``, in positions.

    Raises:
        ValueError: for more windows than a part of the text has without overlap, or an architecture that does not fit.
    """
    data, device = workload.data, torch.device(compute.device)
    tokens = text.characters(corpus)
    half = len(tokens.validation_N) // 2
    parts = {
        "train": (tokens.train_N, data.train),
        "validation": (tokens.validation_N[:half], data.validation),
        "test": (tokens.validation_N[half:], data.test),
    }
    splits = {}
    for name, (ids_N, count) in parts.items():
        inputs_NxL, targets_NxL = _spread(name, ids_N, count, data.length)
        splits[name] = (torch.from_numpy(inputs_NxL).to(device), torch.from_numpy(targets_NxL).to(device))
    (network,) = architectures.build_stack(
        input_shape=(data.length,), outputs=len(tokens.vocabulary), seeds=[seed], **workload.architecture
    )
    network = network.to(device, getattr(torch, compute.dtype))
    windows_at_once = max(1, compute.chunk_size // data.length)
    problem = Problem(network, *splits["train"], "cross_entropy", chunk_size=windows_at_once)
    return Windows(problem, network, splits, _octaves(tokens).to(device))


def _spread(name: str, ids_N: np.ndarray, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows at equal distances over a part of the text: inputs_NxL, targets_NxL."""
    most = (len(ids_N) - 1) // length
    if count > most:
        raise ValueError(f"{count} windows for {name} asked for: the text has {most} of {length} tokens there")
    return text.windows(ids_N, np.arange(count) * (len(ids_N) - 1 - length) // max(count - 1, 1), length)


def _octaves(tokens: text.Tokens) -> Tensor:
    """The group of each token, for losses by frequency: the most frequent one, the next two, the next four, ..."""
    counts_V = np.bincount(tokens.train_N, minlength=len(tokens.vocabulary))
    ranks_V = np.argsort(np.argsort(-counts_V, kind="stable"))
    return torch.from_numpy(np.log2(ranks_V + 1).astype(np.int64))
