"""A reproducibility benchmark for the dynamics of neural-network optimization."""

from importlib import import_module

__all__ = ["load_history"]


def __getattr__(name: str):
    # Imported by name on first use: every training run imports this package, and what reads results
    # must not be part of what a run depends on.
    if name == "load_history":
        return import_module("benchmarks.evidence.histories").load_history
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
