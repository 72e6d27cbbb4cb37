"""Unaligned exact solutions and the tangent kernel of two-layer linear networks: the Riccati equation (D9), silent
alignment (D8)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp

from benchmarks.lab.loop import descend
from benchmarks.lab.ntk import tangent_kernel
from benchmarks.lab.optimizers.sgd import sgd
from benchmarks.studies.deep_linear.simulation import gaussian_factors, orthogonal, problem, simulate, stacked, target
from benchmarks.studies.table import Result, tidy
from benchmarks.theory import deep_linear

SIZE, SPECTRUM = 5, (3.0, 2.0, 1.0)
IMBALANCES = (-4.0, -1.0, 0.0, 1.0, 4.0)
EXAMPLES, INPUTS, WIDTH = 20, 30, 50
EARLY = 0.9


@tidy
def run(settings, seeds: Sequence[int]) -> Iterator[Result]:
    """D9: ``imbalance+1`` and so on, gradient descent from balanced factors of that imbalance, compared with the
    Riccati solution; ``wrong_error`` uses the solution for imbalance 0. The control is ``integrated``, the flow by an
    integrator that does not use the formula.

    D8: ``small``, a scalar output learned from small weights on white inputs, and ``coloured``, on inputs whose
    covariance falls as a power law. Controls: ``large``, from large weights; ``several``, four outputs of different
    strengths; ``aligned``, from weights on the one direction that there is to learn. Quantities: see the data card.
    """
    yield from _balanced(settings, seeds)
    yield from _silent(settings, seeds)


def _balanced(settings, seeds: Sequence[int]) -> Iterator[Result]:
    goal = target(0, SPECTRUM, SIZE)
    whole = problem(goal, [SIZE])
    ((inputs, _),) = whole.chunks()
    lr, product = settings.lr, settings.product
    movement: dict[float, np.ndarray] = {}
    for imbalance in IMBALANCES:
        starts_RxP = stacked(balanced_factors(seed, imbalance, product) for seed in seeds)
        path = simulate(whole, starts_RxP, sgd(lr=lr), steps=round(settings.time / lr), every=20)
        system, moves = f"imbalance{imbalance:+g}", []
        for seed, start_P, maps, end_P in zip(seeds, starts_RxP, path.maps_RxTxCxD, path.params_RxP):
            for quantity, shape in (("riccati_error", imbalance), ("wrong_error", 0.0)):
                factors = balanced_factors(seed, shape, product)
                formula = deep_linear.balanced_product(*factors, goal, shape, path.steps_T * lr)
                errors = np.sqrt(np.square(maps - formula).sum((1, 2))) / np.linalg.norm(goal)
                yield system, seed, {quantity: errors.max()}
            first, last = (tangent_kernel(whole.module, inputs, params_P=params_P) for params_P in (start_P, end_P))
            moves.append(float((last - first).norm() / first.norm()))
        movement[imbalance] = np.array(moves)
        for seed, moved in zip(seeds, moves):
            yield system, seed, {"kernel_movement": moved}
    for imbalance, moves in movement.items():
        for seed, ratio in zip(seeds, np.log(movement[0.0] / moves)):
            yield f"imbalance{imbalance:+g}", seed, {"log_movement_ratio": ratio}
    # The two matrix equations themselves, by an integrator that knows nothing of the formula.
    times = np.linspace(0, settings.time, 50)
    for seed in seeds:
        factors = balanced_factors(seed, IMBALANCES[-1], product)
        formula = deep_linear.balanced_product(*factors, goal, IMBALANCES[-1], times)
        errors = np.linalg.norm(integrated(factors, goal, times) - formula, axis=(1, 2)) / np.linalg.norm(goal)
        yield "integrated", seed, {"riccati_error": errors.max()}


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


def _silent(settings, seeds: Sequence[int]) -> Iterator[Result]:
    for seed in seeds:
        generator = np.random.default_rng(seed)
        left, right = orthogonal(generator, EXAMPLES, EXAMPLES), orthogonal(generator, EXAMPLES, INPUTS)
        # A scalar output has one mode to learn; "several" has four of different strengths.
        teacher = generator.standard_normal((INPUTS, 1)) / INPUTS**0.5
        teachers = (right.T[:, :4] * np.array([5.0, 3.0, 2.0, 1.0])) / 5.0
        tests = torch.from_numpy(generator.standard_normal((200, INPUTS)))
        # Examples that are orthogonal, or whose covariance falls as a power law of the same trace.
        powers = np.arange(1, EXAMPLES + 1.0) ** -settings.colour
        spectra = {"white": np.ones(EXAMPLES), "coloured": powers * EXAMPLES / powers.sum()}
        for system, colour, scale in (
            ("small", "white", settings.scale),
            ("large", "white", settings.large_scale),
            ("coloured", "coloured", settings.scale),
            ("several", "white", settings.scale),
            ("aligned", "white", settings.scale),
        ):
            inputs = torch.from_numpy((left * np.sqrt(EXAMPLES * spectra[colour])) @ right)
            goal = (teachers if system == "several" else teacher).T
            whole = problem(goal, [WIDTH], inputs_NxD=inputs)
            factors = gaussian_factors(seed, [INPUTS, WIDTH, len(goal)], scale)
            if system == "aligned":  # from the start on the one direction that there is to learn
                correlation = inputs.numpy().T @ (inputs.numpy() @ goal.T)
                direction = correlation / np.linalg.norm(correlation)
                factors = [scale * np.eye(WIDTH, 1) @ direction.T, scale * np.eye(1, WIDTH)]
            early_1xP = start_1xP = stacked([factors])
            for step in descend(whole, start_1xP, sgd(lr=settings.alignment_lr), steps=settings.alignment_steps):
                if early_1xP is start_1xP and step.losses_R <= EARLY * step.first_loss_R:
                    early_1xP = step.params_RxP.clone()
            end_P = step.params_RxP[0]
            before, after = (tangent_kernel(whole.module, inputs, params_P=at_P) for at_P in (early_1xP[0], end_P))
            # Its own outputs stand for the targets, so that what is left of the loss is no error of the kernel.
            fitted, actual = (whole.outputs(end_P[None], x).flatten() for x in (inputs, tests))
            regression = tangent_kernel(whole.module, tests, inputs, params_P=end_P) @ torch.linalg.solve(after, fitted)
            scores = {
                "early_cosine": float((before * after).sum() / (before.norm() * after.norm())),
                "kernel_error": float((actual - regression).norm() / actual.norm()),
                "loss_left": float(step.losses_R / step.first_loss_R),
            }
            yield system, seed, scores
