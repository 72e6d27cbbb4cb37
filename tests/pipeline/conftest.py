"""Workspaces to run the real pipelines in: a Git clone of the code with tiny parameters, built once and copied."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
CODE = (
    "benchmarks",
    "pipelines",
    "claims.yaml",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    "params.quick.yaml",
    "CITATION.cff",
    "CHANGELOG.md",
    "pyproject.toml",
)

PARAMS = """
profile: quick
data:
  source: digits
  sha256:
    x_train: 81e0d03ee0cae284c9ddf64e4cdf0795fa9bfb4d59ee622ea3e893c782407518
    y_train: 3ba1a179c78a058b323f287401fe89007a0a83f5eb43bcc164d8b564e2e35d1c
    x_test: 77d2468ff9bd7d3d25ed419846b8959b3f5a8ca4e43bae2e77cb97e0715ff23e
    y_test: 6362daa811d4b34251e630e7c53e9c69cd35accb45749d94648c9c803ef09aff
compute: {device: cpu, dtype: float32, threads: 1, chunk_size: 1000}
progressive_sharpening:
  configuration_stacks: [1-2]
  stacks: [1-2]
  defaults:
    architecture: {name: mlp, hidden: [8], activation: tanh}
    loss: mse
    images: 200
    classes: null
    pool: 1
    optimizer: {name: sgd}
    batch_size: null
    divergence: 1e3
    measure:
      fit: {every: 5}
      sharpness: {every: 5, tolerance: 1e-3, cold_every: 2, max_hvps: 60}
      path: {}
  configurations:
    lr-low: {optimizer: {lr: 0.2}, steps: 20}
    lr-diverging: {optimizer: {lr: 1e2}, steps: 20}
  comparisons:
    adam-09:
      optimizer: {name: adam, lr: 0.01}
      steps: 20
      measure: {preconditioned_sharpness: {every: 5, tolerance: 1e-3, cold_every: 2, max_hvps: 60}}
  controls:
    edge-lr-mid:
      architecture: {name: self_stabilization, sharpness: 64.667, drift: 1.1111, amplitude: 1.4907}
      loss: objective
      images: 0
      optimizer: {lr: 0.03}
      steps: 20
  thresholds:
    gd: {name: sgd, lr: 0.01}
  catapult: {width: 64, steps: 120, resolution: 0.1}
convex_rates:
  worst_cases:
    {steps: [1, 2], step_sizes: [0.5, 1.0], problems: 2, mu: 0.1, nesterov_steps: [1, 2], widths: 5}
  logistic_regression:
    {seeds: 2, images: 50, pool: 4, ridge: 1e-3, separable: false, steps: 10, marks: [1, 10]}
overparameterization:
  random_labels:
    {seeds: 2, images: 40, few: 20, pool: 1, architecture: {name: mlp, hidden: [20], activation: relu},
     optimizer: {name: sgd, lr: 0.05, momentum: 0.9}, batch_size: 20, steps: 40, every: 10, linear_images: 20,
     components: 2}
  non_convexity:
    seeds: 2
    images: 20
    pool: 2
    max_products: 20
    dense: 400
    systems:
      tanh-mse:
        {architecture: {name: mlp, hidden: [4], activation: tanh}, loss: mse, optimizer: {name: sgd, lr: 0.1},
         steps: 20}
      linear-cross-entropy:
        {architecture: {name: mlp, hidden: [], activation: identity}, loss: cross_entropy,
         optimizer: {name: sgd, lr: 0.02}, steps: 5}
  polyak_lojasiewicz:
    {seeds: 2, images: 10, pool: 1, activation: tanh, widths: [16, 32], lr: 0.9, steps: 5, readings: [2], memory: 64}
  initialization:
    {seeds: 2, linear_images: 8, pool: 1, linear_steps: 20, ridge: 0.05, images: 20,
     architecture: {name: mlp, hidden: [8], activation: relu}, optimizer: {name: sgd, lr: 0.1}, batch_size: 10,
     target: 1.0, steps: 40, every: 10}
  distance:
    {seeds: 2, images: 10, pool: 1, optimizer: {name: sgd, lr: 0.3}, steps: 4, widths: [8, 16, 32, 64],
     mean_field_widths: [8, 16, 32, 64], mean_field_lr: 0.1}
  bad_minima:
    {seeds: 2, images: 20, pool: 1, architecture: {name: mlp, hidden: [8], activation: relu},
     optimizer: {name: sgd, lr: 0.2}, batch_size: 10, target: 1.0, steps: 40, every: 10, copies: 2, erased: 0.1,
     pretraining: {optimizer: {name: sgd, lr: 0.05}, steps: 20}, linear_images: 8, far: 10.0}
