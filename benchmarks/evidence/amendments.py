"""The reasons that several amendments of the register share, each written once.

An amendment in a ``claims.yaml`` that has ``rule: <name>`` gives the text of that name as its reason, followed by its
own ``reason`` if it has one.
"""

RULES = {
    "more-seeds": (
        "Where an interval straddled its band we added seeds once: the number that the first spread implies, at least "
        "five in all, if that was affordable. The verdict is that of all seeds, whatever it is. This rule is younger "
        "than the first verdicts, and it looks at the data before it chooses their number: simulated, it falsifies a "
        "true statement in 4.3 to 5.8 % of cases, where the rule for a fixed number of seeds does in 2.5 %."
    ),
    "shared-runs": (
        "It shares runs with claims whose first seeds left an interval too wide, and which have more seeds now. "
        "Neither predictions nor bands changed."
    ),
    "five-seeds": (
        "The rungs around the default recipe had three seeds, and with them most intervals of P5 crossed a bound, so "
        "that the answer's page could not say whether networks there track their twins; they have five now. Neither "
        "predictions nor bands changed."
    ),
    "finer-waypoints": (
        "The estimator was made finer after its first reference run: a waypoint's distance is now to the path, "
        "straight between readings and up to the clock's end, no longer to the nearest reading, so that few and large "
        "steps (of the ladder's Adam) do not count against a network."
    ),
    "stopped-run": (
        "The first reference run was stopped at 51 of 119 stages, when the tests of the code found faults in it. Some "
        "of its results had been looked at by then: the convolutional net and the long workloads of W2, then the first "
        "three optimizers on the transformer."
    ),
    "primary-check": (
        "A claim's verdict is now that of its primary check, once its controls behave; before, one falsified check "
        "falsified the claim and all had to be verified to verify it. The primary check is the first main check as "
        "registered, whatever its verdict. The other main checks are shown with their own verdicts, corrected for "
        "their number by Holm's method. This rule is younger than the results. Neither predictions nor bands changed."
    ),
}
