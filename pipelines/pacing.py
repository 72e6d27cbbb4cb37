"""How far `bench carry-over` is: a bar on a terminal, a line now and then without one."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

# Seconds between two looks at the bar, and between two lines.
LOOK_S, LINE_S = 0.2, 30.0


@contextmanager
def display(stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable]:
    """What to call after each step with its `Pace`.

    Args:
        stream: where it writes; standard error if not given.
    """
    stream = stream or sys.stderr
    terminal = Console(file=stream)
    if not terminal.is_terminal:
        yield _seldom(LINE_S, clock, lambda pace: print(said(pace), file=stream, flush=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(16), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=terminal, transient=True) as progress:
        bar = progress.add_task("preparing", total=None, left="")

        def look(pace) -> None:
            fraction, total = pace.fraction, None if pace.fraction is None else 1.0
            progress.update(bar, description=_where(pace), completed=fraction or 0, total=total, left=_left(pace))

        yield _seldom(LOOK_S, clock, look)


def said(pace) -> str:
    """A line for people."""
    fraction = pace.fraction
    done = "" if fraction is None else f"{fraction:.0%} done, "
    return f"{_where(pace)}: {done}{_left(pace)}"


def _where(pace) -> str:
    return f"{pace.training.label}, step {pace.number} of {pace.training.steps}"


def _left(pace) -> str:
    return "time left not known yet" if pace.left is None else f"about {spoken(pace.left)} left"


def spoken(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _seldom(seconds: float, clock: Callable[[], float], call: Callable) -> Callable:
    """The call, left out if the last one was less than so many seconds ago, or began so."""
    last = clock()

    def perhaps(pace) -> None:
        nonlocal last
        if clock() - last >= seconds:
            last = clock()
            call(pace)

    return perhaps
