"""The comparison of optimizers: data, protocol and measurements against loops written out, and experiments whose answer
is known."""

import json
from functools import cache
from itertools import product
from math import exp, log

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.spatial.distance import jensenshannon
from scipy.stats import kstest
from torch import nn
from torch.func import hessian
from torch.nn import functional as F

from benchmarks.lab import datasets, optimizers
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.optimizers.signum import signum
from benchmarks.lab.problem import Problem, stack_parameters
from benchmarks.studies import entries
from benchmarks.studies.optimizer_comparison import (
    blocks,
    class_imbalance,
    contest,
    heterogeneity,
    normalised_quadratic,
    tasks,
)
from benchmarks.studies.optimizer_comparison.study import (
    ClassImbalance,
    Contest,
    MeasuredHeterogeneity,
    NormalisedQuadratic,
    TuningProtocol,
    Workload,
)
from benchmarks.studies.schema import Compute, resolve
from benchmarks.studies.timings import optimizer_steps
from benchmarks.studies.timings.study import OPTIMIZER_STEPS, TimedOptimizers
from benchmarks.theory.tuning import lr_sensitivity

COMPUTE = Compute(device="cpu", dtype="float64", threads=1, chunk_size=25)
PROTOCOL = TuningProtocol(trials=3, tuning_seed=1000, space_seed=0, seeds=[1, 2], marks=6)
DEFAULTS = {
    "data": {"name": "images", "train": 48, "validation": 12, "pool": 1},
    "architecture": {"name": "mlp", "hidden": [4], "activation": "tanh"},
    "batch_size": None,
    "steps": 30,
    "warmup": 0,
    "decay": False,
    "factors": [0.25, 4],
    "factor_seeds": 1,
    "curvature_examples": 48,
}
IMBALANCED = {
    "data": {"name": "imbalanced", "size": 3, "balanced": False},
    "architecture": {"name": "mlp", "hidden": [], "activation": "identity"},
    "factors": [],
}
SGD = {"optimizer": {"name": "sgd"}, "space": {"lr": {"log": [0.05, 1.0]}}}
MOMENTUM = {"optimizer": {"name": "sgd", "momentum": 0.9}, "space": {"lr": {"log": [0.01, 0.1]}}}


@pytest.fixture(autouse=True, scope="module")
def versions_are_looked_up_once():
    """It takes longer than a contest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_version", cache(contest._version))
        yield


@pytest.fixture(scope="module")
def images():
    """Three classes of 4 x 4 images, 70 to train on and 20 to test."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    pixels = 128 + 60 * generator.standard_normal((3, 1, 4, 4))[labels] + 40 * generator.standard_normal((90, 1, 4, 4))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return datasets.images(pixels[:70], labels[:70], pixels[70:], labels[70:], torch.float64)


def workload_of(**changes):
    return Workload.model_validate(resolve(DEFAULTS, changes))


WORKLOAD = workload_of()


def settings(contender, protocol=None, **workload):
    # Copied, for a test may do with a single seed.
    protocol = PROTOCOL.model_copy(update=protocol)
    return Contest.model_validate({**contender, "protocol": protocol, "workload": workload_of(**workload)})


def held(contender, images, protocol=None, **workload):
    return contest.run(settings(contender, protocol, **workload), images, COMPUTE)


def of(result, role):
    return result.rows[result.rows["role"] == role].reset_index(drop=True)


def curve(result, seed, metric, role="final", factor=1.0):
    c = result.curves
    mine = c[(c["role"] == role) & (c["seed"] == seed) & (c["metric"] == metric) & (c["factor"] == factor)]
    return mine.set_index("step")["value"].astype(float).to_dict()


# Loops written out


class Reference:
    """The network of the tiny workload as a function of a list of tensors, built without the study."""

    def __init__(self, images, seed):
        self.splits = tasks.build(WORKLOAD, images, seed, COMPUTE).splits
        torch.manual_seed(seed)
        first, second = nn.Linear(16, 4), nn.Linear(4, 3)
        self.start = [p.detach().double() for p in (*first.parameters(), *second.parameters())]

    def outputs(self, params, inputs):
        w1, b1, w2, b2 = params
        return torch.tanh(inputs.flatten(1) @ w1.T + b1) @ w2.T + b2

    def loss(self, params, split="train", rows=None):
        inputs, labels = self.splits[split]
        if rows is not None:
            inputs, labels = inputs[rows], labels[rows]
        scores = self.outputs(params, inputs)
        return (scores.logsumexp(1) - scores[torch.arange(len(labels)), labels]).mean()

    def accuracy(self, params, split):
        inputs, labels = self.splits[split]
        return (self.outputs(params, inputs).argmax(1) == labels).double().mean().item()

    def gradient(self, params, rows=None):
        leaves = [p.detach().requires_grad_() for p in params]
        return torch.autograd.grad(self.loss(leaves, rows=rows), leaves)

    def hessian(self, params):
        shapes, sizes = [p.shape for p in params], [p.numel() for p in params]

        def flat_loss(flat):
            return self.loss([part.view(shape) for part, shape in zip(flat.split(sizes), shapes)])

        return hessian(flat_loss)(flat(params))


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def descend(reference, rates, momentum=0.0, rows=lambda step: None):
    """Parameters and gradients at each step of (heavy-ball) gradient descent with these learning rates."""
    params, path, grads = reference.start, [reference.start], []
    buffers = [torch.zeros_like(p) for p in params]
    for step, lr in enumerate(rates):
        grads.append(reference.gradient(params, rows(step)))
        buffers = [momentum * b + g for b, g in zip(buffers, grads[-1])]
        params = [p - lr * b for p, b in zip(params, buffers)]
        path.append(params)
    return path, grads


# Learning-rate sensitivity


