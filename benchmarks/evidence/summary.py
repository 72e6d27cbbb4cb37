"""The register in short: a row per claim, a row per section, as Markdown."""

from collections.abc import Mapping

import pandas as pd

from benchmarks.evidence import share
from benchmarks.evidence.chapter import Section
from benchmarks.evidence.judge import claim_verdict
from benchmarks.evidence.register import Claim
from benchmarks.evidence.report import WORDS, number, span, tally

AGAINST = ("does not hold", "not reproduced here")


def verdicts(register: Mapping[str, Claim], checks: pd.DataFrame) -> pd.DataFrame:
    """A row per claim: study, claim, title, verdict, word, post_hoc (text or ""), reason, checks (how many), and
    ``against``, how many of its other main checks do not hold or are not reproduced.

    Args:
        checks: ``claims.csv``.
    """
    rows = []
    for name, claim in register.items():
        own = checks[checks["claim"] == name]
        verdict = claim_verdict(own)
        others = own[(own["role"] == "main") & (own["primary"] != "yes")]
        against = int(others["word"].isin(AGAINST).sum())
        named = {"study": claim.study, "claim": name, "title": claim.title}
        rows.append({**named, **verdict._asdict(), "checks": len(own), "against": against})
    return pd.DataFrame(rows)


def metrics(register: Mapping[str, Claim], checks: pd.DataFrame, answer: pd.DataFrame) -> dict:
    """What DVC shows of a state of the results in a few columns: claims and their checks by word; systems to which each
    prediction of Open Question 4.1 carries over.

    Args:
        answer: ``open_question_4_1``.
    """
    words = {"claims": verdicts(register, checks)["word"], "checks": checks["word"]}
    carried = answer[answer["word"] == share.CARRIES_OVER]["prediction"].value_counts()
    return {
        **{name: {_named(word): int((given == word).sum()) for word in WORDS} for name, given in words.items()},
        "carries_over": {_named(one.name): int(carried.get(one.name, 0)) for one in share.PREDICTIONS},
    }


def measured(checks: pd.DataFrame) -> dict[str, float]:
    """The measured values by check, for `dvc metrics diff --targets`."""
    known = checks[checks["measured"].notna()]
    return dict(zip(known["check"], known["measured"]))


def _named(words: str) -> str:
    return words.replace(" ", "_")


def claims_page(rows: pd.DataFrame, sections: Mapping[str, Section]) -> str:
    """Every claim with its verdict and the reason, section by section."""
    parts = []
    for study, section in sections.items():
        own = rows[rows["study"] == study]
        parts += [
            f"## {section.title}",
            tally(own["word"]) + ".",
            "| claim | | verdict | why |\n| --- | --- | --- | --- |",
        ]
        lines = [
            f"| {r.claim} | {r.title} | {marked(r.word, r.post_hoc)} | {_cell(r.reason)} |" for r in own.itertuples()
        ]
        parts[-1] += "\n" + "\n".join(lines)
    return "\n\n".join(parts)


def overview(rows: pd.DataFrame, sections: Mapping[str, Section], checks: pd.DataFrame) -> str:
    """A row per section: its tally of claims, and the check that it names as its most surprising finding."""
    lines = ["| section | claims | most surprising |", "| --- | --- | --- |"]
    for study, section in sections.items():
        own = rows[rows["study"] == study]
        lines.append(f"| {section.title} | {tally(own['word'])} | {finding(section.finding(checks))} |")
    return "\n".join(lines)


def whole(rows: pd.DataFrame) -> str:
    """The tally of all claims, and of those that hold, how many have another check that does not."""
    mixed = int(((rows["word"] == "holds") & (rows["against"] > 0)).sum())
    text = f"Of {len(rows)} claims: {tally(rows['word'])}."
    return text + (f" Of those that hold, {mixed} have another main check that is not reproduced." if mixed else "")


def finding(check: pd.Series) -> str:
    """A check in a line: what it says, what was measured, against what, and the word."""
    interval = "" if pd.isna(check["ci95_low"]) else f" [{span(check['ci95_low'], check['ci95_high'])}]"
    unit = f" {check['unit']}" if isinstance(check["unit"], str) and check["unit"] else ""
    band = span(check["band_low"], check["band_high"])
    text = f"{check['statement']}: {number(check['measured'])}{interval}{unit}; predicted {band}"
    return f"{_cell(text)}: **{marked(check['word'], check['post_hoc'])}** ({check['check']})"


def judged(check: pd.Series) -> str:
    """How the verdict of one check came about."""
    low, high = (f"{check[end]:.4g}" for end in ("band_low", "band_high"))
    inner, outer = (span(check[f"ci{level}_low"], check[f"ci{level}_high"]) for level in (90, 95))
    name, measured, seeds = check["check"], number(check["measured"]), int(check["n"])
    return (
        f"`{name}` ({check['statement']}) predicts {number(check['predicted'])}, with a band from {low} to {high}. "
        f"Measured over {seeds} seeds: {measured}, 90 % interval {inner}, 95 % interval {outer}. "
        f"So it **{marked(check['word'], check['post_hoc'])}**: {check['reason']}."
    )


def marked(word: str, post_hoc: object) -> str:
    """A word, with the mark that readers must see."""
    return f"{word} (post hoc)" if isinstance(post_hoc, str) and post_hoc else word


def open_checks(checks: pd.DataFrame) -> str:
    """Every check that is open, of claims that hold too, and what would decide it."""
    lines = ["| check | | 90 % interval | band | would decide |", "| --- | --- | --- | --- | --- |"]
    for row in checks[checks["word"] == "open"].to_dict("records"):
        decides = row["primary"] == "yes" or row["behaves"] == "no"
        name = f"**{row['check']}**" if decides else row["check"]
        interval, band = span(row["ci90_low"], row["ci90_high"]), span(row["band_low"], row["band_high"])
        lines.append(f"| {name} | {_cell(row['statement'])} | {interval} | {band} | {_cell(_deciding(row))} |")
    return "\n".join(lines)


def _deciding(check: dict) -> str:
    if pd.isna(check["seeds_needed"]):
        return check["reason"]
    seeds = f"{int(check['seeds_needed']):,} seeds"
    return seeds if pd.isna(check["seconds_needed"]) else f"{seeds}, {duration(check['seconds_needed'])} of one core"


def duration(seconds: float) -> str:
    """In the largest unit of which it is at least two: 90 s, 17 minutes, 5 hours, 12 days."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
