"""The training loop: against a loop written out by hand, as a stack, across a resume, and when a run diverges."""

from functools import partial

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from benchmarks.lab import architectures, measurements, optimizers
from benchmarks.lab.measurements import Stateless
from benchmarks.lab.measurements.fit import Fit
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.minibatches import Minibatches
from benchmarks.lab.problem import Problem, flatten_parameters, stack_parameters
from benchmarks.lab.training import train

SEEDS = [3, 5, 8]
OPTIMIZERS = {
    "gradient descent": dict(name="sgd", lr=0.2),
    "momentum": dict(name="sgd", lr=0.1, momentum=0.9),
    "nesterov": dict(name="sgd", lr=0.1, momentum=0.9, nesterov=True),
    "adam": dict(name="adam", lr=0.01),
    "muon": dict(name="muon", lr=0.02),
    "sharpness-aware": dict(name="sam", lr=0.1, rho=0.1),
    "scalar rmsprop": dict(name="scalar_rmsprop", lr=0.05, beta2=0.9),
}
EACH = [*((name, None) for name in OPTIMIZERS), *((name, 7) for name in ("momentum", "adam", "sharpness-aware"))]
EIGEN = dict(every=3, tolerance=1e-8, cold_every=1, max_hvps=200)
FLOW = dict(every=3, steps=12, eigen_tolerance=1e-8)
EVERYTHING = {
    "fit": dict(every=3),
    "sharpness": EIGEN,
    "path": {},
    "segment": dict(every=3),
    "self_stabilization": dict(every=3),
    "gradient_flow": dict(tolerance=1e-5, **FLOW),
    "central_flow": dict(every=3, substeps=2, eigenvalues=2, eigen_tolerance=1e-8),
    "batch_sharpness": dict(every=3, batches=2),
}