lazy_training:
  widths:
    seeds: 2
    images: 8
    tests: 8
    pool: 1
    rate: 0.8
    steps: 20
    memory: 64
    systems:
      tanh: {activation: tanh, readout: ntk, widths: [8, 16]}
      mean-field: {activation: tanh, readout: mean-field, widths: [8, 16]}
  output_scale:
    {seeds: 2, images: 8, tests: 8, pool: 1, width: 8, scales: [16, 32, 64, 128, 256], rich_scales: [0.5, 1],
     rate: 0.2, steps: 5}
  critical_rate:
    {seeds: 2, images: 8, pool: 1, widths: [16], mean_field_widths: [8], steps: 5, resolution: 0.2, memory: 64}
  alignment:
    {seeds: 2, images: 8, pool: 1, hidden: [8], activation: relu, rate: 1.0, steps: 20, marks: 4, scale: 256,
     memory: 64}
  minimum_norm:
    {seeds: 2, examples: 5, inputs: 8, hidden: 8, steps: 10, rate: 0.5, images: 6, pool: 1, image_steps: 20}
  max_margin: {seeds: 2, points: 4, inputs: 3, gap: 0.3, images: 8, pool: 1, log_time: 20, far: 200}
deep_linear:
  seeds: [1, 2, 3]
  solutions: {lr: 0.01, time: 1.0, u0: 0.1, scale: 0.3, growth_lr: 0.02, escape_u0: [1e-2, 1e-1], escape_lr: 0.2}
  conservation: {lrs: [0.02, 0.01], time: 0.1, scale: 0.5, parsimony_lr: 0.02, parsimony_steps: 5}
  waypoints:
    systems:
      one-layer: {activation: none, scale: 1e-3, optimizer: {name: sgd, lr: 0.05}, steps: 100}
    rising: []
    muon: {lr: 0.05, scale: 1e-3, steps: 20}
  completion: {seeds: 2, size: 8, rank: 1, observed: 30, init: 1e-2, lr: [1.0, 0.5, 0.2], steps: 20}
  kernels:
    {lr: 0.01, time: 0.2, product: 0.1, scale: 0.1, large_scale: 1.0, colour: 2.0, alignment_lr: 0.05,
     alignment_steps: 50}
scale_invariance:
  homogeneity:
    {seeds: 2, inputs: 4, outputs: 2, hidden: [4, 4], examples: 8, eps: 0, ratios: [1e-5, 1e-4]}
  norm_growth:
    {seeds: 2, inputs: 4, outputs: 2, hidden: [4, 4], examples: 8, eps: 0, batch_size: 4, lr: 0.2, momentum: 0.9,
     steps: 4}
  exponential_rate:
    {seeds: 2, images: 20, pool: 4, hidden: [12, 12], eps: 0, batch_size: 10, lr: 0.8, weight_decay: 0.1, momentum: 0.5,
     steps: 10, every: 5}
  equilibrium:
    seeds: 2
    images: 20
    pool: 4
    hidden: [12, 12]
    eps: 0
    batch_size: 5
    steps: 40
    kicks: 1
    toy_size: 10
    toy_examples: 20
    systems:
      plain: {lr: 0.5, weight_decay: 0.4, momentum: 0, decoupled: false}
      coupled: {lr: 0.05, weight_decay: 0.4, momentum: 0.5, decoupled: false}
      decoupled: {lr: 0.05, weight_decay: 4.0, momentum: 0.5, decoupled: true}
  conservation:
    {seeds: 2, inputs: 4, outputs: 2, width: 6, examples: 10, lrs: [0.02, 0.01], time: 0.1, weight_decay: 0.1}
  rescaling:
    seeds: 2
    inputs: 4
    outputs: 2
    hidden: [4, 4]
    examples: 8
    steps: 3
    factor: 10
    binary_factor: 16
    rounding: [muon]
    optimizers:
      sgd: {name: sgd, lr: 0.1}
      adam: {name: adam, lr: 0.003, eps: 0}
      muon: {name: muon, lr: 0.01}
  intrinsic_rate:
    {seeds: 2, images: 20, pool: 4, hidden: [12, 12], eps: 0, batch_size: 5, lr: 0.5, product: 0.2,
     lr_factors: [0.5, 1], product_factors: [0.5, 1], steps: 40, every: 10, exact_steps: 5}
