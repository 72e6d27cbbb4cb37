"""From histories to evidence: tables, curves, checks, verdicts, figures, the report. Never torch."""
