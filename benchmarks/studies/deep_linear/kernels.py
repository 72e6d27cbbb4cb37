"""Unaligned exact solutions and the tangent kernel of two-layer linear networks: the Riccati equation (D9), silent
alignment (D8)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.integrate import solve_ivp

from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.studies.deep_linear import COLUMNS
from benchmarks.studies.deep_linear.simulation import (
    gaussian_factors,
    identity_design,
    orthogonal,
    problem,
    simulate,
    stacked,
    target,
)
from benchmarks.theory import deep_linear

SIZE, SPECTRUM = 5, (3.0, 2.0, 1.0)
IMBALANCES = (-4.0, -1.0, 0.0, 1.0, 4.0)
EXAMPLES, INPUTS, WIDTH = 20, 30, 50
EARLY = 0.9


def run(settings: dict, seeds: Sequence[int]) -> pd.DataFrame:
    """Quantities:

        riccati_error     sup over time of |W_2 W_1 - formula| / |T|, by imbalance
        wrong_error       the same with the formula for imbalance 0
        kernel_movement   |K(end) - K(0)| / |K(0)|, by imbalance, and ``log_movement_ratio``: ln of the one without
                          imbalance over it
        early_cosine      of the tangent kernels when the loss is 90 % of the first, and at the end
        kernel_error      |f - kernel regression with the last kernel| / |f| on test points

    Args:
        settings: ``lr``, ``time`` and ``product`` (the singular value of W_2 W_1 at the start) of the balanced runs;
            ``alignment_lr``, ``alignment_steps``, ``scale`` and ``large_scale`` of the scalar ones, ``colour`` the
            exponent of their power law.
    """
    return pd.DataFrame([*_balanced(settings, seeds), *_silent(settings, seeds)], columns=COLUMNS)


def _balanced(settings: dict, seeds: Sequence[int]) -> list[tuple]:
    goal = target(0, SPECTRUM, SIZE)
    inputs = identity_design(SIZE)
    whole = problem(inputs, inputs @ torch.from_numpy(goal).T, [SIZE])
    lr, product = settings["lr"], settings["product"]
    rows: list[tuple] = []
    movement: dict[float, np.ndarray] = {}
    for imbalance in IMBALANCES:
        starts = [balanced_factors(seed, imbalance, product) for seed in seeds]
        path = simulate(whole, stacked(starts), sgd(lr=lr), steps=round(settings["time"] / lr), every=20)
        system, moves = f"imbalance{imbalance:+g}", []
        for seed, factors, maps, params_P in zip(seeds, starts, path.maps_RxTxCxD, path.params_RxP):
            for quantity, shape in (("riccati_error", imbalance), ("wrong_error", 0.0)):
                start = factors if shape == imbalance else balanced_factors(seed, shape, product)
                formula = deep_linear.balanced_product(*start, goal, shape, path.steps_T * lr)
                errors = np.sqrt(np.square(maps - formula).sum((1, 2))) / np.linalg.norm(goal)
                rows.append((system, seed, quantity, errors.max()))
            first, last = (
                tangent_kernel(layers, inputs.numpy()) for layers in (factors, params_P.numpy().reshape(2, SIZE, SIZE))
            )
            moves.append(np.linalg.norm(last - first) / np.linalg.norm(first))
        movement[imbalance] = np.array(moves)
        rows += [(system, seed, "kernel_movement", moved) for seed, moved in zip(seeds, moves)]
    for imbalance, moves in movement.items():
        ratios = np.log(movement[0.0] / moves)
        rows += [(f"imbalance{imbalance:+g}", s, "log_movement_ratio", ratio) for s, ratio in zip(seeds, ratios)]
    # The two matrix equations themselves, by an integrator that knows nothing of the formula.
    times = np.linspace(0, settings["time"], 50)
    for seed in seeds:
        factors = balanced_factors(seed, IMBALANCES[-1], product)
        formula = deep_linear.balanced_product(*factors, goal, IMBALANCES[-1], times)
        errors = np.linalg.norm(integrated(factors, goal, times) - formula, axis=(1, 2)) / np.linalg.norm(goal)
        rows.append(("integrated", seed, "riccati_error", errors.max()))
    return rows


def integrated(factors: Sequence[np.ndarray], goal: np.ndarray, times: np.ndarray) -> np.ndarray:
    """W_2 W_1 at these times, by integrating gradient flow of both: T x SIZE x SIZE."""

    def slope(_: float, flat_weights: np.ndarray) -> np.ndarray:
        first, second = flat_weights.reshape(2, SIZE, SIZE)
        error = goal - second @ first
        return np.concatenate([(second.T @ error).ravel(), (error @ first.T).ravel()])

    start = np.concatenate([factor.ravel() for factor in factors])
    solved = solve_ivp(slope, (times[0], times[-1]), start, t_eval=times, rtol=1e-9, atol=1e-12)
    first, second = solved.y.T.reshape(-1, 2, SIZE, SIZE).swapaxes(0, 1)
    return second @ first


def balanced_factors(seed: int, imbalance: float, product: float) -> list[np.ndarray]:
    """Multiples a and b of orthogonal matrices with b^2 - a^2 = imbalance and a b = product, input side first.

    Their product does not depend on the imbalance.
    """
    generator = np.random.default_rng(seed)
    a = np.sqrt((np.sqrt(imbalance**2 + 4 * product**2) - imbalance) / 2)
    return [a * orthogonal(generator, SIZE, SIZE), product / a * orthogonal(generator, SIZE, SIZE)]


def tangent_kernel(
    layers: Sequence[np.ndarray], inputs_NxD: np.ndarray, others_MxD: np.ndarray | None = None
) -> np.ndarray:
    """W_2 W_2' (x) X X' + I (x) X W_1' W_1 X' of a two-layer linear network: C N x C M."""
    first, second = layers
    others_MxD = inputs_NxD if others_MxD is None else others_MxD
    features = (inputs_NxD @ first.T) @ (others_MxD @ first.T).T
    return np.kron(second @ second.T, inputs_NxD @ others_MxD.T) + np.kron(np.eye(len(second)), features)


def _silent(settings: dict, seeds: Sequence[int]) -> list[tuple]:
    rows: list[tuple] = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        left, right = orthogonal(generator, EXAMPLES, EXAMPLES), orthogonal(generator, EXAMPLES, INPUTS)
        teacher = generator.standard_normal((INPUTS, 1)) / INPUTS**0.5
        teachers = (right.T[:, :4] * np.array([5.0, 3.0, 2.0, 1.0])) / 5.0
        tests = generator.standard_normal((200, INPUTS))
        # Examples that are orthogonal, or whose covariance falls as a power law of the same trace.
        powers = np.arange(1, EXAMPLES + 1.0) ** -settings["colour"]
        spectra = {"white": np.ones(EXAMPLES), "coloured": powers * EXAMPLES / powers.sum()}
        for system, colour, scale in (
            ("small", "white", settings["scale"]),
            ("large", "white", settings["large_scale"]),
            ("coloured", "coloured", settings["scale"]),
            ("several", "white", settings["scale"]),
            ("aligned", "white", settings["scale"]),
        ):
            inputs = (left * np.sqrt(EXAMPLES * spectra[colour])) @ right
            # A scalar output has one mode to learn; "several" has four of different strengths.
            outputs = inputs @ (teachers if system == "several" else teacher)
            width = outputs.shape[1]
            whole = problem(torch.from_numpy(inputs), torch.from_numpy(outputs), [WIDTH])
            factors = gaussian_factors(seed, [INPUTS, WIDTH, width], scale)
            if system == "aligned":  # from the start on the one direction that there is to learn
                direction = inputs.T @ outputs / np.linalg.norm(inputs.T @ outputs)
                factors = [scale * np.eye(WIDTH, 1) @ direction.T, scale * np.eye(1, WIDTH)]
            start, optimizer = stacked([factors]), sgd(lr=settings["alignment_lr"])
            path = simulate(whole, start, optimizer, steps=settings["alignment_steps"])
            early = int(np.argmax(path.losses_RxT[0] <= EARLY * path.losses_RxT[0, 0]))
            halfway = simulate(whole, start, optimizer, steps=early)
            before, after = (_layers(run.params_RxP[0].numpy(), width) for run in (halfway, path))
            kernels = [tangent_kernel(layers, inputs) for layers in (before, after)]
            cosine = (kernels[0] * kernels[1]).sum() / (np.linalg.norm(kernels[0]) * np.linalg.norm(kernels[1]))
            # Its own outputs stand for the targets, so that what is left of the loss is no error of the kernel.
            product = (after[1] @ after[0]).T
            fitted, actual = (inputs @ product).T.ravel(), (tests @ product).T.ravel()
            regression = tangent_kernel(after, tests, inputs) @ np.linalg.solve(kernels[1], fitted)
            rows += [
                (system, seed, "early_cosine", cosine),
                (system, seed, "kernel_error", np.linalg.norm(actual - regression) / np.linalg.norm(actual)),
                (system, seed, "loss_left", path.losses_RxT[0, -1] / path.losses_RxT[0, 0]),
            ]
    return rows


def _layers(params_P: np.ndarray, outputs: int) -> list[np.ndarray]:
    first = params_P[: WIDTH * INPUTS].reshape(WIDTH, INPUTS)
    return [first, params_P[WIDTH * INPUTS :].reshape(outputs, WIDTH)]
