"""One rung of the ladder from textbook to practice: a network and its linear twin, trained alike, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.datasets import Images
from benchmarks.lab.measurements.sharpness import top_eigenpairs
from benchmarks.lab.ntk import call
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.studies.low_rank_progression import bases, networks, weights
from benchmarks.studies.low_rank_progression.path import EIGEN_TOLERANCE, MARKS, Path, Snapshot, build_problem, follow
from benchmarks.studies.low_rank_progression.setting import Setting, from_images, planted
from benchmarks.studies.table import Result, Runs, tabulate
from benchmarks.theory import modes as observables
from benchmarks.theory import predictions
from benchmarks.theory.modes import CLOCK_END, Modes
from benchmarks.theory.ranks import stable_rank

# The number of readings per run in a curve.
CURVE_POINTS = 60
# A pilot's learning rate, as a fraction of what is stable at the start and of what would be at the end of a linear net.
PILOT_FRACTION = 0.25
PILOT_SEED = 1000
# A twin whose own path is closer to the straight line than this says nothing about a network that follows it.
LEAST_DEPARTURE = 0.05


@dataclass(frozen=True)
class Beside:
    """The paths of a network and its twin, T x C x D, neither of which diverged."""

    modes: Modes
    maps: np.ndarray
    twin_maps: np.ndarray


@dataclass(frozen=True)
class Pair:
    """A network and its twin, ready to train. ``twin`` is None where only the network is trained."""

    net: nn.Module
    twin: nn.Module | None
    twin_factor: float


def run(settings, seeds: Sequence[int], images: Images, compute) -> Runs:
    """Train a rung's networks and twins, and score them.

    Args:
        settings: `Rung` of study.py.
        compute: `Compute` of the studies' schema.py; ``device`` is that of the training: data and networks are made,
            and weights are scored, on the CPU.

    Returns:
        rows, the scores: one per system (net, twin), seed and quantity; curves, one row per system, seed and reading.

    Raises:
        ValueError: for a network without a linear twin, a twin that diverges, too many modes, or labels without
        classes.
    """
    results: list[Result] = []
    curves: list[pd.DataFrame] = []
    beside: dict[int, Beside] = {}
    dtype = getattr(torch, compute.dtype)
    data = settings.data
    shared = data.name == "images" and not data.rotate and not data.draw and data.labels != "random"
    shared = shared and settings.basis != "kernel" and not settings.linearized
    # Runs that share their data are one stack.
    for group in [list(seeds)] if shared else [[seed] for seed in seeds]:
        group_results, group_curves, group_beside = _group(settings, images, group, dtype, compute.device)
        results += group_results
        curves += group_curves
        beside |= group_beside
    for system, seed, scores in results:
        if system == "net" and seed in beside:
            following = seeds[(list(seeds).index(seed) + 1) % len(seeds)]
            scores |= _tracking(beside[seed], beside.get(following) if following != seed else None)
    together = pd.concat(curves, ignore_index=True)
    numbers = {name: "float32" for name in together if name != "system"}
    return Runs(rows=tabulate(results), curves=together.astype(numbers), facts={})


def _group(
    settings, images: Images, seeds: list[int], dtype: torch.dtype, device: str
) -> tuple[list[Result], list[pd.DataFrame], dict[int, Beside]]:
    data = settings.data
    if data.name == "planted":
        setting = planted(data, seeds[0], dtype)
    else:
        setting = from_images(data, images, seeds[0], settings.loss, dtype)
    if settings.basis == "quadratic":
        setting = bases.quadratic(setting, data.merge)
    pairs = [_pair(settings, setting, seed) for seed in seeds]
    if settings.basis == "kernel":
        setting = bases.kernel(setting, pairs[0].net, data.components, data.merge)
    there = setting.to(device)
    optimizer, twin_optimizer = _optimizers(settings, setting, there, pairs)
    options = {
        "steps": settings.steps,
        "seeds": seeds,
        "batch_size": settings.batch_size,
        "centred": settings.centred,
    }
    nets = [pair.net for pair in pairs]
    curvature = not settings.linearized
    net_path = follow(nets, there, optimizers.named(**optimizer), curvature=curvature, **options)
    paths = {"net": (nets, net_path, optimizer)}
    if pairs[0].twin is not None:
        twins = [pair.twin for pair in pairs]
        twin_path = follow(twins, there, optimizers.named(**twin_optimizer), **options)
        if len(twin_path.diverged) == len(seeds):
            raise ValueError(f"the twin diverges at lr {twin_optimizer['lr']:.3g}: give the rung a smaller one")
        paths["twin"] = (twins, twin_path, twin_optimizer)

    results: list[Result] = []
    curves: list[pd.DataFrame] = []
    beside: dict[int, Beside] = {}
    for system, (modules, path, used) in paths.items():
        for r, seed in enumerate(seeds):
            scores = _scores(setting, modules[r], path, r, used, settings)
            if system == "net" and "twin" in paths:
                twin_path = paths["twin"][1]
                scores |= _against_twin(setting.modes, path, twin_path, r)
                if r not in {*path.diverged, *twin_path.diverged}:
                    beside[seed] = Beside(setting.modes, path.maps_RxTxCxD[r], twin_path.maps_RxTxCxD[r])
            results.append((system, seed, {name: value for name, value in scores.items() if np.isfinite(value)}))
            curves.append(_curve(setting.modes, path, r, used["lr"]).assign(system=system, seed=seed))
    return results, curves, beside


def _pair(settings, setting: Setting, seed: int) -> Pair:
    torch.manual_seed(seed)
    outputs = len(setting.modes.target_CxD)
    shape = tuple(setting.inputs.shape[1:])
    net = architectures.build(input_shape=shape, outputs=outputs, **settings.architecture).to(setting.inputs.dtype)
    if settings.init is not None:
        wanted = settings.init * top_singular_value(setting)
        net = networks.scaled(net, networks.scale_to(net, lambda m: strength(setting, m), wanted))
    if not settings.twin:
        return Pair(networks.Linearized(net) if settings.linearized else net, None, 1.0)
    twin = networks.linear_twin(net, shape)
    factor = networks.scale_to(twin, lambda m: strength(setting, m), strength(setting, net))
    return Pair(net, networks.scaled(twin, factor), factor)


def start_map(setting: Setting, module: nn.Module) -> np.ndarray:
    """The linear part of a network's own outputs, before any centring: C x D."""
    dtype = next(module.parameters()).dtype
    with torch.no_grad():
        return setting.maps(module(setting.inputs.to(dtype))[None])[0].double().cpu().numpy()