def setup(seeds, activation="tanh", dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 6, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(3, (40,), generator=generator)
    networks = architectures.build_stack("mlp", (6,), 3, seeds, hidden=[8, 8], activation=activation)
    networks = [n.to(dtype) for n in networks]
    return networks, inputs, labels, Problem(networks[0], inputs, F.one_hot(labels, 3).to(dtype), "mse")


def run(
    seeds,
    spec,
    *,
    steps=25,
    resume=None,
    observe=None,
    divergence=1e6,
    params_RxP=None,
    batch_size=None,
    measure=None,
    **kind,
):
    """The runs of these seeds; ``measure`` as in params.yaml, or else the fit and the sharpness."""
    networks, _, labels, problem = setup(seeds, **kind)
    if measure is None:
        read = [Fit(labels, every=5), Sharpness(seeds, every=5, tolerance=1e-6, cold_every=3)]
    else:
        read = measurements.build(
            measure, measurements.Setup(seeds, problem, labels, optimizers.named(**spec), batch_size)
        )
    return train(
        problem,
        stack_parameters(networks) if params_RxP is None else params_RxP,
        optimizers.named(**spec),
        seeds=seeds,
        steps=steps,
        divergence=divergence,
        measurements=read,
        minibatches=Minibatches(seeds, examples=40, size=batch_size) if batch_size else None,
        resume=resume,
        observe=observe,
    )


def cut_and_resumed(cut, path, **arguments):
    """A run that is stopped after ``cut`` steps and goes on from its checkpoint on disk."""

    def observe(step, checkpoint):
        if step == cut:
            torch.save(checkpoint(), path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(**arguments, observe=observe)
    return run(**arguments, resume=torch.load(path, weights_only=True))


def assert_as_if_alone(frame, alone, seed, **tolerances):
    """A run's history in a stack is its own, but for the solvers' work on all of it and what depends on a free sign."""
    shared = r"_hvps$|_error$|_residual$|^rayleigh_quotient$"
    both = []
    for table in (frame, alone):
        mine = table[(table.seed == seed) & ~table.metric.str.contains(shared)].reset_index(drop=True)
        both.append(mine.assign(value=mine.value.where(mine.metric != "oscillation", mine.value.abs())))
    pd.testing.assert_frame_equal(*both, **tolerances)


def plain_loop(seed, step, batch_size=None):
    """A network trained with torch alone: its losses before each step, and its last parameters.

    ``step(network, loss)`` makes one update, where ``loss()`` is that of the step's examples.
    """
    (network,), inputs, labels, _ = setup([seed])
    targets = F.one_hot(labels, 3)
    batches = Minibatches([seed], examples=40, size=batch_size) if batch_size else None
    losses = []
    for t in range(26):
        rows_B = batches(t)[0] if batches else torch.arange(40)

        def loss(rows_B=rows_B):
            return 0.5 * (network(inputs[rows_B]) - targets[rows_B]).square().sum(1).mean()

        losses.append(loss().item())
        if t < 25:
            step(network, loss)
    return losses, flatten_parameters(network)


def sharpness_aware_step(network, loss, lr, rho):
    """w <- w - lr grad L(w + rho g / |g|)."""
    layers = list(network.parameters())
    ascent = torch.autograd.grad(loss(), layers)
    norm = torch.cat([g.reshape(-1) for g in ascent]).norm()
    with torch.no_grad():
        before = [p.clone() for p in layers]
        for p, g in zip(layers, ascent):
            p += rho * g / norm
    descent = torch.autograd.grad(loss(), layers)
    with torch.no_grad():
        for p, w, g in zip(layers, before, descent):
            p.copy_(w - lr * g)


def recorded(outcome, metric):
    frame = outcome.history.frame()
    return torch.tensor(frame[frame.metric == metric].value.to_numpy())


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"sharpness-aware"}))
def test_training_is_the_plain_torch_loop(name):
    mine = []

    def step(network, loss):
        if not mine:
            mine.extend(optimizers.named(**OPTIMIZERS[name]).build(network.parameters()))
        for optimizer in mine:
            optimizer.zero_grad()
        loss().backward()
        for optimizer in mine:
            optimizer.step()

    losses, last_P = plain_loop(3, step)
    outcome = run([3], OPTIMIZERS[name])
    torch.testing.assert_close(recorded(outcome, "loss"), torch.tensor(losses, dtype=torch.float64))
    torch.testing.assert_close(outcome.params_RxP[0], last_P)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_sharpness_aware_minimization_is_its_definition(batch_size):
    spec = OPTIMIZERS["sharpness-aware"]
    outcome = run(SEEDS, spec, batch_size=batch_size)
    for r, seed in enumerate(SEEDS):
        step = partial(sharpness_aware_step, lr=spec["lr"], rho=spec["rho"])
        losses, last_P = plain_loop(seed, step, batch_size)
        # The library takes the norm in float32, whatever the parameters are.
        torch.testing.assert_close(outcome.params_RxP[r], last_P, rtol=1e-6, atol=1e-7)
        frame = outcome.history.frame()
        mine = frame[(frame.seed == seed) & (frame.metric == ("batch_loss" if batch_size else "loss"))]
        torch.testing.assert_close(torch.tensor(mine.value.to_numpy()), torch.tensor(losses, dtype=torch.float64))


def test_training_on_minibatches_is_the_plain_torch_loop():
    def step(network, loss):
        for p, g in zip(network.parameters(), torch.autograd.grad(loss(), list(network.parameters()))):
            p.data -= 0.2 * g

    losses, last_P = plain_loop(3, step, batch_size=7)
    outcome = run([3], OPTIMIZERS["gradient descent"], batch_size=7)
    torch.testing.assert_close(recorded(outcome, "batch_loss"), torch.tensor(losses, dtype=torch.float64))
    torch.testing.assert_close(outcome.params_RxP[0], last_P)


def test_minibatches_record_the_full_loss_at_the_readings_only():
    frame = run([3], OPTIMIZERS["gradient descent"], steps=12, batch_size=7).history.frame()
    assert frame[frame.metric == "loss"].step.tolist() == [0, 5, 10, 12]
    assert frame[frame.metric == "batch_loss"].step.tolist() == list(range(13))
    (network,), inputs, labels, problem = setup([3])
    first = 0.5 * (network(inputs) - F.one_hot(labels, 3)).square().sum(1).mean().item()
    assert frame[frame.metric == "loss"].value.iloc[0] == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize(("name", "batch_size"), EACH)
