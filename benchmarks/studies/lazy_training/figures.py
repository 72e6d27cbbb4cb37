"""Lazy training by width, kernel mode and output scale (N1 to N3, N5); implicit bias: alignment, margin (N6, N8)."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, Tables, empty

WIDTHS, SCALES = "lazy_training/widths", "lazy_training/output_scale"
ALIGNMENT, MARGIN = "lazy_training/alignment", "lazy_training/max_margin"
NETWORKS = {
    "tanh": ("tanh", PALETTE[0], "o"),
    "relu": ("ReLU", PALETTE[1], "s"),
    "mean-field": ("tanh, mean-field readout", PALETTE[2], "D"),
}
DISTANCES = {
    "distance": ("|w − w₀| (parameter)", PALETTE[0], "o", -1),
    "weight_discrepancy": ("|w − wˡⁱⁿ| (parameter)", PALETTE[3], "s", -2),
    "output_discrepancy": ("α |f − fˡⁱⁿ| (output)", PALETTE[4], "D", -1),
}
RUNS = {"standard": ("standard", PALETTE[0], "o"), "lazy": ("lazy", PALETTE[1], "s")}
DATA = {
    "gaussian": ("Gaussian", PALETTE[0], "o"),
    "images": ("images", PALETTE[1], "s"),
    "least-squares": ("Gaussian, squared loss", PALETTE[2], "D"),
}


def lazy_training(tables: Tables) -> Figure:
    """Kernel change and linearization error by width, rates of kernel modes, and the three laws of output scale."""
    widths, scales = tables.get(WIDTHS), tables.get(SCALES)
    if widths is None or scales is None:
        return empty("No run of claims N1 to N3 and N5.")
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.8), layout="constrained")
    _by_width(axes[0, 0], widths, "kernel_change", "|K_T − K₀| / |K₀|", "kernel movement")
    _by_width(axes[0, 1], widths, "relative_error", "sup |f − fˡⁱⁿ| / |fˡⁱⁿ|, test images", "linearization error")
    axes[0, 1].axhline(0.05, color=INK, lw=0.8, ls=":")
    axes[0, 0].legend(loc="lower left")
    _rates(axes[1, 0], widths)
    _by_scale(axes[1, 1], scales)
    return figure


def implicit_bias(tables: Tables) -> Figure:
    """The kernel's alignment with the targets and its path in time; growth and direction of separable regression."""
    alignment, margin = tables.get(ALIGNMENT), tables.get(MARGIN)
    if alignment is None or margin is None:
        return empty("No run of claims N6 and N8.")
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.4), layout="constrained")
    for panel, quantity in zip(axes[0], ("alignment", "movement")):
        for system, (label, color, marker) in RUNS.items():
            _curve(
                panel, _at(alignment, system, quantity), color=color, label=label, marker=marker, where=lambda x: x > 0
            )
        panel.set(xscale="log", xlabel="step")
    axes[0, 0].set(ylabel="kernel–target alignment", title="alignment", ylim=(0, None))
    axes[0, 0].legend(loc="upper left")
    axes[0, 1].set(ylabel="share of the kernel's path", title="when the kernel moves")
    steps = _at(alignment, "standard", "movement")["at"]
    if len(steps):
        last = steps.max()
        for step, text, height, va in (
            (last**0.1, "10 % of\nlog-time", 1.0, "top"),
            (0.1 * last, "10 % of\nsteps", 0.0, "bottom"),
        ):
            axes[0, 1].axvline(step, color=INK, lw=0.8, ls=":")
            axes[0, 1].annotate(
                text, (step, height), (3, 0), textcoords="offset points", va=va, color=INK, fontsize="small"
            )
    for system, (label, color, marker) in DATA.items():
        _curve(
            axes[1, 0], _at(margin, system, "norm"), color=color, label=label, marker=marker, where=lambda x: x <= 60
        )
        _curve(axes[1, 1], _at(margin, system, "error"), color=color, label=label, marker=marker)
    axes[1, 0].axline((0, 0), slope=1, color=INK, lw=1, ls="--", zorder=0)
    axes[1, 0].set(xlabel="ln t", ylabel="margin · |w|", title="growth", ylim=(0, None))
    axes[1, 0].legend(loc="upper left")
    axes[1, 1].set(xscale="log", yscale="log", xlabel="ln t", ylabel="|w/|w| − w*|", title="direction")
    errors = _at(margin, "images", "error").groupby("at")["value"].mean()
    if len(errors):
        _power(axes[1, 1], errors.index.to_numpy(float), float(errors.iloc[-1]), -1.0)
    return figure


