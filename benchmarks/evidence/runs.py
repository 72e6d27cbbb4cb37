"""One row per training run, from its history: the columns of a study's long table and of its W&B summaries."""

import numpy as np
import pandas as pd

# Every column of a run's row: (unit, what it is). The order is the table's.
COLUMNS: dict[str, tuple[str, str]] = {
    "study": ("", "the study"),
    "configuration": ("", "its name in params.yaml"),
    "seed": ("", "seed of the initialization"),
    "architecture": ("", "entry of benchmarks/lab/architectures"),
    "loss_function": ("", "entry of benchmarks/lab/losses.py"),
    "optimizer": ("", "the library's implementation"),
    "learning_rate": ("parameter^2/loss", "step size of the optimizer"),
    "images": ("images", "training examples, all in every step"),
    "parameters": ("", "number of trained parameters"),
    "steps": ("steps", "updates made before the end, or before the run diverged"),
    "diverged": ("", "1 if the loss left all bounds, else 0"),
    "first_loss": ("loss", "training loss at initialization"),
    "last_loss": ("loss", "training loss at the last recorded step"),
    "last_train_accuracy": ("fraction", "training accuracy at the last reading"),
    "stability_threshold": ("loss/parameter^2", "largest stable curvature of the optimizer on a quadratic"),
    "first_sharpness": ("loss/parameter^2", "top Hessian eigenvalue at initialization"),
    "lowest_sharpness": ("loss/parameter^2", "smallest reading along the run"),
    "highest_sharpness": ("loss/parameter^2", "largest reading along the run"),
    "late_sharpness": ("loss/parameter^2", "median reading over the second half of the run"),
    "late_sharpness_ratio": (
        "thresholds",
        "late sharpness over the stability threshold (lr S / 2 for gradient descent)",
    ),
    "edge_step": ("steps", "first reading at or above the threshold from which the run came from below"),
    "edge_fraction": ("fraction", "share of the planned steps that remained at that reading"),
    "late_loss_increases": ("fraction", "share of the steps of the second half that raised the loss"),
    "hvps_per_reading": ("products", "Hessian-vector products a warm sharpness reading took, mean after the first"),
    "largest_cold_gap": ("fraction", "largest relative difference between the warm and the cold solver at one point"),
    "largest_error_estimate": ("fraction", "largest estimated relative error of a sharpness reading"),
}

METRICS = [name for name in COLUMNS if COLUMNS[name][0] and name not in ("learning_rate", "images")] + ["diverged"]


def run_rows(history: pd.DataFrame, summary: dict) -> pd.DataFrame:
    """The rows of one stage's runs.

    Args:
        history: columns seed, step, metric, value (`benchmarks.lab.history`).
        summary: what the run stage wrote beside it: study, configuration, settings, facts, diverged.
    """
    settings, facts = summary["settings"], summary["facts"]
    rows = []
    for seed in summary["seeds"]:
        mine = history[history["seed"] == seed]
        series = {metric: group.set_index("step")["value"] for metric, group in mine.groupby("metric")}
        row = {
            "study": summary["study"],
            "configuration": summary["configuration"],
            "seed": seed,
            "architecture": settings["architecture"]["name"],
            "loss_function": settings["loss"],
            "optimizer": facts["optimizer"],
            "learning_rate": settings["optimizer"]["lr"],
            "images": settings["images"],
            "parameters": facts["parameters"],
            "steps": summary["diverged"].get(str(seed), settings["steps"]),
            "diverged": int(str(seed) in summary["diverged"]),
            "stability_threshold": facts["stability_threshold"],
        }
        row |= _loss_columns(series, settings["steps"])
        row |= _sharpness_columns(series, settings["steps"], facts["stability_threshold"], bool(row["diverged"]))
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _loss_columns(series: dict[str, pd.Series], steps: int) -> dict:
    loss = series["loss"]
    changes = loss[loss.index >= steps / 2].diff().dropna()
    accuracy = series.get("train_accuracy")
    return {
        "first_loss": loss.iloc[0],
        "last_loss": loss.iloc[-1],
        "last_train_accuracy": np.nan if accuracy is None else accuracy.iloc[-1],
        "late_loss_increases": (changes > 0).mean() if len(changes) else np.nan,
    }


def _sharpness_columns(series: dict[str, pd.Series], steps: int, threshold: float | None, diverged: bool) -> dict:
    sharpness = series.get("sharpness")
    if sharpness is None:
        return {}
    warm = series["sharpness_hvps"].iloc[1:]
    cold = series.get("sharpness_cold")
    columns = {
        "first_sharpness": sharpness.iloc[0],
        "lowest_sharpness": sharpness.min(),
        "highest_sharpness": sharpness.max(),
        "hvps_per_reading": warm.mean() if len(warm) else np.nan,
        "largest_cold_gap": np.nan if cold is None else (cold / series["sharpness_warm"] - 1).abs().max(),
        "largest_error_estimate": series["sharpness_error"].max(),
    }
    if diverged:
        return columns  # a run that left has no late phase
    columns["late_sharpness"] = sharpness[sharpness.index >= steps / 2].median()
    if threshold is not None:
        columns["late_sharpness_ratio"] = columns["late_sharpness"] / threshold
        edge = _edge_step(sharpness, threshold)
        if edge is not None:
            columns["edge_step"] = edge
            columns["edge_fraction"] = 1 - edge / steps
    return columns


def _edge_step(sharpness: pd.Series, threshold: float) -> int | None:
    """The first reading at or above the threshold after one below it; None if the run never came up from below."""
    above = sharpness >= threshold
    if above.all() or not above.any():
        return None
    from_below = above.loc[above.idxmin() :]
    return int(from_below.idxmax()) if from_below.any() else None
