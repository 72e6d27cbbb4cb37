"""Deep linear networks, the solvable case. Everything is trained in float64 by the library's loop and optimizers, on
inputs of identity covariance.
"""
