"""`bench carry-over` at size: the memory that it takes and asks for, what it looks at first, and its progress."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.carry_over.pace import Pace, Training
from pipelines import pacing

OWN = """
import numpy as np
from torch import nn


class Spread(nn.Module):  # many activations without a parameter: linear but for its SiLUs
    def __init__(self):
        super().__init__()
        self.bends = nn.Sequential(*(nn.SiLU() for _ in range(6)))

    def forward(self, x):
        return self.bends(x.repeat(1, 100)).view(len(x), 100, -1).mean(1)


def tall(input_shape, outputs):  # two million parameters
    return nn.Sequential(nn.Linear(input_shape[0], 100), Spread(), nn.Linear(100, outputs))


def blobs():
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=450)
    inputs = generator.normal(size=(450, 20000)).astype("float32") + 9 * np.eye(3, 20000, dtype="float32")[labels]
    return inputs[:300], labels[:300], inputs[300:], labels[300:]


def gone_wrong():
    raise RuntimeError("the data were looked at")
"""
PARAMETERS = 20000 * 100 + 100 + 303
# What is measured is a process of its own; its peak is read, since `ru_maxrss` begins with that of whoever started it.
PROGRAM = """
import sys
from benchmarks.studies.carry_over import own, size
from pipelines import cli

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

size.ACTIVATIONS = float(sys.argv[1])
before = peak()
code = cli.main(["carry-over", "mynets:tall", "--data", "mynets:blobs", "--seeds", "2", "--steps", "2"])
print("grown", peak() - before)
sys.exit(code)
"""
LITTLE = """
import sys
from benchmarks.studies.carry_over import size
from pipelines import cli

size.available = lambda: 2.0**27
sys.exit(cli.main(["carry-over", "mynets:tall", "--data", "mynets:blobs"]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's own peak")
def test_memory_stays_below_its_bound_and_parts_leave_the_numbers(unbuilt):
    (unbuilt.path / "mynets.py").write_text(OWN)
    said = [unbuilt.run(sys.executable, "-c", PROGRAM, str(most)).stdout for most in (2**22, 2**40)]
    grown = [int(re.search(r"grown (\d+)", text)[1]) for text in said]
    # Data of 450 x 20,000 numbers are held a few times; in one go, a batch keeps some 60 MB of activations.
    assert grown[0] < 120 * PARAMETERS + 450e6
    assert grown[0] < grown[1] - 30e6
    first, second = (np.array([float(x) for x in re.findall(r"-?\d+\.\d+", text)]) for text in said)
    np.testing.assert_allclose(first, second, rtol=2e-3)


def test_too_little_memory_is_one_sentence_before_anything_is_trained(unbuilt):
    (unbuilt.path / "mynets.py").write_text(OWN)
    refused = unbuilt.run(sys.executable, "-c", LITTLE, check=False)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert re.search(
        r"it would take about \d\.\d GiB of memory, and 0\.1 GiB are free: .* fewer parameters", refused.stderr
    )


def test_names_are_looked_at_before_the_data(unbuilt):
    (unbuilt.path / "mynets.py").write_text(OWN)
    for asked, sentence in (
        (("mynets:gone", "--data", "mynets:gone_wrong"), "module 'mynets' has no 'gone'"),
        (("mynets:tall", "--data", "mynets:gone_wrong", "--like", "mpl"), "did you mean 'mlp'?"),
        (("mynets:gone",), "module 'mynets' has no 'gone'"),
    ):
        refused = unbuilt.bench("carry-over", *asked, check=False)
        assert refused.returncode == 1 and sentence in refused.stderr, refused.stderr


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


TRAININGS = [
    Training(f"seed {seed} of 2, {role}", role, 100, frozenset({0, 1, 2, 4, 100}))
    for seed in (1, 2)
    for role in ("net", "lazy")
]
# Seconds of a step, of a reading beside it, and after the last one.
COSTS = {"net": (1.0, 10.0, 5.0), "lazy": (3.0, 12.0, 7.0)}


def trained(pace: Pace, time: Time):
    """The seconds so far and those that were said to be left, at each step."""
    for training in pace.trainings:
        step, reading, end = COSTS[training.kind]
        for number in range(training.steps + 1):
            pace.step(number)
            yield training, time.now, pace.left
            time.now += step + reading * (number in training.readings) + end * (number == training.steps)


def test_the_time_left_is_right_once_each_kind_has_been_trained():
    time = Time()
    told = list(trained(Pace(TRAININGS, clock=time), time))
    for training, now, left in told:
        if training.label.startswith("seed 2"):
            assert left == pytest.approx(time.now - now, rel=0.03, abs=8)
    assert told[0][2] is None
    # In the first seed a kind that is still to come is guessed from the first.
    assert told[50][2] == pytest.approx(time.now - told[50][1], rel=0.4)


def test_without_a_terminal_a_line_is_said_now_and_then():
    time, stream = Time(), io.StringIO()
    with pacing.display(stream, time) as shown:
        for _ in trained(Pace(TRAININGS, shown, time), time):
            pass
    lines = stream.getvalue().splitlines()
    assert len(lines) == pytest.approx(time.now / pacing.LINE_S, rel=0.2)
    assert re.fullmatch(r"seed 1 of 2, net, step \d+ of 100: \d+% done, about \d+ (s|min) left", lines[2])
    done = [int(re.search(r"(\d+)% done", line)[1]) for line in lines if "done" in line]
    assert done[-1] >= 90


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    time, stream = Time(), io.StringIO()
    with pacing.display(stream, time) as shown:
        for _ in trained(Pace(TRAININGS, shown, time), time):
            pass
    assert "seed 2 of 2, lazy, step 100 of 100" in stream.getvalue()
