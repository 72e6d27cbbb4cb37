"""How far the trainings of a network of one's own have come, and how long the rest takes."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# A step of a network whose kind has not been trained yet, in steps of the first one's; of the others one.
STEPS_OF_THE_FIRST = {"lazy": 4.0, "layer": 0.5}


@dataclass(frozen=True)
class Training:
    """One training among those to come.

    Attributes:
        label: what it is, for people.
        kind: those of one kind take alike.
        readings: the numbers of steps at which the network is read; the last is the last step.
    """

    label: str
    kind: str
    steps: int
    readings: frozenset[int]


class Pace:
    """Counts steps and readings and measures each kind's, because readings take longer than steps and are dense at
    the start.

    Attributes:
        training: the one that runs, or None.
        number: its updates so far.

    Args:
        trainings: in the order in which they run.
        shown: called after each step.
        clock: seconds.
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        shown: Callable[["Pace"], None] = lambda pace: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.trainings = list(trainings)
        self.training: Training | None = None
        self.number = 0
        self._shown, self._clock = shown, clock
        self._started = self._last = clock()
        self._place = -1
        self._seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])

    def step(self, number: int) -> None:
        """To be called before each step; step 0 begins the next training."""
        now = self._clock()
        if self.training is not None:
            self._note("end" if number == 0 else "reading" if self.number in self.training.readings else "step", now)
        if number == 0:
            self._place += 1
            self.training = self.trainings[self._place]
        self.number, self._last = number, now
        self._shown(self)

    def _note(self, what: str, now: float) -> None:
        spent = self._seconds[self.training.kind, what]
        spent[0] += now - self._last
        spent[1] += 1

    @property
    def spent(self) -> float:
        return self._clock() - self._started

    @property
    def left(self) -> float | None:
        """Seconds; None until steps have been measured."""
        if self.training is None or self._mean(self.training.kind, "step") is None:
            return None
        done = sum(self.number > reading for reading in self.training.readings)
        rest = self._of(self.training, self.number - done, done)
        return max(0.0, rest + sum(self._of(one, 0, 0) for one in self.trainings[self._place + 1 :]))

    @property
    def fraction(self) -> float | None:
        """Of all the time that it takes."""
        left = self.left
        return None if left is None else self.spent / max(self.spent + left, 1e-9)

    def _of(self, training: Training, steps: int, readings: int) -> float:
        """The seconds of a training of which so many steps without and with a reading are made; its last step and
        reading belong to its end."""
        read = max(0, len(training.readings) - 1 - readings)
        plain = training.steps + 1 - len(training.readings) - steps
        a_step, a_reading, end = (self._guess(training.kind, what) for what in ("step", "reading", "end"))
        return plain * a_step + read * a_reading + end

    def _guess(self, kind: str, what: str) -> float:
        found = self._mean(kind, what)
        if found is not None:
            return found
        first = self._mean(self.trainings[0].kind, what) or 0.0
        return first * (STEPS_OF_THE_FIRST.get(kind, 1.0) if what == "step" else 1.0)

    def _mean(self, kind: str, what: str) -> float | None:
        seconds, count = self._seconds[kind, what]
        return seconds / count if count else None
