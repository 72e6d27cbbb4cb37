"""The card of the table of checks."""

from benchmarks.evidence.card import EXACT, IDENTICAL, SECONDS, Card, Column, relative, statistical

_INTERVAL = ("ci95_low", "ci95_high")
_MEASURED = statistical(otherwise=1e-2, floor=1e-6)

CARD = Card(
    title="Checks of the registered claims, with verdicts",
    row="one check of one claim; controls included",
    keys=("check",),
    computed="the estimator named in claims.yaml, applied to the other tables; 90 % and 95 % t-intervals over seeds",
    limits="A verdict applies to the profile's data, horizons and networks. Intervals are over seeds only: data "
    "and hyperparameters are fixed. Exact checks (closed forms, library code) have one value and no interval.",
    n="n",
    columns={
        "claim": Column("", "the claim's id in claims.yaml", EXACT),
        "check": Column("", "the check's id, which begins with the claim's", EXACT),
        "role": Column("", "main, or a positive or negative control, whose answer is known to be yes or no", EXACT),
        "statement": Column("", "what the check says, in words", EXACT),
        "predicted": Column("the check's", "predicted value, by a number or a closed form", relative(1e-9)),
        "band_low": Column("the check's", "low end of the registered band; -inf if open", relative(1e-9)),
        "band_high": Column("the check's", "high end of the registered band; inf if open", relative(1e-9)),
        "measured": Column("the check's", "mean over the seeds that gave a value", _MEASURED, _INTERVAL),
        "unit": Column("", "unit of measured, predicted and band", EXACT),
        "n": Column("seeds", "number of seeds that gave a value", IDENTICAL),
        "ci90_low": Column("the check's", "low end of the 90 % interval, which can verify", _MEASURED, _INTERVAL),
        "ci90_high": Column("the check's", "high end of the 90 % interval", _MEASURED, _INTERVAL),
        "ci95_low": Column("the check's", "low end of the 95 % interval, which can falsify", _MEASURED, _INTERVAL),
        "ci95_high": Column("the check's", "high end of the 95 % interval", _MEASURED, _INTERVAL),
        "regime": Column("", "what runs must reach for the claim to apply, and what they reached", IDENTICAL),
        "fidelity": Column("", "exact, paper-protocol or scaled: how the protocol relates to the source's", EXACT),
        "verdict": Column("", "verified, falsified, inconclusive, toy or not-run", EXACT),
        "behaves": Column("", "for a control: whether its verdict is as expected", EXACT),
        "reason": Column("", "the reason for the verdict, with anything missing as a number", IDENTICAL),
        "origin": Column("", "where the band comes from: theorem, paper or ours", EXACT),
        "primary": Column("", "yes for the check that decides the claim's verdict", EXACT),
        "holm": Column(
            "", "p that the mean lies outside the band, after Holm's correction over the claim's main checks", IDENTICAL
        ),
        "word": Column("", "holds, does not hold, not reproduced here, open or not run", EXACT),
        "post_hoc": Column("", "why the verdict must be read as post hoc; empty if it need not", EXACT),
        "seeds_needed": Column(
            "seeds",
            "how many with this mean and spread would decide an open check, after Holm's correction; empty if it is "
            "not open, or open for something else",
            IDENTICAL,
        ),
        "seconds_needed": Column(
            "s",
            "of one core for that many, at most: all seeds are trained together, and what was spent on tuning and "
            "shared parts is counted to the seeds it was recorded with",
            SECONDS,
        ),
    },
)
