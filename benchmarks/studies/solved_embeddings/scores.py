"""The scores of a system of this study, by the names that ``carry_over/scores`` has for them."""

from dataclasses import dataclass, field

import numpy as np

from benchmarks.theory import modes as observables
from benchmarks.theory import predictions
from benchmarks.theory.modes import CLOCK_END, Modes


@dataclass
class Path:
    """What was read of one training, reading by reading.

    Attributes:
        steps: updates made.
        maps: K x K, whose diagonal on the modes' own basis holds their amplitudes.
        ranks: effective rank of the change of the weights, mean over matrices.
        losses: of the pairs or views on which maps are read.
    """

    steps: list[float] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def read(self, step: float, map_KxK: np.ndarray, rank: float = np.nan, loss: float = np.nan) -> None:
        self.steps.append(step)
        self.maps.append(map_KxK)
        self.ranks.append(rank)
        self.losses.append(loss)

    @property
    def steps_T(self) -> np.ndarray:
        return np.array(self.steps, float)

    @property
    def maps_TxKxK(self) -> np.ndarray:
        return np.stack(self.maps)

    def half_times(self, modes: Modes) -> np.ndarray:
        return predictions.half_times(self.steps_T, modes.amplitudes(self.maps_TxKxK), modes.s_K)


def scores(path: Path, modes: Modes, twin: Path | None = None) -> dict[str, float]:
    """What is asked of one path; a quantity that is undefined is left out.

    Args:
        twin: the path of the linear model from the same start on the same pairs.
    """
    amplitudes = modes.amplitudes(path.maps_TxKxK)
    halves_K = path.half_times(modes)
    phi_T = observables.progress(path.maps_TxKxK, modes.target_CxD)
    found = {
        "diverged": float(not np.isfinite(amplitudes).all()),
        "steps": path.steps[-1],
        "modes": float(len(modes.s_K)),
        "largest_phi": float(phi_T.max()),
        "passed_half": float(np.isfinite(halves_K).sum()),
        "passed_share": float(np.isfinite(halves_K).mean()),
        "active_modes": predictions.active_modes(amplitudes),
        "active_modes_straight": predictions.straight_active_modes(amplitudes[0], modes.s_K),
        "rank_growth": predictions.growth(np.array(path.ranks)),
        "rank_last": path.ranks[-1],
        "loss_fall": 1 - path.losses[-1] / path.losses[0],
    }
    if np.isfinite(halves_K).all():
        found |= {
            "timing_slope": observables.timing_slope(halves_K, modes.s_K),
            "timing_order": observables.timing_order(halves_K, modes.s_K)[0],
            "timing_spread": float(np.log(halves_K).std()),
        }
    found |= {f"half_time_{k}": half for k, half in enumerate(halves_K, start=1)}
    found |= {f"strength_{k}": s for k, s in enumerate(modes.s_K, start=1)}
    if twin is not None:
        found |= against(path, twin, modes)
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def against(path: Path, twin: Path, modes: Modes) -> dict[str, float]:
    """P5 and the law of times, with the linear model as what predicts them."""
    maps, other = path.maps_TxKxK, twin.maps_TxKxK
    end = min(CLOCK_END, *(float(observables.progress(m, modes.target_CxD).max()) for m in (maps, other)))
    law = predictions.law(path.half_times(modes), twin.half_times(modes))
    found = {"law": law.r2, "law_modes": float(law.modes), "time_ratio": law.ratio, "path_end": end}
    if end > 2 * predictions.PATH_START:
        found["path"] = predictions.path_agreement(maps, other, modes, end)
        found["twin_bend"] = predictions.bend(other, modes, end)
    return found


def foretold(halves_K: np.ndarray, closed_form_K: np.ndarray) -> dict[str, float]:
    """Half times by the closed form, in steps, and the largest distance of one from it as a fraction of it.

    The distance is left out if a mode never passes half.
    """
    error = float(np.abs(halves_K / closed_form_K - 1).max())
    times = {f"closed_form_{k}": float(time) for k, time in enumerate(closed_form_K, start=1)}
    return times | ({"time_error": error} if np.isfinite(error) else {})
