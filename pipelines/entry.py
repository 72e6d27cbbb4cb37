"""The wrapper around every stage's entry point."""

import functools
import os
import sys
from collections.abc import Callable

from pipelines.sources import DataError

EXPECTED = (ValueError, DataError, OSError)


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """An entry point whose expected failures give one clear message and exit code 1 instead of a traceback."""

    @functools.wraps(main)
    def entry() -> None:
        try:
            main()
        except EXPECTED as error:
            if os.environ.get("BENCH_DEBUG"):
                raise
            where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            text = error.strerror if isinstance(error, OSError) and error.strerror else error
            print(f"error: {text}{where}\n(BENCH_DEBUG=1 shows where it was raised)", file=sys.stderr)
            sys.exit(1)

    return entry
