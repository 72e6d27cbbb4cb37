"""Where numbers come from: commit, versions, processor, device. Nothing that names a machine or a person."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "pytorch-optimizer", "pandas", "pyarrow", "wandb", "dvc")
# The variable that names the commit where a stage runs outside the checkout.
COMMIT = "BENCH_COMMIT"


def record(wall_s: float, device: str) -> dict:
    """What a stage writes about itself into runs-meta.

    Args:
        device: on which it ran.
    """
    return {
        "commit": commit(),
        "versions": versions(),
        "hardware": {**_processor(), **_kernels(), "cores": os.cpu_count(), **_gpu(device)},
        "device": device,
        "wall_s": round(wall_s, 1),
    }


def versions() -> dict[str, str]:
    """Those of Python and the libraries here."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def commit() -> str:
    """The commit of the code, or "unknown" outside a Git checkout."""
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _kernels() -> dict[str, str]:
    """Which kernels the libraries of numpy and torch have chosen for this processor: they determine how sums round.
    Without versions, because scipy has its own copy of the library, which may or may not be loaded."""
    # Loaded here even if nothing else did, so that one machine always says the same.
    import torch
    from threadpoolctl import threadpool_info

    found = {
        f"{library['internal_api']} {library['architecture']}"
        for library in threadpool_info()
        if "architecture" in library
    }
    return {"kernels": ", ".join(sorted(found | {f"torch {torch.backends.cpu.get_cpu_capability()}"}))}


def _gpu(device: str) -> dict[str, str]:
    """A CUDA device's model, driver and libraries; empty for other devices."""
    if not device.startswith("cuda"):
        return {}
    import torch

    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    return {
        "gpu": torch.cuda.get_device_name(device),
        "driver": driver,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def _processor() -> dict[str, str]:
    """The processor's model, and family/model/stepping where the system says them, because processors of one name
    round differently. Nothing that names a machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    found = {"processor": fields.get("model name") or platform.machine()}
    parts = [fields[name] for name in ("cpu family", "model", "stepping") if name in fields]
    return {**found, "family": "/".join(parts)} if parts else found