def _by_width(axes: Axes, table: pd.DataFrame, quantity: str, label: str, title: str) -> None:
    rows = table[table["quantity"] == quantity]
    ends = []
    for system, (name, color, marker) in NETWORKS.items():
        mine = rows[rows["system"].str.fullmatch(rf"{system}-\d+")]
        mine = mine.assign(at=mine["system"].str.rsplit("-", n=1).str[-1].astype(int))
        _curve(axes, mine, color=color, label=name, marker=marker)
        if system != "mean-field" and len(mine):
            ends.append(mine.groupby("at")["value"].mean())
    axes.set(xscale="log", yscale="log", xlabel="width", ylabel=label, title=title)
    axes.set_xscale("log", base=2)
    if ends:  # both exponents from one point below the curves
        widths = ends[0].index.to_numpy(float)[-4:]
        start = 0.6 * min(float(curve.iloc[-len(widths)]) for curve in ends)
        for power in (-1.0, -0.5):
            _power(axes, widths, start * (widths[-1] / widths[0]) ** power, power)


def _rates(axes: Axes, table: pd.DataFrame) -> None:
    """The widest network in NTK parametrization and the narrowest with a mean-field readout."""
    low, high = np.inf, 0.0
    for system, pick in (("tanh", max), ("mean-field", min)):
        sizes = [int(s.rsplit("-", 1)[1]) for s in table["system"].unique() if s.startswith(f"{system}-")]
        if not sizes:
            continue
        mine = table[table["system"] == f"{system}-{pick(sizes)}"].set_index("quantity")["value"]
        measured, predicted = (
            mine[mine.index.str.startswith(f"{name}-")].to_numpy(float) for name in ("rate", "predicted_rate")
        )
        up = measured > 0
        name, color, marker = NETWORKS[system]
        axes.plot(
            predicted[up], measured[up], marker, ms=3, mfc="none", mec=color, label=f"{name}, width {pick(sizes)}"
        )
        low, high = min(low, predicted.min(initial=np.inf)), max(high, predicted.max(initial=0.0))
    if low < high:
        axes.plot([low, high], [low, high], color=INK, lw=1, ls="--", zorder=0)
    axes.set(xscale="log", yscale="log", title="rates of kernel modes")
    axes.set_xlabel("−ln |1 − lr λ/N| (1/step)")
    axes.set_ylabel("measured rate (1/step)")
    axes.legend(loc="lower right")


def _by_scale(axes: Axes, table: pd.DataFrame) -> None:
    for quantity, (label, color, marker, power) in DISTANCES.items():
        mine = _at(table, "tanh", quantity)
        _curve(axes, mine, color=color, label=label, marker=marker)
        means = mine.groupby("at")["value"].mean()
        if len(means):
            _power(axes, means.index.to_numpy(float), float(means.iloc[-1]), power)
    axes.set(yscale="log", xlabel="output scale α", ylabel="largest over the run", title="output scale")
    axes.set_xscale("log", base=2)
    axes.legend(loc="lower left")


def _at(table: pd.DataFrame, system: str, quantity: str) -> pd.DataFrame:
    """Rows of the quantities that are called by a name, a hyphen and a number, which becomes a column ``at``."""
    mine = table[(table["system"] == system) & table["quantity"].str.startswith(f"{quantity}-")]
    return mine.assign(at=mine["quantity"].str.removeprefix(f"{quantity}-").astype(float))


def _curve(
    axes: Axes,
    rows: pd.DataFrame,
    *,
    color,
    label: str,
    marker: str,
    where: Callable[[pd.Series], pd.Series] | None = None,
) -> None:
    """Mean and range over seeds of a column ``value`` by a column ``at``."""
    if where is not None:
        rows = rows[where(rows["at"])]
    if rows.empty:
        return
    grouped = rows.groupby("at")["value"]
    mean = grouped.mean()
    axes.plot(mean.index, mean, color=color, label=label, marker=marker, ms=3.5, mfc="white", lw=1)
    axes.fill_between(mean.index, grouped.min(), grouped.max(), color=color, alpha=0.2, lw=0)


def _power(axes: Axes, x: np.ndarray, end: float, power: float) -> None:
    """A dashed power law up to a last point, with its exponent there."""
    axes.plot(x, end * (x / x[-1]) ** power, color=INK, lw=0.8, ls="--", zorder=0)
    text = f"{power:g}".replace("-", "−")
    axes.annotate(text, (x[-1], end), (5, 0), textcoords="offset points", va="center", color=INK, annotation_clip=False)
