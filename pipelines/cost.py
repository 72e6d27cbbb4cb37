"""What a profile would take on one H100, stage by stage: an estimate computed from its settings, without a GPU.

Stages that are as in the reference profile count the seconds that they took there, on one core: most stay on the CPU
anyway, and the others spend their time on starting small operations, which a GPU does not make faster. Of all others,
in three families, the work is counted: a gradient, a Hessian-vector product and an optimizer's step of the stage's own
network, whose tensors are shapes without numbers (torch's device ``meta``), times how many the settings ask for. FLOP
and bytes grow with the examples in a straight line; launches do not.

Seconds are the larger of starting all kernels and of doing all the work, FLOP and bytes one after the other; and then
what the host computes in between, the ranks of weights, timed here. What is assumed, and was not measured:

- `H100.flop_per_s`: NVIDIA's datasheet of the H100 SXM says 67e12 in float32 outside of tensor cores, which is what
  stages use (`pipelines.devices` turns TF32 off); here three eighths of it;
- `H100.bytes_per_s`: the datasheet says 3.35e12; here three fifths of it;
- `H100.launch_s`: 5 microseconds from one small kernel to the next, about what PyTorch's dispatch takes.

On the one H100 that was tried, in a virtual machine, a launch took about 100 microseconds, and a step of the
transformer of 10 million parameters 0.10 s where these rates say 0.063.

Not counted: preparing and moving data, imports (6 s a stage), factorizations on the device (SOAP's). Several stages on
one GPU make the whole shorter. `check` says how far the same formula, with the figures of a core, is from the seconds
that the reference's stages took.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from math import ceil
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.lab import architectures, losses, optimizers
from benchmarks.lab.launches import Counted
from benchmarks.lab.losses import Loss
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.optimizers import Optimizer
from benchmarks.studies.carry_over import networks, training, weights
from benchmarks.studies.optimizer_comparison import contest
from benchmarks.theory.ranks import stable_rank
from pipelines import parameters, schedule, sources, stages
from pipelines.files import read_json, table_path
from pipelines.stages import Stage

META = "meta"
# torch's optimizers ask this where they may take lists of tensors at once, as they do on a GPU.
_FOREACH = "_get_foreach_kernels_supported_devices"
# Of DVC's own start for each stage, measured on a worker.
START_S = 0.6
# Examples on which work is counted: two numbers of them, for a straight line.
FEW, MORE = 2, 4
# Hessian-vector products of a warm reading, where no table says how many the reference needed.
PRODUCTS = 10.0
# Products of the two readings of curvature of a final run (`contest`), at most.
CONTEST_PRODUCTS = 2 * 60
# Measurements whose work is counted; a configuration with others counts as measured.
MEASURED = {"fit", "path", "sharpness"}


@dataclass(frozen=True)
class Machine:
    flop_per_s: float
    bytes_per_s: float
    launch_s: float


H100 = Machine(flop_per_s=25e12, bytes_per_s=2e12, launch_s=5e-6)
# One core of the reference's processor, AVX2 in float32, with tensors in its cache or not.
CORE = Machine(flop_per_s=50e9, bytes_per_s=20e9, launch_s=5e-6)


@dataclass(frozen=True)
class Work:
    """Kernels, FLOP and bytes of a device, and seconds of the host."""

    launches: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    host_s: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + theirs for mine, theirs in zip(self._parts(), other._parts())))

    def __mul__(self, times: float) -> "Work":
        return Work(*(times * mine for mine in self._parts()))

    def _parts(self) -> tuple[float, ...]:
        return self.launches, self.flop, self.bytes, self.host_s

    def seconds(self, machine: Machine) -> float:
        done = self.flop / machine.flop_per_s + self.bytes / machine.bytes_per_s
        return max(self.launches * machine.launch_s, done) + self.host_s


@dataclass(frozen=True)
class Line:
    """Work that grows with the examples: that on `FEW`, and what each further one adds."""

    few: Work
    each: Work

    def on(self, examples: int, chunk_size: int) -> Work:
        """On so many examples, of which ``chunk_size`` go through the network at once."""
        work = self.few + self.each * (examples - FEW)
        return replace(work, launches=self.few.launches * ceil(examples / chunk_size))


def counted(work: Callable[[], object]) -> Work:
    """What a piece of work asks of a device. A wait costs as much as a launch."""
    with Counted(META) as seen:
        work()
    return Work(seen.launches.total() + seen.waits.total(), seen.flop, seen.bytes)


@dataclass(frozen=True, eq=False)
class Network:
    """A network of shapes without numbers, and its data.

    Attributes:
        shape: of an example.
        tokens: how many there are, where inputs are whole numbers; 0 where they are not.
        targets: those of so many examples.
    """

    module: nn.Module
    shape: tuple[int, ...]
    tokens: int
    targets: Callable[[int], Tensor]
    loss: Loss

    @cached_property
    def weights(self) -> list[nn.Parameter]:
        return [p for p in self.module.parameters() if p.requires_grad]

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.weights)

    @cached_property
    def forward(self) -> Line:
        return _line(lambda examples: torch.no_grad()(partial(self._loss, examples)))

    @cached_property
    def gradient(self) -> Line:
        return _line(lambda examples: lambda: torch.autograd.grad(self._loss(examples), self.weights))

    @cached_property
    def product(self) -> Line:
        """A Hessian-vector product, without the gradient whose graph it goes through."""

        def prepared(examples: int) -> Callable[[], object]:
            graph = torch.autograd.grad(self._loss(examples), self.weights, create_graph=True)
            graph = [one for one in graph if one.requires_grad]
            vectors = [torch.empty_like(one) for one in graph]
            return lambda: torch.autograd.grad(graph, self.weights, vectors, allow_unused=True) if graph else None

        return _line(prepared)

    def _loss(self, examples: int) -> Tensor:
        kind = torch.int64 if self.tokens else torch.float32
        inputs = torch.empty(examples, *self.shape, device=META, dtype=kind)
        return self.loss(self.module(inputs), self.targets(examples).to(META)).sum()

    def update(self, optimizer: Optimizer) -> Work:
        """An optimizer's step, without a gradient that it evaluates within."""
        parameters = [nn.Parameter(p.detach()) for p in self.weights]
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        with mock.patch.object(sys.modules[torch.optim.Optimizer.__module__], _FOREACH, lambda: [META]):
            built = optimizer.build(parameters)
            closure = [lambda: torch.zeros(())] if optimizer.closures else []
            for one in built:
                one.step(*closure)  # it makes its state
            return sum((counted(partial(one.step, *closure)) for one in built), Work())

    @cached_property
    def ranks_s(self) -> float:
        """Seconds for the stable ranks of an update, on one core (`contest`)."""
        matrices = [np.random.default_rng(0).normal(size=tuple(p.shape)) for p in self.weights if p.ndim >= 2]
        started = time.process_time()
        for matrix in matrices:
            stable_rank(matrix)
        return time.process_time() - started


