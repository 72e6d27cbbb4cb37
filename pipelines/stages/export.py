"""Stage: the tables as others cite them: LaTeX, number macros, and the README of the results with every data card."""

import argparse
import hashlib
from pathlib import Path

import pandas as pd

from benchmarks.evidence import agreement, citing, claims
from benchmarks.evidence.cards import CARDS
from pipelines import manifest, parameters
from pipelines.files import write_text
from pipelines.stages import stage

# table: the columns of its LaTeX export.
EXPORTED = {
    "stability_thresholds": ["optimizer", "implementation", "learning_rate", "stability_threshold"],
    "open_question_4_1": ["rung", "n", "waypoint_score", "sequentiality", "tracking", "verdict"],
    "optimizer_comparison": ["workload", "optimizer", "rank_best", "rank_worst", "objective", "steps_to_target"],
}


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=Path, required=True)
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    parser.add_argument("--latex", type=Path, required=True)
    parser.add_argument("--readme", type=Path, required=True)
    arguments = parser.parse_args()
    version, profile = manifest.version(), parameters.load().profile
    texts = {name: (arguments.tables / f"{name}.csv").read_text(encoding="utf-8") for name in CARDS}
    tables = {name: agreement.read(text) for name, text in texts.items()}
    verdicts = _verdicts(claims.load(arguments.claims), pd.read_csv(arguments.tables / "claims.csv"))

    write_text(arguments.latex / "numbers.tex", citing.macros(tables["claims"], version))
    caption = f"Verdicts on the registered claims (version {version})."
    write_text(arguments.latex / "verdicts.tex", citing.latex_table(verdicts, verdicts.columns, caption, "verdicts"))
    for name, columns in EXPORTED.items():
        caption = f"{CARDS[name].title} (version {version})."
        write_text(arguments.latex / f"{name}.tex", citing.latex_table(tables[name], columns, caption, name))

    cards = [
        citing.data_card(name, CARDS[name], len(tables[name]), hashlib.sha256(texts[name].encode()).hexdigest())
        for name in CARDS
    ]
    parts = [HEAD.format(version=version, profile=profile), citing.markdown_table(verdicts, verdicts.columns), TABLES]
    write_text(arguments.readme, "\n\n".join([*parts, *cards]) + "\n")


def _verdicts(register: dict[str, claims.Claim], checks: pd.DataFrame) -> pd.DataFrame:
    """A row a claim, as text."""
    rows = []
    for name, claim in register.items():
        mine = checks[checks["claim"] == name]
        verdict, _ = claims.claim_verdict(mine)
        rows.append((name, claim.title, verdict, str(len(mine))))
    return pd.DataFrame(rows, columns=["claim", "title", "verdict", "checks"])


HEAD = """# Results

Version {version}, profile {profile}. Written by the pipeline (`dvc repro export`), as everything in this folder.
`report.html` is where to begin, `MANIFEST.json` says what each table is made of, `latex/numbers.tex` has every measured
number as a macro, and `bench cite TABLE` how to cite, get, rebuild and verify one.

## Verdicts"""

TABLES = """## Tables

Every column, with its unit, and how far a rebuild on another machine may differ. On the same machine every cell but
seconds is the same to its last digit. Empty cells are values that do not exist."""


if __name__ == "__main__":
    main()
