"""One row per training run, from its history: the columns of a study's long table and of its W&B summaries."""

import numpy as np
import pandas as pd

from benchmarks.theory import stability

# Every column of a run's row: (unit, what it is), in the table's order. The late phase is the second half of the run.
COLUMNS: dict[str, tuple[str, str]] = {
    "study": ("", "the study"),
    "configuration": ("", "its name in params.yaml"),
    "fidelity": ("", "paper-protocol: of its paper's size and protocol; scaled: smaller"),
    "seed": ("", "seed of the initialization and of the minibatches"),
    "architecture": ("", "entry of benchmarks/lab/architectures"),
    "loss_function": ("", "entry of benchmarks/lab/losses.py"),
    "optimizer": ("", "the library's implementation"),
    "learning_rate": ("parameter^2/loss", "step size of the optimizer; other units if it normalizes its step"),
    "images": ("images", "training examples"),
    "batch_size": ("images", "examples per step; empty for all"),
    "parameters": ("", "number of trained parameters"),
    "steps": ("steps", "updates made before the end, or before the run diverged"),
    "diverged": ("", "1 if the run diverged, else 0"),
    "first_loss": ("loss", "training loss at initialization"),
    "last_loss": ("loss", "training loss at the last recorded step"),
    "loss_fall": ("fraction", "decrease of the loss over the run, relative to the first loss"),
    "last_train_accuracy": ("fraction", "training accuracy at the last reading"),
    "stability_threshold": (
        "loss/parameter^2",
        "largest stable curvature of the optimizer on a quadratic; preconditioned curvature if it preconditions",
    ),
    "first_sharpness": ("loss/parameter^2", "top Hessian eigenvalue at initialization"),
    "lowest_sharpness": ("loss/parameter^2", "smallest reading along the run"),
    "highest_sharpness": ("loss/parameter^2", "largest reading along the run"),
    "last_sharpness": ("loss/parameter^2", "last reading"),
    "sharpening": ("fraction", "largest reading over the smallest reading before it"),
    "sharpness_drop": ("fraction", "decrease from the largest reading to the end, relative to the largest"),
    "late_sharpness": ("loss/parameter^2", "median reading over the second half of the run"),
    "late_sharpness_ratio": (
        "thresholds",
        r"late sharpness over the stability threshold ($\mathrm{lr}\,S / 2$ for gradient descent)",
    ),
    "late_sharpness_settled": (
        "fraction",
        "ratio of the smaller to the larger of the median readings in the third and the last quarter",
    ),
    "late_preconditioned_ratio": ("thresholds", "late median of the preconditioned sharpness over the threshold"),
    "late_preconditioned_settled": ("fraction", "as late_sharpness_settled, of the preconditioned sharpness"),
    "late_sam_ratio": ("thresholds", "late median of the sharpness over the SAM edge of its own gradient norm"),
    "late_batch_sharpness_ratio": (
        "thresholds",
        r"late median of $\mathbb{E}[g^\top H g] / \mathbb{E}[g^\top g]$ over minibatches, over the threshold",
    ),
    "late_batch_mean_ratio": (
        "thresholds",
        r"the same with the mean of the ratios, $\mathbb{E}[g^\top H g / g^\top g]$",
    ),
    "edge_step": (
        "steps",
        "first reading at or above the threshold after a reading below it (of the sharpness relevant to the optimizer)",
    ),
    "edge_fraction": ("fraction", "fraction of the planned steps that remained at that reading"),
    "late_loss_increases": ("fraction", "fraction of the steps in the second half that raised the loss"),
    "descent_violations": (
        "fraction",
        r"fraction of sampled steps that raised the loss although the sharpness along them was below $2/\mathrm{lr}$",
    ),
    "largest_step_excess": ("fraction", "largest curvature of a sampled step over the sharpness along it, minus 1"),
    "entry_time_ratio": (
        "fraction",
        "time of entry into the edge over the time at which gradient flow has that sharpness",
    ),
    "departure": ("fraction", "distance from gradient flow at the end over that where the flow crosses the threshold"),
    "rising_fraction": (
        "fraction",
        r"fraction of the readings before the edge at which $\langle -\nabla L, \nabla S \rangle$ is positive",
    ),
    "variance_ratio": ("fraction", "late mean square oscillation over the late mean of its prediction"),
    "single_mode_gap": ("fraction", "how far below the threshold the second eigenvalue stays in the late phase"),
    "central_distance_ratio": ("fraction", "distance from the central flow over that from gradient flow, at the end"),
    "central_loss_ratio": ("fraction", "late mean loss over the late mean of the central flow's prediction of it"),
    "central_loss_rises": ("fraction", "fraction of the readings at which the loss along the central flow had risen"),
    "central_variance_ratio": ("fraction", "late mean square oscillation over the central flow's late mean variance"),
    "hvps_per_reading": ("products", "Hessian-vector products per warm sharpness reading; mean, without the first"),
    "largest_cold_gap": ("fraction", "largest relative difference between the warm and the cold solver at one point"),
    "largest_error_estimate": ("fraction", "largest estimated relative error of a sharpness reading"),
}

