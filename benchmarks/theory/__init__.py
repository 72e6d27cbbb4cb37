"""Closed forms: what the theory predicts, in plain numpy and with no dependence on what runs."""