def _line(prepared: Callable[[int], Callable[[], object]]) -> Line:
    few, more = (counted(prepared(examples)) for examples in (FEW, MORE))
    return Line(few, (more + few * -1) * (1 / (MORE - FEW)))


@dataclass(frozen=True)
class Estimate:
    """What a stage costs.

    Attributes:
        parameters, work: of its network, and counted; None where they are not.
        measured_s: on one core, in the reference profile; None if the stage differs from it, or has not run here.
    """

    stage: Stage
    parameters: int | None
    work: Work | None
    measured_s: float | None

    @property
    def seconds(self) -> float | None:
        """On one H100, estimated; None if nothing is known."""
        if self.measured_s is not None:
            return self.measured_s
        return None if self.work is None else self.work.seconds(H100)


def estimates(profile: str | None) -> list[Estimate]:
    """Of every stage of a profile; of the reference, where each is counted that can be, if none is named."""
    reference = parameters.load()
    asked = parameters.checked(parameters.profile(profile), profile) if profile else reference
    known = {stage.path: stage for stage in stages.training(reference)}
    found = []
    for stage in stages.training(asked):
        was = known.get(stage.path)
        same = was is not None and (was.settings, was.seeds) == (stage.settings, stage.seeds)
        seconds = read_json(stage.meta)["wall_s"] * stage.compute.threads if same and stage.meta.is_file() else None
        wanted = profile is None or seconds is None
        size, work = (_counted(stage, asked) if wanted else None) or (None, None)
        found.append(Estimate(stage, size, work, seconds))
    return found


