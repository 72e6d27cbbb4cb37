"""The study's tables and curves, from its runs: every score, and the table that answers Open Question 4.1."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from benchmarks.evidence import share
from benchmarks.studies import beside
from benchmarks.studies.declaration import Finished, Made, Measured
from benchmarks.studies.schema import SCALED
from benchmarks.theory import predictions
from benchmarks.theory.modes import CLOCK_END


@dataclass(frozen=True)
class Solved:
    """A system of the study solved_embeddings that has rows in the answer.

    Attributes:
        reference: the system whose model from small weights is its deep linear reference.
        network: architecture, optimizer and data in words.
        meaningless: predictions that cannot be asked of it, and why.
    """

    reference: str
    network: str
    meaningless: Mapping[str, str]


_OF_WORDS = {
    "alignment": "a word has one vector, so that there is one matrix and no neighbour of it",
    "linear first": "a pair of words has no label for a linear classifier to tell",
}
_BY_SIZE = "its modes are told apart by their size alone, which puts them in order"
_OF_VIEWS = {
    "order": _BY_SIZE,
    "path": _BY_SIZE,
    "law": _BY_SIZE,
    "alignment": "the linear model beside it has one matrix and no neighbour of it",
    "linear first": "it is trained without labels",
}
_SKIP_GRAM = "word vectors, tied (skip-gram with negative sampling, {start}); {descent}; text by words"
_ENCODER = "two convolutions and a projector (Barlow Twins, {start}); sgd; images without labels, augmented"
SOLVED = {
    "solved_embeddings/word2vec": {
        "word2vec": Solved("word2vec", _SKIP_GRAM.format(start="start of word2vec.c", descent="sgd"), _OF_WORDS),
        "word2vec-large": Solved("word2vec", _SKIP_GRAM.format(start="large weights", descent="sgd"), _OF_WORDS),
        "word2vec-small": Solved(
            "word2vec", _SKIP_GRAM.format(start="small weights", descent="gradient descent on all pairs"), _OF_WORDS
        ),
    },
    "solved_embeddings/barlow": {
        "barlow": Solved("barlow", _ENCODER.format(start="default weights"), _OF_VIEWS),
        "barlow-small": Solved("barlow", _ENCODER.format(start="small weights"), _OF_VIEWS),
    },
}


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """Every score of every network, what only several runs tell together, and the answer.

    Args:
        read: the tables of the study solved_embeddings whose systems have rows in the answer.
    """
    by_name = {one.record["name"]: one for one in runs}
    scores = [named(one.rows, name) for name, one in by_name.items()]
    scores += [named(_other_seeds(one), name) for name, one in by_name.items()]
    scores += [named(_clones(one, by_name), name) for name, one in by_name.items()]
    long = pd.concat([one for one in scores if len(one)], ignore_index=True)
    rows = [
        {"system": name, "network": _network(one.record["settings"]), "fidelity": fidelity(one.record), **row}
        for name, one in by_name.items()
        if (reference := one.record["settings"]["reference"])
        for row in share.rows(long, name, reference)
    ]
    rows += [row for table in SOLVED for row in solved_rows(table, read[table])]
    curves = pd.concat([one.curves.assign(system=name) for name, one in by_name.items()], ignore_index=True)
    return Made({share.SCORES: long, "open_question_4_1": pd.DataFrame(rows)}, curves)


def solved_rows(table: str, scores: pd.DataFrame) -> list[dict]:
    """The rows of a table of the study solved_embeddings in the answer; its runs without a seed have none."""
    seeded = scores.dropna(subset="seed")
    return [
        {"system": name, "network": one.network, "fidelity": SCALED, **row}
        for name, one in SOLVED[table].items()
        for row in share.rows(seeded, name, one.reference, one.meaningless)
    ]


def named(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Roles as the table names systems: the network itself by its system's name."""
    beside = rows["system"].map(lambda role: name if role == "net" else f"{name}/{role}")
    return rows.assign(system=beside)


def _network(settings: dict) -> str:
    """Architecture, optimizer and data in words."""
    data = settings["data"]
    told = ["text"] if data["name"] == "text" else [f"{data['images']} images"]
    told += ["scikit-learn's digits"] if data.get("source") == "digits" else []
    told += ["augmented"] if data.get("augment") else []
    told += ["others for each seed"] if data["draw"] else []
    return "; ".join([_spec(settings["architecture"]), _spec(settings["optimizer"]), ", ".join(told)])