METRICS = [name for name in COLUMNS if COLUMNS[name][0] and name not in ("learning_rate", "images", "batch_size")] + [
    "diverged"
]


def run_rows(history: pd.DataFrame, record: dict) -> pd.DataFrame:
    """The rows of one stage's runs.

    Args:
        history: columns seed, step, metric, value (`benchmarks.lab.history`).
        record: what lies beside it in ``run.json``: study, name, seeds, settings, facts.
    """
    settings, facts = record["settings"], record["facts"]
    rows = []
    for seed in record["seeds"]:
        of_seed = history[history["seed"] == seed]
        series = {metric: group.set_index("step")["value"] for metric, group in of_seed.groupby("metric")}
        row = {
            "study": record["study"],
            "configuration": record["name"],
            "fidelity": settings.get("fidelity", "scaled"),
            "seed": seed,
            "architecture": settings["architecture"]["name"],
            "loss_function": settings["loss"],
            "optimizer": facts["optimizer"],
            "learning_rate": settings["optimizer"]["lr"],
            "images": settings["images"],
            "batch_size": settings["batch_size"],
            "parameters": facts["parameters"],
            "steps": facts["diverged"].get(str(seed), settings["steps"]),
            "diverged": int(str(seed) in facts["diverged"]),
            "stability_threshold": facts["stability_threshold"],
        }
        row |= _loss_columns(series, settings["steps"]) | _sharpness_columns(series)
        if not row["diverged"]:  # a run that left has no late phase
            row |= _late_columns(series, settings, facts["stability_threshold"])
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _loss_columns(series: dict[str, pd.Series], steps: int) -> dict:
    loss = series["loss"]
    changes = _late(series.get("loss"), steps).diff().dropna() if "batch_loss" not in series else pd.Series(dtype=float)
    accuracy = series.get("train_accuracy")
    return {
        "first_loss": loss.iloc[0],
        "last_loss": loss.iloc[-1],
        "loss_fall": 1 - loss.iloc[-1] / loss.iloc[0],
        "last_train_accuracy": np.nan if accuracy is None else accuracy.iloc[-1],
        "late_loss_increases": (changes > 0).mean() if len(changes) else np.nan,
    }


def _sharpness_columns(series: dict[str, pd.Series]) -> dict:
    sharpness = series.get("sharpness")
    if sharpness is None:
        return {}
    warm = series["sharpness_hvps"].iloc[1:]
    cold = series.get("sharpness_cold")
    peak = int(sharpness.to_numpy().argmax())
    return {
        "first_sharpness": sharpness.iloc[0],
        "lowest_sharpness": sharpness.min(),
        "highest_sharpness": sharpness.max(),
        "last_sharpness": sharpness.iloc[-1],
        "sharpening": sharpness.max() / sharpness.iloc[: peak + 1].min(),
        "sharpness_drop": 1 - sharpness.iloc[-1] / sharpness.max(),
        "hvps_per_reading": warm.mean() if len(warm) else np.nan,
        "largest_cold_gap": np.nan if cold is None else (cold / series["sharpness_warm"] - 1).abs().max(),
        "largest_error_estimate": series["sharpness_error"].max(),
    }


def _late_columns(series: dict[str, pd.Series], settings: dict, threshold: float | None) -> dict:
    """What a run that went to its end says of its second half, of the edge, and of what it is compared with."""
    steps = settings["steps"]
    sharpness = series.get("sharpness")
    if sharpness is None:
        return {}
    columns = {
        "late_sharpness": _late(sharpness, steps).median(),
        "late_sharpness_settled": _settled(sharpness, steps),
    }
    met = sharpness  # in units of the threshold that the optimizer meets
    if settings["optimizer"]["name"] == "sam":
        rho, lr = settings["optimizer"]["rho"], settings["optimizer"]["lr"]
        met = sharpness / stability.sam_edge(lr, rho, series["gradient_norm"].loc[sharpness.index])
        columns["late_sam_ratio"] = _late(met, steps).median()
        columns["late_sharpness_ratio"] = columns["late_sharpness"] / stability.gradient_descent(lr)
    elif threshold is None:
        return columns
    else:
        met = series.get("preconditioned_sharpness", sharpness) / threshold
        columns["late_sharpness_ratio"] = columns["late_sharpness"] / threshold
    if "preconditioned_sharpness" in series:
        columns["late_preconditioned_ratio"] = _late(met, steps).median()
        columns["late_preconditioned_settled"] = _settled(met, steps)
    edge = _edge_step(met)
    if edge is not None:
        columns["edge_step"] = edge
        columns["edge_fraction"] = 1 - edge / steps
    if "batch_sharpness" in series:
        columns["late_batch_sharpness_ratio"] = _late(series["batch_sharpness"], steps).median() / threshold
        columns["late_batch_mean_ratio"] = _late(series["batch_sharpness_mean_ratio"], steps).median() / threshold
    if "segment_sharpness" in series:
        columns |= _descent_columns(series, threshold)
    if "flow_sharpness" in series:
        columns |= _flow_columns(series, threshold)
    if "sharpness_pull" in series:
        columns |= _stabilization_columns(series, steps, threshold, edge)
    if "central_loss" in series:
        columns |= _central_columns(series, steps)
    return columns


