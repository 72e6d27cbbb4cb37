"""Lazy training by width, kernel mode and output scale (N1 to N3, N5); implicit bias: alignment, margin (N6, N8)."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.drawing import INK, PALETTE, Tables, by_number, draw_curve, over_seeds, remark

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
    widths = tables["lazy_training/widths"]
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.8))
    _by_width(axes[0, 0], widths, "kernel_change", "|K_T − K₀| / |K₀|", "kernel movement")
    _by_width(axes[0, 1], widths, "relative_error", "sup |f − fˡⁱⁿ| / |fˡⁱⁿ|, test images", "linearization error")
    axes[0, 1].axhline(0.05, color=INK, lw=0.8, ls=":")
    axes[0, 0].legend(loc="lower left")
    _rates(axes[1, 0], widths)
    _by_scale(axes[1, 1], tables["lazy_training/output_scale"])
    return figure


def implicit_bias(tables: Tables) -> Figure:
    """The kernel's alignment with the targets and its path in time; growth and direction of separable regression."""
    alignment, margin = tables["lazy_training/alignment"], tables["lazy_training/max_margin"]
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.4))
    for panel, quantity in zip(axes[0], ("alignment", "movement")):
        for system, look in RUNS.items():
            _curve(panel, _along(alignment, system, quantity).query("step > 0"), *look)
        panel.set(xscale="log", xlabel="step")
    axes[0, 0].set(ylabel="kernel–target alignment", title="alignment", ylim=(0, None))
    axes[0, 0].legend(loc="upper left")
    axes[0, 1].set(ylabel="share of the kernel's path", title="when the kernel moves")
    last = _along(alignment, "standard", "movement")["step"].max()
    if last > 0:
        for step, text, height, va in (
            (last**0.1, "10 % of\nlog-time", 1.0, "top"),
            (0.1 * last, "10 % of\nsteps", 0.0, "bottom"),
        ):
            axes[0, 1].axvline(step, color=INK, lw=0.8, ls=":")
            remark(axes[0, 1], text, (step, height), (3, 0), va=va, fontsize="small")
    for system, look in DATA.items():
        _curve(axes[1, 0], _along(margin, system, "norm").query("step <= 60"), *look)
        _curve(axes[1, 1], _along(margin, system, "error"), *look)
    axes[1, 0].axline((0, 0), slope=1, color=INK, lw=1, ls="--", zorder=0)
    axes[1, 0].set(xlabel="ln t", ylabel="margin · |w|", title="growth", ylim=(0, None))
    axes[1, 0].legend(loc="upper left")
    axes[1, 1].set(xscale="log", yscale="log", xlabel="ln t", ylabel="|w/|w| − w*|", title="direction")
    _power(axes[1, 1], _along(margin, "images", "error"), -1.0)
    return figure


def _by_width(axes: Axes, table: pd.DataFrame, quantity: str, label: str, title: str) -> None:
    ends = []
    for system, look in NETWORKS.items():
        curve = over_seeds(by_number(table, "system", system, quantity=quantity))
        _curve(axes, curve, *look)
        if system != "mean-field" and len(curve):
            ends.append(curve[-4:])
    axes.set(xscale="log", yscale="log", xlabel="width", ylabel=label, title=title)
    axes.set_xscale("log", base=2)
    if ends:  # both exponents from one point below the curves
        widths = ends[0]["step"].to_numpy()
        start = 0.6 * min(curve["mean"].iloc[0] for curve in ends)
        for power in (-1.0, -0.5):
            _power(axes, pd.DataFrame({"step": widths, "mean": start * (widths[-1] / widths[0]) ** power}), power)


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
        curve = _along(table, "tanh", quantity)
        _curve(axes, curve, label, color, marker)
        _power(axes, curve, power)
    axes.set(yscale="log", xlabel="output scale α", ylabel="largest over the run", title="output scale")
    axes.set_xscale("log", base=2)
    axes.legend(loc="lower left")


def _along(table: pd.DataFrame, system: str, quantity: str) -> pd.DataFrame:
    return over_seeds(by_number(table, "quantity", quantity, system=system))


def _curve(axes: Axes, curve: pd.DataFrame, label: str, color, marker: str) -> None:
    if len(curve):
        draw_curve(axes, curve, color=color, alpha=0.2, lw=1, label=label, marker=marker, ms=3.5, mfc="white")


def _power(axes: Axes, curve: pd.DataFrame, power: float) -> None:
    """A dashed power law up to a curve's last point, with its exponent there."""
    if curve.empty:
        return
    x, end = curve["step"].to_numpy(), curve["mean"].iloc[-1]
    axes.plot(x, end * (x / x[-1]) ** power, color=INK, lw=0.8, ls="--", zorder=0)
    beyond = f"{power:g}".replace("-", "−")
    remark(axes, beyond, (x[-1], end), (5, 0), va="center", annotation_clip=False)