def _counted(stage: Stage, asked: Any) -> tuple[int, Work] | None:
    """The parameters of a stage's network and its work; None where this is not counted."""
    match stage.study, stage.group:
        case "progressive_sharpening", "run" | "compare" | "control":
            return _sharpening(stage, asked)
        case "carry_over", _:
            return _system(stage, asked)
        case "optimizer_comparison", "contest" | "text" | "extra":
            return _contest(stage, asked)
    return None


def _sharpening(stage: Stage, asked: Any) -> tuple[int, Work] | None:
    settings = stage.settings
    if settings.images == 0 or {name for name, options in settings.measure.items() if options is not None} - MEASURED:
        return None
    classes = settings.classes or 10
    outputs = losses.outputs(settings.loss, classes)

    def targets(examples: int) -> Tensor:
        return losses.encode_targets(torch.arange(examples) % classes, settings.loss, classes, torch.float32)

    shape = _pooled(asked, settings.pool)
    module = _shapes(architectures.build(input_shape=shape, outputs=outputs, **settings.architecture))
    network = Network(module, shape, 0, targets, losses.LOSSES[settings.loss])
    chunk, batch = stage.compute.chunk_size, settings.batch_size or settings.images
    update = network.update(optimizers.named(**settings.optimizer))
    work = (network.gradient.on(batch, chunk) + update) * settings.steps
    if options := settings.measure.get("sharpness"):
        solver = Sharpness(stage.seeds, **options)
        readings = settings.steps / solver.every
        whole, product = network.gradient.on(settings.images, chunk), network.product.on(settings.images, chunk)
        if settings.images > chunk:  # the graph is made anew for each product
            product += whole
        if settings.batch_size:
            work += whole * readings
        work += product * (readings * (_products() + solver.max_hvps / solver.cold_every))
    # The runs of a stack, as if one after the other: together they start fewer kernels.
    return network.parameters, work * len(stage.seeds)


