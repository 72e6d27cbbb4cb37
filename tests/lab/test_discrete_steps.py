"""What discrete, noisy steps add to gradient flow (E12 to E15): closed forms, systems with known answers, bad input."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from benchmarks.lab.architectures import self_stabilization
from benchmarks.lab.datasets import Images
from benchmarks.lab.problem import Problem
from benchmarks.studies.progressive_sharpening import adaptive_flow, implicit_gradient, momentum_batches, noise_scale
from benchmarks.studies.progressive_sharpening.study import (
    AdaptiveFlow,
    ImplicitGradient,
    MomentumBatches,
    NoiseScale,
)
from benchmarks.theory import noise, stability, stochastic_stability

NOWHERE = SimpleNamespace(dtype="float64")
TANH = {"name": "mlp", "hidden": [6], "activation": "tanh"}


def drawn_images(count=24, classes=2):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 1, 2, 2, generator=generator, dtype=torch.float64)
    labels = torch.arange(count) % classes
    return Images(inputs, labels, inputs, labels, classes)


def quadratic(curvatures, start):
    """L = sum of c_i w_i^2 / 2, from a start, as a problem whose only example is ignored."""

    class Bowl(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))

        def forward(self, inputs_Nx1):
            loss = 0.5 * (torch.tensor(curvatures, dtype=torch.float64) * self.w**2).sum()
            return loss.expand(len(inputs_Nx1), 1)

    empty = torch.zeros(1, 1, dtype=torch.float64)
    return Problem(Bowl(), empty, empty[0], "objective")


# E12


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_two_plateaus_are_limits_of_one_threshold(momentum):
    lr = 0.03
    rare = stochastic_stability.batch_threshold(lr, momentum, 1e-9)
    assert rare == pytest.approx(2 * (1 - momentum) / lr, rel=1e-6)
    assert stochastic_stability.batch_threshold(lr, momentum, 1.0) == pytest.approx(stability.polyak(lr, momentum))


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_threshold_is_that_of_the_librarys_second_moments(momentum, share):
    known = stochastic_stability.batch_threshold(momentum_batches.LR, momentum, share)
    assert momentum_batches.library_threshold(momentum, share) == pytest.approx(known, rel=1e-8)


def test_the_variance_at_rest_solves_the_recursion_of_second_moments():
    lr, momentum, share, curvature = 0.1, 0.9, 0.2, 1.1
    moments = np.zeros(3)  # E[w^2], E[w w_before], E[w_before^2]
    for _ in range(20_000):
        step = 1 + momentum - lr * share * curvature
        spread = lr**2 * share * (1 - share) * curvature**2
        now, both, before = moments
        moments = np.array(
            [
                (step**2 + spread) * now - 2 * step * momentum * both + momentum**2 * before + lr**2 * 0.5**2,
                step * now - momentum * both,
                now,
            ]
        )
    at_rest = stochastic_stability.stationary_square(lr, momentum, share, curvature, 0.5)
    assert at_rest == pytest.approx(moments[0], rel=1e-9)


def test_the_simulated_variance_is_the_closed_form():
    curvature = 0.5 * stochastic_stability.batch_threshold(momentum_batches.LR, 0.9, 0.5)
    settings = SimpleNamespace(copies=2000, copied_steps=1500)
    measured = momentum_batches.simulated_square(0.9, 0.5, curvature, settings, seed=3)
    known = stochastic_stability.stationary_square(momentum_batches.LR, 0.9, 0.5, curvature, 1.0)
    assert measured == pytest.approx(known, rel=0.03)


def test_there_is_no_variance_at_rest_above_the_threshold_and_no_share_of_zero():
    with pytest.raises(ValueError, match="grows without bound"):
        stochastic_stability.stationary_square(0.1, 0.0, 1.0, 21.0, 1.0)
    with pytest.raises(ValueError, match=r"must be in \(0, 1\], got 0"):
        stochastic_stability.batch_threshold(0.1, 0.9, 0.0)


def batches(**systems):
    return MomentumBatches(
        seeds=2,
        images=24,
        pool=1,
        readings=4,
        batches=2,
        systems=systems,
        momenta=[],
        shares=[],
        copies=1,
        copied_steps=1,
    )


def test_a_run_that_diverges_leaves_no_level():
    wild = {"architecture": TANH, "momentum": 0.0, "batch_size": 4, "lr": 1e3, "steps": 8}
    rows = momentum_batches.run(batches(wild=wild), [11, 12], drawn_images(), NOWHERE)
    assert set(rows["quantity"]) == {"diverged"} and (rows["value"] == 1).all()


def test_a_run_that_has_not_settled_has_no_level():
    system = SimpleNamespace(steps=100, lr=0.1, momentum=0.9)
    steps = np.arange(0, 101, 10)

    def series(values):
        told = pd.Series(values, index=steps)
        return {"batch_sharpness": told, "batch_sharpness_mean_ratio": told, "loss": told}

    assert momentum_batches._scores(series(np.full(11, 2.0)), system, False)["small_batch_ratio"] == pytest.approx(1.0)
    rising = momentum_batches._scores(series(2.0 ** np.arange(11)), system, False)
    assert np.isnan(rising["small_batch_ratio"]) and np.isnan(rising["large_batch_ratio"])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch_size": 25}, "batch_size 25 exceeds the 24 images"), ({"steps": 3}, "4 readings in 3 steps")],
)
def test_momentum_batches_refuses_what_cannot_run(change, message):
    system = {"architecture": TANH, "momentum": 0.0, "batch_size": 4, "lr": 0.1, "steps": 8}
    with pytest.raises(ValidationError, match=message):
        batches(one=system | change)


# E13


def flow_settings(**change):
    return AdaptiveFlow(
        **{
            "seeds": 1, "images": 24, "pool": 1, "hidden": [6], "lr": 1.0, "lr_below": 0.01, "beta2": 0.99,
            "steps": 60, "every": 10, "substeps": 4, "modes": 1,
        }
        | change
    )  # fmt: skip


def test_below_the_edge_the_central_flow_is_the_stable_flow():
    problem = quadratic([3.0, 1.0], [1.0, -2.0])
    start_1xP = problem.initial_RxP()
    flow = adaptive_flow.CentralFlow(problem, start_1xP, lr=0.01, beta2=0.99, substeps=20, modes=1)
    for _ in range(5):
        flow.step()
    ends_TxP, moments_T = adaptive_flow.stable_flow(problem, start_1xP, np.array([0.0, 5.0]), lr=0.01, beta2=0.99)
    np.testing.assert_allclose(flow.params_1xP[0].numpy(), ends_TxP[-1], rtol=1e-3)
    assert flow.moment == pytest.approx(moments_T[-1], rel=1e-3) and flow.held == 0


def test_on_a_quadratic_the_second_moment_alone_holds_the_edge():
    # grad S = 0: tr C is what keeps v where lr S / sqrt(v) = 2, v - |grad L|^2 over (2 sqrt(v) / lr)^2.
    problem, lr, curvature = quadratic([4.0], [1e-3]), 0.5, 4.0
    flow = adaptive_flow.CentralFlow(problem, problem.initial_RxP(), lr=lr, beta2=0.9, substeps=4, modes=1)
    flow.moment = (lr * curvature / 2) ** 2
    flow.step()
    assert flow.effective_sharpness() == pytest.approx(2.0, rel=1e-6)
    assert flow.variance == pytest.approx(flow.moment / curvature**2, rel=1e-3)
    loss, predicted = flow.loss()
    assert predicted - loss == pytest.approx(curvature * flow.variance / 2, rel=1e-6)


def test_one_eigenvalue_at_the_edge_has_its_closed_form():
    sharpness, drift = 20.0, 0.4
    torch.manual_seed(0)
    toy = self_stabilization.build((1,), 1, sharpness=sharpness, drift=drift, amplitude=1e-4).double()
    empty = torch.zeros(1, 1, dtype=torch.float64)
    problem, lr, beta2 = Problem(toy, empty, empty[0], "objective"), 1.0, 0.99
    flow = adaptive_flow.CentralFlow(problem, problem.initial_RxP(), lr=lr, beta2=beta2, substeps=1000, modes=1)
    v = flow.moment = (lr * sharpness / 2) ** 2
    flow._euler(1e-3)
    # S = y up to x^2: dS/dt / S = dv/dt / (2 v), solved for the variance.
    rate = (1 - beta2) / beta2
    known = (lr / v**0.5 * drift / sharpness - rate * (drift**2 - v) / (2 * v)) / (
        lr / v**0.5 / (2 * sharpness) + rate * sharpness**2 / (2 * v)
    )
    assert flow.variance == pytest.approx(known, rel=1e-3)


def test_a_flow_that_never_comes_to_the_edge_has_no_scores():
    problem = quadratic([3.0, 1.0], [1.0, -2.0])
    scores = adaptive_flow.compared(problem, 1e-3, flow_settings(), lambda step: None)
    assert scores["edge_share"] == 0 and np.isnan(scores["distance_ratio"]) and np.isfinite(scores["central-60"])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"lr_below": 1.0}, "lr_below 1 is not below lr 1"), ({"steps": 65}, "steps 65 must be a multiple of every 10")],
)
def test_adaptive_flow_refuses_what_cannot_be_compared(change, message):
    with pytest.raises(ValidationError, match=message):
        flow_settings(**change)


# E14


def test_the_noise_scale_of_gradients_written_out():
    gradients_NxP = np.array([[1.0, 2.0], [3.0, 0.0], [2.0, -2.0]])  # mean (2, 0), tr(Sigma) = (2 + 8) / 3
    scale = noise.scale(np.square(gradients_NxP).sum(1).mean(), gradients_NxP.mean(0))
    assert scale == pytest.approx(10 / 3 / 4)


def test_the_estimator_finds_the_scale_of_exact_squares():
    signal, trace = 0.3, 7.0
    assert noise.estimated({size: signal + trace / size for size in (64, 8)}) == pytest.approx(trace / signal)
    with pytest.raises(ValueError, match="takes two batch sizes, got 1"):
        noise.estimated({8: 1.0})


def test_the_fit_finds_a_known_tradeoff():
    sizes = [4, 16, 64, 256]
    fitted = noise.fit_tradeoff(sizes, 12 * (1 + 37 / np.array(sizes)))
    assert (fitted.least, fitted.critical) == pytest.approx((12, 37), rel=1e-4) and fitted.error < 1e-6
    with pytest.raises(ValueError, match="three batch sizes or more, got 2"):
        noise.fit_tradeoff([1, 2], np.array([1.0, 2.0]))


def test_scales_of_a_network_are_those_of_single_backward_passes():
    data = drawn_images()
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)
    ).double()
    problem = Problem(module, data.train_inputs, data.train_labels, "cross_entropy")
    rows = []
    for x, y in zip(data.train_inputs, data.train_labels):
        loss = torch.nn.functional.cross_entropy(module(x[None]), y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))]))
    own_NxP = torch.stack(rows).numpy()
    simple, curved = noise_scale.measured_scales(problem, problem.initial_RxP(), 4000, torch.Generator().manual_seed(0))
    assert simple == pytest.approx(own_NxP.var(0).sum() / np.square(own_NxP.mean(0)).sum(), rel=1e-9)
    hessian_PxP = problem.at(problem.initial_RxP(), curvature=True).hvp(torch.eye(own_NxP.shape[1]).double()[None])[0]
    covariance_PxP, mean_P = np.cov(own_NxP.T, bias=True), own_NxP.mean(0)
    known = np.trace(hessian_PxP.numpy() @ covariance_PxP) / (mean_P @ hessian_PxP.numpy() @ mean_P)
    assert curved == pytest.approx(known, rel=0.1)


def test_a_known_noise_scale_is_the_critical_batch():
    sizes = [4, 16, 64, 256]
    steps_B = np.array([noise_scale.known_steps(1, size, 50.0) for size in sizes])
    assert noise_scale.tradeoff(sizes, steps_B, 50.0, 50.0)["log_ratio"] == pytest.approx(0, abs=0.1)


def test_a_batch_size_that_never_arrives_has_no_critical_batch():
    scores = noise_scale.tradeoff([4, 16, 64], np.array([np.nan, 20.0, 10.0]), 50.0, 50.0)
    assert np.isnan(scores["log_ratio"]) and np.isnan(scores["critical_batch"]) and scores["steps-16"] == 20


def noise_settings(**change):
    return NoiseScale(
        **{
            "seeds": 2, "images": 24, "pool": 1, "hidden": [4], "batch_sizes": [2, 4, 8], "lrs": [0.2, 0.5],
            "target": 0.95, "most_steps": 200, "path_lr": 0.5, "readings": 2, "estimator_sizes": [2, 12], "pairs": 3,
            "curved_examples": 3, "known_scale": 5.0,
        }
        | change
    )  # fmt: skip


def test_on_a_single_image_the_batch_size_does_not_matter():
    table = noise_scale.run(noise_settings(), [11, 12], drawn_images(), NOWHERE)
    alone = table[(table["system"] == "repeated") & (table["quantity"] == "log_speedup")]["value"]
    assert len(alone) == 2 and np.abs(alone).max() < 1e-9


def test_a_target_out_of_reach_is_one_clear_sentence():
    with pytest.raises(ValueError, match="gradient descent at 1e-06 does not reach the target loss"):
        noise_scale.run(noise_settings(path_lr=1e-6, most_steps=5), [11], drawn_images(), NOWHERE)
    with pytest.raises(ValidationError, match=r"batch_sizes must rise, got \[4, 4, 8\]"):
        noise_settings(batch_sizes=[4, 4, 8])


# E15


def test_the_regularized_flow_of_a_quadratic_is_a_matrix_exponential():
    curvatures, start, lr, time = np.array([3.0, 0.5]), np.array([1.0, -2.0]), 0.1, 1.5
    problem = quadratic(curvatures.tolist(), start.tolist())
    known = start * np.exp(-curvatures * (1 + lr * curvatures / 2) * time)
    end = implicit_gradient.flow_end(problem, start, time, implicit_gradient.REGULARIZER * lr)
    np.testing.assert_allclose(end, known, rtol=1e-8)
    np.testing.assert_allclose(implicit_gradient.quadratic_ends(problem, time, [lr])[0], known, rtol=1e-12)


def test_the_exponents_are_two_with_the_regularizer_and_one_without_or_with_twice_as_much():
    settings = ImplicitGradient(seeds=1, images=24, pool=1, hidden=[4], lr=0.1, halvings=3, time=1.0, linear_lr=0.05)
    table = implicit_gradient.run(settings, [11], drawn_images())
    exponents = table[table["quantity"] == "exponent"].set_index("system")["value"]
    assert exponents["network"] == pytest.approx(2, abs=0.1) and exponents["quadratic"] == pytest.approx(2, abs=0.1)
    assert exponents["plain"] == pytest.approx(1, abs=0.1) and exponents["doubled"] == pytest.approx(1, abs=0.1)


def test_a_time_that_is_no_whole_number_of_steps_is_refused():
    with pytest.raises(ValidationError, match=r"time 1 is not a whole number of steps of 0\.3"):
        ImplicitGradient(seeds=1, images=24, pool=1, hidden=[4], lr=0.3, halvings=2, time=1.0, linear_lr=0.05)
