"""Stage: the page that answers Open Question 4.1."""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.evidence.answer import FIGURES, render
from pipelines import parameters
from pipelines.files import write_text
from pipelines.stages import stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    checked = parameters.load()
    scores, table = (
        pd.read_csv(arguments.results / "tables" / f"{name}.csv")
        for name in ("low_rank_progression.long", "open_question_4_1")
    )
    svgs = {name: (arguments.results / "figures" / f"{name}.svg").read_text(encoding="utf-8") for name in FIGURES}
    write_text(arguments.out, render(scores, table, svgs, checked.profile, checked.data.source))


if __name__ == "__main__":
    main()
