"""Run module: the phase diagram of a network that predicts the next character of a text (T13)."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks.lab.text import Corpus, characters
from benchmarks.studies.carry_over.on_text import task
from benchmarks.studies.phase_diagram import richness
from benchmarks.studies.table import Result, tidy


@tidy
def run(settings, seeds: Sequence[int], corpus: Corpus, compute, tick: Callable[[int, int], None]) -> Iterator[Result]:
    """Every network at each gamma.

    Raises:
        ValueError: for a text shorter than the windows that are asked of it, or one without three modes above the
            noise.
    """
    tokens, ladders = characters(corpus), settings.networks
    whole = sum(one.seeds * richness.planned(one) for one in ladders.values())
    yield from richness.run_ladders(
        ladders, seeds, lambda one, seed: task(one, tokens, seed), compute, lambda done: tick(done, whole)
    )
