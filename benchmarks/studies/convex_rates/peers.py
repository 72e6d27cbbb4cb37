"""PEPit's worst cases compared with the formulas, if it is installed (``pip install '.[worst-cases]'``)."""

from importlib.util import find_spec

from benchmarks.studies.convex_rates.descent import constant_momentum, momenta
from benchmarks.theory import convex_rates


def pepit_ratios(mu: float) -> dict[str, float]:
    """PEPit's worst-case value over the formula, by method; empty without PEPit.

    The semidefinite programs are those of its examples, written out: L = 1, R = 1, three steps; two for strong
    convexity, where the formula is only a bound.
    """
    if find_spec("PEPit") is None:
        return {}
    return {
        "gradient-descent": _worst(0.0, [0.0] * 3) / convex_rates.gradient_descent(1, 1, 1, 3),
        "nesterov": _worst(0.0, momenta(3)) / convex_rates.accelerated(1, 1, 3),
        "strongly-convex": _worst(mu, [constant_momentum(1, mu)] * 2, potential=True) / (1 - mu**0.5) ** 2,
    }


def _worst(mu: float, momenta: list[float], potential: bool = False) -> float:
    """The largest f(x_n) - f* over mu-strongly convex, 1-smooth functions with |x_0 - x*| <= 1, or, with ``potential``,
    f(x_0) - f* + mu |x_0 - x*|^2 / 2 <= 1."""
    from PEPit import PEP
    from PEPit.functions import SmoothStronglyConvexFunction

    problem = PEP()
    function = problem.declare_function(SmoothStronglyConvexFunction, mu=mu, L=1.0)
    least = function.stationary_point()
    x = problem.set_initial_point()
    distance = (x - least) ** 2
    first = function(x) - function(least)
    problem.set_initial_condition(first + mu / 2 * distance <= 1 if potential else distance <= 1)
    y = x
    for momentum in momenta:
        ahead = y - function.gradient(y)
        x, y = ahead, ahead + momentum * (ahead - x)
    problem.set_performance_metric(function(x) - function(least))
    return float(problem.solve(verbose=0))
