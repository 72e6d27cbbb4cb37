"""Workspaces to run the real pipelines in: checkouts of the code with tiny parameters."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from pipelines import parameters
from pipelines.files import read_yaml, write_yaml

ROOT = Path(__file__).parents[2]
CODE = (
    "benchmarks",
    "pipelines",
    "contributed",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "CITATION.cff",
    "CHANGELOG.md",
    "pyproject.toml",
)
# What `bench stages` and DVC write: a workspace has its own.
WRITTEN = ("dvc.yaml", "dvc.lock", "__pycache__")
TINY = Path(__file__).parent / "params.tiny.yaml"


def tiny() -> dict:
    """The parameters of the tests' workspaces: the quick profile with the changes of params.tiny.yaml."""
    reference = parameters.read(ROOT / "params.yaml")
    for path in (ROOT / "params.quick.yaml", TINY):
        reference = parameters.changed(reference, parameters.read(path), str(path))
    return reference


class Workspace:
    """A checkout with a store of its own and no network."""

    def __init__(self, path: Path):
        self.path = path

    def environment(self, **changes) -> dict[str, str]:
        """This environment first on the path, nothing of the user's W&B or data; None removes a variable."""
        own = ("WANDB", "CIFAR10", "TINYSHAKESPEARE", "BENCH", "DVC")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        env = {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]]),
            "PYTHONPATH": str(self.path),
            "WANDB_MODE": "offline",
            **changes,
        }
        return {key: value for key, value in env.items() if value is not None}

    def start(self, *command, stderr=subprocess.DEVNULL, **environment) -> subprocess.Popen:
        env = self.environment(**environment)
        # A test run in the background ignores interrupts, and so would what it starts.
        hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(
            command, cwd=self.path, env=env, stdout=subprocess.DEVNULL, stderr=stderr, preexec_fn=hears
        )

    def run(self, *command, check=True, **environment) -> subprocess.CompletedProcess:
        env = self.environment(**environment)
        done = subprocess.run(command, cwd=self.path, env=env, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done

    def dvc(self, *arguments, **options):
        return self.run(sys.executable, "-m", "dvc", *arguments, **options)

    def bench(self, *arguments, **options):
        return self.run(sys.executable, "-m", "pipelines.cli", *arguments, **options)

    def git(self, *arguments):
        return self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments)

    def commit(self, message="change"):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.path / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    def stale(self) -> set[str]:
        """The stages DVC would run now."""
        return set(json.loads(self.dvc("status", "--json").stdout or "{}"))

    def ran(self, *arguments, **options) -> list[str]:
        """The stages that a ``dvc repro`` executes."""
        said = self.dvc("repro", *arguments, **options).stdout
        return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]

    def copy(self, path: Path) -> "Workspace":
        """The same checkout somewhere else, cache and all."""
        shutil.copytree(self.path, path, symlinks=True)
        return Workspace(path)

    def clone(self, path: Path) -> "Workspace":
        """What a colleague gets: the committed files alone."""
        self.run("git", "clone", "-q", str(self.path), str(path))
        return Workspace(path)

    def bytes(self, pattern: str) -> dict[str, bytes]:
        return {str(p.relative_to(self.path)): p.read_bytes() for p in sorted(self.path.glob(pattern))}

    def set(self, key: str, value: object) -> None:
        """Give an entry of params.yaml, by its dotted key, a value; a new entry comes last."""
        whole, around, last = self._at(key)
        around[last] = value
        write_yaml(self.path / "params.yaml", whole)

    def drop(self, key: str) -> None:
        """Take an entry out of params.yaml."""
        whole, around, last = self._at(key)
        del around[last]
        write_yaml(self.path / "params.yaml", whole)

    def get(self, key: str):
        """An entry of params.yaml."""
        _, around, last = self._at(key)
        return around[last]

    def _at(self, key: str) -> tuple[dict, dict, str]:
        """params.yaml, the mapping that an entry is in, and its name there."""
        *parents, last = key.split(".")
        whole = around = read_yaml(self.path / "params.yaml")
        for parent in parents:
            around = around[parent]
        return whole, around, last
