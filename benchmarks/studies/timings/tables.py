"""What each optimizer's step costs, and the seconds that its steps to the target come to."""

from collections.abc import Mapping, Sequence

import pandas as pd

from benchmarks.evidence import comparison
from benchmarks.studies.declaration import Finished, Made


def tables(runs: Sequence[Finished], read: Mapping[str, pd.DataFrame], settings: dict) -> Made:
    """Seconds to the target, from steps and seconds per step."""
    costs = comparison.costs(read["optimizer_comparison"], read["timings/optimizer_steps"])
    return Made({"timings/optimizer_costs": costs})
