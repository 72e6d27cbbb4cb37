"""How long a rebuild still takes, as it is told, against schedules whose stages take known seconds."""

import random

import pytest

from pipelines import schedule
from pipelines.pacing import spoken


def simulated(earlier, took, jobs, restored=(), parts=False):
    """(seconds since the start, seconds told to be left, stages not counted), after each end of a stage.

    Args:
        earlier: what each stage took when it last ran, in their order; None if it never has.
        took: what each takes now.
        parts: whether stages tell how far they are.
    """
    now = 0.0
    left = schedule.TimeLeft(dict(enumerate(earlier)), jobs, lambda: now)
    waiting, running, told = list(range(len(took))), {}, []
    while waiting or running:
        while waiting and len(running) < jobs:
            stage = waiting.pop(0)
            running[stage] = now
            left.begin(stage)
        stage = min(running, key=lambda stage: running[stage] + took[stage])
        now = running.pop(stage) + took[stage]
        left.end(stage, stage in restored)
        for other, began in running.items() if parts else ():
            left.progress(other, (now - began) / took[other])
        told.append((now, *left.seconds()))
    return told


def worst(told, since=0.3, until=0.95):
    """The largest relative error of what is told while this part of the time has gone by."""
    (whole, *_) = told[-1]
    asked = [(whole - now, left) for now, left, _ in told if since * whole <= now <= until * whole]
    assert asked
    return max(abs(left - true) / true for true, left in asked)


# As those of a study: two long ones, then ever shorter ones, down to a fraction of a second.
LONG_TAIL = [1200.0, 600.0, *(300 * 0.9**i for i in range(40)), *([0.3] * 60)]


@pytest.mark.parametrize("jobs", [1, 2, 8])
@pytest.mark.parametrize("pace", [1.0, 3.0, 0.4])
def test_a_machine_of_another_speed_is_learned(jobs, pace):
    """What every start costs, too, so that the many short stages at the end are counted."""
    assert worst(simulated(LONG_TAIL, [5 + pace * one for one in LONG_TAIL], jobs, parts=True)) < 0.25


def test_the_line_never_says_nothing_is_left_long_before_the_end():
    """Of 41 stages 14 have ended, and the rest is half an hour."""
    earlier = [60.0] * 14 + [70.0] * 27
    told = simulated(earlier, earlier, 1)
    now, left, _ = told[13]
    assert told[-1][0] - now == pytest.approx(1890) and left == pytest.approx(1890, rel=0.1)


def test_stages_that_vary_are_told_within_a_third():
    generator = random.Random(0)
    took = [one * generator.lognormvariate(0, 0.5) + 4 for one in LONG_TAIL]
    assert worst(simulated(LONG_TAIL, took, 2, parts=True), 0.4, 0.9) < 0.35


def test_what_never_ran_is_said_not_to_be_counted_until_one_has():
    told = simulated([100.0, 100.0, None, None, None], [100.0, 100.0, 50.0, 50.0, 50.0], 1)
    assert [uncounted for _, _, uncounted in told] == [3, 3, 0, 0, 0]
    assert [left for _, left, _ in told[2:]] == pytest.approx([100.0, 50.0, 0.0])
    left = schedule.TimeLeft({1: None}, 2, lambda: 0.0)
    left.begin(1)
    assert left.seconds() == (0.0, 1)


def test_where_stages_are_restored_their_earlier_seconds_are_not_expected_of_the_rest():
    told = simulated([600.0] * 20, [3.0] * 20, 2, restored=range(20))
    assert told[9][1] < 600, "ten of them took half a minute"


def test_a_stage_that_takes_longer_than_it_should_is_not_about_to_end():
    now = 0.0
    left = schedule.TimeLeft({1: 10.0}, 1, lambda: now)
    left.begin(1)
    now = 1000.0
    assert left.seconds()[0] == pytest.approx(100)


def test_a_schedule_is_as_long_as_its_busiest_worker():
    assert schedule.makespan([0.0, 0.0], [5, 4, 3, 2]) == 7.0
    assert schedule.makespan([3.0, 0.0], [5, 1]) == 5.0


def test_seconds_are_said_as_people_say_them():
    assert [spoken(seconds) for seconds in (12.4, 600, 7200)] == ["12 s", "10 min", "2.0 h"]