def test_a_stack_of_runs_is_the_single_runs(name, batch_size):
    together = run(SEEDS, OPTIMIZERS[name], batch_size=batch_size)
    for r, seed in enumerate(SEEDS):
        alone = run([seed], OPTIMIZERS[name], batch_size=batch_size)
        torch.testing.assert_close(together.params_RxP[r], alone.params_RxP[0], rtol=1e-9, atol=1e-12)
        assert_as_if_alone(together.history.frame(), alone.history.frame(), seed, rtol=1e-6)


@pytest.mark.parametrize(("name", "batch_size"), EACH)
def test_a_run_cut_anywhere_and_resumed_has_the_identical_history(name, batch_size, tmp_path):
    arguments = dict(seeds=SEEDS, spec=OPTIMIZERS[name], batch_size=batch_size)
    whole = run(**arguments).history.frame()
    for cut in (1, 13):
        resumed = cut_and_resumed(cut, tmp_path / "state.pt", **arguments).history.frame()
        pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


@pytest.mark.parametrize("cut", [1, 5])
@pytest.mark.parametrize("name", ["gradient descent", "adam"])
def test_every_measurement_goes_on_after_a_resume_as_if_nothing_had_been(name, cut, tmp_path):
    adaptive = {"fit": dict(every=3), "sharpness": EIGEN, "preconditioned_sharpness": EIGEN}
    measure = EVERYTHING if name == "gradient descent" else adaptive
    arguments = dict(seeds=SEEDS[:2], spec=OPTIMIZERS[name], measure=measure, steps=9)
    whole = run(**arguments).history.frame()
    resumed = cut_and_resumed(cut, tmp_path / "state.pt", **arguments).history.frame()
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


def test_a_diverging_run_ends_alone_and_leaves_the_others_as_they_were():
    spec = dict(name="sgd", lr=0.2)
    networks, _, _, problem = setup(SEEDS, activation="identity")
    params_RxP = stack_parameters(networks)
    params_RxP[1] *= 3  # a deep linear network of three layers: about 3^4 times the sharpness
    outcome = run(SEEDS, spec, divergence=10, params_RxP=params_RxP, activation="identity")
    assert list(outcome.diverged) == [SEEDS[1]]
    frame = outcome.history.frame()
    lost = frame[(frame.seed == SEEDS[1]) & (frame.metric == "loss")]
    assert lost.step.max() == outcome.diverged[SEEDS[1]]
    assert lost.value.iloc[-1] > 10 * lost.value.iloc[0]
    alone = run([SEEDS[0]], spec, activation="identity").history.frame()
    mine = frame[frame.seed == SEEDS[0]]
    pd.testing.assert_frame_equal(
        mine[mine.metric == "loss"].reset_index(drop=True), alone[alone.metric == "loss"].reset_index(drop=True)
    )
    assert set(frame[frame.step == 25].seed) == {SEEDS[0], SEEDS[2]}


def test_all_runs_diverging_ends_the_training():
    outcome = run(SEEDS, dict(name="sgd", lr=1e4), divergence=10)
    assert set(outcome.diverged) == set(SEEDS)
    assert outcome.history.frame().step.max() < 25


def test_measurements_keep_their_schedule_and_read_the_last_step():
    frame = run([3], dict(name="sgd", lr=0.1), steps=12).history.frame()
    assert frame[frame.metric == "loss"].step.tolist() == list(range(13))
    assert frame[frame.metric == "sharpness"].step.tolist() == [0, 5, 10, 12]


def test_seeds_and_runs_must_agree():
    networks, _, _, problem = setup(SEEDS)
    with pytest.raises(ValueError, match="3 runs but 1 seeds"):
        train(
            problem,
            stack_parameters(networks),
            optimizers.named("sgd", lr=0.1),
            seeds=[1],
            steps=1,
            divergence=10,
        )