def strength(setting: Setting, module: nn.Module) -> float:
    """u0, the end-to-end scale: the root mean square of the singular values of the outputs' linear part."""
    maps_CxD = start_map(setting, module)
    return float(np.linalg.norm(maps_CxD) / min(maps_CxD.shape) ** 0.5)


def top_singular_value(setting: Setting) -> float:
    """s_1, without merging."""
    return float(np.linalg.norm(setting.modes.target_CxD, 2))


def _optimizers(settings, setting: Setting, there: Setting, pairs: list[Pair]) -> tuple[dict, dict]:
    """The optimizers of network and twin. Both use the same learning rate; with ``follows_scale`` the twin's is
    multiplied by its weight-scale factor.

    Args:
        there: the setting on the device.
    """
    given = {**settings.optimizer}
    if settings.edge is None:
        scale = pairs[0].twin_factor if settings.follows_scale else 1.0
        return given, {**given, "lr": given["lr"] * scale}
    pilot = _pair(settings, setting, PILOT_SEED)
    sharpest = max(_pilot(settings, there, module) for module in (pilot.net, pilot.twin) if module is not None)
    lr = settings.edge * 2 / sharpest * (1 - given.get("momentum", 0.0))
    return {**given, "lr": lr}, {**given, "lr": lr}


def _pilot(settings, setting: Setting, module: nn.Module) -> float:
    """The largest sharpness along a run of plain gradient descent, restarted with a smaller step while it diverges."""
    problem = build_problem([module], setting, settings.centred)
    at_start, _ = top_eigenpairs(problem.at(problem.initial_RxP(), curvature=True), None, 1, EIGEN_TOLERANCE)
    sharpness = max(float(at_start.eigenvalues_RxK[0, 0]), 2 * top_singular_value(setting))
    for _ in range(6):
        optimizer = sgd(lr=PILOT_FRACTION * 2 / sharpness)
        path = follow([module], setting, optimizer, steps=settings.steps, seeds=[PILOT_SEED], centred=settings.centred)
        if not path.diverged:
            return max(float(path.sharpness_R[0]), sharpness if len(path.snapshots[0]) < 2 else 0.0)
        sharpness *= 4
    raise ValueError("no learning rate was found at which gradient descent does not diverge")


