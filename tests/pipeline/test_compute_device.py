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
from workspaces import ROOT, tiny

from pipelines import devices, fingerprints, manifest, parameters, provenance, run, stages
from pipelines.files import write_json, write_yaml

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
    """A folder with the tests' parameters on a device."""
    settings = tiny()
    settings["compute"]["device"] = device
    write_yaml(path / "params.yaml", settings)
    return path


def asked(folder: Path, path: str) -> None:
    """Write down there what the stage at a path is to do."""
    checked = parameters.load(folder / "params.yaml")
    (stage,) = [one for one in stages.training(checked) if one.path == path]
    write_json(folder / stage.code, fingerprints.of_stage(stage, checked, ROOT))


def python(*command, cwd: Path) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("device", ["cuda:99", "mps"])
def test_a_device_that_is_not_here_is_refused_in_one_sentence_before_anything_runs(tmp_path, device):
    if device in devices.available():
        pytest.skip(f"{device} is here")
    asked(at(tmp_path, device), "progressive_sharpening/lr-low/1-2")
    before = sorted(tmp_path.rglob("*"))
    done = python("-m", "pipelines.run", "progressive_sharpening/lr-low/1-2", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert repr(device) in line and "cpu" in line and line.endswith("set it to one of these in params.yaml")
    assert "Traceback" not in done.stderr and sorted(tmp_path.rglob("*")) == before


def test_a_process_is_prepared(tmp_path):
    done = python("-c", PREPARED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_devices_are_known_by_their_form(tmp_path, device):
    assert parameters.load(at(tmp_path, device) / "params.yaml").compute.device == device


@pytest.mark.parametrize(
    ("path", "quantity", "takes"),
    [("overparameterization/random_labels", "gradient", True), ("scale_invariance/norm_growth", "growth", False)],
    ids=["takes a device", "takes none"],
)
def test_an_experiment_runs_where_it_can_and_its_record_says_where(tmp_path, monkeypatch, path, quantity, takes):
    given = []

    def on_a_device(settings, seeds, device):
        given.append(device)
        return pd.DataFrame({"system": ["here"], "seed": seeds[:1], "quantity": [quantity], "value": [1.0]})

    def on_the_cpu(settings, seeds):
        return on_a_device(settings, seeds, "cpu")

    monkeypatch.chdir(at(tmp_path, "cuda:1"))
    asked(tmp_path, path)
    monkeypatch.setattr(run.devices, "prepare", lambda device, threads: given.append(device))
    monkeypatch.setattr(run, "import_module", lambda name: SimpleNamespace(run=on_a_device if takes else on_the_cpu))
    monkeypatch.setattr(provenance, "_gpu", lambda device: {"gpu": device} if device != "cpu" else {})
    monkeypatch.setattr(sys, "argv", ["run", path])
    run.main()
    told = json.loads(Path(f"runs-meta/{path}.json").read_text())
    assert given == [told["device"]] * 2 and told["device"] == ("cuda:1" if takes else "cpu")
    assert Path(f"results/tables/{path}.csv").is_file()
    environment = manifest.environment_of(told, parameters.load().compute)
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