def test_a_run_that_diverges_under_every_measurement_leaves_the_others_as_if_alone():
    spec = dict(name="sgd", lr=0.2)
    settings = dict(steps=12, divergence=10, measure=EVERYTHING, activation="identity")
    networks, *_ = setup(SEEDS, activation="identity")
    params_RxP = stack_parameters(networks)
    params_RxP[1] *= 10
    outcome = run(SEEDS, spec, params_RxP=params_RxP, **settings)
    frame = outcome.history.frame()
    assert outcome.diverged == {SEEDS[1]: 1}
    assert not outcome.params_RxP[1].any()
    lost = frame[(frame.seed == SEEDS[1]) & (frame.step > 0)]
    assert lost[["step", "metric"]].to_numpy().tolist() == [[1, "loss"]]
    for seed in (SEEDS[0], SEEDS[2]):
        alone = run([seed], spec, **settings).history.frame()
        assert set(alone.metric) >= {"sharpness_cold", "segment_rise", "central_modes", "batch_sharpness"}
        # A vector is known to the root of the eigenvalues' tolerance: steps of 0.05 project on it to 1e-5.
        assert_as_if_alone(frame, alone, seed, rtol=1e-4, atol=1e-5)


def test_a_reading_tells_which_runs_have_not_diverged():
    class Spy(Stateless):
        every, curvature, seen = 1, False, []

        def measure(self, reading):
            self.seen.append([reading.runs(r) for r in range(2)])
            return {}

    networks, _, _, problem = setup(SEEDS[:2], activation="identity")
    params_RxP = stack_parameters(networks) * torch.tensor([[1.0], [10.0]])
    spec = dict(name="sgd", lr=0.2)
    train(problem, params_RxP, optimizers.named(**spec), seeds=SEEDS[:2], steps=2, divergence=10, measurements=[Spy()])
    assert Spy.seen == [[True, True], [True, False], [True, False]]


@pytest.mark.parametrize("lr", [1e4, 1e200])
def test_a_learning_rate_that_diverges_at_the_first_step_records_that_step_and_ends(lr):
    outcome = run(SEEDS[:2], dict(name="sgd", lr=lr), divergence=10, measure=EVERYTHING)
    assert outcome.diverged == {SEEDS[0]: 1, SEEDS[1]: 1}
    frame = outcome.history.frame()
    assert set(frame[frame.step > 0].metric) == {"loss"}
    assert set(frame[frame.step > 0].step) == {1}


@pytest.mark.parametrize("name", ["adam", "scalar rmsprop"])
def test_a_run_lost_before_its_first_step_leaves_the_others_their_preconditioners(name):
    spec, measure = OPTIMIZERS[name], {"sharpness": EIGEN, "preconditioned_sharpness": EIGEN}
    networks, *_ = setup(SEEDS)
    params_RxP = stack_parameters(networks)
    params_RxP[1] = torch.inf
    outcome = run(SEEDS, spec, params_RxP=params_RxP, measure=measure, steps=6)
    assert outcome.diverged == {SEEDS[1]: 0}
    frame = outcome.history.frame()
    for seed in (SEEDS[0], SEEDS[2]):
        alone = run([seed], spec, measure=measure, steps=6).history.frame()
        assert alone[alone.metric == "preconditioned_sharpness"].step.tolist() == [3, 6]
        assert_as_if_alone(frame, alone, seed, rtol=1e-6)


def test_minibatches_have_no_row_twice_and_all_rows_in_time():
    batches = Minibatches([3, 5], examples=11, size=4)
    drawn = torch.stack([batches(step) for step in range(200)])
    assert drawn.shape == (200, 2, 4)
    assert all(len(set(rows.tolist())) == 4 for rows in drawn.reshape(-1, 4))
    counts = torch.bincount(drawn.reshape(-1), minlength=11)
    assert len(counts) == 11
    assert float((counts / (1600 / 11) - 1).abs().max()) < 0.3


def test_minibatches_are_determined_by_seed_step_and_stream_and_by_nothing_else():
    def draw(seed, step, stream, among=()):
        return Minibatches([*among, seed], examples=1000, size=16, stream=stream)(step)[-1].tolist()

    cases = [(seed, step, stream) for seed in (0, 1, 2) for step in (0, 1, 2_000_003) for stream in (0, 1, 2)]
    drawn = [draw(*case) for case in cases]
    assert len({tuple(rows) for rows in drawn}) == len(cases)
    torch.manual_seed(12)
    assert [draw(*case, among=[7]) for case in reversed(cases)][::-1] == drawn


@pytest.mark.parametrize("size", [0, 12])
def test_a_batch_larger_than_the_data_is_refused(size):
    with pytest.raises(ValueError, match=f"a batch of {size} from 11 examples"):
        Minibatches([0], examples=11, size=size)
