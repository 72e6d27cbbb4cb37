"""`compute.device`: refused where it is not, prepared alike by every stage, and recorded as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from pipelines import devices, manifest, parameters, provenance
from pipelines.stages import compute

ROOT = Path(__file__).parents[2]
PREPARED = """
import os, torch
from threadpoolctl import threadpool_info
from pipelines import devices
devices.prepare("cpu", 1)
import numpy
assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
assert torch.are_deterministic_algorithms_enabled()
assert torch.get_num_threads() == torch.get_num_interop_threads() == 1
assert all(pool["num_threads"] == 1 for pool in threadpool_info())
for backend in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
    assert backend.fp32_precision == "ieee"
"""


def at(path: Path, device: str) -> Path:
    """A folder with the quick parameters on a device."""
    text = (ROOT / "params.quick.yaml").read_text()
    assert "device: cpu" in text
    (path / "params.yaml").write_text(text.replace("device: cpu", f"device: {device}"))
    return path


def python(*command, cwd: Path) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("device", ["cuda:99", "mps"])
def test_a_device_that_is_not_here_is_refused_in_one_sentence_before_anything_runs(tmp_path, device):
    if device in devices.available():
        pytest.skip(f"{device} is here")
    (at(tmp_path, device) / "code.json").write_text('{"fingerprint": "0"}')
    before = sorted(tmp_path.iterdir())
    arguments = ["progressive_sharpening", "lr-high", "--stack", "1-3", "--data", "none.npz", "--code", "code.json"]
    done = python("-m", "pipelines.stages.run", *arguments, "--out", "out", "--meta", "meta.json", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert repr(device) in line and "cpu" in line and line.endswith("set it to one of these in params.yaml")
    assert "Traceback" not in done.stderr and sorted(tmp_path.iterdir()) == before


def test_a_process_is_prepared(tmp_path):
    done = python("-c", PREPARED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_devices_are_known_by_their_form(tmp_path, device):
    assert parameters.load(at(tmp_path, device) / "params.yaml").compute.device == device


@pytest.mark.parametrize("takes", [True, False])
def test_an_experiment_runs_where_it_can_and_its_record_says_where(tmp_path, monkeypatch, takes):
    def on_a_device(settings, seeds, device="cpu"):
        return pd.DataFrame({"device": [device]})

    def on_the_cpu(settings, seeds):
        return pd.DataFrame({"device": ["cpu"]})

    monkeypatch.chdir(at(tmp_path, "cuda:1"))
    monkeypatch.setattr(compute.devices, "prepare", lambda device, threads: None)
    monkeypatch.setattr(
        compute, "import_module", lambda name: SimpleNamespace(run=on_a_device if takes else on_the_cpu)
    )
    monkeypatch.setattr(provenance, "_gpu", lambda device: {"gpu": device} if device != "cpu" else {})
    monkeypatch.setattr(
        sys, "argv", ["compute", "convex_rates", "worst_cases", "--out", "table.csv", "--meta", "meta.json"]
    )
    compute.main()
    told = json.loads(Path("meta.json").read_text())
    assert told["device"] == ("cuda:1" if takes else "cpu") == pd.read_csv("table.csv")["device"].item()
    environment = manifest.environment_of(told, parameters.load())
    assert environment["device"] == told["device"] and environment.get("gpu") == ("cuda:1" if takes else None)


def test_a_gpu_is_named_by_what_decides_how_it_rounds(monkeypatch):
    said = SimpleNamespace(stdout="580.65.06\n580.65.06\n")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU at {device}")
    monkeypatch.setattr(provenance.subprocess, "run", lambda *arguments, **options: said)
    gpu = provenance._gpu("cuda:1")
    assert (
        gpu["gpu"] == "a GPU at cuda:1"
        and gpu["driver"] == "580.65.06"
        and set(gpu) == {"gpu", "driver", "cuda", "cudnn"}
    )
    assert provenance._gpu("cpu") == {}

    def missing(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr(provenance.subprocess, "run", missing)
    assert provenance._gpu("cuda:1")["driver"] == "unknown"


def test_another_gpu_is_another_environment():
    versions = dict.fromkeys(manifest.NUMERIC, "1")
    there = {"processor": "p", "family": "f", "device": "cuda", "gpu": "A", "driver": "1", "versions": versions}
    assert manifest.differences({"environments": [there]}, there) == []
    assert manifest.differences({"environments": [there]}, there | {"gpu": "B"}) == ["gpu B (was A)"]
