"""The training loop: against a loop written out by hand, as a stack, across a resume, and when a run diverges."""

from functools import partial

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from benchmarks.lab import architectures, optimizers
from benchmarks.lab.measurements.fit import Fit
from benchmarks.lab.measurements.sharpness import Sharpness
from benchmarks.lab.problem import Problem, flatten_parameters, stack_parameters
from benchmarks.lab.training import train

SEEDS = [3, 5, 8]
OPTIMIZERS = {
    "gradient descent": dict(name="sgd", lr=0.2),
    "momentum": dict(name="sgd", lr=0.1, momentum=0.9),
    "nesterov": dict(name="sgd", lr=0.1, momentum=0.9, nesterov=True),
    "adam": dict(name="adam", lr=0.01),
    "muon": dict(name="muon", lr=0.02),
}


def setup(seeds, activation="tanh", dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 6, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(3, (40,), generator=generator)
    networks = architectures.build_stack("mlp", (6,), 3, seeds, hidden=[8, 8], activation=activation)
    networks = [n.to(dtype) for n in networks]
    return networks, inputs, labels, Problem(networks[0], inputs, F.one_hot(labels, 3).to(dtype), "mse")


def builder(spec):
    return partial(optimizers.build, **spec)


def run(seeds, spec, steps=25, resume=None, observe=None, divergence=1e6, params_RxP=None, **kind):
    networks, _, labels, problem = setup(seeds, **kind)
    measurements = [Fit(labels, every=5), Sharpness(seeds, every=5, tolerance=1e-6, cold_every=3)]
    return train(
        problem,
        stack_parameters(networks) if params_RxP is None else params_RxP,
        builder(spec),
        seeds=seeds,
        steps=steps,
        divergence=divergence,
        measurements=measurements,
        resume=resume,
        observe=observe,
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_the_plain_torch_loop(name):
    (network,), inputs, labels, _ = setup([3])
    losses = []
    mine = optimizers.build(parameters=list(network.parameters()), **OPTIMIZERS[name])
    for _ in range(26):
        loss = 0.5 * (network(inputs) - F.one_hot(labels, 3)).square().sum(1).mean()
        losses.append(loss.item())
        for optimizer in mine:
            optimizer.zero_grad()
        loss.backward()
        last = flatten_parameters(network)
        for optimizer in mine:
            optimizer.step()
    outcome = run([3], OPTIMIZERS[name])
    frame = outcome.history.frame()
    loss = frame[frame.metric == "loss"].set_index("step").value
    torch.testing.assert_close(torch.tensor(loss.to_numpy()), torch.tensor(losses, dtype=torch.float64))
    torch.testing.assert_close(outcome.params_RxP[0], last)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stack_of_runs_is_the_single_runs(name):
    together = run(SEEDS, OPTIMIZERS[name])
    for r, seed in enumerate(SEEDS):
        alone = run([seed], OPTIMIZERS[name])
        torch.testing.assert_close(together.params_RxP[r], alone.params_RxP[0], rtol=1e-9, atol=1e-12)
        mine, theirs = (o.history.frame().query(f"seed == {seed}") for o in (together, alone))
        names = ["loss", "sharpness", "train_accuracy", "gradient_norm"]
        mine, theirs = (f[f.metric.isin(names)].reset_index(drop=True) for f in (mine, theirs))
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_cut_anywhere_and_resumed_has_the_identical_history(name, tmp_path):
    whole = run(SEEDS, OPTIMIZERS[name]).history.frame()
    for cut in (1, 13):
        saved = {}

        def observe(step, checkpoint, cut=cut, saved=saved):
            if step == cut:
                torch.save(checkpoint(), tmp_path / "state.pt")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(SEEDS, OPTIMIZERS[name], observe=observe)
        saved = torch.load(tmp_path / "state.pt", weights_only=True)
        resumed = run(SEEDS, OPTIMIZERS[name], resume=saved).history.frame()
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
            builder(dict(name="sgd", lr=0.1)),
            seeds=[1],
            steps=1,
            divergence=10,
        )