low_rank_progression:
  defaults:
    seeds: 2
    data:
      {name: images, images: 200, pool: 1, components: 10, inputs: whitened, rotate: false, labels: linear,
       spectrum: natural, swap: null, modes: null, merge: 1e-6}
    architecture: {name: bias_free_mlp, hidden: [10], activation: relu}
    linearized: false
    loss: mse
    init: 1e-2
    optimizer: {name: sgd}
    edge: 0.3
    follows_scale: false
    batch_size: null
    steps: 300
    basis: data
    twin: true
    depth: null
  rungs:
    small-gd-relu-hat: {}
    default-adam-relu-real: {init: null, optimizer: {name: adam, lr: 1e-2}, edge: null, data: {labels: real}}
  output_scale: {seeds: 2, images: 20, pool: 1, components: 4, width: 4, depths: [2], scales: [0.01, 0.1, 10, 100],
                 steps: 5, resolution: 0.5}
optimizer_comparison:
  protocol: {trials: 3, tuning_seed: 1000, space_seed: 0, seeds: [1, 2], marks: 5}
  target: {optimizer: adamw, share: 0.95}
  defaults:
    data: {name: images, train: 150, validation: 50, pool: 1}
    batch_size: 50
    steps: 20
    warmup: 2
    decay: true
    factors: [0.25, 4]
    factor_seeds: 2
    curvature_examples: 20
  workloads:
    mlp: {architecture: {name: mlp, hidden: [8], activation: relu}}
  extras:
    balanced: {data: {name: imbalanced, size: 3, balanced: true}, batch_size: null, warmup: 0, decay: false,
               factors: [], architecture: {name: mlp, hidden: [], activation: identity}}
  pair: [adamw]
  optimizers:
    adamw: {optimizer: {name: adamw}, space: {lr: {log: [1e-3, 0.1]}, weight_decay: {log: [1e-4, 1]}}}
    hopeless: {optimizer: {name: sgd}, space: {lr: {log: [1e6, 1e9]}}}
  class_imbalance:
    {classes: 3, time: 50, early: 3, systems: {gradient-descent: {optimizer: {name: sgd, lr: 0.5}}}}
  normalised_quadratic: {seeds: 2, decades: 3, rates: 3, search: [0.1], lr: 1.0, examples: 8, features: 3, steps: 5}
  heterogeneity: {seeds: 2, workloads: [mlp, balanced], examples: 20, products: 4}
timings: {threads: 1, configuration: lr-low, seed: 1, warmup: 2, refreshes: 1, repeats: 1, target: 1e-3}
"""


class Workspace:
    """A checkout with a store of its own and no network."""

    def __init__(self, path: Path):
        self.path = path

    def environment(self, **changes) -> dict[str, str]:
        """This environment first on the path, nothing of the user's W&B or data; None removes a variable."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "CIFAR10", "BENCH", "DVC"))}
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


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Workspace:
    """A workspace after a whole `bench repro -j 2`, pushed and committed. Not to be changed: see ``workspace``."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    path = shared / "built"
    with FileLock(shared / "built.lock"):
        space = Workspace(path)
        if not (path / "built.json").is_file():
            path.mkdir()
            for part in CODE:
                source = ROOT / part
                if source.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "dvc.lock")
                    shutil.copytree(source, path / part, ignore=ignored)
                else:
                    shutil.copy2(source, path / part)
            (path / "params.yaml").write_text(PARAMS)
            space.git("init", "-q", "-b", "main")
            space.dvc("init", "-q")
            (path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
            space.commit("code")
            said = space.bench("repro", "-j", "2").stdout
            space.dvc("push", "-q", "--run-cache")
            (path / "built.json").write_text(json.dumps(said))
            space.commit("results")
    return space


@pytest.fixture
def workspace(built, tmp_path) -> Workspace:
    """A copy of the built workspace, with its cache, to change at will."""
    return built.copy(tmp_path / "work")


@pytest.fixture
def clone(built, tmp_path) -> Workspace:
    """A fresh clone of the built workspace: no cache, no data, no runs."""
    return built.clone(tmp_path / "clone")
