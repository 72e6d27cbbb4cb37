"""The changes of a network's weights along training, as matrices: their ranks, and whether neighbours face each other.

A matrix is outputs x inputs. A convolution is read as channels x (channels x kernel); an embedding as width x tokens;
the joint projection of attention as its three parts. Vectors and positions are left out.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor, nn

from benchmarks.theory import predictions
from benchmarks.theory.ranks import stable_rank

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding)
PARTS = ("query", "key", "value")
# Neighbours are compared where random subspaces overlap by less than a third: there is room to be above it.
HEADROOM = 3.0

Matrices = dict[str, np.ndarray]


def matrices(module: nn.Module, views: Sequence[Tensor]) -> Matrices:
    """The matrices of a network by name, of parameters in the order of ``module.named_parameters()``."""
    owners = dict(module.named_modules())
    found: Matrices = {}
    for (name, _), view in zip(module.named_parameters(), views):
        owner, _, last = name.rpartition(".")
        if last != "weight" or not isinstance(owners[owner], LAYERS):
            continue
        matrix = view.detach().double().cpu().numpy().copy()  # training moves the view in place
        if isinstance(owners[owner], nn.Embedding):
            found[owner] = matrix.T
        elif owner.endswith("project"):
            found |= {f"{owner}.{part}": third for part, third in zip(PARTS, np.split(matrix, 3))}
        else:
            found[owner] = matrix
    return found


def change(start: Matrices, now: Matrices) -> Matrices:
    return {name: now[name] - start[name] for name in start}


def reduced(changes: Matrices) -> Matrices:
    """Square matrices with the same singular values, whose ranks cost a tenth: the triangular factors."""
    flat = {name: outputs_first(matrix) for name, matrix in changes.items()}
    return {name: np.linalg.qr(m.T if m.shape[1] > len(m) else m, mode="r") for name, m in flat.items()}


def mean_rank(changes: Matrices, rank: Callable[[np.ndarray], float] = predictions.effective_rank) -> float:
    """The mean over matrices of a rank of their change, of those that have changed; nan if none has."""
    ranks = np.array([rank(matrix) for matrix in changes.values()])
    changed = np.isfinite(ranks)
    return float(ranks[changed].mean()) if changed.any() else np.nan


def neighbours(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of matrices of which one reads exactly what the other writes, up to an activation or a normalization: in a
    chain of layers, and the values and the output of attention."""
    for prefix, child in module.named_modules():
        path = f"{prefix}." if prefix else ""
        if hasattr(child, "project") and hasattr(child, "out"):
            yield f"{path}project.value", f"{path}out"
        if isinstance(child, nn.Sequential):
            before = None
            for name, layer in child.named_children():
                if isinstance(layer, LAYERS):
                    if before is not None:
                        yield before, f"{path}{name}"
                    before = f"{path}{name}"
                elif any(isinstance(part, LAYERS) for part in layer.modules()):
                    before = None


def facing(module: nn.Module, changes: Matrices, count: int) -> predictions.Overlap | None:
    """The mean overlap of neighbours' changes, and the mean of chance; None without neighbours that leave room."""
    found = []
    # What is left of a transformer is a chain of its embedding and its readout.
    for before, after in list(neighbours(module)) or _in_order(changes):
        overlap = predictions.subspace_overlap(outputs_first(changes[before]), inputs_last(changes[after]), count)
        if overlap.chance * HEADROOM <= 1:
            found.append(overlap)
    if not found:
        return None
    return predictions.Overlap(*(float(np.mean([getattr(one, end) for one in found])) for end in ("value", "chance")))


def _in_order(changes: Matrices) -> list[tuple[str, str]]:
    """Matrices of which the next has as many inputs as the one has outputs."""
    names = list(changes)
    return [(a, b) for a, b in zip(names, names[1:]) if len(changes[a]) == changes[b].shape[1]]


def outputs_first(matrix: np.ndarray) -> np.ndarray:
    return matrix.reshape(len(matrix), -1)


def inputs_last(matrix: np.ndarray) -> np.ndarray:
    """A convolution's kernels go with its outputs."""
    return np.moveaxis(matrix, 1, -1).reshape(-1, matrix.shape[1])


def circuits(module: nn.Module, start: Matrices, now: Matrices) -> dict[str, float]:
    """Mean stable rank over the blocks of the change of W_K' W_Q and of W_O W_V, whole blocks and not heads, as
    Boix-Adsera et al. (2023) read them; empty without attention."""
    ranks: dict[str, list[float]] = {"query_key": [], "value_output": []}
    for prefix, child in module.named_modules():
        if hasattr(child, "project") and hasattr(child, "out"):
            path = f"{prefix}." if prefix else ""
            q, k, v = (f"{path}project.{part}" for part in PARTS)
            made = [(m[k].T @ m[q], m[f"{path}out"] @ m[v]) for m in (start, now)]
            for name, before, after in zip(ranks, *made):
                ranks[name].append(stable_rank(after - before))
    return {name: float(np.mean(values)) for name, values in ranks.items() if values}
