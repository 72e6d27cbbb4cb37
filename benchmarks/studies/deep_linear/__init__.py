"""Deep linear networks, the solvable case: each experiment is a module with ``run(settings, seeds) -> DataFrame``.

An experiment returns one row a system, seed and quantity: `COLUMNS`. Everything is trained in float64 by the
library's loop and optimizers, on inputs of identity covariance.
"""

COLUMNS = ["system", "seed", "quantity", "value"]
