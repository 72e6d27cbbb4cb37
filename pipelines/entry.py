"""The wrapper around every stage's entry point, and how errors are told."""

import functools
import os
import sys
import traceback
from collections.abc import Callable

DEBUG = "BENCH_DEBUG"
OURS = ("benchmarks", "pipelines")
# What our own code raises with a sentence for the user.
FORESEEN = (ValueError, RuntimeError, OSError)


def told(error: Exception) -> str:
    """An error in a sentence, which is never empty; of one that nobody foresaw, its kind too, and how to see more."""
    more = f"\n({DEBUG}=1 shows where it was raised)"
    if isinstance(error, OSError) and error.strerror:
        return (f"{error.strerror}: {error.filename}" if error.filename else error.strerror) + more
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    spec = frame.f_globals.get("__spec__")  # has the name of a module that runs as __main__
    module = spec.name if spec else frame.f_globals["__name__"]
    if isinstance(error, FORESEEN) and module.partition(".")[0] in OURS and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}{more}"


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """An entry point whose failures give one clear message and exit code 1 instead of a traceback."""

    @functools.wraps(main)
    def entry() -> None:
        try:
            main()
        except Exception as error:
            if os.environ.get(DEBUG):
                raise
            print(f"error: {told(error)}", file=sys.stderr)
            sys.exit(1)

    return entry