def _scores(setting: Setting, module: nn.Module, path: Path, r: int, optimizer: dict, settings) -> dict[str, float]:
    """All scores of one run; undefined ones are nan."""
    modes, lr = setting.modes, optimizer["lr"]
    if r in path.diverged:
        return {"diverged": 1.0, "learning_rate": lr}
    maps, losses = path.maps_RxTxCxD[r], path.losses_RxT[r]
    phi = observables.progress(maps, modes.target_CxD)
    amplitudes = modes.amplitudes(maps)
    halves = observables.half_times(path.steps_T.astype(float), amplitudes, modes.s_K)
    counted = observables.clocked(phi)
    end = min(int(counted.sum()), len(phi) - 1)
    visible = np.square(maps[[0, end]] - modes.target_CxD).sum((1, 2)) / 2 @ [1, -1]
    growth = observables.growth_exponents(path.steps_T * lr, amplitudes, modes.s_K)
    scores = {
        "diverged": 0.0,
        "censored": float(phi.max() < CLOCK_END),
        "largest_phi": phi.max(),
        "steps": float(path.steps_T[-1]),
        "learning_rate": lr,
        "modes": float(len(modes.s_K)),
        "noise_floor": setting.noise_floor,
        "init": strength(setting, module) / top_singular_value(setting),
        "waypoint_score": observables.waypoint_score(maps, modes),
        "sequentiality": observables.sequentiality(maps, modes),
        "concurrency": observables.concurrency(maps, modes),
        "null_concurrency": observables.null_concurrency(modes, maps[0]),
        "shifted_concurrency": observables.shifted_concurrency(amplitudes[counted]),
        "timing_slope": observables.timing_slope(halves, modes.s_K),
        "timing_order": observables.timing_order(halves, modes.s_K)[0],
        "growth_exponent": float(np.nanmean(growth)) if np.isfinite(growth).any() else np.nan,
        # Under cross-entropy the two losses have no common unit.
        "visible_share": visible / (losses[0] - losses[end]) if setting.loss == "mse" else np.nan,
        "loss_fall": 1 - losses[end] / losses[0],
        "departure": predictions.bend(maps, modes, CLOCK_END),
        "edge_share": lr * path.sharpness_R[r] / 2,
    }
    scores |= {f"strength_{k}": strength_k for k, strength_k in enumerate(modes.s_K, start=1)}
    shares_K = np.square(modes.parts_KxCxD).sum((1, 2)) / np.square(modes.target_CxD).sum()
    scores |= {f"share_{k}": share for k, share in enumerate(shares_K, start=1)}
    scores |= {f"half_time_{k}": time for k, time in enumerate(halves, start=1)}
    if len(halves) >= 3:
        scores["log_time_ratio_31"] = np.log(halves[2] / halves[0])
    scores |= _closed_form_scores(setting, module, path, r, settings, lr)
    if not settings.linearized:
        scores["init_mup"] = strength(setting, networks.mup(module, PILOT_SEED)) / top_singular_value(setting)
        scores |= _weight_scores(setting, module, path.snapshots[r], settings.centred)
    return scores


def _closed_form_scores(
    setting: Setting, module: nn.Module, path: Path, r: int, settings, lr: float
) -> dict[str, float]:
    """Scores of a deep linear network as independent mode dynamics (D1, D3) predict them, once a mode has aligned.

    Each singular mode of the target starts where it is when it has grown to a fiftieth of its strength, or where it
    starts if that is larger. What obeys the equation is the network's own map: where outputs are centred, its start is
    added to map and target, and taken away from what is predicted.
    """
    depth, modes = settings.depth, setting.modes
    if depth is None:
        return {}
    left, s, right = np.linalg.svd(modes.target_CxD, full_matrices=False)
    kept = s > 1e-6 * s[0]
    left, s, right = left[:, kept], s[kept], right[kept]
    starts_K = np.zeros(len(s))
    if settings.centred:
        starts_K = np.einsum("ck,cd,kd->k", left, start_map(setting, module), right)
    amplitudes = np.einsum("ck,tcd,kd->tk", left, path.maps_RxTxCxD[r], right) + starts_K
    times = path.steps_T * lr
    # A mode whose start outweighs its strength does not grow.
    grown = np.repeat(amplitudes[:1], len(times), axis=0)
    for k, (a_T, goal) in enumerate(zip(amplitudes.T, s + starts_K)):
        if goal <= 0:
            continue
        first = int(np.argmax(a_T >= goal / 50)) if (a_T >= goal / 50).any() else len(times) - 1
        start = max(a_T[first], 1e-9)
        ahead = observables.followed(depth, times[first:] - times[first], np.array([start]), np.array([goal]))
        grown[first:, k] = ahead[:, 0]
        # Before it has aligned the mode is small, and stays where it was measured.
        grown[:first, k] = np.minimum(a_T[:first], start)
    maps = np.einsum("ck,tk,kd->tcd", left, grown - starts_K, right)
    return {
        "predicted_waypoint_score": observables.waypoint_score(maps, modes),
        "predicted_concurrency": observables.concurrency(maps, modes),
    }


