"""What runs stages on other machines: Ray and Slurm, each the extra of its name, and a site's options for them.

An engine is a function of (bundle, cluster, site) that gives a context with an `away.Engine`; leaving it ends whatever
still runs there.
"""

import os
import shutil
import socket
import time
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from benchmarks.evidence.faults import explained
from benchmarks.studies.schema import Count, Positive, Strict
from pipelines import away
from pipelines.away import AwayError, Lost
from pipelines.files import STATE

SITE = Path("bench.toml")
POLL_S = 0.5
CONNECT_S = 10


class RaySite(Strict):
    scratch: str | None = None
    resources: dict[str, Positive] | None = None  # of your own names, that a stage takes beside CPUs and GPUs
    runtime_env: dict[str, Any] | None = None


class SlurmSite(Strict):
    scratch: str | None = None
    folder: str = str(STATE / "slurm")  # where jobs and results are exchanged: every node must see it
    at_once: Count = 200  # jobs in the queue
    minutes: Count = 600  # of one stage
    memory_gb: Positive = 4.0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    setup: list[str] | None = None  # shell commands before a stage
    srun_args: list[str] | None = None
    additional_parameters: dict[str, Any] | None = None  # of sbatch
    python: str | None = None  # the command; by default this Python's path


class Site(Strict):
    """bench.toml: what is particular to a site."""

    ray: RaySite = RaySite()
    slurm: SlurmSite = SlurmSite()


def site() -> Site:
    """The site's options; the defaults without a bench.toml.

    Raises:
        AwayError: naming each wrong key or value.
    """
    try:
        return Site.model_validate(tomllib.loads(SITE.read_text(encoding="utf-8")) if SITE.is_file() else {})
    except tomllib.TOMLDecodeError as error:
        raise AwayError(f"{SITE} is not valid TOML: {error}") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'][:-1]))}: {explained(Site, fault)}" for fault in error.errors()]
        raise AwayError(f"{SITE}: {'; '.join(faults)}") from None


@contextmanager
def ray(bundle: bytes, cluster: str | None, site: RaySite) -> Iterator[away.Engine]:
    """A Ray cluster: at an address, at RAY_ADDRESS, or a new one of this machine.

    Raises:
        AwayError: if there is none at the address, or Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if Path("~/.ray/auth_token").expanduser().is_file():  # with one here, `ray start` asks for it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray = _installed("ray", "ray")
    host, _, port = (cluster or "").removeprefix("ray://").rpartition(":")
    if host:  # Ray itself would try for minutes
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise AwayError(f"no Ray cluster answers at {cluster}: {error}") from None
    ray.cloudpickle.register_pickle_by_value(away)
    try:
        ray.init(address=cluster, log_to_driver=False, logging_level="ERROR", runtime_env=site.runtime_env)
    except Exception as error:  # of many kinds: no answer, another version of Ray or Python there
        raise AwayError(f"no Ray cluster can be used at {cluster or 'this machine'}: {_line(error)}") from None
    running: dict[Any, str] = {}

    class Engine:
        def send(self, job: dict, cpus: int, gpus: float) -> None:
            for kind, asked in {"CPU": cpus, "GPU": gpus}.items():
                if asked > (there := ray.cluster_resources().get(kind, 0)):
                    raise AwayError(f"a stage needs {asked:g} {kind}, and the Ray cluster has {there:g} in all")
            options = {"num_cpus": cpus, "num_gpus": gpus, "resources": site.resources, "max_retries": 0}
            running[task.options(name=job["address"], **options).remote(sent, site.scratch, **job)] = job["address"]

        def ended(self) -> list[tuple[str, dict | Lost]]:
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=POLL_S)
            return [(running.pop(one), result(one)) for one in ready]

    def result(one: Any) -> dict | Lost:
        try:
            return ray.get(one)
        except ray.exceptions.RayTaskError as error:  # of the worker's Python, not of the stage
            return Lost(_line(error.cause), again=False)
        except ray.exceptions.RayError as error:
            return Lost(f"its worker was lost: {_line(error)}")

    try:
        sent, task = ray.put(bundle), ray.remote(away.perform)
        yield Engine()
    finally:
        for one in running:
            ray.cancel(one, force=True)
        ray.shutdown()


@contextmanager
def slurm(bundle: bytes, cluster: str | None, site: SlurmSite) -> Iterator[away.Engine]:
    """Slurm's queue, a job a stage, through submitit; its cluster "local" is processes here.

    Raises:
        AwayError: if this is no Slurm cluster, submitit is not installed, or Slurm refuses a job.
    """
    submitit = _installed("submitit", "slurm")
    import_module("cloudpickle").register_pickle_by_value(away)
    folder = Path(site.folder).absolute() / uuid.uuid4().hex
    options = {**site.model_dump(exclude={"scratch", "folder", "at_once", "minutes", "memory_gb", "python"})}
    options = {f"slurm_{name}": value for name, value in options.items() if value}
    try:
        folder.mkdir(parents=True)
        executor = submitit.AutoExecutor(folder, cluster=cluster or "slurm", slurm_python=site.python)
        executor.update_parameters(timeout_min=site.minutes, mem_gb=site.memory_gb, **options)
    except (RuntimeError, ValueError) as error:
        raise AwayError(f"Slurm cannot be used here: {_line(error)}") from None
    packed = folder / "workspace.tar"
    packed.write_bytes(bundle)
    queue: list[tuple[dict, int, int]] = []
    running: dict[Any, str] = {}

    class Engine:
        def send(self, job: dict, cpus: int, gpus: float) -> None:
            if gpus != int(gpus):
                raise AwayError(
                    f"Slurm gives whole GPUs, not {gpus}: leave --gpus out, or see docs/how-to/cluster.md to share one"
                )
            queue.append((job, cpus, int(gpus)))

        def ended(self) -> list[tuple[str, dict | Lost]]:
            while queue and len(running) < site.at_once:
                job, cpus, gpus = queue.pop(0)
                executor.update_parameters(cpus_per_task=cpus, gpus_per_node=gpus, name=job["address"].split(":")[1])
                try:
                    running[executor.submit(away.perform_file, str(packed), site.scratch, **job)] = job["address"]
                except submitit.core.utils.FailedJobError as error:
                    raise AwayError(f"Slurm refused a job: {_line(error)}") from None
            time.sleep(POLL_S)
            return [(running.pop(job), result(job)) for job in list(running) if job.done()]

    def result(job: Any) -> dict | Lost:
        try:
            return job.result()
        except submitit.core.utils.FailedJobError as error:  # an exception there
            return Lost(_line(error), again=False)
        except submitit.core.utils.UncompletedJobError:
            said = (job.stderr() or "").strip().splitlines()[-1:]
            what = f"job {job.job_id} ended without a result ({job.state})"
            return Lost(": ".join([what, *said]), again=not job.state.startswith("CANCELLED"))

    try:
        yield Engine()
    finally:
        for job in running:
            job.cancel(check=False)
        for job in running if cluster == "local" else ():
            job.wait()
        shutil.rmtree(folder, ignore_errors=True)


ENGINES = {"ray": ray, "slurm": slurm}


def _installed(package: str, extra: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise AwayError(
            f'--on {extra} needs packages that are not installed ({error.name}): pip install ".[{extra}]"'
        ) from None


def _line(error: object) -> str:
    """The first line of an error that says something, and the last of a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "Traceback" in lines[0] else lines[0]