def _system(stage: Stage, asked: Any) -> tuple[int, Work]:
    settings, data = stage.settings, stage.settings.data
    if data.name == "text":
        outputs = tokens = settings.architecture["vocabulary"]
        shape, tests = (data.context,), data.read
    else:
        source = "digits" if data.source == "digits" else asked.data.source
        shape, tests = sources.SHAPES[source], sources.TESTS[source]
        shape = (shape[0], *(side // data.pool for side in shape[1:]))
        outputs, tokens = 10, 0
    net = architectures.build(input_shape=shape, outputs=outputs, **settings.architecture)
    total, size = Work(), 0
    for role, steps in training._planned(settings).items():
        match role:
            case "net" | "random":
                module = net
            case "lazy":
                module = networks.Linearized(net)
            case "layer":
                module = networks.single_layer(shape, outputs, tokens)
            case _:
                module = networks.linear_twin(net, shape, tokens)
        network = _classifier(module, shape, tokens, shape if tokens else (), outputs)
        step = network.gradient.on(settings.batch_size, settings.batch_size)
        step += network.update(training._recipe(settings))
        reading = network.forward.on(data.read + tests, training.AT_ONCE)
        reading += Work(host_s=_ranks_s(net if role == "lazy" else module))
        total += step * steps + reading * len(training.grid(steps, settings.readings))
        size = size or network.parameters
    return size, total * len(stage.seeds)


def _contest(stage: Stage, asked: Any) -> tuple[int, Work]:
    protocol, workload = stage.settings.protocol, stage.settings.workload
    data, validation, tests, tokens, labelled = workload.data, 0, 0, 0, ()
    match data.name:
        case "images":
            shape, outputs = _pooled(asked, data.pool), 10
            examples, validation, tests = data.train, data.validation, sources.TESTS[asked.data.source]
        case "imbalanced":
            shape, outputs, examples = ((data.size + 1) * 2**data.size,), 2**data.size - 1, data.size * 2**data.size
        case "tokens":
            shape, examples = (data.length,), data.examples
            outputs = tokens = data.vocabulary
        case "text":
            shape = labelled = (data.length,)
            examples, validation, tests = data.train, data.validation, data.test
            outputs = tokens = workload.architecture["vocabulary"]
    chunk, batch = stage.compute.chunk_size, workload.batch_size or examples
    network = _contested(workload.architecture.model_dump_json(), shape, tokens, labelled, outputs)
    entry = optimizers.named(**stage.settings.optimizer)
    middle = entry(**contest.setting(stage.settings.space, [0.5] * len(stage.settings.space)))
    if middle.block_rates:
        middle = middle(rates=[1.0] * len(network.weights))
    finals, others = len(protocol.seeds), len(workload.factors) * workload.factor_seeds
    step = network.gradient.on(batch, chunk) * (2 if middle.closures else 1) + network.update(middle)
    work = step * (workload.steps * (protocol.trials + finals + others))
    work += network.forward.on(validation or examples, chunk) * (protocol.trials + (finals + others) * protocol.marks)
    work += network.forward.on(examples + (tests or FEW), chunk) * finals
    work += Work(host_s=network.ranks_s) * (finals * protocol.marks)
    curved = min(workload.curvature_examples, examples)
    work += network.product.on(curved, curved) * (CONTEST_PRODUCTS * finals * (1 if middle.diagonal is None else 2))
    return network.parameters, work


@cache
def _contested(
    architecture: str, shape: tuple[int, ...], tokens: int, labelled: tuple[int, ...], outputs: int
) -> Network:
    module = architectures.build(input_shape=shape, outputs=outputs, **json.loads(architecture))
    return _classifier(module, shape, tokens, labelled, outputs)


def _classifier(
    module: nn.Module, shape: tuple[int, ...], tokens: int, labelled: tuple[int, ...], outputs: int
) -> Network:
    """With one class for each example, or, where these are ``labelled``, for each of its tokens."""

    def targets(examples: int) -> Tensor:
        return torch.zeros((examples, *labelled), dtype=torch.int64)

    return Network(_shapes(module), shape, tokens, targets, losses.LOSSES["cross_entropy"])


def _shapes(module: nn.Module) -> nn.Module:
    """A copy without numbers."""
    return deepcopy(module).to(META)


def _pooled(asked: Any, pool: int) -> tuple[int, ...]:
    channels, *sides = sources.SHAPES[asked.data.source]
    return (channels, *(side // pool for side in sides))


def _ranks_s(module: nn.Module) -> float:
    """Seconds for the ranks of the weights' change at a reading (`carry_over.training`), on one core."""
    views = list(module.parameters())
    start, now = (weights.matrices(module, [torch.randn_like(view) for view in views]) for _ in range(2))
    started = time.process_time()
    reduced = weights.reduced(weights.change(start, now))
    weights.mean_rank(reduced)
    weights.mean_rank(reduced, stable_rank)
    dict(weights.circuits(module, start, now))
    return time.process_time() - started


@cache
def _products() -> float:
    """Products of a warm reading in the reference, mean over its runs."""
    path = table_path("progressive_sharpening.long")
    return float(pd.read_csv(path)["hvps_per_reading"].mean()) if path.is_file() else PRODUCTS


def summary(found: Iterable[Estimate]) -> pd.DataFrame:
    """By study: its stages, how many have their work counted, the largest network of these, FLOP, launches, estimated
    hours, and the stages of which nothing is known."""
    rows = [
        {
            "study": one.stage.study,
            "stages": 1,
            "counted": int(one.work is not None),
            "parameters": one.parameters or 0,
            "PFLOP": one.work.flop / 1e15 if one.work else 0.0,
            "launches (1e6)": one.work.launches / 1e6 if one.work else 0.0,
            "hours": (one.seconds or 0.0) / 3600,
            "unknown": int(one.seconds is None),
        }
        for one in found
    ]
    how = {name: "max" if name == "parameters" else "sum" for name in rows[0] if name != "study"}
    return pd.DataFrame(rows).groupby("study", sort=False).agg(how)


def check(found: Iterable[Estimate]) -> list[float]:
    """Predicted over measured seconds on a core, of each stage that has both; sorted."""
    return sorted(
        one.work.seconds(CORE) / one.measured_s for one in found if one.work is not None and one.measured_s is not None
    )


def wall_s(found: Iterable[Estimate], workers: int) -> float:
    """Seconds until so many workers have run all stages of which something is known: each takes the longest that is
    left as soon as it is free (`rebuild`), and what must run alone follows, here."""
    known = [one for one in found if one.seconds is not None]
    together = sorted((one.seconds + START_S for one in known if not one.stage.alone), reverse=True)
    # Their seconds are of one core, and they have several.
    alone = sum(one.seconds / one.stage.compute.threads for one in known if one.stage.alone)
    return schedule.makespan([0.0] * workers, together) + alone