def _weight_scores(setting: Setting, module: nn.Module, taken: list[Snapshot], centred: bool) -> dict[str, float]:
    modes, start, end = setting.modes, taken[0], taken[-1]
    count = int(modes.sizes_K.sum())
    first, last = (weights.layers(module, snapshot.params_P) for snapshot in (start, end))
    scores: dict[str, float] = {}
    scores["alignment"], scores["alignment_chance"] = weights.alignment(last, count)
    scores["alignment_over_chance"] = scores["alignment"] / scores["alignment_chance"]
    scores["imbalance_diagonal"], scores["imbalance_rest"] = weights.imbalance(first, last)
    outputs = call(module, start.params_P, setting.inputs)
    at_start = setting.residuals(torch.zeros_like(outputs) if centred else outputs)
    gradients = weights.frozen_update(module, start.params_P, setting.inputs, at_start)
    scores["subspace_energy"], scores["subspace_chance"] = weights.subspace_energy(
        first, gradients, last, len(modes.target_CxD)
    )
    for mark, snapshot in zip(MARKS, taken[1:]):
        null = weights.frozen_update(module, start.params_P, setting.inputs, snapshot.residuals_NxC)
        updates = [b - a for a, b in zip(first, weights.layers(module, snapshot.params_P))]
        scores[f"update_rank_{mark:.0%}"] = float(np.mean([stable_rank(update) for update in updates]))
        scores[f"update_rank_null_{mark:.0%}"] = float(np.mean([stable_rank(update) for update in null]))
    if len(taken) > 2:
        scores["layer_gap"] = weights.gap(weights.layers(module, taken[2].params_P))
        early, late = (weights.kernel(module, snapshot.params_P, setting.inputs) for snapshot in (taken[1], end))
        scores["kernel_cosine"] = weights.cosine(early, late)
    return scores


def _against_twin(modes: Modes, path: Path, twin: Path, r: int) -> dict[str, float]:
    if r in path.diverged or r in twin.diverged:
        return {}
    maps, twin_maps = path.maps_RxTxCxD[r], twin.maps_RxTxCxD[r]
    times = [
        observables.half_times(p.steps_T.astype(float), modes.amplitudes(m), modes.s_K)
        for p, m in ((path, maps), (twin, twin_maps))
    ]
    ratios = np.log(times[0] / times[1])
    ratios = ratios[np.isfinite(ratios)]
    return {
        "time_factor": float(np.exp(ratios.mean())) if len(ratios) else np.nan,
        "time_spread": float(ratios.std()) if len(ratios) > 1 else np.nan,
    }


def _tracking(mine: Beside, other: Beside | None) -> dict[str, float]:
    """P5, and its second null: the same against the twin of another seed, which has the recipe and not the start.

    The straight line that both are measured against starts where the network starts.
    """
    scores = {}
    for name, twin in (("tracking", mine), ("tracking_other", other)):
        # Planted and permuted labels are drawn by the seed: another seed's twin learns another target.
        if twin is None or not np.allclose(twin.modes.target_CxD, mine.modes.target_CxD):
            continue
        if predictions.bend(twin.twin_maps, mine.modes, CLOCK_END) >= LEAST_DEPARTURE:
            scores[name] = predictions.path_agreement(mine.maps, twin.twin_maps, mine.modes, CLOCK_END)
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def _curve(modes: Modes, path: Path, r: int, lr: float) -> pd.DataFrame:
    """A run at readings evenly spaced along the clock and in time."""
    maps = path.maps_RxTxCxD[r]
    phi = np.maximum.accumulate(observables.progress(maps, modes.target_CxD))
    half = CURVE_POINTS // 2
    by_clock = np.searchsorted(phi, np.linspace(0, phi[-1], half))
    in_time = np.linspace(0, len(phi) - 1, CURVE_POINTS - half).astype(int)
    chosen = np.unique(np.clip(np.concatenate([by_clock, in_time]), 0, len(phi) - 1))
    amplitudes = modes.amplitudes(maps)[chosen] / modes.s_K
    line = maps[0] + (1 - np.sqrt(1 - np.clip(phi[chosen], 0, 1)))[:, None, None] * (modes.target_CxD - maps[0])
    table = pd.DataFrame(
        {
            "step": path.steps_T[chosen],
            "time": path.steps_T[chosen] * lr,
            "phi": phi[chosen],
            "loss": path.losses_RxT[r][chosen],
            "rank": _ranks(maps[chosen], modes),
            "null_rank": _ranks(line, modes),
        }
    )
    for k, share in enumerate(amplitudes.T, start=1):
        table[f"amplitude_{k}"] = share
    return table


def _ranks(path_TxCxD: np.ndarray, modes: Modes) -> np.ndarray:
    """The effective rank along a path; where it starts from nothing but rounding, that of its first step."""
    ranks_T = observables.participation(path_TxCxD)
    if len(ranks_T) > 1 and np.linalg.norm(path_TxCxD[0]) < 1e-7 * np.linalg.norm(modes.target_CxD):
        ranks_T[0] = ranks_T[1]
    return ranks_T
