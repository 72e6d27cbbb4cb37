"""The card of the table of checks."""

from benchmarks.evidence.card import EXACT, IDENTICAL, Card, Column, relative, statistical

_INTERVAL = ("ci95_low", "ci95_high")
_MEASURED = statistical(otherwise=1e-2, floor=1e-6)

CARD = Card(
    title="Checks of the registered claims, with verdicts",
    row="one check of one claim; controls included",
    keys=("check",),
    computed="the estimator that claims.yaml names, of the other tables; 90 % and 95 % t-intervals over seeds",
    limits="A verdict holds for the profile's data, horizons and networks. Intervals are over seeds alone: data "
    "and hyperparameters are fixed. Exact checks (closed forms, library code) have one value and no interval.",
    n="n",
    columns={
        "claim": Column("", "the claim's id in claims.yaml", EXACT),
        "check": Column("", "the check's id, which begins with the claim's", EXACT),
        "role": Column("", "main; or positive or negative control: where the answer is known to be yes or no", EXACT),
        "statement": Column("", "what the check says, in words", EXACT),
        "predicted": Column("the check's", "predicted value, by a number or a closed form", relative(1e-9)),
        "band_low": Column("the check's", "low end of the registered band; -inf if open", relative(1e-9)),
        "band_high": Column("the check's", "high end of the registered band; inf if open", relative(1e-9)),
        "measured": Column("the check's", "mean over the seeds that gave a value", _MEASURED, _INTERVAL),
        "unit": Column("", "unit of measured, predicted and band", EXACT),
        "n": Column("seeds", "how many gave a value", IDENTICAL),
        "ci90_low": Column("the check's", "low end of the 90 % interval, which verifies", _MEASURED, _INTERVAL),
        "ci90_high": Column("the check's", "high end of the 90 % interval", _MEASURED, _INTERVAL),
        "ci95_low": Column("the check's", "low end of the 95 % interval, which falsifies", _MEASURED, _INTERVAL),
        "ci95_high": Column("the check's", "high end of the 95 % interval", _MEASURED, _INTERVAL),
        "regime": Column("", "what every run must have reached for the claim to speak of it, and what was", IDENTICAL),
        "fidelity": Column("", "exact, paper-protocol or scaled: how the protocol relates to the source's", EXACT),
        "verdict": Column("", "verified, falsified, inconclusive, toy or not-run", EXACT),
        "behaves": Column("", "of a control: whether its verdict is what it must be", EXACT),
        "reason": Column("", "why that verdict, with what is missing as a number", IDENTICAL),
        "origin": Column("", "where the band comes from: theorem, paper or ours", EXACT),
        "primary": Column("", "yes for the check whose verdict is the claim's", EXACT),
        "holm": Column(
            "", "p that the mean lies outside the band, after Holm's correction over the claim's main checks", IDENTICAL
        ),
        "word": Column("", "holds, does not hold, not reproduced here, open or not run", EXACT),
        "post_hoc": Column("", "why the verdict must be read as post hoc; empty if it need not", EXACT),
    },
)