def fidelity(record: dict) -> str:
    return record["settings"].get("fidelity", SCALED)


def _spec(entry: dict) -> str:
    options = ", ".join(f"{key} {value}" for key, value in entry.items() if key != "name")
    return f"{entry['name']} ({options})"


def _rows(values: Sequence[tuple[str, int, str, float]]) -> pd.DataFrame:
    found = [value for value in values if np.isfinite(value[3])]
    return pd.DataFrame(found, columns=["system", "seed", "quantity", "value"])


def _other_seeds(one: Finished) -> pd.DataFrame:
    """How closely each seed's network follows the twin of the next seed: what all twins have in common."""
    seeds = one.record["seeds"]
    if not one.record["settings"]["beside"]["twin"] or len(seeds) < 2:
        return _rows([])
    return _rows([("net", seed, "path_other_seed", _agreement(one, seed, other)) for seed, other in _next(seeds)])


def _next(seeds: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(seeds, [*seeds[1:], seeds[0]]))


def _agreement(one: Finished, seed: int, other: int) -> float:
    net, twin = (_path(one, *which) for which in (("net", seed), ("twin", other)))
    if net is None or twin is None or net[1].shape != twin[1].shape:
        return nan
    s_K = _strengths(one, seed)
    end = min(CLOCK_END, net[0].max(), twin[0].max())
    if end <= 2 * predictions.PATH_START:
        return nan
    return predictions.agreement((net[0], net[1] * s_K), (twin[0], twin[1] * s_K), s_K, np.ones(len(s_K)), end)


def _path(one: Finished, role: str, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """phi_T, and amplitudes over their strengths, T x K; None without such a run."""
    curve = one.curves[(one.curves["role"] == role) & (one.curves["seed"] == seed)]
    columns = [name for name in curve if name.startswith("amplitude_") and curve[name].notna().any()]
    return (curve["phi"].to_numpy(float), curve[columns].to_numpy(float)) if len(curve) else None


def _strengths(one: Finished, seed: int) -> np.ndarray:
    rows = one.rows[(one.rows["system"] == "net") & (one.rows["seed"] == seed)].set_index("quantity")["value"]
    count = int(rows["modes"])
    return np.array([rows[f"strength_{k}"] for k in range(1, count + 1)])


def _clones(one: Finished, by_name: Mapping[str, Finished]) -> pd.DataFrame:
    """Of a system trained on Gaussian clones: how far the test loss of the same system on the images is from its own,
    at most, until that of the images is within 5 % of its least; and whether the clones' rises after its own least."""
    settings = one.record["settings"]
    if settings["data"].get("inputs", "real") == "real":
        return _rows([])
    real = next((other for other in by_name.values() if _same_but_inputs(other.record["settings"], settings)), None)
    if real is None:
        return _rows([])
    found = []
    for seed in one.record["seeds"]:
        mine, theirs = (_test_loss(run, seed) for run in (one, real))
        both = mine.index.intersection(theirs.index)
        before = both[both <= (theirs <= 1.05 * theirs.min()).idxmax()]
        gap = float((theirs[before] / mine[before] - 1).abs().max())
        turns = float(mine.iloc[-1] > 1.02 * mine.min())
        found += [("net", seed, "tracking_clones", gap), ("net", seed, "clones_turn", turns)]
    return _rows(found)


def _same_but_inputs(real: dict, clones: dict) -> bool:
    def rest(settings: dict) -> dict:
        data = {**settings["data"], "inputs": None}
        return {**settings, "data": data, "beside": None, "reference": None}

    return real["data"].get("inputs") == "real" and rest(real) == rest(clones)


def _test_loss(one: Finished, seed: int) -> pd.Series:
    curve = one.curves[(one.curves["role"] == "net") & (one.curves["seed"] == seed)]
    return curve.set_index("step")["test_loss"].astype(float)


def tracked(runs: Finished) -> tuple[pd.DataFrame, pd.DataFrame]:
    return beside.tracked(runs, "role")


def compared(read: Callable[[str], pd.DataFrame], values: dict[str, str], seed: int | None) -> dict[str, Measured]:
    long = read(share.SCORES)
    mine = (long["system"] == values["system"]) | long["system"].str.startswith(f"{values['system']}/")
    return beside.compared(long[mine], seed)