def _descent_columns(series: dict[str, pd.Series], threshold: float) -> dict:
    rise, sharpness = series["segment_rise"], series["segment_sharpness"]
    # A rise below a millionth of the loss is rounding.
    rose = rise > 1e-6 * series["loss"].loc[rise.index].abs()
    return {
        "descent_violations": (rose & (sharpness < threshold)).mean(),
        "largest_step_excess": (series["segment_curvature"] / sharpness - 1).max(),
    }


def _flow_columns(series: dict[str, pd.Series], threshold: float) -> dict:
    flow, distance = series["flow_sharpness"], series["flow_distance"]
    run_entry, flow_entry = _crossing(series["sharpness"], threshold), _crossing(flow, threshold)
    if run_entry is None or flow_entry is None:
        return {}
    at_entry = np.interp(flow_entry, distance.index, distance)
    return {"entry_time_ratio": run_entry / flow_entry, "departure": distance.iloc[-1] / at_entry}


def _stabilization_columns(series: dict[str, pd.Series], steps: int, threshold: float, edge: int | None) -> dict:
    pull = series["sharpness_pull"]
    before = pull[pull.index < (steps if edge is None else edge)]
    columns = {
        "rising_fraction": (before > 0).mean() if len(before) else np.nan,
        "single_mode_gap": 1 - _late(series["midpoint_sharpness_2"], steps).max() / threshold,
    }
    if "predicted_variance" in series:  # a constant Hessian predicts none
        columns["variance_ratio"] = _late_square(series, steps) / _late(series["predicted_variance"], steps).mean()
    return columns


def _central_columns(series: dict[str, pd.Series], steps: int) -> dict:
    loss = series["central_loss"]
    columns = {
        "central_loss_ratio": _late(series["loss"], steps).mean()
        / _late(series["central_predicted_loss"], steps).mean(),
        # Beyond what an Euler step and float32 leave.
        "central_loss_rises": (loss.diff().dropna() > 1e-6 * abs(loss.iloc[0])).mean(),
    }
    variance = _late(series["central_variance"], steps).mean()
    if variance > 0:
        columns["central_variance_ratio"] = _late_square(series, steps) / variance
    if "flow_distance" in series:
        columns["central_distance_ratio"] = series["central_distance"].iloc[-1] / series["flow_distance"].iloc[-1]
    return columns


def _late(values: pd.Series, steps: int) -> pd.Series:
    return values[values.index >= steps / 2]


def _settled(values: pd.Series, steps: int) -> float:
    late = _late(values, steps)
    quarters = late[late.index < 0.75 * steps].median(), late[late.index >= 0.75 * steps].median()
    return min(quarters) / max(quarters)


def _late_square(series: dict[str, pd.Series], steps: int) -> float:
    return _late(series["oscillation"], steps).pow(2).mean()


def _from_below(values: pd.Series) -> pd.Series:
    """The readings from the first below one on; empty if there is none."""
    below = values < 1
    return values.loc[below.idxmax() :] if below.any() else values.iloc[:0]


def _edge_step(met: pd.Series) -> int | None:
    """The first reading at or above one after one below it; None if the run never came up from below."""
    above = _from_below(met) >= 1
    return int(above.idxmax()) if above.any() else None


def _crossing(values: pd.Series, threshold: float) -> float | None:
    """The step, interpolated between readings, at which values first come up to the threshold from below."""
    ratio = values / threshold
    edge = _edge_step(ratio)
    if edge is None:
        return None
    place = ratio.index.get_loc(edge)
    (x0, x1), (y0, y1) = ratio.index[place - 1 : place + 1], ratio.iloc[place - 1 : place + 1]
    return float(x0 + (1 - y0) / (y1 - y0) * (x1 - x0))