def test_sensitivity_is_the_mean_of_a_line_in_the_logarithm():
    x = np.array([-2.0, 0.0, 1.0])
    # |x| from -2 to 1 has the mean 2.5 / 3.
    assert lr_sensitivity(np.exp(x), np.abs(x), 10.0) == pytest.approx(2.5 / 3)
    assert lr_sensitivity(np.exp(x), np.abs(x) + 0.7, 10.0) == pytest.approx(2.5 / 3)
    shuffled = [2, 0, 1]
    assert lr_sensitivity(np.exp(x)[shuffled], np.abs(x)[shuffled], 10.0) == pytest.approx(2.5 / 3)
    assert lr_sensitivity(100 * np.exp(x), np.abs(x), 10.0) == pytest.approx(2.5 / 3)
    assert lr_sensitivity(np.exp(x), np.full(3, 0.4), 10.0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("lost", [1.0, 8.0, float("inf"), float("nan")])
def test_a_loss_above_the_first_counts_as_the_first(lost):
    # 1 at -2, down to 0 at 0, up to 1 at 1: half of the first all along.
    assert lr_sensitivity(np.exp([-2.0, 0.0, 1.0]), [1.0, 0.0, lost], 1.0) == pytest.approx(0.5)
    assert lr_sensitivity([0.1, 1.0], [lost, lost], 1.0) == 0


@pytest.mark.parametrize("rates", [[], [0.1]])
def test_one_learning_rate_has_no_sensitivity(rates):
    with pytest.raises(ValueError, match=f"{len(rates)} learning rates, 2 needed"):
        lr_sensitivity(rates, np.ones(len(rates)), 1.0)


# Search space and schedule


def test_points_are_log_uniform_in_their_ranges():
    space = {"lr": {"log": [1e-4, 1e-1]}, "beta": {"one_minus": [0.02, 0.5]}, "decay": {"log": [1.0, 8.0]}}
    points = pd.DataFrame(contest.sample(space, 256, 3))
    assert list(points) == ["lr", "beta", "decay"]
    for values, low, high in ((points["lr"], 1e-4, 1e-1), (1 - points["beta"], 0.02, 0.5), (points["decay"], 1.0, 8.0)):
        assert low * (1 - 1e-12) <= values.min() and values.max() <= high * (1 + 1e-12)
        # Quasi-random: closer to uniform than 256 independent points, whose distance is about 0.05.
        assert kstest(np.log(values / low) / log(high / low), "uniform").statistic < 0.02
    assert points.rank().corr().to_numpy()[np.triu_indices(3, 1)] == pytest.approx(0, abs=0.05)


def test_points_are_equal_for_equal_seeds_and_numbers_of_dimensions():
    space = {"lr": {"log": [1e-4, 1e-1]}, "momentum": {"one_minus": [0.02, 0.5]}}
    other = {"lr": {"log": [1e-2, 10.0]}, "weight_decay": {"log": [0.02, 0.5]}}
    first = pd.DataFrame(contest.sample(space, 8, 5))
    pd.testing.assert_frame_equal(first, pd.DataFrame(contest.sample(space, 8, 5)))
    # The first points of more trials are those of fewer.
    pd.testing.assert_frame_equal(first, pd.DataFrame(contest.sample(space, 20, 5)).head(8))
    assert not np.allclose(first, pd.DataFrame(contest.sample(space, 8, 6)))
    second = pd.DataFrame(contest.sample(other, 8, 5))
    np.testing.assert_allclose(second["lr"], 100 * first["lr"])
    np.testing.assert_allclose(second["weight_decay"], 1 - first["momentum"])


def test_the_schedule_warms_up_and_ends_as_a_cosine():
    decayed = [contest.schedule(t, steps=25, warmup=5, decay=True) for t in range(26)]
    assert decayed[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    # A quarter, half and three quarters of the way, and the end, which no step takes.
    assert [decayed[t] for t in (10, 15, 20, 25)] == pytest.approx([(1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    constant = [contest.schedule(t, steps=25, warmup=5, decay=False) for t in range(26)]
    assert constant == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 22)
    assert contest.schedule(0, steps=25, warmup=0, decay=True) == 1.0


# Data


def rows_in(part, whole):
    """The places in ``whole`` of the examples of ``part``, which are all different."""
    same = (part.flatten(1)[:, None] == whole.flatten(1)[None]).all(-1)
    assert same.sum(1).tolist() == [1] * len(part)
    return same.double().argmax(1).tolist()


@pytest.mark.parametrize(("train", "validation"), [(48, 12), (30, 40), (60, 7)])
def test_training_and_validation_images_share_none_and_the_test_set_is_whole(images, train, validation):
    data = {"name": "images", "train": train, "validation": validation, "pool": 1}
    task = tasks.build(workload_of(data=data), images, 1, COMPUTE)
    assert {name: len(x) for name, (x, _) in task.splits.items()} == dict(train=train, validation=validation, test=20)
    chosen = {name: rows_in(task.splits[name][0], images.train_inputs) for name in ("train", "validation")}
    assert not set(chosen["train"]) & set(chosen["validation"])
    for name, rows in chosen.items():
        assert task.splits[name][1].tolist() == images.train_labels[rows].tolist()
    # Spread over the file.
    assert max(np.diff(sorted(chosen["validation"]))) <= 2 * 70 / validation
    assert torch.equal(task.splits["test"][0], images.test_inputs)
    assert torch.equal(task.splits["test"][1], images.test_labels)


def test_a_task_takes_its_dtype_and_its_pooling(images):
    compute = COMPUTE.model_copy(update={"dtype": "float32"})
    task = tasks.build(workload_of(data={"pool": 2}), images, 1, compute)
    assert {x.dtype for x, _ in task.splits.values()} == {torch.float32}
    assert {p.dtype for p in task.network.parameters()} == {torch.float32}
    assert task.splits["train"][0].shape == (48, 1, 2, 2)
    assert task.problem.parameters == 4 * 4 + 4 + 4 * 3 + 3
    with pytest.raises(ValueError, match="71 training images asked for, 70 prepared"):
        tasks.build(workload_of(data={"train": 59}), images, 1, COMPUTE)


def test_a_seed_decides_the_initialization_and_not_the_images(images):
    one, again, other = (tasks.build(WORKLOAD, images, seed, COMPUTE) for seed in (1, 1, 2))
    assert all(torch.equal(p, q) for p, q in zip(one.network.parameters(), again.network.parameters()))
    assert not any(torch.equal(p, q) for p, q in zip(one.network.parameters(), other.network.parameters()))
    assert all(torch.equal(one.splits[name][0], other.splits[name][0]) for name in one.splits)
    expected = Reference(images, 1).start
    assert all(torch.equal(p, q) for p, q in zip(one.network.parameters(), expected))


@pytest.mark.parametrize("chunk_size", [1000, 7])
def test_an_evaluation_is_a_mean_over_examples_and_over_those_of_a_group(images, chunk_size):
    task = tasks.build(WORKLOAD, images, 1, COMPUTE.model_copy(update={"chunk_size": chunk_size}))
    params = [p.detach() + 0.3 for p in task.network.parameters()]
    found = task.evaluate(flat(params)[None], "validation")
    reference = Reference(images, 1)
    assert found["loss"] == pytest.approx(reference.loss(params, "validation").item(), rel=1e-12)
    assert found["accuracy"] == reference.accuracy(params, "validation")
    labels = reference.splits["validation"][1]
    sizes = torch.bincount(labels, minlength=3)
    assert len(set(sizes.tolist())) > 1
    assert (found["group_losses"] * sizes).sum().item() / 12 == pytest.approx(found["loss"])
    inputs, labels = reference.splits["validation"]
    for g in range(3):
        mine = [reference.outputs(params, inputs[i : i + 1]) for i in range(12) if labels[i] == g]
        expected = np.mean([F.cross_entropy(o, torch.tensor([g])).item() for o in mine])
        assert found["group_losses"][g].item() == pytest.approx(expected)


@pytest.mark.parametrize("balanced", [False, True])
def test_groups_of_classes_are_rarer_by_a_half_and_twice_as_many(images, balanced):
    workload = workload_of(**{**IMBALANCED, "data": {**IMBALANCED["data"], "balanced": balanced}})
    task = tasks.build(workload, images, 1, COMPUTE)
    assert list(task.splits) == ["train"]
    inputs, labels = task.splits["train"]
    assert inputs.shape == (len(labels), 32) and inputs.dtype == torch.float64
    assert 0 <= inputs.min() and inputs.max() <= 1
    assert kstest(inputs.flatten().numpy(), "uniform").statistic < 0.06
    assert torch.bincount(labels).tolist() == ([3] * 7 if balanced else [8, 4, 4, 2, 2, 2, 2])
    assert task.groups_C.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert task.problem.parameters == 32 * 7 + 7
    other = tasks.build(workload, images, 2, COMPUTE)
    assert torch.equal(other.splits["train"][1], labels)
    assert not torch.equal(other.splits["train"][0], inputs)
    # Inputs know nothing of their class: no row is another's.
    assert len(inputs.unique(dim=0)) == len(inputs)


TOKENS = {"name": "tokens", "vocabulary": 16, "length": 3, "examples": 4000, "exponent": 1.0, "copied": 0.5}


def tokens(seed=0, **changes):
    options = {key: value for key, value in {**TOKENS, **changes}.items() if key != "name"}
    splits, classes, groups_C = tasks.GENERATORS["tokens"](seed, **options)
    assert (list(splits), classes, len(groups_C)) == (["train"], options["vocabulary"], options["vocabulary"])
    return *splits["train"], groups_C


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_tokens_have_frequencies_by_a_power_of_their_rank(exponent):
    contexts, labels, _ = tokens(exponent=exponent, copied=0.0)
    assert contexts.shape == (4000, 3) and labels.shape == (4000,)
    assert contexts.dtype == labels.dtype == torch.int64
    weights = np.arange(1, 17.0) ** -exponent
    expected = weights / weights.sum()
    for drawn in (contexts.flatten(), labels):
        observed = torch.bincount(drawn, minlength=16).numpy() / len(drawn)
        spread = np.sqrt(expected * (1 - expected) / len(drawn))
        assert np.abs((observed - expected) / spread).max() < 4


@pytest.mark.parametrize("copied", [0.0, 0.5, 1.0])
def test_a_share_of_the_next_tokens_follows_from_the_last_by_a_permutation(copied):
    contexts, labels, _ = tokens(copied=copied, exponent=0.0)
    counts = np.zeros((3, 16, 16))
    for place in range(3):
        np.add.at(counts[place], (contexts[:, place].numpy(), labels.numpy()), 1)
    most = (counts / counts.sum(2, keepdims=True)).max(2)
    # By chance a token follows in 1/16 of the cases, and the most frequent of 16 in a few more.
    expected = copied + (1 - copied) / 16
    assert most[2].mean() == pytest.approx(expected, abs=0.06)
    assert most[:2].max() < 0.2
    if copied:
        assert sorted(counts[2].argmax(1)) == list(range(16))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_groups_of_tokens_are_fifths_of_the_examples_by_the_frequency_of_their_label(exponent):
    _, labels, groups_C = tokens(exponent=exponent)
    counts = torch.bincount(labels, minlength=16).tolist()
    passed = 0
    for token in sorted(range(16), key=lambda token: (-counts[token], token)):
        # A token belongs where its first example is, of all examples from the most frequent token on.
        assert groups_C[token] == min(int(passed / 4000 * 5), 4)
        passed += counts[token]


def test_tokens_are_those_of_their_seed_and_go_through_a_transformer(images):
    first, again, other = (tokens(seed)[:2] for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not any(torch.equal(a, b) for a, b in zip(first, other))
    architecture = {"name": "transformer", "width": 4, "heads": 2, "layers": 1, "vocabulary": 16}
    task = tasks.build(workload_of(data=TOKENS, architecture=architecture), images, 1, COMPUTE)
    assert torch.equal(task.splits["train"][0], first[0]) and torch.equal(task.splits["train"][1], first[1])
    found = task.evaluate(stack_parameters([task.network]), "train")
    assert found["loss"] == pytest.approx(log(16), rel=0.3)
    assert len(found["group_losses"]) == 5


# Contests


@pytest.fixture(scope="module")
def sgd(images):
    return held(SGD, images)


def test_a_contest_is_trials_then_runs_that_count_then_other_learning_rates(images, sgd):
    assert sgd.rows["role"].tolist() == ["trial"] * 3 + ["final"] * 2 + ["factor"] * 2
    assert sgd.rows["seed"].tolist() == [1000] * 3 + [1, 2] + [1, 1]
    assert sgd.rows["factor"].tolist() == [1.0] * 5 + [0.25, 4.0]
    assert list(sgd.rows)[: len(contest.RUN_COLUMNS)] == contest.RUN_COLUMNS
    assert sgd.rows["steps"].tolist() == [30] * 7 and sgd.rows["diverged"].tolist() == [0] * 7
    points = contest.sample(SGD["space"], 3, 0)
    assert of(sgd, "trial")["trial"].tolist() == [0, 1, 2]
    assert of(sgd, "trial")["learning_rate"].tolist() == [point["lr"] for point in points]


def test_whoever_waits_is_told_how_far_a_contest_is(images):
    told = []
    contest.run(settings(SGD, steps=2), images, COMPUTE, lambda done, planned: told.append((done, planned)))
    assert told == [(k, 7) for k in range(1, 8)]


def test_the_best_trial_is_the_one_that_ends_lowest_and_its_setting_runs(sgd):
    trials = of(sgd, "trial")
    best = int(trials["objective"].argmin())
    assert trials["objective"].nunique() == 3
    assert (sgd.facts["best_trial"], sgd.facts["finite_trials"]) == (best, 3)
    lr = trials["learning_rate"][best]
    assert of(sgd, "final")["learning_rate"].tolist() == [lr, lr]
    assert of(sgd, "factor")["learning_rate"].tolist() == pytest.approx([lr / 4, 4 * lr])
    assert set(sgd.rows["trial"].iloc[3:]) == {best}


def test_test_data_are_seen_by_runs_that_count_alone(sgd):
    seen = sgd.rows.filter(regex="^(test|train|validation)_").notna()
    assert sorted(seen) == ["test_accuracy", "test_loss", "train_loss", "validation_accuracy", "validation_loss"]
    final = sgd.rows["role"] == "final"
    assert bool(seen[final].all(axis=None)) and not bool(seen[~final].any(axis=None))
    assert not [metric for metric in sgd.curves["metric"].unique() if "test" in metric]


def test_test_data_change_nothing_else(images, sgd):
    shuffled = datasets.Images(images.train_inputs, images.train_labels, -images.test_inputs, images.test_labels, 3)
    other = held(SGD, shuffled)
    assert not sgd.rows["test_loss"].equals(other.rows["test_loss"])
    kept = [name for name in sgd.rows if not name.startswith("test_")]
    pd.testing.assert_frame_equal(sgd.rows[kept], other.rows[kept])
    pd.testing.assert_frame_equal(sgd.curves, other.curves)


def test_curves_are_read_at_the_start_and_at_the_marks(sgd):
    marks = [0, 5, 10, 15, 20, 25, 30]
    for seed in (1, 2):
        assert list(curve(sgd, seed, "objective")) == marks
        assert list(curve(sgd, seed, "accuracy")) == marks
        assert list(curve(sgd, seed, "group_loss_2")) == marks
        assert list(curve(sgd, seed, "alignment")) == marks[1:]
    for factor in (0.25, 4.0):
        assert list(curve(sgd, 1, "objective", "factor", factor)) == marks
    assert set(sgd.curves.loc[sgd.curves["role"] == "factor", "metric"]) == {"objective"}
    trials = sgd.curves[sgd.curves["role"] == "trial"]
    assert trials[["step", "metric"]].drop_duplicates().to_numpy().tolist() == [[30, "objective"]]
    assert trials["value"].tolist() == of(sgd, "trial")["objective"].astype("float32").tolist()


@pytest.mark.parametrize("contender", [SGD, {"optimizer": {"name": "adam"}, "space": {"lr": {"log": [1e-3, 1e-1]}}}])
def test_equal_settings_give_equal_contests(images, contender):
    one, two = (held(contender, images, batch_size=16, steps=10, protocol=dict(marks=2)) for _ in range(2))
    pd.testing.assert_frame_equal(one.rows, two.rows)
    pd.testing.assert_frame_equal(one.curves, two.curves)
    assert one.facts == two.facts
    assert of(one, "final")["objective"].nunique() == 2


@pytest.mark.parametrize(
    ("contender", "momentum", "workload"),
    [
        (SGD, 0.0, {}),
        (MOMENTUM, 0.9, dict(warmup=4, decay=True)),
        (SGD, 0.0, dict(batch_size=16, decay=True)),
    ],
)
def test_a_run_that_counts_is_descent_written_out(images, contender, momentum, workload):
    result = held(contender, images, **workload)
    row = of(result, "final").iloc[0]
    reference = Reference(images, 1)
    shape = [
        contest.schedule(t, steps=30, warmup=workload.get("warmup", 0), decay=workload.get("decay", False))
        for t in range(30)
    ]
    rates = [row["learning_rate"] * share for share in shape]
    batches = Minibatches([1], examples=48, size=16)
    rows = (lambda step: batches(step)[0]) if workload.get("batch_size") else (lambda step: None)
    path, grads = descend(reference, rates, momentum, rows)
    losses = {step: reference.loss(path[step], "validation").item() for step in range(0, 31, 5)}
    assert curve(result, 1, "objective") == pytest.approx(losses)
    accuracies = {step: reference.accuracy(path[step], "validation") for step in losses}
    assert curve(result, 1, "accuracy") == pytest.approx(accuracies)
    training = {step: reference.loss(path[step], rows=rows(step)).item() for step in range(31)}
    assert curve(result, 1, "training_loss") == pytest.approx(training)
    assert row["objective"] == row["validation_loss"] == pytest.approx(losses[30])
    assert row["validation_accuracy"] == reference.accuracy(path[30], "validation")
    assert row["train_loss"] == pytest.approx(reference.loss(path[30]).item())
    assert row["test_loss"] == pytest.approx(reference.loss(path[30], "test").item())
    assert row["test_accuracy"] == reference.accuracy(path[30], "test")

    moved = [after - before for after, before in zip(path[15], path[14])]
    assert row["update_to_weight"] == pytest.approx((flat(moved).norm() / flat(path[14]).norm()).item())
    cosine = -(flat(moved) @ flat(grads[14])) / (flat(moved).norm() * flat(grads[14]).norm())
    assert row["alignment"] == pytest.approx(cosine.item())
    ranks = [np.sum(s**2) / s[0] ** 2 for s in (np.linalg.svd(m.numpy(), compute_uv=False) for m in moved[::2])]
    assert row["update_rank"] == pytest.approx(np.mean(ranks))

    tops = {step: torch.linalg.eigvalsh(reference.hessian(path[step]))[-1].item() for step in (15, 30)}
    assert row["sharpness_half"] == pytest.approx(tops[15], rel=1e-2)
    assert row["sharpness_end"] == pytest.approx(tops[30], rel=1e-2)
    edge = rates[14] * row["sharpness_half"] / (2 + 2 * momentum)
    assert row["edge_ratio_half"] == pytest.approx(edge)


def test_every_update_of_plain_gradient_descent_goes_down_the_gradient(sgd):
    values = list(curve(sgd, 1, "alignment").values())
    assert values == pytest.approx([1.0] * 6, abs=1e-9)
    assert of(sgd, "final")["alignment"].tolist() == pytest.approx([1.0] * 2, abs=1e-9)


def test_a_run_at_another_learning_rate_is_descent_at_that_rate(images, sgd):
    reference = Reference(images, 1)
    for _, row in of(sgd, "factor").iterrows():
        path, _ = descend(reference, [row["learning_rate"]] * 30)
        assert row["objective"] == pytest.approx(reference.loss(path[30], "validation").item())


def test_adams_edge_is_met_by_the_preconditioned_sharpness(images):
    adam = {"optimizer": {"name": "adam", "beta2": 0.99}, "space": {"lr": {"log": [0.01, 0.02]}}}
    row = of(held(adam, images, protocol=dict(trials=1)), "final").iloc[0]
    reference = Reference(images, 1)
    lr, params = row["learning_rate"], reference.start
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for t in range(1, 16):
        grads = reference.gradient(params)
        first = [0.9 * m + 0.1 * g for m, g in zip(first, grads)]
        second = [0.99 * v + 0.01 * g**2 for v, g in zip(second, grads)]
        scales = [(1 - 0.9**t) * ((v / (1 - 0.99**t)).sqrt() + 1e-8) for v in second]
        params = [p - lr * m / s for p, m, s in zip(params, first, scales)]
    root = flat(scales).rsqrt()
    curvature = reference.hessian(params)
    top = torch.linalg.eigvalsh(root[:, None] * curvature * root)[-1].item()
    assert row["preconditioned_sharpness_half"] == pytest.approx(top, rel=1e-2)
    assert row["sharpness_half"] == pytest.approx(torch.linalg.eigvalsh(curvature)[-1].item(), rel=1e-2)
    assert row["edge_ratio_half"] == pytest.approx(row["preconditioned_sharpness_half"] * lr / 38)


@pytest.mark.parametrize(("steps", "marks"), [(30, 5), (7, 2)])
def test_where_half_time_is_no_mark_one_near_it_is_read(images, steps, marks):
    result = held(SGD, images, steps=steps, protocol=dict(marks=marks), factors=[])
    read = of(result, "final").filter(regex="_half$|^alignment$|^update_to_weight$")
    assert {"alignment", "update_to_weight", "sharpness_half", "edge_ratio_half"} <= set(read)
    assert bool(read.notna().all(axis=None))


@pytest.mark.parametrize("warmup", [0, 6])
def test_schedule_free_is_judged_at_its_average_and_goes_on_from_where_it_was(images, warmup):
    contender = {"optimizer": {"name": "schedule_free_sgd", "momentum": 0.8}, "space": {"lr": {"log": [0.2, 0.4]}}}
    result = held(contender, images, warmup=warmup, decay=True)
    row = of(result, "final").iloc[0]
    assert result.facts["scheduled"] is False
    reference = Reference(images, 1)
    x = z = reference.start
    total, largest, losses, trained = 0.0, 0.0, {0: reference.loss(x, "validation").item()}, {}
    for t in range(30):
        lr = row["learning_rate"] * min(1, (t + 1) / warmup if warmup else 1)
        y = [0.2 * a + 0.8 * b for a, b in zip(z, x)]
        trained[t] = reference.loss(y).item()
        z = [a - lr * g for a, g in zip(z, reference.gradient(y))]
        # Iterates weigh by the square of the largest learning rate so far.
        largest = max(largest, lr)
        total += largest**2
        x = [b + largest**2 / total * (a - b) for a, b in zip(z, x)]
        losses[t + 1] = reference.loss(x, "validation").item()
    assert curve(result, 1, "objective") == pytest.approx({step: losses[step] for step in range(0, 31, 5)})
    found = curve(result, 1, "training_loss")
    assert {t: found[t] for t in range(30)} == pytest.approx(trained)
    assert row["objective"] == pytest.approx(losses[30])
    assert row["test_loss"] == pytest.approx(reference.loss(x, "test").item())
    top = torch.linalg.eigvalsh(reference.hessian(x))[-1].item()
    assert row["sharpness_end"] == pytest.approx(top, rel=1e-2)
    # It would be another number where gradients are taken.
    assert abs(reference.loss(y, "validation").item() - losses[30]) > 1e-4


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_readings_leave_a_schedule_free_run_where_it_was(images, name):
    task = tasks.build(WORKLOAD, images, 1, COMPUTE.model_copy(update={"dtype": "float32"}))
    optimizer = optimizers.named(name, lr=0.1)
    rows = [contest.Attempt(task, WORKLOAD, optimizer, 1, role, marks=15).go()[0] for role in ("trial", "final")]
    assert rows[0]["objective"] == rows[1]["objective"]


def test_blockwise_rates_are_those_of_each_seeds_start(images):
    contender = {"optimizer": {"name": "blockwise_sgd"}, "space": {"lr": {"log": [0.01, 0.02]}}}
    result = held(contender, images, factors=[4], protocol=dict(trials=1))
    finals = of(result, "final")
    assert json.loads(finals["options"][0]) == {}
    for row in [*(finals.iloc[k] for k in range(2)), of(result, "factor").iloc[0]]:
        reference = Reference(images, row["seed"])
        point = blocks.initial_point(tasks.build(WORKLOAD, images, row["seed"], COMPUTE), 48)
        rates, params = blocks.rates(point, row["seed"]), reference.start
        for _ in range(30):
            moves = zip(params, rates, reference.gradient(params))
            params = [p - row["learning_rate"] * rate * g for p, rate, g in moves]
        assert row["objective"] == pytest.approx(reference.loss(params, "validation").item())


WILD = {"optimizer": {"name": "sgd"}, "space": {"lr": {"log": [1e5, 1e6]}}}


def test_where_every_trial_diverges_there_are_trials_alone(images):
    result = held(WILD, images)
    assert result.rows["role"].tolist() == ["trial"] * 3
    assert result.rows["diverged"].tolist() == [1, 1, 1]
    assert result.rows["objective"].tolist() == [np.inf] * 3
    assert bool((result.rows["steps"] < 30).all())
    assert result.facts["finite_trials"] == 0 and "best_trial" not in result.facts
    assert result.facts["implementation"] == "torch.optim.SGD"
    assert list(result.curves) == contest.CURVE_COLUMNS and result.curves.empty


def test_a_diverged_trial_is_a_trial_spent(images):
    contender = {"optimizer": {"name": "sgd"}, "space": {"lr": {"log": [0.05, 1e4]}}}
    result = held(contender, images, protocol=dict(trials=5), steps=10)
    trials = of(result, "trial")
    lost = trials["diverged"] == 1
    assert len(trials) == 5 and 0 < lost.sum() < 5
    assert bool(np.isinf(trials.loc[lost, "objective"]).all()) and bool(
        np.isfinite(trials.loc[~lost, "objective"]).all()
    )
    assert result.facts["finite_trials"] == (~lost).sum()
    assert result.facts["best_trial"] == trials["objective"].argmin()
    assert (result.curves["role"] == "trial").sum() == (~lost).sum()
    # Runs without a reading leave the types of the rest alone.
    assert (result.curves["value"].dtype, result.curves["step"].dtype) == (np.float32, np.int32)


def test_a_run_at_a_learning_rate_too_large_is_a_row(images):
    result = held(SGD, images, factors=[1e6], protocol=dict(trials=1))
    row = of(result, "factor").iloc[0]
    assert (row["diverged"], row["objective"]) == (1, np.inf)
    assert row["steps"] < 30
    assert of(result, "final")["diverged"].tolist() == [0, 0]
    assert curve(result, 1, "objective", "factor", 1e6)[0] == curve(result, 1, "objective")[0]


class Spoiler(torch.optim.SGD):
    """Gradient descent whose fifth step is not finite."""

    made = 0

    def step(self, closure=None):
        super().step()
        self.made += 1
        if self.made == 5:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.fill_(float("nan"))


def spoiler(parameters, *, lr):
    return [Spoiler(parameters, lr=lr)]


def test_a_run_that_counts_and_loses_its_parameters_at_a_mark_is_a_row(images):
    optimizer = optimizers.named(f"{__name__}:spoiler", lr=0.1)
    attempt = contest.Attempt(tasks.build(WORKLOAD, images, 1, COMPUTE), WORKLOAD, optimizer, 1, "final", marks=6)
    row, told = attempt.go()
    assert (row["diverged"], row["objective"], row["steps"]) == (1, np.inf, 5)
    assert all(np.isfinite(value) for _, _, value in told)


def test_without_validation_data_the_training_loss_is_judged_and_told_by_group(images):
    result = held(SGD, images, steps=12, **IMBALANCED)
    assert result.rows["role"].tolist() == ["trial"] * 3 + ["final"] * 2
    assert not [name for name in result.rows if name.startswith(("test_", "validation_"))]
    finals = of(result, "final")
    assert finals["objective"].tolist() == finals["train_loss"].tolist()
    objective, training = curve(result, 1, "objective"), curve(result, 1, "training_loss")
    assert objective == pytest.approx({step: training[step] for step in objective})
    groups = [curve(result, 1, f"group_loss_{g}") for g in range(3)]
    # A third of the examples each.
    assert {step: np.mean([g[step] for g in groups]) for step in objective} == pytest.approx(objective)
    # The most frequent class is learned first.
    assert groups[0][12] < groups[1][12] < groups[2][12]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("contender", "expected"),
    [
        (SGD, 0),
        (MOMENTUM, 1),
        ({"optimizer": {"name": "sgd"}, "space": {"lr": {"log": [0.1, 1]}, "momentum": {"one_minus": [0.1, 0.5]}}}, 1),
        ({"optimizer": {"name": "adam"}, "space": {"lr": {"log": [0.1, 1]}}}, 2),
        ({"optimizer": {"name": "rmsprop"}, "space": {"lr": {"log": [0.1, 1]}}}, 1),
        ({"optimizer": {"name": "schedule_free_sgd"}, "space": {"lr": {"log": [0.1, 1]}}}, 1),
        ({"optimizer": {"name": "schedule_free_adamw"}, "space": {"lr": {"log": [0.1, 1]}}}, 2),
        # One for the 64 + 12 of the matrices, two for the 4 + 3 of the rest.
        ({"optimizer": {"name": "muon"}, "space": {"lr": {"log": [0.1, 1]}}}, (76 + 2 * 7) / 83),
        ({"optimizer": {"name": "muon_flattened"}, "space": {"lr": {"log": [0.1, 1]}}}, (76 + 2 * 7) / 83),
    ],
)
def test_an_optimizer_keeps_so_many_numbers_a_parameter(images, contender, expected, dtype):
    task = tasks.build(WORKLOAD, images, 1, COMPUTE.model_copy(update={"dtype": dtype}))
    facts = contest.facts_of(settings(contender), task)
    assert facts["parameters"] == 83
    assert facts["state_per_parameter"] == pytest.approx(expected)
    # The network that trains is not touched.
    assert all(torch.equal(p.double(), q.to(p).double()) for p, q in zip(task.network.parameters(), start_of(images)))


def start_of(images):
    return Reference(images, 1).start


def kernels_only(input_shape, outputs):
    """A network without a matrix."""
    return nn.Sequential(nn.Conv2d(input_shape[0], outputs, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("name", "architecture", "note"),
    [
        (
            "muon",
            {"name": "mlp", "hidden": [4], "activation": "tanh"},
            "Muon takes 92% of the parameters, Adam the rest",
        ),
        # 3 x 4 of the readout's matrix; 4 x 9 of the kernels and 4 + 3 of the biases.
        ("muon", {"name": "cnn", "channels": [4], "activation": "tanh"}, "Muon takes {:.0%} of the parameters, Adam"),
        ("muon", {"name": f"{__name__}:kernels_only"}, "no matrices: Adam throughout"),
        ("muon_flattened", {"name": f"{__name__}:kernels_only"}, ""),
        ("sgd", {"name": f"{__name__}:kernels_only"}, ""),
    ],
)
def test_muon_says_what_it_leaves_to_its_fallback(images, name, architecture, note):
    task = tasks.build(workload_of(architecture=architecture), images, 1, COMPUTE)
    sizes = [p.numel() for p in task.network.parameters()]
    matrices = sum(p.numel() for p in task.network.parameters() if p.ndim == 2)
    contender = {"optimizer": {"name": name}, "space": {"lr": {"log": [0.1, 1]}}}
    facts = contest.facts_of(settings(contender, architecture=architecture), task)
    expected = note.format(matrices / sum(sizes))
    assert facts["note"].startswith(expected) and bool(facts["note"]) == bool(note)


def test_facts_name_the_implementation_and_its_version(images, sgd):
    assert sgd.facts["implementation"] == "torch.optim.SGD"
    assert sgd.facts["package"] == f"torch {torch.__version__.partition('+')[0]}"
    assert sgd.facts["source"].startswith("Cauchy") and sgd.facts["meaning"].startswith("Gradient descent")
    assert sgd.facts["scheduled"] is True and sgd.facts["note"] == ""
    json.dumps(sgd.facts)
    outside = {"optimizer": {"name": f"{__name__}:spoiler"}, "space": {"lr": {"log": [0.1, 1]}}}
    facts = contest.facts_of(settings(outside), tasks.build(WORKLOAD, images, 1, COMPUTE))
    assert (facts["source"], facts["meaning"]) == ("", "")
    assert facts["implementation"] == f"{__name__}:spoiler"


@pytest.mark.parametrize("name", entries.names("benchmarks.lab.optimizers"))
def test_every_entry_can_take_part(images, name):
    contender = {"optimizer": {"name": name}, "space": {"lr": {"log": [1e-3, 1e-2]}}}
    contender["optimizer"] |= {"sam": dict(rho=0.01)}.get(name, {})
    contender["optimizer"] |= dict(weight_decay=0.01) if name in ("adamw", "sgdw") else {}
    result = held(contender, images, steps=4, factors=[], protocol=dict(trials=1, seeds=[1], marks=2))
    assert result.rows["role"].tolist() == ["trial", "final"]
    assert bool(np.isfinite(result.rows["objective"]).all())
    assert result.facts["implementation"] == optimizers.named(name).implementation


def test_options_are_told_beside_the_learning_rate(images):
    space = {"lr": {"log": [0.05, 1.0]}, "momentum": {"one_minus": [0.1, 0.5]}}
    result = held({"optimizer": {"name": "sgd", "nesterov": True}, "space": space}, images, steps=4, factors=[])
    points = contest.sample(space, 3, 0)
    told = [json.loads(options) for options in result.rows["options"]]
    assert told[:3] == [{"momentum": point["momentum"], "nesterov": True} for point in points]
    assert told[3] == told[result.facts["best_trial"]]


# Blocks of the Hessian


@pytest.fixture(scope="module")
def dense(images):
    """Where the tiny network starts, and the blocks of its Hessian as matrices."""
    point = blocks.initial_point(tasks.build(WORKLOAD, images, 1, COMPUTE), 48)
    reference = Reference(images, 1)
    whole, found, start = reference.hessian(reference.start), [], 0
    for size in (64, 4, 12, 3):
        found.append(whole[start : start + size, start : start + size].numpy())
        start += size
    return point, found


def test_the_initial_point_is_that_of_examples_at_equal_distances(images):
    task = tasks.build(WORKLOAD, images, 1, COMPUTE)
    reference = Reference(images, 1)
    for count, rows in ((12, list(range(0, 48, 4))), (1000, list(range(48)))):
        point = blocks.initial_point(task, count)
        assert point.losses_R.item() == pytest.approx(reference.loss(reference.start, rows=rows).item(), rel=1e-12)
        assert torch.equal(point.params_RxP[0], flat(reference.start))


def test_spectra_end_where_those_of_the_dense_blocks_do(dense):
    point, matrices = dense
    for (values, weights), matrix in zip(blocks.spectra(point, 0, 1000), matrices, strict=True):
        spectrum = np.linalg.eigvalsh(matrix)
        assert values.max() == pytest.approx(spectrum[-1], rel=1e-8)
        assert values.min() == pytest.approx(spectrum[0], abs=1e-8 * spectrum[-1])
        assert weights.sum() == pytest.approx(1) and weights.min() >= 0


def test_moments_of_small_blocks_are_those_of_one_vector_of_signs(dense):
    point, matrices = dense
    for (values, weights), matrix in list(zip(blocks.spectra(point, 0, 1000), matrices))[1::2]:
        size = len(matrix)
        found = [(weights * values**power).sum() for power in range(4)]
        possible = [
            [signs @ np.linalg.matrix_power(matrix, power) @ signs / size for power in range(4)]
            for signs in np.array(list(product([-1.0, 1.0], repeat=size)))
        ]
        assert min(np.abs(np.subtract(found, one)).max() for one in possible) < 1e-10


def test_moments_are_right_in_the_mean_over_seeds_already_with_two_products(dense):
    point, matrices = dense
    seeds = 150
    drawn = [blocks.spectra(point, seed, 2) for seed in range(seeds)]
    for index, matrix in enumerate(matrices):
        size = len(matrix)
        for power in (1, 2):
            moments = [(w * v**power).sum() for v, w in (one[index] for one in drawn)]
            raised = np.linalg.matrix_power(matrix, power)
            # Of a quadratic form in random signs.
            deviation = np.sqrt(2 * (np.sum(raised**2) - np.sum(np.diag(raised) ** 2))) / size
            assert abs(np.mean(moments) - np.trace(raised) / size) < 4 * deviation / np.sqrt(seeds)
            assert np.std(moments) == pytest.approx(deviation, rel=0.4)


def test_rates_are_the_largest_top_over_each_blocks_own(dense):
    point, matrices = dense
    tops = np.array([np.linalg.eigvalsh(matrix)[-1] for matrix in matrices])
    assert blocks.rates(point, 0, products=100) == pytest.approx(tops.max() / tops, rel=1e-8)
    assert blocks.rates(point, 0) == pytest.approx(tops.max() / tops, rel=1e-3)
    capped = blocks.rates(point, 0, products=100, most=2.0)
    assert capped == pytest.approx(np.minimum(tops.max() / tops, 2.0)) and max(tops.max() / tops) > 2.0


class Bowls(nn.Module):
    """5 a^2 - 2 b^2 + 0.5 |c|^2, of which the last is without effect beyond its first two entries."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1).double()), nn.Parameter(torch.ones(2).double())
        self.c = nn.Parameter(torch.ones(4).double())

    def forward(self, inputs):
        value = 5 * (self.a**2).sum() - 2 * (self.b**2).sum() + 0.5 * (self.c[:2] ** 2).sum()
        return value.expand(len(inputs), 1)


def test_a_block_that_curves_down_gets_the_largest_rate():
    point = Problem(Bowls(), torch.zeros(1, 1).double(), torch.zeros(1), "objective").at(
        torch.ones(1, 7, dtype=torch.float64), curvature=True
    )
    spectra = blocks.spectra(point, 0, 10)
    assert [sorted(values.tolist()) for values, _ in spectra[:2]] == [[pytest.approx(10)], [pytest.approx(-4)]]
    assert sorted(spectra[2][0].tolist()) == pytest.approx([0, 1], abs=1e-12)
    assert spectra[2][1].tolist() == pytest.approx([0.5, 0.5])
    assert blocks.rates(point, 0) == pytest.approx([1, 1000, 10])
    assert blocks.rates(point, 0, most=5.0) == pytest.approx([1, 5, 5])


ONE = (np.array([3.0, 0.2, 0.01]), np.array([0.2, 0.3, 0.5]))
# Far below it, and far apart.
LOW = (np.array([1e-4, 1e-5]), np.array([0.5, 0.5]))


def test_heterogeneity_is_zero_for_equal_spectra_and_one_for_disjoint_ones():
    assert blocks.heterogeneity([ONE, ONE, ONE]) == pytest.approx(0, abs=1e-7)
    assert blocks.heterogeneity([ONE, (-ONE[0], ONE[1])]) == pytest.approx(0, abs=1e-7)
    assert blocks.heterogeneity([ONE, LOW]) == pytest.approx(1, abs=1e-3)
    # Two pairs of three differ.
    assert blocks.heterogeneity([ONE, ONE, LOW]) == pytest.approx(2 / 3, abs=1e-3)
    # Order, split eigenvalues and a common unit are no matter.
    split = (np.array([0.01, 3.0, 0.2, 0.2]), np.array([0.5, 0.2, 0.1, 0.2]))
    assert blocks.heterogeneity([ONE, split]) == pytest.approx(0, abs=1e-7)
    assert blocks.heterogeneity([(50 * ONE[0], ONE[1]), (50 * LOW[0], LOW[1])]) == pytest.approx(
        blocks.heterogeneity([ONE, LOW])
    )


def test_what_is_below_all_decades_counts_as_their_end():
    ends = [(np.array([1.0, tiny]), np.array([0.5, 0.5])) for tiny in (0.0, 1e-300, 1e-12, -1e-9)]
    assert blocks.heterogeneity(ends) == pytest.approx(0, abs=1e-7)


def test_heterogeneity_is_scipys_distance_of_smoothed_spectra():
    generator = np.random.default_rng(0)
    spectra = [(10.0 ** generator.uniform(-k - 1, 1 - k, 5), generator.dirichlet(np.ones(5))) for k in (0.0, 0.5, 1.2)]
    top = max(values.max() for values, _ in spectra)
    grid = np.linspace(-6, 2, 4001)
    densities = []
    for values, weights in spectra:
        places = np.log10(values / top)
        densities.append(sum(w * np.exp(-((grid - x) ** 2) / (2 * 0.25**2)) for x, w in zip(places, weights)))
    expected = np.mean([jensenshannon(densities[a], densities[b], base=2) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert 0.2 < expected < 0.9
    assert blocks.heterogeneity(spectra) == pytest.approx(expected, abs=2e-3)


def test_the_heterogeneity_of_workloads_is_a_table(images):
    workloads = {"mlp": WORKLOAD, "imbalanced": workload_of(**IMBALANCED)}
    asked = MeasuredHeterogeneity(seeds=2, workloads=workloads, examples=20, products=6)
    table = heterogeneity.run(asked, [1, 2], images)
    assert list(table) == ["system", "seed", "quantity", "value"]
    wide = table.pivot(index=["system", "seed"], columns="quantity", values="value")
    assert wide["blocks"].to_dict() == {("imbalanced", 1): 2, ("imbalanced", 2): 2, ("mlp", 1): 4, ("mlp", 2): 4}
    assert wide["js_distance"].between(0.01, 1).all() and wide["js_distance"].nunique() == 4
    point = blocks.initial_point(tasks.build(WORKLOAD, images, 2, COMPUTE), 20)
    expected = blocks.heterogeneity(blocks.spectra(point, 2, 6))
    assert wide["js_distance"]["mlp", 2] == pytest.approx(expected, rel=1e-9)


# Heavy-tailed classes


FREQUENCIES = np.array([0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(("lr", "time"), [(0.01, 3.0), (0.02, 20.0)])
def test_class_losses_under_gradient_descent_are_those_of_its_flow(lr, time):
    def velocity(_, logits):
        z = logits.reshape(4, 4)
        p = np.exp(z - z.max(1, keepdims=True))
        return (FREQUENCIES[:, None] * (np.eye(4) - p / p.sum(1, keepdims=True))).ravel()

    z = solve_ivp(velocity, (0, time), np.zeros(16), rtol=1e-10, atol=1e-12).y[:, -1].reshape(4, 4)
    flow = np.log(np.exp(z).sum(1)) - np.diag(z)
    (found,) = class_imbalance.class_losses(FREQUENCIES, optimizers.named("sgd", lr=lr), [round(time / lr)])
    assert found == pytest.approx(flow, rel=lr)
    assert flow[0] < 0.6 * flow[3]


@pytest.mark.parametrize("steps", [1, 50])
def test_sign_descent_learns_all_classes_alike_whatever_their_frequency(steps):
    optimizer = signum(lr=0.02, momentum=0.0)
    found, start = class_imbalance.class_losses(FREQUENCIES, optimizer, [steps, 0])
    assert start == pytest.approx(np.full(4, log(4)))
    # Each logit moves by lr a step: the right one up, the others down.
    assert found == pytest.approx(np.full(4, log(1 + 3 * exp(-2 * 0.02 * steps))), rel=1e-10)
    (other,) = class_imbalance.class_losses(FREQUENCIES[::-1].copy(), optimizer, [steps])
    assert other == pytest.approx(found)


def test_late_losses_fall_as_one_over_frequency_and_time_under_gradient_descent_alone():
    asked = {
        "classes": 4,
        "time": 900,
        "early": 3,
        "systems": {
            "descent": {"optimizer": {"name": "sgd", "lr": 0.5}, "steps": None},
            "sign": {"optimizer": {"name": "signum", "lr": 0.01, "momentum": 0.0}, "steps": 40},
        },
    }
    table = class_imbalance.run(ClassImbalance.model_validate(asked))
    assert list(table) == ["system", "seed", "quantity", "value"] and table["seed"].isna().all()
    by = table.pivot(index="quantity", columns="system", values="value")
    frequencies = np.array([12, 6, 4, 3]) / 25
    names = [f"frequency_{k}" for k in range(4)]
    for system in by:
        assert by.loc[names, system].to_numpy() == pytest.approx(frequencies)
    losses = {system: by.loc[[f"loss_{k}" for k in range(4)], system].to_numpy() for system in by}
    # 1800 steps of 0.5.
    descent = optimizers.named("sgd", lr=0.5)
    assert losses["descent"] == pytest.approx(*class_imbalance.class_losses(frequencies, descent, [1800]))
    assert losses["sign"] == pytest.approx(np.full(4, log(1 + 3 * exp(-0.8))))
    # (K - 1) / K of 1 / (f t).
    assert by.loc["limit_low", "descent"] == pytest.approx(0.75, abs=0.03)
    assert by.loc["limit_high", "descent"] == pytest.approx(0.75, abs=0.03)
    limits = losses["descent"] * frequencies * 900
    assert (by.loc["limit_low", "descent"], by.loc["limit_high", "descent"]) == pytest.approx(
        (limits.min(), limits.max())
    )
    assert by.loc["slope", "descent"] == pytest.approx(-1, abs=0.03)
    assert -0.8 < by.loc["early_slope", "descent"] < -0.1
    assert by.loc["spread", "descent"] == pytest.approx(losses["descent"].max() / losses["descent"].min())
    assert by.loc["regime", "descent"] == pytest.approx(0.12 * 900 / 4)
    assert by.loc["slope", "sign"] == pytest.approx(0, abs=1e-8)
    assert by.loc["spread", "sign"] == pytest.approx(1)


# The normalised quadratic


QUADRATIC = NormalisedQuadratic(
    seeds=2, decades=3, rates=5, search=[0.03, 0.3, 3.0], lr=1.0, examples=20, features=4, steps=40
)


def drawn_quadratic(seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(20, 4, dtype=torch.float64, generator=generator)
    true, start = torch.randn(2, 4, dtype=torch.float64, generator=generator).unbind()
    return inputs, true, start


@pytest.mark.parametrize("lr", [0.03, 0.4])
@pytest.mark.parametrize("name", ["plain", "normalised"])
def test_the_quadratic_is_gradient_descent_written_out(name, lr):
    inputs, true, w = drawn_quadratic(3)
    covariance = inputs.T @ inputs / 20

    def map_of(w):
        return w if name == "plain" else true.norm() * w / w.norm()

    def loss(w):
        gap = map_of(w) - true
        return (0.5 * gap @ covariance @ gap).item()

    first, lengths = loss(w), [w.norm().item()]
    for _ in range(40):
        pull = covariance @ (map_of(w) - true)
        if name == "normalised":
            direction = w / w.norm()
            pull = true.norm() / w.norm() * (pull - direction * (direction @ pull))
        w = w - lr * pull
        lengths.append(w.norm().item())
    assert normalised_quadratic._loss(3, QUADRATIC, name, lr) == pytest.approx((loss(w), first))
    if name == "normalised":
        assert lengths == sorted(lengths)


def test_beyond_two_over_the_curvature_the_plain_map_diverges_and_the_normalised_one_does_not():
    inputs, _, _ = drawn_quadratic(3)
    edge = 2 / torch.linalg.eigvalsh(inputs.T @ inputs / 20)[-1].item()
    longer = QUADRATIC.model_copy(update={"steps": 300})
    assert normalised_quadratic._loss(3, longer, "plain", 0.98 * edge)[0] < 1.0
    assert normalised_quadratic._loss(3, longer, "plain", 1.2 * edge)[0] == np.inf
    last, first = normalised_quadratic._loss(3, longer, "normalised", 100 * edge)
    assert last < 20 * first


def test_normalization_makes_the_quadratic_less_sensitive():
    table = normalised_quadratic.run(QUADRATIC, [3, 4])
    assert list(table) == ["system", "seed", "quantity", "value"]
    assert table.groupby("seed")["quantity"].apply(list).to_dict() == {
        s: ["sensitivity"] * 2 + ["ratio"] for s in (3, 4)
    }
    by = table.set_index(["seed", "system"])["value"]
    for seed in (3, 4):
        for name in ("plain", "normalised"):
            ends = {rate: normalised_quadratic._loss(seed, QUADRATIC, name, rate) for rate in (0.03, 0.3, 3.0)}
            best = min(ends, key=lambda rate: ends[rate][0])
            factors = 10 ** np.array([-1.5, -0.75, 0, 0.75, 1.5])
            swept = [normalised_quadratic._loss(seed, QUADRATIC, name, best * factor)[0] for factor in factors]
            clipped = np.minimum(swept, ends[0.03][1])
            # Four equal pieces.
            mean = (clipped[:-1] + clipped[1:]).sum() / 8
            assert by[seed, name] == pytest.approx(mean - clipped.min(), rel=1e-6)
        assert by[seed, "both"] == pytest.approx(by[seed, "plain"] / by[seed, "normalised"])
        assert by[seed, "both"] > 1


@pytest.mark.parametrize("name", ["sgd", "sam", "muon"])
def test_every_kind_of_optimizer_can_be_timed(name, images):
    contender = {"optimizer": {"name": name}, "space": {"lr": {"log": [0.01, 0.1]}}}
    if name == "sam":
        contender["optimizer"]["rho"] = 0.05
    asked = TimedOptimizers.model_validate(
        {"workloads": {"mlp": WORKLOAD}, "contenders": {name: contender}, "repeats": 1}
    )
    table = optimizer_steps.run(asked, images, COMPUTE.model_copy(update={"threads": torch.get_num_threads()}))
    assert list(table.columns) == list(OPTIMIZER_STEPS.columns)
    (row,) = table.to_dict("records")
    assert row["overhead"] == pytest.approx(row["loop_seconds"] / row["bare_seconds"] - 1)
    assert (row["workload"], row["optimizer"], row["over_sgd"]) == ("mlp", name, 1)
