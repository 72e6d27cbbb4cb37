"""The reasons that several amendments of the register share, each written once.

An amendment in a ``claims.yaml`` that has ``rule: <name>`` gives the text of that name as its reason, followed by its
own ``reason`` if it has one.
"""

RULES = {
    "more-seeds": (
        "Where an interval straddled its band we added seeds once: the number that the first spread implies, at least "
        "five in all, if that was affordable. The verdict is that of all seeds, whatever it is. This rule was "
        "introduced after the first verdicts and looks at the data before it chooses the number of seeds: in "
        "simulations it falsifies a true statement in 4.3 to 5.8 % of cases, compared with 2.5 % for a fixed number of "
        "seeds."
    ),
    "seeds-once": (
        "It was open, its seeds had never been added to, and those that its spread implies take minutes. We added some "
        "once: at least the number implied and at most twice that, fixed before they ran; no more will be added. The "
        "verdict is that of all seeds, whatever it is. Neither predictions nor bands changed. This looks at the data "
        "before it chooses the number of seeds: in simulations of a mean at the end of its band, with three or five "
        "first seeds and up to twenty implied, it falsifies a true statement in 3.0 to 4.3 % of cases and verifies a "
        "false one in 5.8 to 8.6 %, compared with 2.5 and 5 % for a fixed number of seeds."
    ),
    "fresh-seeds": (
        "Its seeds had been added to once already, and it was open all the same. To add to them again would be to look "
        "until it is decided. It is measured anew on seeds of which nothing had been seen, twice as many as the spread "
        "of the old ones implies, fixed before they ran; no more will be added. The verdict is that of the new seeds "
        "alone, whatever it is, so that its error rates are those of a fixed number. Neither predictions nor bands "
        "changed."
    ),
    "shared-runs": (
        "It shares runs with claims whose first seeds left an interval too wide, and which now have more seeds. "
        "Neither predictions nor bands changed."
    ),
    "five-seeds": (
        "The rungs around the default recipe had three seeds, and with them most intervals of P5 crossed a bound, so "
        "that the answer page could not say whether networks there track their twins; they now have five. Neither "
        "predictions nor bands changed."
    ),
    "finer-waypoints": (
        "The estimator was refined after its first reference run: the distance from a waypoint is now measured to the "
        "path, interpolated linearly between readings and up to the end of the clock, rather than to the nearest "
        "reading, so that taking few large steps (as Adam does on the ladder) does not count against a network."
    ),
    "centred": (
        "Networks and twins are now trained and read without their outputs at the start. From default weights the old "
        "readings showed how a random start is forgotten, not what is learned. P5 was zero on the straight line from "
        "zero, so that a start which network and twin share counted as tracking; it is now zero on the line from the "
        "network's own start. Neither predictions nor bands changed. Controls that were added with it were chosen "
        "with the old table in sight."
    ),
    "stopped-run": (
        "The first reference run was stopped after 51 of 119 stages, when tests found bugs in the code. Some of its "
        "results had been looked at by then: the convolutional network and the long workloads of W2, then the first "
        "three optimizers on the transformer."
    ),
    "primary-check": (
        "A claim's verdict is now that of its primary check, provided that its controls behave; previously, a single "
        "falsified check falsified the claim, and all had to be verified to verify it. The primary check is the first "
        "main check as registered, whatever its verdict. The other main checks are shown with their own verdicts, "
        "corrected for their number by Holm's method. This rule was introduced after the results were known. Neither "
        "predictions nor bands changed."
    ),
}
