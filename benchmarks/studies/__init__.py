"""What is trained and measured, one module per section of the chapter.

A study's ``run(settings, data, seeds, compute, resume, observe)`` trains one configuration's stack and returns
(outcome, facts): an `Outcome` of the training loop, and what no history holds: ``parameters`` (P), ``examples`` (N),
``optimizer`` (the library's own name) and ``stability_threshold`` (loss / parameter^2, or None).
"""
