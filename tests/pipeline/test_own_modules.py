"""Networks and optimizers of a user's own, through a training stage: they run, or end it in one sentence."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from workspaces import ROOT, tiny

from pipelines import sources
from pipelines.files import write_yaml

MINE = """
from math import prod

import torch
from torch import nn
from torch.nn import functional as F
from benchmarks.lab.optimizers import Optimizer


class Network(nn.Module):
    def __init__(self, inputs, outputs, how=lambda x: x):
        super().__init__()
        self.first, self.last, self.how = nn.Linear(inputs, 8), nn.Linear(8, outputs), how

    def forward(self, x):
        return self.last(self.how(torch.tanh(self.first(x.flatten(1)))))


def plain(shape, outputs):
    return Network(prod(shape), outputs)


def dropout(shape, outputs):
    network = plain(shape, outputs)
    network.how = lambda x: F.dropout(x, 0.3)
    return network


def frozen(shape, outputs):
    network = plain(shape, outputs)
    network.first.requires_grad_(False)
    return network


def one_output(shape, outputs):
    return plain(shape, 1)


def recurrent(shape, outputs):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.core, self.last = nn.LSTM(shape[2], 6, batch_first=True), nn.Linear(6, outputs)

        def forward(self, x):
            return self.last(self.core(x[:, 0])[0][:, -1])

    return Rows()


class Rebinding(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad


def rebinding(parameters, *, lr):
    return [Rebinding(parameters, lr)]


def undeclared(parameters, *, lr):
    return [torch.optim.LBFGS(parameters, lr=lr)]


def build_adam(parameters, *, lr):
    return [torch.optim.Adam(parameters, lr=lr)]


def diagonal(optimizer):
    states = list(optimizer.state.values())
    return [state["exp_avg_sq"].sqrt() + 1e-8 for state in states] or None


lbfgs = Optimizer(undeclared, implementation="torch.optim.LBFGS", closures=True)
adam = Optimizer(build_adam, implementation="mine.adam", threshold=lambda lr: 38 / lr, diagonal=diagonal)
"""


def train(folder, architecture="mine:plain", optimizer="mine:build_adam", measure=None):
    """The stage of one short configuration: what it said, and the folder of its results."""
    (folder / "mine.py").write_text(MINE)
    generator, labels = np.random.default_rng(0), np.arange(80, dtype=np.uint8) % 10
    pixels = generator.integers(0, 255, (80, 1, 4, 4), dtype=np.uint8)
    (folder / "data").mkdir()
    np.savez(folder / "data/images.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    settings = tiny()
    x, y = sources.sha256(pixels), sources.sha256(labels)
    settings["data"]["sha256"] = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    settings["progressive_sharpening"]["configurations"]["mine"] = {
        "architecture": {"name": architecture},
        "optimizer": {"name": optimizer, "lr": 0.05},
        "images": 40,
        "steps": 4,
        "measure": measure or {},
    }
    write_yaml(folder / "params.yaml", settings)
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "WANDB_MODE": "disabled"}
    for command in (["-c", WRITTEN], ["-m", "pipelines.run", "progressive_sharpening/mine/1-2"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
    return done, folder / "runs/progressive_sharpening/mine/1-2"


# The stages as they are now; `python -m pipelines.fingerprint` would hash the code of this folder, which has none.
WRITTEN = f"""
from pathlib import Path
from pipelines import fingerprints, parameters, stages
from pipelines.files import CODE, write_json
checked = parameters.load()
for one in stages.of_study("progressive_sharpening", checked):
    if one.name == "mine":
        write_json(one.code, fingerprints.of_stage(one, checked, Path({str(ROOT)!r})), sort_keys=False)
write_json(CODE / "profile.json", checked.model_dump(include={{"profile", "data", "compute"}}))
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "mine:dropout"}, "Network, in its own forward, is random"),
        ({"architecture": "mine:one_output"}, "outputs (8, 1) with targets (8, 10)|has 1 classes"),
        ({"optimizer": "mine:rebinding"}, "mine:rebinding puts new tensors in place of its parameters"),
        ({"optimizer": "mine:undeclared"}, "LBFGS evaluates the loss within its step: declare it"),
        (
            {"measure": {"preconditioned_sharpness": {"every": 2, "tolerance": 0.01, "cold_every": 9, "max_hvps": 50}}},
            "'mine:build_adam' declares no diagonal preconditioner",
        ),
    ],
    ids=["dropout", "outputs", "rebinding", "closure", "preconditioner"],
)
def test_what_cannot_be_trained_ends_the_stage_in_one_sentence(tmp_path, options, message):
    done, out = train(tmp_path, **options)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any(part in line for part in message.split("|")), line
    assert not out.exists() and not (tmp_path / "runs-meta").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "mine:frozen"},
        {"architecture": "mine:recurrent"},
        {"optimizer": "mine:lbfgs"},
        {
            "optimizer": "mine:adam",
            "measure": {"preconditioned_sharpness": {"every": 2, "tolerance": 0.01, "cold_every": 9, "max_hvps": 50}},
        },
    ],
    ids=["frozen", "recurrent", "closure", "preconditioner"],
)
def test_what_a_user_brings_is_trained(tmp_path, options):
    done, out = train(tmp_path, **options)
    assert done.returncode == 0, done.stderr
    history = pd.read_parquet(out / "curves.parquet")
    losses = history[(history["metric"] == "loss") & (history["seed"] == 1)].set_index("step")["value"]
    assert losses[4] < losses[0]
    facts = json.loads((out / "run.json").read_text())["facts"]
    if options.get("architecture") == "mine:frozen":
        assert facts["parameters"] == 8 * 10 + 10
    if options.get("optimizer") == "mine:adam":
        assert facts["optimizer"] == "mine.adam" and facts["stability_threshold"] == pytest.approx(38 / 0.05)
        assert "preconditioned_sharpness" in set(history["metric"])
