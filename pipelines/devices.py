"""The process that computes: its threads, its determinism and its device, the same for every stage."""

import os


def prepare(device: str, threads: int) -> None:
    """Make this process ready to compute. To be called first, because CUDA and the pools of threads start only once.

    Raises:
        ValueError: if the device is not here.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # else torch rejects cuBLAS as nondeterministic
    import torch  # here, because it takes seconds
    from threadpoolctl import threadpool_limits

    require(device)
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    threadpool_limits(threads)  # numpy's threads would compete with those of the stage beside
    torch.use_deterministic_algorithms(True)
    torch.backends.fp32_precision = "ieee"  # TF32, cuDNN's default, keeps ten bits of a factor


def require(device: str) -> None:
    """Raises ValueError if the device is not here."""
    if device == "cpu":
        return
    import torch

    if device not in available():
        without = device.startswith("cuda") and torch.version.cuda is None
        raise ValueError(
            f"compute.device is {device!r}, and here there is only {', '.join(available())}"
            + (f" (torch {torch.__version__} is built without CUDA)" if without else "")
            + ": set it to one of these in params.yaml"
        )


def available() -> list[str]:
    """The devices of this machine, as ``compute.device`` names them."""
    import torch

    cuda = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
