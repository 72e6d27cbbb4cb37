"""One thread: these problems are so small that more threads only wait for one another."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def deterministic(monkeypatch):
    """What a stage asks of a device; no error of the pretended one may be left over."""
    from benchmarks.lab.pretend_device import PENDING  # here, for importing it registers the device for good

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    assert not PENDING
